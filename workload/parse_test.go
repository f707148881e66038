// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     Config
	}{
		{"empty list", "files = []", Config{FilesDeclared: true}},
		{"byte order mark", "\ufefffiles = []", Config{FilesDeclared: true}},
		{"windows line ends", "args = [\"a\"]\r\nfiles = []\r\n", Config{Args: []string{"a"}, FilesDeclared: true}},
		{"stdio and null", `
			[[files]]
			kind = "null"
			[[files]]
			kind = "stdin"
			[[files]]
			kind = "stdout"
			name = "out"
			[[files]]
			kind = "stderr"
			name = ""`,
			Config{FilesDeclared: true, Files: []File{{Kind: KindNull, Name: "null"}, {Kind: KindStdin, Name: "stdin"}, {Kind: KindStdout, Name: "out"}, {Kind: KindStderr}}}},
		{"inline entries, repeated kinds and names", `files = [{kind = "null"}, {kind = "null", name = "null"}]`,
			Config{FilesDeclared: true, Files: []File{{Kind: KindNull, Name: "null"}, {Kind: KindNull, Name: "null"}}}},
		{"upstream example", `
			steward = "https://steward.example.org"
			args = ["--verbose", "7"]
			[env]
			RUST_LOG = "info"
			[[files]]
			kind = "listen"
			name = "ingest"
			prot = "tls"
			port = 8443
			[[files]]
			kind = "connect"
			prot = "tls"
			host = "db.example.org"
			port = 5433
			name = "db"`,
			Config{
				Steward: "https://steward.example.org", Args: []string{"--verbose", "7"}, Env: map[string]string{"RUST_LOG": "info"}, FilesDeclared: true,
				Files: []File{
					{Kind: KindListen, Name: "ingest", Prot: ProtTLS, Addr: "::", Port: 8443, ClientAuth: ClientAuthNone},
					{Kind: KindConnect, Name: "db", Prot: ProtTLS, Host: "db.example.org", Port: 5433},
				},
			}},
		{"socket defaults", `files = [{kind = "listen"}, {kind = "listen", prot = "tcp"}, {kind = "connect", host = "a.b"}, {kind = "connect", host = "::1", prot = "tcp", name = "six"}]`,
			Config{FilesDeclared: true, Files: []File{
				{Kind: KindListen, Name: "listen", Prot: ProtTLS, Addr: "::", Port: 443, ClientAuth: ClientAuthNone},
				{Kind: KindListen, Name: "listen", Prot: ProtTCP, Addr: "::", Port: 80},
				{Kind: KindConnect, Name: "a.b", Prot: ProtTLS, Host: "a.b", Port: 443},
				{Kind: KindConnect, Name: "six", Prot: ProtTCP, Host: "::1", Port: 80},
			}}},
		{"any port", "files = [{kind = 'listen', port = 0, addr = '127.0.0.1'}]",
			Config{FilesDeclared: true, Files: []File{{Kind: KindListen, Name: "listen", Prot: ProtTLS, Addr: "127.0.0.1", ClientAuth: ClientAuthNone}}}},
		{"integer forms", "files = [{kind = 'listen', port = 0x1_F, addr = '127.0.0.1', prot = 'tcp'}]",
			Config{FilesDeclared: true, Files: []File{{Kind: KindListen, Name: "listen", Prot: ProtTCP, Addr: "127.0.0.1", Port: 31}}}},
		{"trust anchors", "[[files]]\nkind = 'connect'\nhost = 'h'\nca = '''\n" + testCA + "'''\n[[files]]\nkind='listen'\nclient_auth = 'request'\nca = 'steward'\n",
			Config{FilesDeclared: true, Files: []File{
				{Kind: KindConnect, Name: "h", Prot: ProtTLS, Host: "h", Port: 443, CA: testCA},
				{Kind: KindListen, Name: "listen", Prot: ProtTLS, Addr: "::", Port: 443, CA: CASteward, ClientAuth: ClientAuthRequest},
			}}},
		{"directories", "files = [{kind = 'dir', path = '/'}, {kind = 'dir', path = '/data', from = 'a/b', name = 'd'}, {kind = 'dir', path = '/all', from = '.'}]",
			Config{FilesDeclared: true, Files: []File{{Kind: KindDir, Name: "dir", Path: "/"}, {Kind: KindDir, Name: "d", Path: "/data", From: "a/b"}, {Kind: KindDir, Name: "dir", Path: "/all", From: "."}}}},
		{"log", "files = []\nlog.mode = 'encrypted'\nlog.recipients = ['" + testRecipient + "']",
			Config{FilesDeclared: true, Log: Log{Mode: LogEncrypted, Recipients: []string{testRecipient}}}},
		{"limits", "files = []\n[limits]\nmemory = '512 MiB'\nsockets = 10\nwall = '1m30s'",
			Config{FilesDeclared: true, Limits: Limits{Memory: 512 << 20, Sockets: 10, Wall: 90 * time.Second}}},
		{"memory in bytes", "files = []\n[limits]\nmemory = 1_000_000", Config{FilesDeclared: true, Limits: Limits{Memory: 1e6}}},
		{"empty tables", "args = []\nfiles = []\n[env]\n[log]\n[limits]", Config{FilesDeclared: true}},
		{"quoted and dotted keys", "files = []\n\"args\" = ['x']\nenv.'a b' = '1'\nenv . c = '2'", Config{FilesDeclared: true, Args: []string{"x"}, Env: map[string]string{"a b": "1", "c": "2"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, warnings, err := Parse([]byte(test.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(warnings) != 0 {
				t.Errorf("warnings: %v", warnings)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	for _, test := range []struct {
		in, want string
	}{
		{"# only args\nargs = ['x']\n", "Enarx.toml:1:1: no files: "},
		{"", "Enarx.toml:1:1: no files: "},
		{"[[files]]\nkind = 'listen'\nprot = 'tcp'\nhost = '0.0.0.0'\n", "Enarx.toml:4:1: host means nothing in a listen entry"},
	} {
		_, warnings, err := Parse([]byte(test.in))
		if err != nil {
			t.Fatalf("%q: %v", test.in, err)
		}
		if len(warnings) != 1 || !strings.HasPrefix(warnings[0].String(), test.want) {
			t.Errorf("%q: got %q, want one that begins %q", test.in, warnings, test.want)
		}
	}
}

// Nothing may take time quadratic in the size of the file: a service parses
// the files of strangers. At the cap, go-toml's own decoder needed some 14 s
// for the tables, the keys and the dotted keys on the machine this was written on.
func TestParseLargeIsQuick(t *testing.T) {
	for name, unit := range map[string]string{
		"tables":  "[a%d]\n",
		"keys":    "a%d = 1\n",
		"dotted":  "a%d.b = 1\n",
		"env":     "env.a%d = ''\n",
		"headers": "[[f%.0d]]\n",
		"stray":   "[[files]]\nkind = 'listen'\nhost = 'h' # %0900d\n",
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for i := 0; b.Len() < MaxSize-1000; i++ {
				fmt.Fprintf(&b, unit, i)
			}
			start := time.Now()
			_, _, err := Parse([]byte(b.String()))
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v, ending in %v", took, err)
			}
		})
	}
}
