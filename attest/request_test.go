// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/internal/need"
)

// extensions is an edit of what a synthetic request asks for.
func extensions(edit func([]pkix.Extension) []pkix.Extension) func(*attesttest.Request) {
	return func(r *attesttest.Request) { r.Extensions = edit }
}

func uris(all ...string) func(*attesttest.Request) {
	return func(r *attesttest.Request) { r.URIs = all }
}

func withKey(label string, curve elliptic.Curve) func(*attesttest.Request) {
	return func(r *attesttest.Request) { r.Key = silicon.Key(label, curve) }
}

var wdig = [32]byte{1, 2, 3}

// TestRequests holds synthetic requests to the rules of docs/evidence.md.
func TestRequests(t *testing.T) {
	add := func(e ...pkix.Extension) func(*attesttest.Request) {
		return extensions(func(l []pkix.Extension) []pkix.Extension { return append(l, e...) })
	}
	keyUsage := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: []byte{3, 2, 7, 128}}
	dns := pkix.Extension{Id: oidSAN, Value: sequence(element(0x82, []byte("example.org")))}
	for name, c := range map[string]struct {
		shape string
		edit  func(*attesttest.Request)
		code  string // of the check that fails; "" if the request is good
	}{
		"snp-v1":                       {shape: "snp-v1"},
		"snp-v2":                       {shape: "snp-v2"},
		"sgx-v1":                       {shape: "sgx-v1"},
		"sgx-v2":                       {shape: "sgx-v2"},
		"sgx-v3":                       {shape: "sgx-v3"},
		"tdx-v1":                       {shape: "tdx-v1"},
		"none":                         {shape: "none"},
		"TDX with P-256":               {"tdx-v1", withKey("other", elliptic.P256()), ""},
		"nothing with P-384":           {"none", withKey("other", elliptic.P384()), ""},
		"SNP with P-256":               {"snp-v2", withKey("other", elliptic.P256()), "csr.key.technology"},
		"SGX with P-384":               {"sgx-v3", withKey("other", elliptic.P384()), "csr.key.technology"},
		"P-521":                        {"none", withKey("other", elliptic.P521()), "csr.algorithm"},
		"no evidence":                  {"none", extensions(func([]pkix.Extension) []pkix.Extension { return nil }), "csr.evidence"},
		"W17: the evidence twice":      {"none", extensions(func(l []pkix.Extension) []pkix.Extension { return append(l, l[0]) }), "csr.evidence.duplicate"},
		"two kinds of evidence":        {"snp-v2", add(pkix.Extension{Id: OIDNone}), "csr.evidence.duplicate"},
		"critical evidence":            {"none", extensions(func(l []pkix.Extension) []pkix.Extension { l[0].Critical = true; return l }), "csr.evidence.critical"},
		"key usage":                    {"none", add(keyUsage), "csr.extensions"},
		"a DNS name":                   {"none", add(dns), "csr.san"},
		"no names":                     {"none", add(pkix.Extension{Id: oidSAN, Value: []byte{0x30, 0}}), "csr.san"},
		"two subjectAltNames":          {"none", add(attesttest.URIs(LogURI("none")), attesttest.URIs(LogURI("none"))), "csr.san"},
		"all names":                    {"snp-v2", uris(WorkloadURI(wdig), SlugURI("example.org:8443/user/re-po:1.2.3-rc.1+b"), LogURI("encrypted")), ""},
		"an https URI":                 {"none", uris("https://example.org"), "csr.san"},
		"two workloads":                {"none", uris(WorkloadURI(wdig), WorkloadURI([32]byte{})), "csr.san"},
		"signed by another key":        {"none", func(r *attesttest.Request) { r.Signer = silicon.Key("another", elliptic.P256()) }, "csr.signature"},
		"empty value":                  {"snp-v2", extensions(func(l []pkix.Extension) []pkix.Extension { l[0].Value = nil; return l }), "csr.evidence.encoding"},
		"a byte after the evidence":    {"sgx-v3", extensions(func(l []pkix.Extension) []pkix.Extension { l[0].Value = append(l[0].Value, 0); return l }), "csr.evidence.encoding"},
		"something for nothing":        {"none", extensions(func(l []pkix.Extension) []pkix.Extension { l[0].Value = []byte{5, 0}; return l }), "csr.evidence.encoding"},
		"SNP evidence for SGX":         {"snp-v2", extensions(func(l []pkix.Extension) []pkix.Extension { l[0].Id = OIDSGX; return l }), "csr.evidence.encoding"},
		"17 extensions":                {"none", add(slices.Repeat([]pkix.Extension{keyUsage}, 16)...), "csr.attributes"},
		"a subject of 64 KiB":          {"none", func(r *attesttest.Request) { r.Subject = attesttest.CommonName(strings.Repeat("a", 64<<10)) }, "csr.encoding"},
		"a subject that somebody uses": {"none", func(r *attesttest.Request) { r.Subject = attesttest.CommonName("keep") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			csr, key := silicon.CSR(c.shape, append([]func(*attesttest.Request){}, or(c.edit))...)
			req, err := ParseRequest(csr, nil)
			wantCode(t, err, c.code)
			if err != nil {
				return
			}
			if !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(req.PublicKey) {
				t.Error("another key")
			}
			if req.Evidence.Shape != c.shape || !bytes.Equal(req.Evidence.Key, req.RawSPKI) {
				t.Errorf("evidence of shape %q", req.Evidence.Shape)
			}
			std, err := x509.ParseCertificateRequest(csr)
			if err != nil || !bytes.Equal(std.RawSubject, req.RawSubject) || !bytes.Equal(std.RawSubjectPublicKeyInfo, req.RawSPKI) {
				t.Errorf("crypto/x509 sees another request: %v", err)
			}
		})
	}
}

