// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"strings"
	"testing"

	"enarx.dev/enarx/drawbridge"
)

// Paths as upstream takes them, spec/drawbridge.md 1.1 and 1.2: a status, or
// what the path names.
func TestParseRoute(t *testing.T) {
	const hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	long := strings.Repeat("a", 255)
	for path, want := range map[string]string{
		"/health": "health", "/health/": "health-slash", "/": "site", "": "site", "/healthy": "site", "/foo/bar": "site", "/%61pi/v0.1.0/u": "site",

		"/api": "404", "/api/": "404", "/api/v0.1.0": "404", "/apis": "404", "/api/x0.1.0/u": "404", "/api/v0.1.0/": "404", "/api/v0.1.0//": "404", "/api/v": "404",
		"/api/v/u": "400", "/api/v1/u": "400", "/api/v0.1/u": "400", "/api/v0.1.0.0/u": "400", "/api/v00.1.0/u": "400", "/api/v0.1.0%20/u": "400",
		"/api/v0.1.0/u": "user u", "/api/v0.0.0/u": "user u", "/api/v0.2.0/u": "user u", "/api/v0.4.3/u": "user u", "/api/v0.4.99/u": "user u", "/api/v0.4.0-rc+x/u": "user u",
		"/api/v0.5.0/u": "501", "/api/v0.5.0-alpha/u": "501", "/api/v1.0.0/u": "501", "/api/v18446744073709551615.0.0/u": "501",
		"/api/v18446744073709551616.0.0/u": "400", "/api/v0.5.0/%%%": "501", "/api/v0.x.0/": "400",
		"/apiv0.1.0/u": "user u", "/api//v0.1.0/u": "user u", "//api/v0.1.0/u": "user u", "/api/v0.1.0//u": "user u", "/api/v0.1.0/u/": "user u",

		"/api/v0.1.0/u-": "400", "/api/v0.1.0/u_": "400", "/api/v0.1.0/%75": "400", "/api/v0.1.0/..": "400", "/api/v0.1.0/ü": "400", "/api/v0.1.0/_x": "400",
		"/api/v0.1.0/" + long: "user " + long, "/api/v0.1.0/" + long + "a": "400",
		"/api/v0.1.0/u/_foo": "user u", "/api/v0.1.0/u/_": "user u", "/api/v0.1.0/u/_tag/1.0.0": "user u", "/api/v0.1.0/u//_tag": "user u",
		"/api/v0.1.0/u/r": "repo u r", "/api/v0.1.0/u/-": "repo u -", "/api/v0.1.0/u/r/": "400", "/api/v0.1.0/u//r": "400", "/api/v0.1.0/u/r/s": "400", "/api/v0.1.0/u/r.s": "400",
		"/api/v0.1.0/u/r/_": "404", "/api/v0.1.0/u/r/_tags": "404", "/api/v0.1.0/u/r/_tag": "tags u r", "/api/v0.1.0/u/r//_tag": "400",
		"/api/v0.1.0/u/r/_tag/": "400", "/api/v0.1.0/u/r/_tag/v1.0.0": "400", "/api/v0.1.0/u/r/_tag/1.0": "400", "/api/v0.1.0/u/r/_tag/1.0.0/": "404",
		"/api/v0.1.0/u/r/_tag/1.0.0": "tag u r 1.0.0", "/api/v0.1.0/u/r/_tag/1.0.0-a.b+c": "tag u r 1.0.0-a.b+c", "/api/v0.1.0/u/r/_tag/18446744073709551616.0.0": "400",
		"/api/v0.1.0/u/r/_tag/1.0.0/foo": "404", "/api/v0.1.0/u/r/_tag/1.0.0/trees": "404", "/api/v0.1.0/u/r/_tag/1.0.0//tree": "404", "/api/v0.1.0/u/r/_tag/bad/foo": "404",
		"/api/v0.1.0/u/r/_tag/bad/tree":   "400",
		"/api/v0.1.0/u/r/_tag/1.0.0/tree": "tree u r 1.0.0", "/api/v0.1.0/u/r/_tag/1.0.0/tree/": "tree u r 1.0.0", "/api/v0.1.0/u/r/_tag/1.0.0/tree//": "tree u r 1.0.0",
		"/api/v0.1.0/u/r/_tag/1.0.0/tree/a": "tree u r 1.0.0 a", "/api/v0.1.0/u/r/_tag/1.0.0/tree//main.wasm": "tree u r 1.0.0 main.wasm",
		"/api/v0.1.0/u/r/_tag/1.0.0/tree/a/b/": "tree u r 1.0.0 a/b", "/api/v0.1.0/u/r/_tag/1.0.0/tree/a/_tag/b": "tree u r 1.0.0 a/_tag/b",
		"/api/v0.1.0/u/r/_tag/1.0.0/tree/a//b": "400", "/api/v0.1.0/u/r/_tag/1.0.0/tree/.": "400", "/api/v0.1.0/u/r/_tag/1.0.0/tree/a/../b": "400",
		"/api/v0.1.0/u/r/_tag/1.0.0/tree/a%2fb": "400", "/api/v0.1.0/u/r/_tag/1.0.0/tree/" + long: "tree u r 1.0.0 " + long,
		"/api/v0.1.0/u/r/_tag/1.0.0/tree/" + long + "a": "400", "/api/v0.1.0/u/r/_tag/1.0.0/tree/" + strings.Repeat("a/", 65): "400",

		"/api/v0.1.0/_config": "config", "/api/v0.1.0//_whoami": "whoami", "/api/v0.1.0/_search": "search", "/api/v0.1.0/_search/": "400",
		"/api/v0.1.0/u/_repos": "repos u", "/api/v0.1.0/u/_token": "user-tokens u", "/api/v0.1.0/u/_token/abc": "user-token u abc",
		"/api/v0.1.0/u/r/_info": "info u r", "/api/v0.1.0/u/r/_nodes": "nodes u r", "/api/v0.1.0/u/r/_node": "node u r", "/api/v0.1.0/u/r/_upload": "uploads u r",
		"/api/v0.1.0/u/r/_upload/a1": "upload u r a1", "/api/v0.1.0/u/r/_upload/": "404", "/api/v0.1.0/u/r/_upload/a/b": "404", "/api/v0.1.0/u/r/_upload/a.b": "404",
		"/api/v0.1.0/u/r/_policy": "policy u r", "/api/v0.1.0/u/r/_token": "tokens u r", "/api/v0.1.0/u/r/_token/x": "token u r x", "/api/v0.1.0/u/r/_info/": "404",
		"/api/v0.1.0/u/r/_tag/1.0.0/deployment": "deployment u r 1.0.0", "/api/v0.1.0/u/r/_tag/1.0.0/yank": "yank u r 1.0.0", "/api/v0.1.0/u/r/_tag/1.0.0/yank/": "404",
		"/api/v0.1.0/u/r/_digest/" + hex: "digest u r " + hex, "/api/v0.1.0/u/r/_digest/" + hex + "/a/b": "digest u r a/b " + hex,
		"/api/v0.1.0/u/r/_digest/": "404", "/api/v0.1.0/u/r/_digest/" + hex[1:]: "404", "/api/v0.1.0/u/r/_digest/" + strings.ToUpper(hex): "404",
	} {
		if got := describe(parseRoute(path)); got != want {
			t.Errorf("%q is %s, want %s", path, got, want)
		}
	}
}

