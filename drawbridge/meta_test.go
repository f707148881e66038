// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func set(t *testing.T, sums ...string) Digests {
	t.Helper()
	var d Digests
	for i, s := range sums {
		sum, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Set(algorithms[i], sum); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// enarxDirectory is the package of enarx's own tests, tests/client/data/wasm_example.
func enarxDirectory(t *testing.T) Directory {
	return Directory{
		"Enarx.toml": {Meta: Meta{Length: 79, Type: TypeTOML, Digests: set(t,
			"SNwnHSFEjlDHbQt1lI8QZkyjH+rfSMSBw1Ptvw==",
			"hbWJs+8/XYK18D9Mr2h1orkHLmDSqDYWcwvQuPPBJVc=",
			"p9rVSYNRk+PdWHzgZQ5sTW3jqGo53sCYwvWhhHVYjjoWQaNdZmC7Jjo0x9CE6Baq",
			"yc9oyf32cGSaJSAMj51xjIAANdMoMKLo2IChzDiYonfeFA8A1BUpkhxy6j3witx3ldp9hAB8DPOXUFhZLOQYSg==")}},
		"main.wasm": {Meta: Meta{Length: 53966, Type: TypeWasm, Digests: set(t,
			"vXCZCfe+zKI5GtcoOWP/RFi21EZw6m7NtloKEw==",
			"51LuttW2C0ohRQaAf2DtNYyeahzNcYzcSeS16Rr9bJA=",
			"IilZTec69dvOzQeH8rk5tZST4bhcTUjPIfI1qi2lHiXUo8YCOpIQm2vEAB/irjAL",
			"zRFpR9PG1gnsjI78tYypHlst0gJgUnsZo1Jn/6aXceOzEH0YGUxQjRahGBIJJ5b7C/Zmo85d/JSU5UfkJXb4Lg==")}},
	}
}

// spec/drawbridge.md section 6.4, the twelve golden vectors.
func TestGolden(t *testing.T) {
	dir := enarxDirectory(t)
	root := Entry{Meta: MetaOf(dir.Canonical(), TypeDirectory)}
	bar := Directory{"test-file-bar": {Meta: MetaOf([]byte("bar"), TypeBinary)}}
	nested := map[string]string{"test-dir/test-file-bar": "bar", "test-file-foo": "foo"}
	complete := Directory{
		"test-dir":      {Meta: MetaOf(bar.Canonical(), TypeDirectory)},
		"test-file-foo": {Meta: MetaOf([]byte("foo"), TypeBinary)},
	}
	tests := []struct {
		name  string
		bytes []byte
		n     int
		want  map[Algorithm]string
	}{
		{"foo", []byte("foo"), 3, map[Algorithm]string{SHA224: foo224, SHA256: foo256}},
		{"user", User{Subject: "test|subject"}.Canonical(), 26, map[Algorithm]string{SHA224: "bV9/oPJS4ye2lM9m2I2g9tlo/kwddsbXx0THUg==", SHA256: "BBrx8hG+0yX9CP9vK4mT3icExt034N6dgtEy4Uwd39M="}},
		{"public repository", Repository{Public: true}.Canonical(), 15, map[Algorithm]string{SHA224: "AZFfNr1WpZX3Z2WooAlHuJFv8JhLzqISDAiMrg==", SHA256: "/RjISkH4eBdKzp4T4hvlVpte4iPNRzsJD3xOxi/J4GQ="}},
		{"directory of enarx", dir.Canonical(), 707, map[Algorithm]string{
			SHA224: "ipv22ZRLXTRv4MypL2IVaZypKHb91PgAqWXG6w==", SHA256: "Jcdf/Q0urZed/9dKu9IBq/BtWIHcvSGlsrUWkS1Rx+E=",
			SHA384: "f52Mxw0vy4KHhk4MAKzfo3xfvi1sM+YpMhBaQvHMB2vGs378nyAADtEYxPlUnUoI",
			SHA512: "3weINHlihNmslwpckBdzARz4LdTMYsg+L1prU+u1FmwedBnYmpOIEB1Yix4kR3o4G4pbw+JLiSTBftGwLjFrqA=="}},
		{"its tag", NewTag(root).Raw, 367, map[Algorithm]string{SHA224: "8mOBElwNFvyAHHLqB1nAIVyxpvZGNdqNmh2bAQ==", SHA256: "LTbbCC3o0sBm9EyKzNknp/QF34ogFnDbxlwpSFVKMsY="}},
		{"private repository", Repository{}.Canonical(), 16, map[Algorithm]string{SHA256: "S84m6p8VszOi0GxCtex6T9W8rUxmq69UNjbf2UG6noY="}},
		{"tag list", []byte(`["0.1.0"]`), 9, map[Algorithm]string{SHA256: "E6Ye8CVvq91oR6YUAgRDZeQVnmTvv2CRGJWOqv6e68k="}},
		{"empty directory", Directory{}.Canonical(), 2, map[Algorithm]string{SHA256: "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o="}},
		{"empty", nil, 0, map[Algorithm]string{SHA256: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}},
		{"directory of bar", bar.Canonical(), 363, map[Algorithm]string{SHA256: "ns0No9E6pdxxFr31XcuczLsyywKAJdH+JWSO8sU425E="}},
		{"nested, as upstream lists it", upstreamListing(nested, "").Canonical(), 380, map[Algorithm]string{SHA256: "slqsgkQ4Iot/xmXrn+kO4RpcTO+7PVcK6pcvRsPmCl8="}},
		{"nested", complete.Canonical(), 742, map[Algorithm]string{SHA256: "2sEkTVVLPkT8pUNfBNVqiu5a2CogIEB1aJvHUA2IjcE="}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if len(tt.bytes) != tt.n {
				t.Errorf("%d bytes, want %d: %s", len(tt.bytes), tt.n, tt.bytes)
			}
			all := Sum(tt.bytes)
			for a, want := range tt.want {
				sum, _ := all.Get(a)
				if got := base64.StdEncoding.EncodeToString(sum); got != want {
					t.Errorf("%s is %s, want %s", a, got, want)
				}
			}
		})
	}
}

