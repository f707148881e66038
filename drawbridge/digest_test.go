// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// foo is Content-Digest of "foo", upstream's constant.
const (
	foo224 = "CAj2TmDViXn8tnbJbsk4Jw3qQkRa7vzTpOb42w=="
	foo256 = "LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564="
	foo384 = "mMEf/f3VQGdrGhN8saIrKnA1DJpEFx1rEYDGvly7LuP3nVMsih3Z7y6OCOdSo7q7"
	foo512 = "9/u6bgY2+JDlb7vzKD5STG+jIErimDgtYkdB0NxmODJuKCxBvl5CVNiCB3LFUYosWowMf37aGVlKfrU5RT4e1w=="
	foo    = "sha-224=:" + foo224 + ":,sha-256=:" + foo256 + ":,sha-384=:" + foo384 + ":,sha-512=:" + foo512 + ":"
)

func TestDigestHeader(t *testing.T) {
	all := Sum([]byte("foo"))
	if all.Header() != foo {
		t.Fatalf("digests of foo:\n%s, want\n%s", all.Header(), foo)
	}
	only := func(a Algorithm) Digests {
		var d Digests
		sum, _ := all.Get(a)
		if err := d.Set(a, sum); err != nil {
			t.Fatal(err)
		}
		return d
	}
	zero := base64.StdEncoding.EncodeToString(make([]byte, 32))
	tests := []struct {
		name string
		in   []string
		want Digests // none: an error
	}{
		{"four", []string{foo}, all},
		{"on two lines", []string{foo[:50], foo[51:]}, all},
		{"in another order", []string{"sha-512=:" + foo512 + ":,sha-384=:" + foo384 + ":,sha-256=:" + foo256 + ":,sha-224=:" + foo224 + ":"}, all},
		{"one", []string{"sha-224=:" + foo224 + ":"}, only(SHA224)},
		{"upper case", []string{"SHA-256=:" + foo256 + ":"}, only(SHA256)},
		{"spaces", []string{" sha-256=:" + foo256 + ": ,\tmd5=:AAAA:"}, only(SHA256)},
		{"later wins in a line", []string{"sha-256=:" + zero + ":,sha-256=:" + foo256 + ":"}, only(SHA256)},
		{"later line wins", []string{"sha-256=:" + zero + ":", "sha-256=:" + foo256 + ":"}, only(SHA256)},
		{"nothing", nil, Digests{}},
		{"empty", []string{""}, Digests{}},
		{"unknown alone", []string{"md5=:AAAA:"}, Digests{}},
		{"unknown and bad", []string{foo + ",md5=:A:"}, Digests{}},
		{"empty member", []string{foo + ","}, Digests{}},
		{"no colons", []string{"sha-256=" + foo256}, Digests{}},
		{"one colon", []string{"sha-256=:"}, Digests{}},
		{"no padding", []string{"sha-256=:" + strings.TrimRight(foo256, "=") + ":"}, Digests{}},
		{"base64url", []string{"sha-256=:" + strings.ReplaceAll(foo256, "/", "_") + ":"}, Digests{}},
		{"spare bits", []string{"sha-256=:" + strings.Replace(foo256, "564=", "565=", 1) + ":"}, Digests{}},
		{"line break", []string{"sha-256=:" + foo256[:8] + "\n" + foo256[8:] + ":"}, Digests{}},
		{"wrong size", []string{"sha-512=:" + foo256 + ":"}, Digests{}},
		{"parameter", []string{"sha-256=:" + foo256 + ":;x=1"}, Digests{}},
		{"no dash", []string{"sha256=:" + foo256 + ":"}, Digests{}},
		{"space inside", []string{"sha-256 =:" + foo256 + ":"}, Digests{}},
		{"too long", []string{foo, strings.Repeat("md5=:AAAA:,", 400) + foo}, Digests{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseDigestHeader(tt.in...)
			if got != tt.want || (err == nil) != (tt.want != Digests{}) {
				t.Errorf("got %q, %v, want %q", got.Header(), err, tt.want.Header())
			}
		})
	}
}

func TestDigests(t *testing.T) {
	all, other := Sum([]byte("foo")), Sum([]byte("bar"))
	var one Digests
	sum, ok := all.Get(SHA256)
	if !ok || one.Set(SHA256, sum) != nil || one.Len() != 1 || all.Len() != 4 || one.Has(SHA512) {
		t.Errorf("one digest of four: %q", one.Header())
	}
	if one.Equal(all) || one == other || all.Equal(other) {
		t.Error("a part of a set equals the set")
	}
	sum[0] ^= 1 // Get gives a copy
	if again, _ := all.SHA256(); bytes.Equal(again[:], sum) {
		t.Error("a digest was changed from outside")
	}
	if one.Set("md5", sum) == nil || one.Set(SHA512, sum) == nil {
		t.Error("an unknown algorithm or a wrong size is taken")
	}
}

