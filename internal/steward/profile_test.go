// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net/http/httptest"
	"testing"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/internal/live"
	"enarx.dev/enarx/internal/steward/authority"
)

// Upstream's extensions as they are on the wire, spec/steward.md 1.7.
const (
	kvmHex = "300e060a2b0601040183c71e01010400"
	sanHex = "30310603551d11042a3028" + "8217666f6f2e6261722e6875622e70726f6669616e2e636f6d" + "820d6b2e7376632e6578616d706c65"
	ekuHex = "301d0603551d250416301406082b0601050507030106082b06010505070302"
)

// TestCompatProfile is the certificate of upstream, field by field and its
// extensions to the byte.
func TestCompatProfile(t *testing.T) {
	for name, ca := range map[string]*authority.CA{"P-256": generated(t, elliptic.P256()), "P-384": generated(t, elliptic.P384())} {
		r := newRig(t, insecurely, func(cfg *Config) {
			cfg.Profile = Profile{Compat: true, DNSNames: []string{"k.svc.example"}}
			cfg.CA = live.Fixed(ca)
		})
		der := csr("none", func(r *request) { r.Subject = attesttest.CommonName("keep") })
		c := r.issued(der)
		want, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatal(err)
		}
		algorithm := x509.ECDSAWithSHA256
		if name == "P-384" {
			algorithm = x509.ECDSAWithSHA384
		}
		if c.Version != 3 || c.SignatureAlgorithm != algorithm || !bytes.Equal(c.RawIssuer, ca.Certificate.RawSubject) ||
			!bytes.Equal(c.RawSubject, want.RawSubject) || !bytes.Equal(c.RawSubjectPublicKeyInfo, want.RawSubjectPublicKeyInfo) ||
			!c.NotBefore.Equal(now) || !c.NotAfter.Equal(now.Add(28*24*time.Hour)) || c.SerialNumber.Sign() <= 0 || c.SerialNumber.BitLen() > 128 {
			t.Errorf("%s: %+v", name, c)
		}
		extensions, err := hex.DecodeString(kvmHex + sanHex + ekuHex)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(c.RawTBSCertificate, extensions) || len(c.Extensions) != 3 {
			t.Errorf("%s: other extensions than upstream's: %x\nin %x", name, extensions, c.RawTBSCertificate)
		}
		// The algorithm's parameters are absent, at both places.
		oid := map[string]string{"P-256": "300a06082a8648ce3d040302", "P-384": "300a06082a8648ce3d040303"}[name]
		if raw, _ := hex.DecodeString(oid); bytes.Count(c.Raw, raw) != 2 {
			t.Errorf("%s: the algorithm is not %s twice", name, oid)
		}
	}
	// Evidence of hardware is not copied, and an empty subject stays.
	r := newRig(t, withCollateral, func(cfg *Config) { cfg.Profile.Compat = true })
	c := r.issued(csr("snp-v2", func(r *request) { r.Subject = nil }))
	if len(c.Extensions) != 2 || len(c.Subject.Names) != 0 || c.Extensions[0].Critical {
		t.Errorf("%v, %v", c.Subject, c.Extensions)
	}
}

func generated(t *testing.T, curve elliptic.Curve) *authority.CA {
	t.Helper()
	ca, err := authority.Generate("steward.example", curve, now.Add(-time.Hour), authority.EphemeralLife)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// TestProfile is our certificate: what of it depends on the configuration.
func TestProfile(t *testing.T) {
	r := newRig(t, withCollateral, func(cfg *Config) { cfg.Profile.CopySubject = true })
	c := r.issued(csr("snp-v2", func(r *request) {
		r.Subject, r.URIs = nil, []string{"enarx:host/user/repo:1.0.0"}
	}))
	san := c.Extensions[0]
	if len(c.Subject.Names) != 0 || !san.Critical || len(c.URIs) != 1 {
		t.Errorf("an empty subject makes the names critical (RFC 5280 section 4.2.1.6): %v, %v", c.Subject, san)
	}
	plain := newRig(t, withCollateral).issued(csr("snp-v2"))
	var ids []string
	for _, e := range plain.Extensions {
		ids = append(ids, e.Id.String())
	}
	if len(ids) != 6 || ids[0] != "2.5.29.37" || ids[5] != "1.3.6.1.5.5.7.1.35" {
		t.Errorf("%v", ids)
	}
	if _, err := New(Config{CA: live.Fixed(r.ca), Policy: r.server.cfg.Policy, Profile: Profile{DNSNames: []string{"-x"}}}); err == nil {
		t.Error("a name that is none was taken")
	}
}

// TestIntermediate: the certificates above the CA are returned too, the CA
// next to what it issued.
func TestIntermediate(t *testing.T) {
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	make := func(name string, k *ecdsa.PrivateKey, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, until time.Time) *x509.Certificate {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: until,
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		if parent == nil {
			parent, parentKey = template, k
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, k.Public(), parentKey)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	rootKey, midKey, caKey := key(), key(), key()
	soon := now.Add(time.Hour)
	root := make("root", rootKey, nil, nil, now.Add(1000*time.Hour))
	mid := make("mid", midKey, root, rootKey, soon)
	caCert := make("steward", caKey, mid, midKey, now.Add(1000*time.Hour))
	ca, err := authority.New(caKey, []*x509.Certificate{caCert, mid, root})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, withCollateral, func(cfg *Config) { cfg.CA = live.Fixed(ca) })
	path := certificates(t, r.post(csr("snp-v2")).body)
	if len(path) != 4 || !path[0].Equal(root) || !path[1].Equal(mid) || !path[2].Equal(caCert) {
		t.Fatalf("%d certificates", len(path))
	}
	leaf := path[3]
	if !leaf.NotAfter.Equal(soon) {
		t.Errorf("it outlives the intermediate: %v", leaf.NotAfter)
	}
	// As upstream's client uses it: reversed, as a TLS chain.
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	between.AddCert(mid)
	between.AddCert(caCert)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now}); err != nil {
		t.Error(err)
	}
	chain := certificates(t, children(t, r.bundle(nil).body)[0])
	if len(chain) != 3 || !chain[2].Equal(caCert) {
		t.Errorf("a bundle's chain has %d", len(chain))
	}
}

// BenchmarkPost is a certificate from the request's bytes to the answer's,
// without the network.
func BenchmarkPost(b *testing.B) {
	for _, shape := range []string{"snp-v2", "sgx-v3", "tdx-v1"} {
		b.Run(shape, func(b *testing.B) { benchmarkPost(b, csr(shape)) })
	}
}

func benchmarkPost(b *testing.B, body []byte) {
	ca, err := testCA()
	if err != nil {
		b.Fatal(err)
	}
	cfg := Config{
		CA: live.Fixed(ca), Policy: live.Fixed(attest.DefaultPolicy()), Limits: Limits{Rate: -1},
		Roots: &attest.Roots{Set: world().Roots(), Memo: pki.NewMemo(32 << 20)}, Now: func() time.Time { return now },
	}
	withCollateral(&cfg)
	s, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	handler := s.Handler()
	b.ReportAllocs()
	for b.Loop() {
		w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", typeRequest)
		handler.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatalf("%d", w.Code)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "certificates/s")
}
