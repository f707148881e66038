// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("a", MaxName)
	tests := []struct {
		kind  string
		check func(string) error
		good  []string
		bad   []string
	}{
		{"user", CheckUser, []string{"a", "A", "0", "foo", "FOO42", long}, []string{"", "foo-bar", "foo_bar", "foo.bar", "foo/", "/foo", "føø", "a b", "%61", "a\n", long + "a"}},
		{"repository", CheckRepository, []string{"a", "-", "-foo", "foo-bar", "42", long}, []string{"", "foo_bar", "foo.bar", "foo/bar", "foo/", "=", "foo:", "a\x00", long + "a"}},
		{"tag", CheckTag, []string{"0.0.0", "1.2.3", "0.1.0-rc1", "1.0.0-alpha.1", "1.0.0+build.01", "1.0.0-0A.x-y-z.--+a-b", "18446744073709551615.0.0", "1.0.0--", "1.0.0-99999999999999999999999"},
			[]string{"", "1", "1.2", "v1.2.3", "1.2.3.4", "01.2.3", "1.02.3", "1.2.03", "1.2.3-", "1.2.3+", "1.2.3-01", "1.2.3-a..b", "1.2.3+a+b", "1.2.3-a_b", " 1.2.3", "1.2.3 ", "-1.2.3", "+1.2.3", "1.2.x", "18446744073709551616.0.0", "1.0.0-" + long, "1.2.3/"}},
		{"entry", CheckName, []string{"a", "main.wasm", "tEst-file..__.foo.42.", "...", ".hidden", "a:b", "-", "_", ":", long}, []string{"", ".", "..", "a/b", "a b", "ä", "a\\b", "a%2e", "a\x00", "~", "+", long + "a"}},
	}
	for _, tt := range tests {
		for _, s := range tt.good {
			if err := tt.check(s); err != nil {
				t.Errorf("%s %q: %v", tt.kind, s, err)
			}
		}
		for _, s := range tt.bad {
			if tt.check(s) == nil {
				t.Errorf("%s %q is taken", tt.kind, s)
			}
		}
	}
}