func or(edit func(*attesttest.Request)) func(*attesttest.Request) {
	if edit == nil {
		return func(*attesttest.Request) {}
	}
	return edit
}

// wantCode requires err to be a RequestError whose last check failed with that
// code, of the kind that goes with it.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	refused, ok := errors.AsType[*RequestError](err)
	if !ok {
		t.Fatalf("got error %v, want one of %s", err, code)
	}
	failed := refused.Checks.Failures()
	if len(failed) != 1 || failed[0].Code != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	if failed[0].Source == "" || failed[0].What == "" {
		t.Errorf("%s says neither what nor who", code)
	}
	if errors.Is(err, ErrNoEvidence) != (code == "csr.evidence") || errors.Is(err, ErrRequest) == (code == "csr.evidence") {
		t.Errorf("%s is of the wrong kind: %v", code, err)
	}
	if !strings.Contains(err.Error(), code) {
		t.Errorf("the error does not name its check: %v", err)
	}
	if r := RefusedRequest(refused, nil); r.Accepted() || r.Code() != code {
		t.Errorf("as a result: %s", r.Code())
	}
}

// TestRequestEncoding changes bytes of a good request.
func TestRequestEncoding(t *testing.T) {
	csr, _ := silicon.CSR("none")
	changed := func(edit func([]byte) []byte) []byte { return edit(bytes.Clone(csr)) }
	version := bytes.Index(csr, []byte{2, 1, 0}) + 2
	algorithm := bytes.LastIndex(csr, []byte{0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2})
	for name, c := range map[string]struct {
		der  []byte
		code string
	}{
		"as it is":                   {csr, ""},
		"nothing":                    {nil, "csr.encoding"},
		"garbage":                    {[]byte("garbage"), "csr.encoding"},
		"a byte after it":            {changed(func(b []byte) []byte { return append(b, 0) }), "csr.encoding"},
		"a byte less":                {changed(func(b []byte) []byte { return b[:len(b)-1] }), "csr.encoding"},
		"the last byte bumped":       {changed(func(b []byte) []byte { b[len(b)-1]++; return b }), "csr.signature"},
		"version 1":                  {changed(func(b []byte) []byte { b[version] = 1; return b }), "csr.version"},
		"another algorithm":          {changed(func(b []byte) []byte { b[algorithm+11] = 3; return b }), "csr.algorithm"},
		"SHA-1":                      {changed(func(b []byte) []byte { b[algorithm+10], b[algorithm+11] = 1, 1; return b }), "csr.algorithm"},
		"3 MiB":                      {make([]byte, 3<<20), "csr.encoding"},
		"2 MiB of nested SEQUENCEs":  {nested(2<<20 - 16), "csr.encoding"},
		"PEM":                        {[]byte("-----BEGIN CERTIFICATE REQUEST-----\n"), "csr.encoding"},
		"bundle":                     {sequence(csr), "csr.encoding"},
		"unknown attribute":          {resigned(sequence(oidDER(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}), element(0x31, element(0x13, []byte("challenge"))))), "csr.attributes"},
		"attribute value not a list": {resigned(sequence(oidDER(oidExtensionRequest), element(0x31, element(0x13, []byte("list"))))), "csr.attributes"},
		"no values":                  {resigned(sequence(oidDER(oidExtensionRequest), element(0x31))), "csr.evidence"},
		"empty list":                 {resigned(sequence(oidDER(oidExtensionRequest), element(0x31, sequence()))), "csr.evidence"},
		"two attributes":             {resigned(evidenceAttribute(), evidenceAttribute()), "csr.evidence.duplicate"},
		"two values":                 {resigned(sequence(oidDER(oidExtensionRequest), element(0x31, evidenceList(), evidenceList()))), "csr.evidence.duplicate"},
		"one attribute":              {resigned(evidenceAttribute()), ""},
		"ECDSA with parameters":      {signRequest(ecdsaNull, evidenceAttribute()), "csr.algorithm"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseRequest(c.der, nil)
			wantCode(t, err, c.code)
		})
	}
}