// upstreamPaths returns what upstream's clients upload, in their order: every
// file and folder, by their names from the root on. The root is "".
func upstreamPaths(files map[string]string) []string {
	seen := map[string]bool{"": true}
	for name := range files {
		for ; name != ""; name = name[:max(0, strings.LastIndexByte(name, '/'))] {
			seen[name] = true
		}
	}
	var all []string
	for name := range seen {
		all = append(all, name)
	}
	slices.SortFunc(all, func(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) })
	return all
}

// upstreamListing returns the listing of a folder as upstream's clients send
// it, with their defect (spec/drawbridge.md section 2.3): they walk the ordered
// paths from the folder on and stop at the first that is not a direct child,
// so that whatever sorts after a folder with content is missing.
func upstreamListing(files map[string]string, dir string) Directory {
	all := upstreamPaths(files)
	listing := Directory{}
	prefix := dir + "/"
	if dir == "" {
		prefix = ""
	}
	for _, p := range all[slices.Index(all, dir)+1:] {
		name, below := strings.CutPrefix(p, prefix)
		if !below || strings.Contains(name, "/") {
			break
		}
		if content, file := files[p]; file {
			listing[name] = Entry{Meta: MetaOf([]byte(content), TypeByName(name))}
		} else {
			listing[name] = Entry{Meta: MetaOf(upstreamListing(files, p).Canonical(), TypeDirectory)}
		}
	}
	return listing
}

// Upstream's unit tests of trees, crates/type, and the order of its
// integration test.
func TestUpstreamTree(t *testing.T) {
	nested := map[string]string{"test-dir/test-file-bar": "bar", "test-file-foo": "foo"}
	if got := upstreamListing(nested, "").Names(); !slices.Equal(got, []string{"test-dir"}) {
		t.Errorf("upstream lists %q", got)
	}
	flat := map[string]string{"main.wasm": "m", "Enarx.toml": "e"}
	want := Directory{"Enarx.toml": {Meta: MetaOf([]byte("e"), TypeTOML)}, "main.wasm": {Meta: MetaOf([]byte("m"), TypeWasm)}}
	if got := upstreamListing(flat, ""); string(got.Canonical()) != string(want.Canonical()) {
		t.Errorf("a flat package is listed as %s", got.Canonical())
	}
	files := map[string]string{
		"tEst-file..__.foo.42.": "", "test-dir-1/test-file": "", "test-dir-1/test-file.txt": "", "test-dir-1/test-subdir-2/test-file": "",
		"test-file": "", "test-file.json": "", "test-file.txt": "",
	}
	order := []string{
		"", "tEst-file..__.foo.42.", "test-dir-1", "test-dir-1/test-file", "test-dir-1/test-file.txt", "test-dir-1/test-subdir-2",
		"test-dir-1/test-subdir-2/test-file", "test-file", "test-file.json", "test-file.txt",
	}
	if got := upstreamPaths(files); !slices.Equal(got, order) {
		t.Errorf("upstream uploads\n%q, want\n%q", got, order)
	}
}

