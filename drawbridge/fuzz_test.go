// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"slices"
	"strings"
	"testing"
)

func FuzzDigestHeader(f *testing.F) {
	f.Add(foo)
	f.Add("SHA-256=:" + foo256 + ": , md5=:AAAA:")
	f.Add("sha-256=:AAAA:,,=::")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDigestHeader(s)
		if err != nil {
			if d != (Digests{}) {
				t.Fatal("a value with the error")
			}
			return
		}
		again, err := ParseDigestHeader(d.Header())
		if err != nil || again != d || d.Len() == 0 {
			t.Fatalf("%q came back as %q, %v", d.Header(), again.Header(), err)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"", "/", "//main.wasm", "a/b/", "a//b", "../x", "a/./b", strings.Repeat("a/", 70)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePath(s)
		if err != nil {
			return
		}
		for _, name := range p {
			if CheckName(name) != nil || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00") {
				t.Fatalf("%q has the name %q", s, name)
			}
		}
		again, err := ParsePath(p.String())
		if err != nil || !slices.Equal(again, p) || len(p) > MaxDepth {
			t.Fatalf("%q came back as %q, %v", p, again, err)
		}
	})
}

func FuzzDirectory(f *testing.F) {
	entry := `{` + fooDigest + `,"length":3,"type":"a/b"}`
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"a":` + entry + `,"b.c":` + entry + `}`))
	f.Add([]byte(`{"a":{"x":{"y":["\ud800",1e9]},` + fooDigest + `,"length":3,"type":"A/b; c=\"\\\""}}`))
	f.Add([]byte(`{"a":` + entry + `,"\u0061":` + entry + `}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ParseDirectory(data)
		if err != nil {
			return
		}
		canonical := d.Canonical()
		if len(canonical) > MaxJSON {
			return // escapes can make it longer than what came
		}
		again, err := ParseDirectory(canonical)
		if err != nil || string(again.Canonical()) != string(canonical) || len(again) != len(d) {
			t.Fatalf("%s came back as %s, %v", canonical, again.Canonical(), err)
		}
		for _, name := range d.Names() {
			if CheckName(name) != nil || again[name].Meta != d[name].Meta || d[name].Length < 0 || d[name].Digests.Len() == 0 {
				t.Fatalf("entry %q of %s", name, data)
			}
		}
	})
}

