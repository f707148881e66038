// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// roundTrip returns what Parse makes of c after Marshal.
func roundTrip(t *testing.T, c *Config) *Config {
	t.Helper()
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, _, err := Parse(data)
	if err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	return back
}

func TestTemplate(t *testing.T) {
	plain, warnings, err := Parse(Template())
	if err != nil || len(warnings) != 0 {
		t.Fatal(err, warnings)
	}
	if diff := cmp.Diff(&Config{Files: DefaultFiles(), FilesDeclared: true}, plain); diff != "" {
		t.Errorf("as it stands: -want +got:\n%s", diff)
	}
	all, warnings, err := Parse(regexp.MustCompile(`(?m)^# `).ReplaceAll(Template(), nil))
	if err != nil || len(warnings) != 0 {
		t.Fatal(err, warnings)
	}
	want := &Config{
		Steward: "https://attest.profian.com",
		Args:    []string{"--argument1", "--argument2=value"},
		Env:     map[string]string{"VAR1": "value1", "VAR2": "value2"},
		Files: append(DefaultFiles(),
			File{Kind: KindListen, Name: "listen", Prot: ProtTLS, Addr: "::", Port: 12345, ClientAuth: ClientAuthNone},
			File{Kind: KindConnect, Name: "stream", Prot: ProtTLS, Host: "localhost", Port: 23456},
			File{Kind: KindDir, Name: "dir", Path: "/data"},
		),
		FilesDeclared: true,
		Log:           Log{Mode: LogHost},
		Limits:        Limits{Memory: 512 << 20, Sockets: 64, Wall: 24 * time.Hour},
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("with everything on: -want +got:\n%s", diff)
	}
	for _, c := range []*Config{plain, all} {
		if diff := cmp.Diff(c, roundTrip(t, c)); diff != "" {
			t.Errorf("round trip: -want +got:\n%s", diff)
		}
	}
}

// A comment that is neither an example nor prose would survive the stripping
// of the one or break that of the other.
func TestTemplateLines(t *testing.T) {
	for line := range bytes.Lines(Template()) {
		if bytes.Contains(line, []byte("\r")) || bytes.HasPrefix(line, []byte("#")) && !bytes.HasPrefix(line, []byte("# ")) && !bytes.HasPrefix(line, []byte("## ")) {
			t.Errorf("%q", line)
		}
	}
}

func TestMarshal(t *testing.T) {
	crlf := strings.ReplaceAll(testCA, "\n", "\r\n")
	for name, c := range map[string]*Config{
		"nothing":     {},
		"empty files": {FilesDeclared: true},
		"strings":     {Args: []string{"", "\"'\\", "a\nb\r\n", "é\u2028\U0001f512", "\x01\x7f\ufeff", "'''", `"""`}, Env: map[string]string{"a b": "c", "é.\"'": ""}},
		"log":         {Log: Log{Mode: LogEncrypted, Recipients: []string{testRecipient, testRecipient}}},
		"limits":      {Limits: Limits{Memory: 65537, Sockets: 1, Wall: time.Nanosecond}},
		"more limits": {Limits: Limits{Memory: 3 << 40, Sockets: maxSockets, Wall: 1<<63 - 1}},
		"files": {FilesDeclared: true, Files: []File{
			{Kind: KindNull, Name: ""},
			{Kind: KindListen, Name: "a", Prot: ProtTLS, Addr: "0.0.0.0", Port: 0, CA: testCA, ClientAuth: ClientAuthRequire},
			{Kind: KindListen, Name: "a", Prot: ProtTCP, Addr: "::", Port: 65535},
			{Kind: KindConnect, Name: "b", Prot: ProtTLS, Host: "h", Port: 1, CA: "text \\\"\"\" '''\n" + crlf + testCA + "more"},
			{Kind: KindDir, Name: "dir", Path: "/a \n", From: "ü"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c, roundTrip(t, c)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestMarshalFillsSocketDefaults(t *testing.T) {
	got := roundTrip(t, &Config{Files: []File{{Kind: KindListen, Name: "l", Port: 443}, {Kind: KindConnect, Name: "c", Host: "h", Port: 443}}})
	want := &Config{FilesDeclared: true, Files: []File{
		{Kind: KindListen, Name: "l", Prot: ProtTLS, Addr: "::", Port: 443, ClientAuth: ClientAuthNone},
		{Kind: KindConnect, Name: "c", Prot: ProtTLS, Host: "h", Port: 443},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestMarshalRefuses(t *testing.T) {
	for name, c := range map[string]*Config{
		"invalid UTF-8":       {Args: []string{"\xff"}},
		"a colon in a name":   {Files: []File{{Kind: KindNull, Name: "a:b"}}},
		"an unknown kind":     {Files: []File{{Kind: "tty"}}},
		"a key of other kind": {Files: []File{{Kind: KindStdin, Port: 1}}},
		"negative limits":     {Limits: Limits{Sockets: -1}},
		"negative memory":     {Limits: Limits{Memory: -1 << 20}},
		"too much":            {Args: []string{strings.Repeat("x", MaxSize)}},
	} {
		if data, err := c.Marshal(); err == nil {
			t.Errorf("%s: written as\n%s", name, data)
		}
	}
}

func TestParseCA(t *testing.T) {
	certs, err := ParseCA("root of all\n" + testCA + "\nand again\n" + testCA)
	if err != nil || len(certs) != 2 || certs[0].Subject.CommonName != "test" {
		t.Errorf("got %v and %v", certs, err)
	}
}

func TestKindsComplete(t *testing.T) {
	if len(kinds) != len(fileKeys) {
		t.Fatal("kinds and fileKeys differ")
	}
	for kind := range fileKeys {
		if !slices.Contains(kinds, kind) {
			t.Error(kind)
		}
	}
}