// describe is a route in words.
func describe(rt route, no *failure) string {
	if no != nil {
		return map[int]string{400: "400", 404: "404", 501: "501"}[no.status]
	}
	words := []string{string(rt.endpoint), rt.user, rt.repo, rt.tag, rt.path.String(), rt.id}
	if rt.digest != [32]byte{} {
		words = append(words, strings.TrimPrefix(drawbridge.Pin(rt.digest), "sha256:"))
	}
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}

// Whatever a path is, what it names has passed every check, and only the three
// statuses refuse it.
func FuzzRoute(f *testing.F) {
	for _, seed := range []string{
		"/health", "/", "/api/v0.1.0/u/r/_tag/1.0.0/tree/a/b", "/api/v0.1.0/u/r/_digest/" + strings.Repeat("0a", 32) + "/x", "/apiv0.4.9//u/r/_upload/a",
		"/api/v0.1.0/u/_token/x", "/api/v0.5.0/u", "/api/v0.1.0/u/r/_tag/1.0.0-rc.1+b/deployment", "//api//v0.1.0//u//_", "/api/v0.1.0/u/r/_tag/1.0.0/tree/a/../b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		rt, no := parseRoute(path)
		if no != nil {
			if describe(rt, no) == "" || no.text == "" {
				t.Fatalf("%q: %v", path, no)
			}
			return
		}
		for _, c := range []struct {
			value string
			check func(string) error
		}{{rt.user, drawbridge.CheckUser}, {rt.repo, drawbridge.CheckRepository}, {rt.tag, drawbridge.CheckTag}} {
			if c.value != "" && c.check(c.value) != nil {
				t.Fatalf("%q: names %q", path, c.value)
			}
		}
		for _, name := range rt.path {
			if err := drawbridge.CheckName(name); err != nil {
				t.Fatalf("%q: %v", path, err)
			}
		}
		if rt.repo != "" && rt.user == "" || rt.tag != "" && rt.repo == "" || len(rt.path) > drawbridge.MaxDepth || rt.id != "" && !checkID(rt.id) {
			t.Fatalf("%q: %+v", path, rt)
		}
		if _, known := table[rt.endpoint]; !known && rt.endpoint != epHealth && rt.endpoint != epSlash && rt.endpoint != epSite {
			t.Fatalf("%q: nobody serves %q", path, rt.endpoint)
		}
	})
}

