// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"enarx.dev/enarx/internal/platform"
)

func TestParseFilter(t *testing.T) {
	for _, tt := range []struct {
		filter string
		host   slog.Level
		keep   string
	}{
		{"info", slog.LevelInfo, "info"},
		{"enarx=debug", slog.LevelDebug, "debug"},
		{"warn,enarx=trace", slog.LevelDebug - 4, "trace"},
		{"enarx=error,debug", slog.LevelError, "debug"},
		{"warn, enarx_exec=debug", slog.LevelWarn, "debug"},
		{"enarx::loader=info", levelOff, "info"},
		{"enarx", slog.LevelDebug - 4, "trace"},
		{"INFO", slog.LevelInfo, "info"},
		{"off", levelOff, ""},
		{"", levelOff, ""},
		// Others' targets and what is no directive are dropped.
		{"rustls=trace,nonsense,enarx=loud,warn", slog.LevelWarn, "warn"},
		{",,=,a=b=c", levelOff, ""},
	} {
		if host, keep := parseFilter(tt.filter); host != tt.host || keep != tt.keep {
			t.Errorf("parseFilter(%q) = %v, %q, want %v, %q", tt.filter, host, keep, tt.host, tt.keep)
		}
	}
}

func TestParseDir(t *testing.T) {
	for _, tt := range []struct{ arg, host, guest string }{
		{"/srv/data", "/srv/data", "/srv/data"},
		{"/srv/data/", "/srv/data/", "/srv/data"},
		{"data", "data", "/data"},
		{"./a/b", "./a/b", "/a/b"},
		{".", ".", "/"},
		{"..::/up", "..", "/up"},
		{"data::/", "data", "/"},
		{"data::in/../out", "data", "/out"},
		{"data::.", "data", "/"},
		{"a:b::/c", "a:b", "/c"},
		// What comes after the first :: is the guest's name, all of it.
		{"a::/b::c", "a", "/b::c"},
	} {
		d, err := parseDir(tt.arg)
		if err != nil || d.Host != tt.host || d.Guest != tt.guest {
			t.Errorf("parseDir(%q) = %+v, %v, want %s::%s", tt.arg, d, err, tt.host, tt.guest)
		}
	}
	for _, arg := range []string{"", "::", "::/x", "x::", "..", "../x", "x::..", "x::a/../../b", "x::/a\x00b"} {
		if d, err := parseDir(arg); err == nil {
			t.Errorf("parseDir(%q) = %+v", arg, d)
		}
	}
}

// infoBackends is a machine in small, with three levels of probes.
var infoBackends = []platform.Backend{
	{Name: "sev", Probes: []platform.Probe{
		{Name: "CPU", Pass: true, Info: "EPYC", Sub: []platform.Probe{
			{Name: "SME", Pass: true, Sub: []platform.Probe{{Name: "C-bit", Help: "turn it on"}}},
		}},
	}, Config: []platform.Probe{{Name: "Cache", Pass: true}}},
	{Name: "nil"},
}

func TestPrintText(t *testing.T) {
	var out bytes.Buffer
	if err := printText(&out, infoBackends, false); err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(out.String(), "✗")
	want := ` Backend: sev
  ✔ CPU: EPYC
  ✔  SME
  ✗   C-bit
  ✔ Cache

  turn it on

✔ Backend: nil

`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want - got +\n%s", diff)
	}
	if err := printText(&out, infoBackends, true); err != nil || !strings.Contains(out.String(), "\x1b[31m✗\x1b[0m Backend: sev") {
		t.Errorf("%v: no colour in %q", err, out.String())
	}
}

func TestPrintJSON(t *testing.T) {
	var out bytes.Buffer
	if err := printJSON(&out, infoBackends); err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(out.String(), `"backends": `)
	want := `[
    {
      "backend": "sev",
      "usable": false,
      "data": [
        {
          "data": [
            {
              "data": [
                {
                  "data": [],
                  "info": "null",
                  "mesg": "turn it on",
                  "name": "C-bit",
                  "pass": false
                }
              ],
              "info": "null",
              "mesg": "null",
              "name": "SME",
              "pass": true
            }
          ],
          "info": "EPYC",
          "mesg": "null",
          "name": "CPU",
          "pass": true
        }
      ],
      "config": [
        {
          "data": [],
          "info": "null",
          "mesg": "null",
          "name": "Cache",
          "pass": true
        }
      ]
    },
    {
      "backend": "nil",
      "usable": true,
      "data": [],
      "config": []
    }
  ]
}
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want - got +\n%s", diff)
	}
}