func TestDigestsJSON(t *testing.T) {
	all := Sum([]byte("foo"))
	want := `{"sha-224":"` + foo224 + `","sha-256":"` + foo256 + `","sha-384":"` + foo384 + `","sha-512":"` + foo512 + `"}`
	got, err := json.Marshal(all)
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v, want\n%s", got, err, want)
	}
	var back Digests
	if err := json.Unmarshal([]byte(want), &back); err != nil || back != all {
		t.Errorf("read %q, %v", back.Header(), err)
	}
	for _, bad := range []string{
		`{}`, `null`, `[]`, `""`, `{"sha-256":null}`, `{"sha-256":1}`, `{"SHA-256":"` + foo256 + `"}`, `{"sha-256":"` + foo512 + `"}`, `{"md5":"AAAA"}`,
		`{"sha-256":"` + foo256 + `","sha-256":"` + foo256 + `"}`, `{"sha-256":"` + foo256 + `","sha\u002d256":"` + foo256 + `"}`, `{"sha-256":"` + foo256[:43] + `"}`,
	} {
		if err := back.UnmarshalJSON([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	if back != all {
		t.Error("an error changed the value")
	}
}

func TestHasher(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // hashed in parallel
	want := Digests{}
	for _, a := range All() {
		h := newHash(a)
		h.Write(big)
		if err := want.Set(a, h.Sum(nil)); err != nil {
			t.Fatal(err)
		}
	}
	h := NewHasher(append(All(), SHA256, "md5")...)
	for _, part := range [][]byte{big[:1], big[1:100], big[100:500000], big[500000:]} {
		if n, err := h.Write(part); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if h.Sum() != want || h.Len() != int64(len(big)) || Sum(big) != want {
		t.Error("the parallel hash is another one")
	}
	if NewHasher("md5").Sum() != (Digests{}) {
		t.Error("an unknown algorithm has a digest")
	}
}

func TestVerifier(t *testing.T) {
	meta := MetaOf([]byte("foo"), TypeBinary)
	short, long, none, mixed := meta, meta, meta, meta
	short.Length, long.Length, none.Digests = 2, 4, Digests{}
	bar := Sum([]byte("bar"))
	sum, _ := bar.Get(SHA224)
	if err := mixed.Digests.Set(SHA224, sum); err != nil {
		t.Fatal(err)
	}
	fault := errors.New("fault")
	tests := []struct {
		name string
		meta Meta
		body string
		want error
	}{
		{"good", meta, "foo", nil},
		{"bad", meta, "bar", ErrDigestMismatch},
		{"one of four bad", mixed, "foo", ErrDigestMismatch},
		{"no digest", none, "foo", ErrDigestMismatch},
		{"more than declared", short, "foo", ErrLengthMismatch},
		{"less than declared", long, "foo", ErrLengthMismatch},
		{"empty", meta, "", ErrLengthMismatch},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(tt.body), iotest.OneByteReader(strings.NewReader(tt.body)), iotest.DataErrReader(strings.NewReader(tt.body))} {
				v := NewVerifier(r, tt.meta)
				got, err := io.ReadAll(v)
				if !errors.Is(err, tt.want) || err == nil && string(got) != tt.body {
					t.Errorf("read %q, %v, want %v", got, err, tt.want)
				}
				if _, again := v.Read(make([]byte, 1)); tt.want != nil && !errors.Is(again, tt.want) {
					t.Errorf("then %v", again)
				}
			}
			if err := tt.meta.Verify([]byte(tt.body)); !errors.Is(err, tt.want) {
				t.Errorf("Verify: %v, want %v", err, tt.want)
			}
		})
	}
	r := io.MultiReader(strings.NewReader("fo"), iotest.ErrReader(fault))
	if _, err := io.ReadAll(NewVerifier(r, meta)); !errors.Is(err, fault) {
		t.Errorf("a fault of the source became %v", err)
	}
}

func BenchmarkHasher(b *testing.B) {
	buf := make([]byte, 256<<10)
	for _, algs := range [][]Algorithm{{SHA256}, {SHA512}, All()} {
		b.Run(string(algs[len(algs)-1])+"/"+string(rune('0'+len(algs))), func(b *testing.B) {
			h := NewHasher(algs...)
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				_, _ = h.Write(buf)
			}
		})
	}
}