func TestParseRange(t *testing.T) {
	for header, want := range map[string]struct {
		at   span
		kind rangeKind
	}{
		"bytes=0-0": {span{0, 1}, rangePart}, "bytes=2-": {span{2, 8}, rangePart}, "bytes=2-4": {span{2, 3}, rangePart}, "Bytes = 2-4": {span{2, 3}, rangePart},
		"bytes=-3": {span{7, 3}, rangePart}, "bytes=-30": {span{0, 10}, rangePart}, "bytes=9-99999": {span{9, 1}, rangePart},
		"bytes=10-": {span{}, rangeOutside}, "bytes=-0": {span{}, rangeOutside}, "bytes=99-100": {span{}, rangeOutside},
		"": {}, "bytes": {}, "bytes=": {}, "bytes=-": {}, "bytes=4-2": {}, "bytes=a-b": {}, "bytes=1-2,4-5": {}, "lines=1-2": {}, "bytes=1": {}, "bytes=+1-2": {},
		"bytes=99999999999999999999-": {}, "bytes=0-99999999999999999999": {},
	} {
		if at, kind := parseRange(header, 10); at != want.at || kind != want.kind {
			t.Errorf("%q: %v %v, want %v %v", header, at, kind, want.at, want.kind)
		}
	}
	if _, kind := parseRange("bytes=0-0", 0); kind != rangeOutside {
		t.Errorf("a range of nothing: %v", kind)
	}
}

// No header makes a part that is not inside the content.
func FuzzRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-0", "bytes=-1", "bytes=5-", "bytes=9223372036854775807-", "bytes=1-2,3-4"} {
		f.Add(seed, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		at, kind := parseRange(header, size)
		if kind == rangePart && (at.offset < 0 || at.length < 1 || at.offset > size-at.length) {
			t.Fatalf("%q of %d: %v", header, size, at)
		}
		if kind != rangePart && at != (span{}) {
			t.Fatalf("%q of %d: %v %v", header, size, at, kind)
		}
	})
}
