// SPDX-License-Identifier: Apache-2.0

package web

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/need"
)

const richConfig = `
steward = "https://steward.example.org"
args = ["--port", "8443"]

[env]
B = "2"
A = "1"

[[files]]
kind = "stdin"
[[files]]
kind = "stderr"
[[files]]
kind = "null"
[[files]]
kind = "listen"
port = 8443
[[files]]
kind = "listen"
name = "admin"
addr = "127.0.0.1"
port = 9000
ca = "steward"
client_auth = "require"
[[files]]
kind = "listen"
prot = "tcp"
port = 0
[[files]]
kind = "connect"
host = "db.example.org"
port = 5432
[[files]]
kind = "connect"
name = "metrics"
host = "2001:db8::1"
prot = "tcp"
[[files]]
kind = "dir"
path = "/data"
from = "data"
[[files]]
kind = "dir"
path = "/tmp"

[log]
mode = "none"

[limits]
memory = "512MiB"
sockets = 1
wall = "1h30m"
`

func TestDescribeConfig(t *testing.T) {
	got := describeConfig([]byte(richConfig))
	want := &configuration{
		Source: richConfig,
		Listens: []string{
			"port 8443 on every address, TLS; any client",
			`port 9000 on 127.0.0.1, TLS; clients must show a certificate of the Steward (“admin” in the program)`,
			"a port that the system chooses on every address, plain TCP: the host reads and can change every byte",
		},
		Connects: []string{
			"db.example.org:5432, TLS; the server must show a certificate of a public authority",
			`[2001:db8::1]:80, plain TCP: the host reads and can change every byte (“metrics” in the program)`,
		},
		Stdio:   []string{"reads the host’s standard input", "writes to standard error"},
		Folders: []string{"/data, from data of the package, read-only", "/tmp, empty at the start, in memory, writable"},
		Log:     []string{"No output leaves the Keep."},
		Steward: "https://steward.example.org",
		Limits:  []string{"512 MiB of memory", "1 socket open at once", "1h30m0s from start to forced end"},
		Args:    []string{"--port", "8443"},
		Env:     []variable{{"A", "1"}, {"B", "2"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	bad := describeConfig([]byte("args = 1\n"))
	if bad.Problem != "Enarx.toml:1:8: args must be an array, not an integer" || bad.Source == "" || bad.Log != nil {
		t.Errorf("got %+v", bad)
	}
	if w := describeConfig(nil).Warnings; len(w) != 1 || !strings.Contains(w[0], "no files") {
		t.Errorf("warnings of the empty file: %q", w)
	}
	if d := defaultConfiguration(); len(d.Stdio) != 3 || d.Source != "" {
		t.Errorf("default: %+v", d)
	}
}

// The examples have the authorities and addresses that people really write.
func TestDescribeExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(need.Root(t), "examples", "*", "Enarx.toml"))
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	var all strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		c := describeConfig(text)
		if c.Problem != "" {
			t.Errorf("%s: %s", name, c.Problem)
		}
		all.WriteString(strings.Join(append(c.Listens, c.Connects...), "\n") + "\n")
	}
	for _, want := range []string{"port 18443 on 127.0.0.1, TLS; any client", "localhost:18444, TLS; the server must show a certificate of CN=Enarx example CA"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("nothing says %q in:\n%s", want, &all)
		}
	}
}

func FuzzDescribeConfig(f *testing.F) {
	f.Add([]byte(richConfig))
	f.Add([]byte("[log]\nmode = \"encrypted\"\nrecipients = [\"age1\"]\n"))
	f.Add([]byte("files = []\n"))
	f.Fuzz(func(t *testing.T, source []byte) {
		c := describeConfig(source)
		if c.Problem == "" && len(c.Log) == 0 {
			t.Fatal("neither words nor a problem")
		}
	})
}

func TestDescribePolicy(t *testing.T) {
	tests := []struct {
		name   string
		policy string
		public bool
		want   []string
	}{
		{"public", "", true, []string{"The repository is public: whoever asks may read it, attested or not."}},
		{"default", "", false, []string{
			"A Keep in any hardware TEE may read the package that its certificate names, and nothing else.",
			"Its appraisal must be affirming.", "Its certificate may be from any Steward that this Drawbridge trusts.",
		}},
		{"all", `{"tee":["snp","tdx"],"minimum_tier":"warning","allow_no_hardware":true,"allow_development":true,"cas":["main","second"],
			"steward":"https://s.example","certificate_life_seconds":7200}`, false, []string{
			"A Keep in AMD SEV-SNP or Intel TDX may read the package that its certificate names, and nothing else.",
			"An appraisal with warnings is enough.", "Its certificate must be from main or second.",
			"Keeps without hardware protection are let in too.", "Certificates rooted in development keys are accepted.",
			"Certificates should live for 2 hours.", "Keeps are to attest to https://s.example.",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var rules *auth.Policy
			if tt.policy != "" {
				var err error
				if rules, err = auth.ParsePolicy([]byte(tt.policy)); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want, describePolicy(rules, tt.public)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFormats(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 bytes", 1: "1 byte", 1023: "1,023 bytes", 1024: "1 KiB", 1536: "1.5 KiB", 53966: "52.7 KiB", 102400: "100 KiB",
		1<<20 - 1: "1 MiB", 1 << 20: "1 MiB", 10 << 30: "10 GiB", drawbridge.MaxNode: "4 EiB", 1<<63 - 1: "8 EiB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -999: "-999"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
}