func FuzzMetas(f *testing.F) {
	f.Add([]byte(`[]`))
	f.Add([]byte(`[{` + fooDigest + `,"length":3,"type":"a/b"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		metas, err := ParseMetas(data)
		if err != nil {
			return
		}
		for _, m := range metas {
			if again, err := ParseMeta(m.Canonical()); err != nil || again != m {
				t.Fatalf("%s came back as %s, %v", m.Canonical(), again.Canonical(), err)
			}
		}
	})
}

func FuzzTag(f *testing.F) {
	for _, s := range []string{"1.0.0", "1.2.3-rc.1+build", "v1.2.3", "01.0.0", "1.0.0-01", "18446744073709551615.0.0"} {
		f.Add(s, "1.0.0")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if CompareTags(a, b) != -CompareTags(b, a) || (CompareTags(a, b) == 0) != (a == b) {
			t.Fatalf("%q and %q have no order", a, b)
		}
		v, err := ParseVersion(a)
		if (err == nil) != (CheckTag(a) == nil) {
			t.Fatalf("%q is a version and no tag, or the other way round", a)
		}
		if err == nil && (v.String() != a || strings.ContainsAny(a, "/\\ %_")) {
			t.Fatalf("%q came back as %q", a, v)
		}
	})
}

// signedTwice is the tag of testEntry, signed by the keys of RFC 8037 and RFC
// 7515. ES256 is random, so the seed is kept: fuzzing needs the same in each of
// its processes.
const signedTwice = `{"payload":"eyJkaWdlc3QiOnsic2hhLTI1NiI6IkxDYTBhMmoveG8vNW0wVThIVEJCTkJOQ0xYQmtnNytnK1lwZWlHSm01NjQ9In0sImxlbmd0aCI6MywidHlwZSI6ImEvYiIsIngiOiJ5In0","signatures":[{"protected":"eyJhbGciOiJFZERTQSIsImN0eSI6ImFwcGxpY2F0aW9uL3ZuZC5kcmF3YnJpZGdlLmVudHJ5LnYxK2pzb24iLCJqd2siOnsiY3J2IjoiRWQyNTUxOSIsImt0eSI6Ik9LUCIsIngiOiIxMXFZQVlLeENyZlZTXzdUeVdRSE9nN2hjdlBhcGlNbHJ3SWFhUGNIVVJvIn0sImtpZCI6ImtQcktfcW14VldhWVZBOXd3QkY2SXVvM3ZWeno3VHhIQ1R3WEJ5Z3JTNGsiLCJzdWIiOiJ1c2VyL3JlcG86MS4wLjAiLCJ0eXAiOiJhcHBsaWNhdGlvbi9qb3NlK2pzb24ifQ","signature":"ckinjY-_X75J7y3pd2lYGQlcpCnxPAKYSg5DqEC2qGQ5AGS1JEO50Z80GI3Z6IdZASa2I5mIICDs3abS_LPRDw"},{"protected":"eyJhbGciOiJFUzI1NiIsImN0eSI6ImFwcGxpY2F0aW9uL3ZuZC5kcmF3YnJpZGdlLmVudHJ5LnYxK2pzb24iLCJqd2siOnsiY3J2IjoiUC0yNTYiLCJrdHkiOiJFQyIsIngiOiJmODNPSjNEMnhGMUJnOHZ1Yjl0TGUxZ0hNelY3NmU4VHVzOXVQSHZSVkVVIiwieSI6InhfRkV6UnU5bTM2SExOX3R1ZTY1OUxOcFhXNnBDeVN0aWtZaktJV0k1YTAifSwia2lkIjoib0tJeXd2R1VwVFZUeXhNUTNid0lJZVFVdWRmcl9Da0xNakNFMTlFQ0QtVSIsInN1YiI6InVzZXIvcmVwbzoxLjAuMCIsInR5cCI6ImFwcGxpY2F0aW9uL2pvc2UranNvbiJ9","signature":"jIQD9BiawLHIxKmz_sB9zkrjME46zcg0GONsSL3jjl5Lla7iMq9T0ZSNeVB3JU-FGQnnGc-tfsgNdv0mT23OgA"}]}`

func FuzzJWS(f *testing.F) {
	f.Add(TypeJOSE, []byte(rfc7515General))
	f.Add(TypeJOSE, []byte(rfc7515Flattened))
	ed := privateKey(f, rfc8037Private)
	ec := privateKey(f, rfc7515Key)
	one, err := SignTag(testEntry(f), tagName, ed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(TypeJOSE, one.Raw)
	f.Add(TypeJOSE, []byte(signedTwice))
	f.Add(TypeEntry, testEntry(f).Canonical())
	signers := NewSigners(publicKey(f, ed), publicKey(f, ec))
	want := one.Entry.Meta
	f.Fuzz(func(t *testing.T, mediaType string, raw []byte) {
		tag, err := ParseTag(mediaType, raw)
		if err != nil {
			return
		}
		if string(tag.Raw) != string(raw) || tag.Entry.Digests.Len() == 0 || tag.Signed() != (len(tag.Signatures) > 0) {
			t.Fatalf("%s became %+v", raw, tag)
		}
		tag.SelfSigned()
		// The fuzzer has no key: what verifies is what was signed above.
		if _, err := signers.Verify(tag, tagName); err == nil && tag.Entry.Meta != want {
			t.Fatalf("forged: %s", raw)
		}
	})
}

func FuzzSlug(f *testing.F) {
	for _, s := range []string{"u/r:1.0.0", "h:1/u/r:1.0.0@sha256:" + strings.Repeat("0", 64), "u/r@sha256:", "h/u", "a/b/c:1.0.0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (Slug, error){ParseSlug, ParseRepositorySlug, ParseUserSlug} {
			slug, err := parse(s)
			if err != nil {
				continue
			}
			again, err := parse(slug.String())
			if err != nil || again != slug || strings.ContainsAny(slug.URLPath(), " %?#\\") || strings.Contains(slug.URLPath(), "..") && !strings.Contains(slug.Tag, "..") {
				t.Fatalf("%q came back as %v, %v", s, again, err)
			}
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte(rfc8037Public))
	f.Add([]byte(rfc7517Public))
	f.Add([]byte(rfc7517Private))
	f.Add([]byte(`{"keys":[` + rfc8037Public + `]}`))
	for _, text := range []string{rfc8037Private, rfc7515Key} {
		block, err := publicKey(f, privateKey(f, text)).PEM()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(block)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = ParsePrivateKey(data)
		keys, err := ParsePublicKeys(data)
		if err != nil {
			return
		}
		for _, key := range keys {
			if again, err := ParsePublicKey(key.JWK()); err != nil || again.Thumbprint() != key.Thumbprint() {
				t.Fatalf("%s came back as %s, %v", key.JWK(), again.JWK(), err)
			}
		}
	})
}

func FuzzType(f *testing.F) {
	f.Add("Application/WASM; x=\"y\"")
	f.Fuzz(func(t *testing.T, s string) {
		typ, err := ParseType(s)
		if err != nil {
			return
		}
		if again, err := ParseType(typ); err != nil || again != typ || strings.ContainsAny(typ, "\r\n") {
			t.Fatalf("%q came back as %q, %v", typ, again, err)
		}
	})
}