func TestMetaJSON(t *testing.T) {
	m := MetaOf([]byte("foo"), `text/plain; x="<&>"`)
	want := `{"digest":{"sha-224":"` + foo224 + `","sha-256":"` + foo256 + `","sha-384":"` + foo384 + `","sha-512":"` + foo512 + `"},"length":3,"type":"text/plain; x=\"<&>\""}`
	if got := string(m.Canonical()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	got, err := json.Marshal(struct{ M Meta }{m}) // escapes as Go does, and means the same
	var back struct{ M Meta }
	if err != nil || json.Unmarshal(got, &back) != nil || back.M != m {
		t.Errorf("round trip: %s, %v, %v", got, err, back)
	}
	n := m
	n.Type = "text/plain"
	if n.Equal(m) || n.Key() == m.Key() || m.Key() != back.M.Key() {
		t.Error("Key does not tell Metas apart")
	}
}

const fooDigest = `"digest":{"sha-256":"` + foo256 + `"}`

func TestParseEntry(t *testing.T) {
	good := []string{
		`{` + fooDigest + `,"length":3,"type":"a/b"}`,
		` { "type" : "A/B", "length" : 3 , ` + fooDigest + ` } `,
		`{` + fooDigest + `,"length":3,"type":"a/b","Length":4,"x":{"y":[1,null,{"z":1e9}]}}`,
		`{` + fooDigest + `,"length":4611686018427387904,"type":"a/b"}`,
	}
	for _, s := range good {
		e, err := ParseEntry([]byte(s))
		if err != nil || e.Type != "a/b" {
			t.Errorf("%s: %v", s, err)
			continue
		}
		again, err := ParseEntry(e.Canonical())
		if err != nil || string(again.Canonical()) != string(e.Canonical()) || again.Meta != e.Meta {
			t.Errorf("%s came back as %s, %v", s, again.Canonical(), err)
		}
	}
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	bad := []string{
		``, `null`, `[]`, `3`, `{}`, `{` + fooDigest + `,"length":3}`, `{` + fooDigest + `,"type":"a/b"}`, `{"length":3,"type":"a/b"}`,
		`{` + fooDigest + `,"length":3,"type":"a/b"}x`, `{` + fooDigest + `,"length":3,"type":"a/b"}{}`, `{` + fooDigest + `,"length":3,"type":"a/b",}`,
		`{` + fooDigest + `,"length":3,"length":3,"type":"a/b"}`, `{` + fooDigest + `,"length":3,"type":"a/b","x":{"y":1,"y":2}}`,
		`{` + fooDigest + `,"length":3,"l\u0065ngth":4,"type":"a/b"}`,
		`{` + fooDigest + `,"Length":3,"type":"a/b"}`, `{"Digest":{},"length":3,"type":"a/b"}`, `{"digest":{},"length":3,"type":"a/b"}`,
		`{` + fooDigest + `,"length":-1,"type":"a/b"}`, `{` + fooDigest + `,"length":-0,"type":"a/b"}`, `{` + fooDigest + `,"length":3.0,"type":"a/b"}`, `{` + fooDigest + `,"length":3e0,"type":"a/b"}`,
		`{` + fooDigest + `,"length":"3","type":"a/b"}`, `{` + fooDigest + `,"length":null,"type":"a/b"}`, `{` + fooDigest + `,"length":18446744073709551615,"type":"a/b"}`,
		`{` + fooDigest + `,"length":3,"type":null}`, `{` + fooDigest + `,"length":3,"type":3}`, `{` + fooDigest + `,"length":3,"type":""}`, `{` + fooDigest + `,"length":3,"type":"ab"}`,
		`{` + fooDigest + `,"length":3,"type":"a/b","x":` + deep + `}`, `{` + fooDigest + `,"length":3,"type":"a/b","x":"` + strings.Repeat("x", maxEntry) + `"}`,
		"{" + fooDigest + ",\"length\":3,\"type\":\"a/b\",\"x\":\"\xff\"}",
	}
	for _, s := range bad {
		if e, err := ParseEntry([]byte(s)); err == nil {
			t.Errorf("%.200s is taken: %s", s, e.Canonical())
		}
	}
	if _, err := ParseMeta([]byte(good[2])); err == nil {
		t.Error("a Meta has extra names")
	}
}

func TestEntryExtra(t *testing.T) {
	e, err := ParseEntry([]byte(`{"z":"</é>","a" : [ 1, 2 ],` + fooDigest + `,"length":3,"type":"a/b"}`))
	want := `{` + fooDigest + `,"length":3,"type":"a/b","a":[1,2],"z":"</é>"}`
	if err != nil || string(e.Canonical()) != want {
		t.Errorf("got %s, %v, want %s", e.Canonical(), err, want)
	}
	e.Extra["a"] = json.RawMessage(`{`) // a caller's mistake is not to make bad JSON
	if !json.Valid(e.Canonical()) {
		t.Errorf("%s is no JSON", e.Canonical())
	}
}

func TestParseDirectory(t *testing.T) {
	entry := `{` + fooDigest + `,"length":3,"type":"a/b"}`
	d, err := ParseDirectory([]byte(`{"b":` + entry + `, "a":` + entry + `,"B":` + entry + `}`))
	if err != nil || !slices.Equal(d.Names(), []string{"B", "a", "b"}) {
		t.Errorf("%q, %v", d.Names(), err)
	}
	if got, want := string(d.Canonical()), `{"B":`+entry+`,"a":`+entry+`,"b":`+entry+`}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if d, err := ParseDirectory([]byte(`{}`)); err != nil || d == nil || len(d) != 0 {
		t.Errorf("the empty directory: %v, %v", d, err)
	}
	bad := []string{
		``, `null`, `[]`, `{"a":null}`, `{"a":{}}`, `{"":` + entry + `}`, `{".":` + entry + `}`, `{"..":` + entry + `}`, `{"a/b":` + entry + `}`, `{"a b":` + entry + `}`,
		`{"a":` + entry + `,"a":` + entry + `}`, `{"a":` + entry + `,"\u0061":` + entry + `}`, `{"` + strings.Repeat("a", 256) + `":` + entry + `}`,
		`{"a":{"x":"` + strings.Repeat("x", maxEntry) + `",` + entry[1:] + `}`, `{"a":` + entry + `}` + strings.Repeat(" ", MaxJSON),
	}
	for _, s := range bad {
		if _, err := ParseDirectory([]byte(s)); err == nil {
			t.Errorf("%.200s is taken", s)
		}
	}
}

func TestParseMetas(t *testing.T) {
	m := MetaOf([]byte("foo"), TypeBinary)
	got, err := ParseMetas(fmt.Appendf(nil, "[%s,%s]", m.Canonical(), m.Canonical()))
	if err != nil || len(got) != 2 || got[1] != m {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ParseMetas([]byte(`[]`)); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	many := "[" + strings.Repeat(`{`+fooDigest+`,"length":3,"type":"a/b"},`, MaxMetas) + string(m.Canonical()) + "]"
	for _, bad := range []string{``, `null`, `{}`, `[{}]`, `[null]`, many} {
		if _, err := ParseMetas([]byte(bad)); err == nil {
			t.Errorf("%.80s is taken", bad)
		}
	}
}

func TestDocuments(t *testing.T) {
	if u, err := ParseUser([]byte(` {"subject": "a|b"} `)); err != nil || u.Subject != "a|b" {
		t.Errorf("user %v, %v", u, err)
	}
	for _, bad := range []string{``, `null`, `{}`, `{"subject":null}`, `{"subject":1}`, `{"Subject":"x"}`, `{"subject":"x","y":1}`, `{"subject":"x","subject":"x"}`} {
		if u, err := ParseUser([]byte(bad)); err == nil {
			t.Errorf("user %s is taken as %v", bad, u)
		}
	}
	if r, err := ParseRepository([]byte(`{"public" :true}`)); err != nil || !r.Public {
		t.Errorf("repository %v, %v", r, err)
	}
	for _, bad := range []string{``, `null`, `{}`, `{"public":null}`, `{"public":"true"}`, `{"public":1}`, `{"Public":true}`, `{"public":true,"y":1}`} {
		if r, err := ParseRepository([]byte(bad)); err == nil {
			t.Errorf("repository %s is taken as %v", bad, r)
		}
	}
}

func BenchmarkParseDirectory(b *testing.B) {
	d := Directory{}
	for i := range 1000 {
		d[fmt.Sprint("file", i)] = Entry{Meta: MetaOf([]byte{byte(i)}, TypeBinary)}
	}
	data := d.Canonical()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := ParseDirectory(data); err != nil {
			b.Fatal(err)
		}
	}
}