// The order of semver.org section 11, then of the build.
func TestCompareTags(t *testing.T) {
	order := []string{
		"latest", "0.0.0-0", "0.0.1", "0.2.0", "0.10.0",
		"1.0.0-1", "1.0.0-2", "1.0.0-10", "1.0.0-99999999999999999999999", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
		"1.0.0", "1.0.0+a", "1.0.0+b", "1.0.1-x", "2.0.0", "18446744073709551615.0.0",
	}
	got := slices.Clone(order)
	rand.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
	slices.SortFunc(got, CompareTags)
	if !slices.Equal(got, order) {
		t.Errorf("sorted to\n%q, want\n%q", got, order)
	}
	for i, a := range order {
		for j, b := range order {
			if c := CompareTags(a, b); (c < 0) != (i < j) || (c == 0) != (i == j) {
				t.Errorf("CompareTags(%s, %s) = %d", a, b, c)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	for _, s := range []string{"0.4.3", "1.2.3-rc.1+build", "1.0.0+b"} {
		if v, err := ParseVersion(s); err != nil || v.String() != s {
			t.Errorf("ParseVersion(%q) = %v, %v", s, v, err)
		}
	}
}

func TestParsePath(t *testing.T) {
	deep := strings.Repeat("a/", MaxDepth)
	tests := []struct {
		in, want string
		bad      bool
	}{
		{in: ""}, {in: "/"}, {in: "//"}, {in: "foo", want: "foo"}, {in: "/foo", want: "foo"}, {in: "foo/", want: "foo"},
		{in: "/foo/", want: "foo"}, {in: "//main.wasm", want: "main.wasm"}, {in: "/foo/bar", want: "foo/bar"}, {in: "foo/bar/baz/", want: "foo/bar/baz"},
		{in: deep, want: strings.TrimSuffix(deep, "/")},
		{in: deep + "a", bad: true}, {in: "foo//bar", bad: true}, {in: "foo//", bad: true}, {in: "foo/./bar", bad: true}, {in: "..", bad: true},
		{in: "foo/../bar", bad: true}, {in: "foo/%2e%2e", bad: true}, {in: "foo bar", bad: true}, {in: "foo\\bar", bad: true},
	}
	for _, tt := range tests {
		p, err := ParsePath(tt.in)
		if (err != nil) != tt.bad || p.String() != tt.want {
			t.Errorf("ParsePath(%q) = %q, %v", tt.in, p, err)
		}
	}
	p := make(Path, 1, 4)
	p[0] = "a"
	b, c := p.Child("b"), p.Child("c")
	if b.String() != "a/b" || c.String() != "a/c" {
		t.Errorf("children share memory: %q, %q", b, c)
	}
}

func TestParseType(t *testing.T) {
	tests := []struct{ in, want string }{
		{"application/wasm", TypeWasm}, {"Application/WASM", TypeWasm}, {" text/plain ", "text/plain"},
		{"text/Plain; charset=UTF-8", "text/plain; charset=UTF-8"}, {`a/b;x="<y>"`, `a/b;x="<y>"`}, {TypeDirectory, TypeDirectory},
		{"", ""}, {"text", ""}, {"text/", ""}, {"/plain", ""}, {"a/b/c", ""}, {"a b/c", ""}, {"text/pläin", ""}, {"a/b;\r\nX: y", ""}, {"a/b, c/d", ""}, {"a/" + strings.Repeat("b", 300), ""},
	}
	for _, tt := range tests {
		if got, err := ParseType(tt.in); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("ParseType(%q) = %q, %v", tt.in, got, err)
		}
	}
}

func TestTypeByName(t *testing.T) {
	for name, want := range map[string]string{
		"main.wasm": TypeWasm, "a.b.wasm": TypeWasm, "MAIN.WASM": TypeBinary, ".wasm": TypeBinary, "wasm": TypeBinary,
		"Enarx.toml": TypeTOML, ".toml": TypeBinary, "x.txt": TypeBinary, "x.json": TypeBinary,
	} {
		if got := TypeByName(name); got != want {
			t.Errorf("%s has the type %s, want %s", name, got, want)
		}
	}
}

func TestSlug(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	pin := "@sha256:" + hex
	tests := []struct {
		in, want, url string // want "": as in; "-": an error
	}{
		{"examples/fibonacci-rust:0.3.0", "", "/api/v0.1.0/examples/fibonacci-rust/_tag/0.3.0"},
		{"localhost:5000/u/r:1.0.0", "", "/api/v0.1.0/u/r/_tag/1.0.0"},
		{"Store.Example.org/alice/app:1.2.3-rc.1+b", "store.example.org/alice/app:1.2.3-rc.1+b", "/api/v0.1.0/alice/app/_tag/1.2.3-rc.1+b"},
		{"127.0.0.1:8443/u/r:1.0.0" + pin, "", "/api/v0.1.0/u/r/_tag/1.0.0"},
		{"u/r" + pin, "", "/api/v0.1.0/u/r/_digest/" + hex},
		{"h.example/u/r" + pin, "", "/api/v0.1.0/u/r/_digest/" + hex},
		{"u/r", "-", ""}, {"u:1.0.0", "-", ""}, {"u/r:", "-", ""}, {"u/r:1.0", "-", ""}, {"u/r:v1.0.0", "-", ""}, {"/r:1.0.0", "-", ""}, {"", "-", ""},
		{"u/r:1.0.0@", "-", ""}, {"u/r:1.0.0@sha256:00", "-", ""}, {"u/r:1.0.0@sha512:" + hex, "-", ""}, {"u/r@sha256:" + strings.ToUpper(hex), "-", ""}, {"u/r:1.0.0" + pin + pin, "-", ""},
		{"https://h/u/r:1.0.0", "-", ""}, {"a/b/u/r:1.0.0", "-", ""}, {"h:port/u/r:1.0.0", "-", ""}, {"h:/u/r:1.0.0", "-", ""}, {"h:123456/u/r:1.0.0", "-", ""}, {".h/u/r:1.0.0", "-", ""},
		{"h..x/u/r:1.0.0", "-", ""}, {"../u/r:1.0.0", "-", ""}, {"u@h/u/r:1.0.0", "-", ""}, {"u/r:1.0.0:1.0.0", "-", ""}, {"h/u-x/r:1.0.0", "-", ""}, {"u/r_x:1.0.0", "-", ""},
	}
	for _, tt := range tests {
		s, err := ParseSlug(tt.in)
		if tt.want == "-" {
			if err == nil {
				t.Errorf("%q is taken as %q", tt.in, s)
			}
			continue
		}
		want := tt.want
		if want == "" {
			want = tt.in
		}
		if err != nil || s.String() != want || s.URLPath() != tt.url {
			t.Errorf("ParseSlug(%q) = %q %q, %v", tt.in, s, s.URLPath(), err)
		}
	}
}

func TestSlugKinds(t *testing.T) {
	if s, err := ParseUserSlug("h:1/u"); err != nil || s != (Slug{Host: "h:1", User: "u"}) || s.URLPath() != "/api/v0.1.0/u" || s.String() != "h:1/u" {
		t.Errorf("user: %v, %v", s, err)
	}
	if s, err := ParseRepositorySlug("h:1/u/r"); err != nil || s != (Slug{Host: "h:1", User: "u", Repository: "r"}) || s.URLPath() != "/api/v0.1.0/u/r" || s.String() != "h:1/u/r" {
		t.Errorf("repository: %v, %v", s, err)
	}
	for _, bad := range []string{"", "u", "a/b/c/d", "u/r:1.0.0", "/r", "u/"} {
		if _, err := ParseRepositorySlug(bad); err == nil {
			t.Errorf("repository %q is taken", bad)
		}
	}
	for _, bad := range []string{"", "/", "a/b/c", "u:1", "h/", "/u", strings.Repeat("h", 600) + "/u"} {
		if _, err := ParseUserSlug(bad); err == nil {
			t.Errorf("user %q is taken", bad)
		}
	}
	s, _ := ParseSlug("h/u/r:1.0.0")
	if got := s.NodePath(nil); got != "/api/v0.1.0/u/r/_tag/1.0.0/tree" {
		t.Errorf("root at %s", got)
	}
	if got := s.NodePath(Path{"a", "b"}); got != "/api/v0.1.0/u/r/_tag/1.0.0/tree/a/b" || s.Name() != "u/r:1.0.0" {
		t.Errorf("node of %s at %s", s.Name(), got)
	}
}