// nested is a request-like tower of SEQUENCEs about that long.
func nested(size int) []byte {
	var out []byte
	for left := size; left > 8; left -= 5 {
		n := left - 5
		out = append(out, 0x30, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(out, make([]byte, size-len(out))...)
}

func oidDER(oid asn1.ObjectIdentifier) []byte {
	b, err := asn1.Marshal(oid)
	if err != nil {
		panic(err)
	}
	return b
}

func evidenceList() []byte { return sequence(sequence(oidDER(OIDNone), octets(nil))) }

func evidenceAttribute() []byte {
	return sequence(oidDER(oidExtensionRequest), element(0x31, evidenceList()))
}

// Two spellings of ecdsa-with-SHA256.
var (
	ecdsaPlain = sequence(oidDER(oidECDSA256))
	ecdsaNull  = sequence(oidDER(oidECDSA256), []byte{5, 0})
)

// resigned is a request with these attributes, by a key of its own.
func resigned(attributes ...[]byte) []byte { return signRequest(ecdsaPlain, attributes...) }

func signRequest(algorithm []byte, attributes ...[]byte) []byte {
	key := silicon.Key("resigned", elliptic.P256())
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	info := sequence([]byte{2, 1, 0}, sequence(), spki, element(0xa0, attributes...))
	h := crypto.SHA256.New()
	h.Write(info)
	signature, err := ecdsa.SignASN1(rand.Reader, key, h.Sum(nil))
	if err != nil {
		panic(err)
	}
	return sequence(info, algorithm, element(3, []byte{0}, signature))
}

// TestRSARequest: RSA is for requests without hardware evidence, with PSS.
func TestRSARequest(t *testing.T) {
	key := silicon.RSAKey("request")
	list := []pkix.Extension{{Id: OIDNone, Value: []byte{}}}
	for name, c := range map[string]struct {
		algorithm x509.SignatureAlgorithm
		code      string
	}{
		"PSS SHA-256": {x509.SHA256WithRSAPSS, ""},
		"PSS SHA-384": {x509.SHA384WithRSAPSS, ""},
		"PSS SHA-512": {x509.SHA512WithRSAPSS, ""},
		"PKCS#1 v1.5": {x509.SHA256WithRSA, "csr.algorithm"},
	} {
		t.Run(name, func(t *testing.T) {
			csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{SignatureAlgorithm: c.algorithm, ExtraExtensions: list}, key)
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseRequest(csr, nil)
			wantCode(t, err, c.code)
			if c.code == "" {
				csr[len(csr)-1] ^= 1
				_, err = ParseRequest(csr, nil)
				wantCode(t, err, "csr.signature")
			}
		})
	}
	ev := evidenceOf(t, "snp-v2")
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		SignatureAlgorithm: x509.SHA256WithRSAPSS, ExtraExtensions: []pkix.Extension{{Id: OIDSNP, Value: ev.DER()}},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ParseRequest(csr, nil)
	wantCode(t, err, "csr.key.technology")
	huge := &rsa.PublicKey{N: new(big.Int).Lsh(key.N, 16<<10), E: key.E}
	spki, err := x509.MarshalPKIXPublicKey(huge)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ParseRequest(sequence(sequence([]byte{2, 1, 0}, sequence(), spki, element(0xa0)), sequence(oidDER(oidPSS)), element(3, []byte{0, 1})), nil)
	wantCode(t, err, "csr.encoding")
}

// TestNegativeRequests: what INDEX.md calls malformed is malformed, whether the
// text itself is sent or what it spells.
func TestNegativeRequests(t *testing.T) {
	root := need.Vectors(t)
	for _, name := range []string{"negative/icelake_signed.csr", "negative/milan_signed.csr"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseRequest(text, nil)
		wantCode(t, err, "csr.encoding")
		raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseRequest(raw, nil)
		wantCode(t, err, "csr.encoding")
	}
}

// TestRealRequestMutations is the list of INDEX.md, "Suggested mutations", as
// far as a request is concerned.
func TestRealRequestMutations(t *testing.T) {
	root := need.Vectors(t)
	csr, err := os.ReadFile(filepath.Join(root, "milan.signed.crl.csr"))
	if err != nil {
		t.Fatal(err)
	}
	req, err := ParseRequest(csr, nil)
	if err != nil {
		t.Fatal(err)
	}
	value, err := req.Evidence.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(csr, value) {
		t.Error("the evidence of a real request is written otherwise than it was sent")
	}
	// The evidence under another key: good, but not for that one.
	moved, err := ParseEvidence(SNP, value, nil)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(silicon.Key("thief", elliptic.P384()).Public())
	if err != nil {
		t.Fatal(err)
	}
	moved.Key = spki
	if r := Appraise(Verify(moved, VendorRoots(), nil, at(t, "T0")), nil); r.Code() != "binding.key" {
		t.Errorf("re-keyed: %s", r.Code())
	}
}

func TestBundle(t *testing.T) {
	a, _ := silicon.CSR("none")
	b, _ := silicon.CSR("snp-v2")
	got, err := ParseRequests(sequence(a, b), 2)
	if err != nil || len(got) != 2 || !bytes.Equal(got[0], a) || !bytes.Equal(got[1], b) {
		t.Errorf("%d requests, %v", len(got), err)
	}
	if got, err := ParseRequests(sequence(), 2); err != nil || len(got) != 0 {
		t.Errorf("an empty bundle: %d requests, %v", len(got), err)
	}
	for name, der := range map[string][]byte{
		"three":          sequence(a, a, a),
		"a byte after":   append(sequence(a), 0),
		"not a SEQUENCE": octets(a),
		"a string":       sequence(a, octets(nil)),
		"too long":       make([]byte, maxRequest+1),
	} {
		if _, err := ParseRequests(der, 2); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestURIs(t *testing.T) {
	digest := WorkloadURI(wdig)
	for uri, good := range map[string]bool{
		digest:                               true,
		digest + "=":                         false,
		digest[:len(digest)-1]:               false,
		strings.Replace(digest, "A", "+", 1): false,
		// The last character carries two bits that must be zero.
		digest[:len(digest)-1] + "B":              false,
		strings.Replace(digest, "ni:", "NI:", 1):  false,
		"ni:///sha-512;" + digest[14:]:            false,
		"ni://host/sha-256;" + digest[14:]:        false,
		"enarx:store.example.org/user/repo:0.1.0": true,
		"enarx:localhost:8443/u/r-:1.2.3":         true,
		"enarx:user/repo:0.1.0":                   false,
		"enarx:h/u/r:1.2":                         false,
		"enarx:h/u/r:v1.2.3":                      false,
		"enarx:h/u/r:01.2.3":                      false,
		"enarx:h/u/r:1.2.3-01":                    false,
		"enarx:h/u/r:1.2.3-0a.1+01":               true,
		"enarx:h/u/r:1.2.3-":                      false,
		"enarx:h/u-/r:1.2.3":                      false,
		"enarx:h/u/r/s:1.2.3":                     false,
		"enarx:H/u/r:1.2.3":                       false,
		"enarx:h..h/u/r:1.2.3":                    false,
		"enarx:h:/u/r:1.2.3":                      false,
		"enarx:":                                  false,
		"enarx:h/u/r:1.2.3?q":                     false,
		"urn:enarx:log:none":                      true,
		"urn:enarx:log:host":                      true,
		"urn:enarx:log:encrypted":                 true,
		"urn:enarx:log:":                          false,
		"urn:enarx:log:None":                      false,
		"spiffe://example.org/keep":               false,
		"":                                        false,
	} {
		_, err := ParseURIs([]string{uri})
		if (err == nil) != good {
			t.Errorf("%q: %v", uri, err)
		}
		if _, err := ParseURIs([]string{uri, uri}); err == nil {
			t.Errorf("%q twice is accepted", uri)
		}
	}
	if _, err := ParseURIs(slices.Repeat([]string{digest}, maxURIs+1)); err == nil {
		t.Error("too many URIs are accepted")
	}
	n, err := ParseURIs([]string{digest, SlugURI("h/u/r:1.0.0"), LogURI("host")})
	if err != nil || !bytes.Equal(n.Workload, wdig[:]) || n.Slug != "h/u/r:1.0.0" || n.Log != "host" {
		t.Errorf("%+v, %v", n, err)
	}
}
