// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

// FuzzParse holds Parse to this: it does not panic, its errors point into the
// file, what it accepts is TOML by go-toml's judgement and survives Marshal,
// and what it calls a redefinition is one for go-toml too.
func FuzzParse(f *testing.F) {
	f.Add([]byte(template))
	f.Add([]byte(strings.ReplaceAll(template, "\n# ", "\n")))
	f.Add([]byte("files = [{kind = 'connect', host = 'h', ca = '''" + testCA + "'''}, {kind='listen', client_auth='require', ca='steward', host=''}]"))
	f.Add([]byte("[log]\nmode = 'encrypted'\nrecipients = ['" + testRecipient + "']\n[limits]\nmemory = 0x1_0000\nwall = '1h'"))
	f.Add([]byte("a.b = 1\n[a.b.c]\n[[x.y]]\n[x]\n[x.y.z]\n[[x.y.z]]"))
	f.Add([]byte("env.a = ''\nenv.b = \"\\u00e9\\U0001f512\"\r\n[files]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<14 {
			return // so that Marshal's longer spelling stays below MaxSize, and go-toml's checks quick
		}
		c, _, err := Parse(data)
		var generic map[string]any
		tomlErr := toml.Unmarshal([]byte(strings.TrimPrefix(string(data), "\ufeff")), &generic)
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Line < 1 || e.Line > strings.Count(string(data), "\n")+1 || e.Column < 1 || e.Msg == "" {
				t.Fatalf("error %#v", err)
			}
			if strings.Contains(e.Msg, "is already defined") && tomlErr == nil {
				t.Fatalf("%v, which go-toml accepts", err)
			}
			return
		}
		if tomlErr != nil {
			t.Fatalf("accepted, but go-toml: %v", tomlErr)
		}
		out, err := c.Marshal()
		if err != nil {
			t.Fatalf("marshalling: %v", err)
		}
		back, _, err := Parse(out)
		if err != nil {
			t.Fatalf("parsing what was marshalled: %v\n%s", err, out)
		}
		if diff := cmp.Diff(c, back); diff != "" {
			t.Fatalf("-parsed +marshalled and parsed:\n%s", diff)
		}
	})
}
