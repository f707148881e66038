// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/internal/need"
)

var now = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// ca is a certificate with its key.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate below parent, or a root without one.
func issue(t *testing.T, parent *ca, serial int64, change func(*x509.Certificate)) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "certificate " + big.NewInt(serial).String()},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId: []byte{byte(serial)},
	}
	if change != nil {
		change(template)
	}
	by := &ca{template, key}
	if parent != nil {
		by = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &ca{cert, key}
}

// list makes a revocation list of a certificate authority.
func (c *ca) list(t *testing.T, issued time.Time, life time.Duration, serials ...int64) *CRL {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(issued.Unix()), ThisUpdate: issued, NextUpdate: issued.Add(life)}
	for _, s := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: issued})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, c.cert, c.key)
	if err != nil {
		t.Fatal(err)
	}
	crl, err := ParseCRL(der)
	if err != nil {
		t.Fatal(err)
	}
	return crl
}

func noCA(c *x509.Certificate)    { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }
func noUsage(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }
func flat(c *x509.Certificate)    { c.MaxPathLenZero = true }
func critical(c *x509.Certificate) {
	c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
}

func TestValidate(t *testing.T) {
	root := issue(t, nil, 1, nil)
	stranger := issue(t, nil, 1, nil) // the same name and key identifier, another key
	sub := issue(t, root, 2, nil)
	leaf := issue(t, sub, 0, noCA) // as AMD does
	day := 24 * time.Hour

	late := func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }
	ended := func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }
	for _, c := range []struct {
		name  string
		certs []*ca // leaf first
		crls  []*CRL
		want  string // the code that fails
		state string // of the sub's list, then the root's
	}{
		{"good", []*ca{leaf, sub, root}, nil, "", "missing missing"},
		{"lists", []*ca{leaf, sub, root}, []*CRL{root.list(t, now.Add(-day), 2*day), sub.list(t, now.Add(-day), day/2)}, "", "stale fresh"},
		{"of tomorrow", []*ca{leaf, sub, root}, []*CRL{root.list(t, now.Add(day), day)}, "", "missing not yet valid"},
		{"revoked", []*ca{leaf, sub, root}, []*CRL{root.list(t, now, day, 7, 2)}, "sub.revoked", "missing fresh"},
		{"serial zero revoked", []*ca{leaf, sub, root}, []*CRL{sub.list(t, now, day, 0)}, "leaf.revoked", "fresh missing"},
		{"revoked by a stale list", []*ca{leaf, sub, root}, []*CRL{root.list(t, now.Add(-9*day), day, 2)}, "sub.revoked", "missing stale"},
		{"an old list does not hide a new one", []*ca{leaf, sub, root},
			[]*CRL{root.list(t, now.Add(-2*day), 9*day), root.list(t, now.Add(-day), 9*day, 2), root.list(t, now.Add(-3*day), 9*day)}, "sub.revoked", "missing fresh"},
		{"a list of tomorrow does not hide today's", []*ca{leaf, sub, root},
			[]*CRL{root.list(t, now.Add(day), day), root.list(t, now.Add(-day), 2*day, 2), root.list(t, now.Add(day), day)}, "sub.revoked", "missing fresh"},
		{"a newer list does not hide a revocation", []*ca{leaf, sub, root},
			[]*CRL{root.list(t, now.Add(-day), 2*day, 2), root.list(t, now, day)}, "sub.revoked", "missing fresh"},
		{"a stranger's list", []*ca{leaf, sub, root}, []*CRL{stranger.list(t, now, day, 2)}, "", "missing missing"},
		{"wrong signer", []*ca{sub, stranger}, nil, "leaf.signature", ""},
		{"wrong issuer", []*ca{leaf, root}, nil, "leaf.issuer", ""},
		{"not yet", []*ca{issue(t, root, 3, late), root}, nil, "leaf.validity", "missing"},
		{"no more", []*ca{issue(t, root, 3, ended), root}, nil, "leaf.validity", "missing"},
		{"old root", []*ca{issue(t, issue(t, nil, 4, ended), 3, nil), issue(t, nil, 4, ended)}, nil, "sub.validity", ""},
		{"no authority", []*ca{issue(t, leaf, 3, nil), leaf, sub, root}, nil, "sub.ca", "missing missing missing"},
		{"may not sign", []*ca{issue(t, issue(t, root, 5, noUsage), 3, nil), issue(t, root, 5, noUsage), root}, nil, "sub.ca", "missing"},
		{"critical", []*ca{leaf, issue(t, root, 2, critical), root}, nil, "sub.ca", "missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			codes := []string{"leaf", "sub", "root", "top"}
			var links []Link
			for i, cert := range c.certs {
				links = append(links, Link{codes[i], codes[i], cert.cert, i > 0})
			}
			for _, memo := range []*Memo{nil, NewMemo(1 << 20)} {
				g := check.New("path")
				lists, ok := Path{now, c.crls, memo}.Validate(g, links...)
				failed := g.Failures()
				if ok != (c.want == "") || ok != (len(failed) == 0) {
					t.Fatalf("ok %t, failures %v, want %q", ok, failed, c.want)
				}
				if !ok && g.Find(c.want).Status != check.Failed {
					t.Errorf("failures %v, want %s", failed, c.want)
				}
				state := ""
				for _, d := range lists {
					state += " " + d.State(now)
				}
				if c.state != "" && state != " "+c.state {
					t.Errorf("lists are%s, want %s", state, c.state)
				}
			}
		})
	}
}

func TestPathLength(t *testing.T) {
	root := issue(t, nil, 1, flat)
	sub := issue(t, root, 2, nil)
	leaf := issue(t, sub, 3, nil)
	g := check.New("path")
	Path{Now: now}.Validate(g, Link{Code: "leaf", Cert: leaf.cert}, Link{Code: "sub", Cert: sub.cert}, Link{Code: "root", Cert: root.cert})
	if c := g.Find("root.ca"); c.Status != check.Failed || c.Found.String() != "a path length limit of 0" {
		t.Errorf("got %v", c)
	}
}

// A stranger's key may be so large that using it takes seconds.
func TestLargeKeys(t *testing.T) {
	root := issue(t, nil, 1, nil)
	leaf := issue(t, root, 2, nil)
	n := new(big.Int).Lsh(big.NewInt(1), maxRSA)
	issuer := *root.cert
	issuer.PublicKey, issuer.RawSubjectPublicKeyInfo = &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 1<<31 - 1}, []byte("large")
	list := root.list(t, now, time.Hour)
	for _, memo := range []*Memo{nil, NewMemo(1 << 20)} {
		for what, err := range map[string]error{"certificate": memo.SignedBy(leaf.cert, &issuer), "list": memo.crlSignedBy(list, &issuer)} {
			if err == nil || err.Error() != "an RSA key of 8193 bits, more than 8192" {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

// A list that covers only some certificates must not be read as one that covers all.
func TestCriticalCRL(t *testing.T) {
	root := issue(t, nil, 1, nil)
	idp := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}
	for _, template := range []*x509.RevocationList{
		{ExtraExtensions: []pkix.Extension{idp}},
		{RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(1), RevocationTime: now, ExtraExtensions: []pkix.Extension{idp}}}},
	} {
		template.Number, template.ThisUpdate, template.NextUpdate = big.NewInt(1), now, now.Add(time.Hour)
		der, err := x509.CreateRevocationList(rand.Reader, template, root.cert, root.key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseCRL(der); err == nil {
			t.Error("read")
		}
	}
}

// An authority whose key usage leaves lists out cannot revoke, or keep quiet.
func TestListByKeyUsage(t *testing.T) {
	root := issue(t, nil, 1, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })
	leaf := issue(t, root, 2, nil)
	signer := *root.cert // crypto/x509 would refuse to make the list
	signer.KeyUsage |= x509.KeyUsageCRLSign
	lists, ok := Path{Now: now, CRLs: []*CRL{(&ca{&signer, root.key}).list(t, now, time.Hour, 2)}}.Validate(check.New(""),
		Link{Code: "leaf", Cert: leaf.cert}, Link{Code: "root", Cert: root.cert, CRL: true})
	if !ok || len(lists) != 1 || !lists[0].Missing || lists[0].Forged != 1 {
		t.Errorf("%t %+v", ok, lists)
	}
}

func TestForgedListsAreCounted(t *testing.T) {
	root, stranger := issue(t, nil, 1, nil), issue(t, nil, 1, nil)
	leaf := issue(t, root, 2, nil)
	lists, _ := Path{Now: now, CRLs: []*CRL{stranger.list(t, now, time.Hour)}}.Validate(check.New(""),
		Link{Code: "leaf", Cert: leaf.cert}, Link{Code: "root", Cert: root.cert, CRL: true})
	if len(lists) != 1 || !lists[0].Missing || lists[0].Forged != 1 {
		t.Errorf("got %+v", lists)
	}
}

func TestMemo(t *testing.T) {
	m := NewMemo(64 << 10)
	made := 0
	get := func(kind string, parts ...[]byte) int {
		v, err := Remember(m, kind, func() (int, error) { made++; return made, nil }, parts...)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	a := []byte("a")
	first := get("x", a)
	if get("x", []byte("a")) != first || get("x", []byte("b")) == first || get("y", a) == first || get("x", a, nil) == first || get("x", nil, a) == first {
		t.Error("facts are mixed up")
	}
	a[0] = 'b' // the caller's bytes are its own
	if get("x", []byte("a")) != first {
		t.Error("forgotten")
	}
	for range 2 {
		_, err := Remember(m, "bad", func() (int, error) { made++; return 0, errors.New("no") }, a)
		if err == nil {
			t.Error("a failure was remembered as a success")
		}
	}
	before := made
	for i := range 10000 {
		get("x", big.NewInt(int64(i)).Bytes(), []byte{1})
		get("x", []byte("a"))
	}
	if made != before+10000 {
		t.Errorf("what is in use was forgotten: %d made", made-before)
	}
	if len(m.young)+len(m.old) > 64<<10/256 {
		t.Errorf("%d facts are held", len(m.young)+len(m.old))
	}
	get("x", make([]byte, 64<<10)) // too large to keep
	if before = made; get("x", make([]byte, 64<<10)) == before {
		t.Error("an input as large as the memory was kept")
	}
}

// A list with thousands of entries takes many times the memory of its bytes.
func TestMemoWeighsWhatIsParsed(t *testing.T) {
	root := issue(t, nil, 1, nil)
	serials := make([]int64, 500)
	for i := range serials {
		serials[i] = int64(i)
	}
	m := NewMemo(4 << 20)
	for i := range 30 {
		if _, err := m.CRL(root.list(t, now.Add(time.Duration(i)*time.Second), time.Hour, serials...).Raw); err != nil {
			t.Fatal(err)
		}
	}
	entries := 0
	for _, held := range []map[uint64]*memory{m.young, m.old} {
		for _, e := range held {
			entries += len(e.value.(*CRL).revoked)
		}
	}
	if entries == 0 || entries > 4<<20/256 {
		t.Errorf("%d entries are held", entries)
	}
}

func TestMemoIsSafeForConcurrentUse(t *testing.T) {
	m := NewMemo(1 << 12)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 2000 {
				in := []byte{byte(i), byte(i >> 4)}
				if v, _ := Remember(m, "k", func() (int, error) { return int(in[0]), nil }, in); v != int(in[0]) {
					t.Errorf("%v gave %d", in, v)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzCRL(f *testing.F) {
	f.Add([]byte{0x30, 0})
	if dir, err := filepath.Abs("../../../shared/vectors/more"); err == nil {
		names, _ := filepath.Glob(filepath.Join(dir, "*", "crl-*.der"))
		for _, name := range names {
			if data, err := os.ReadFile(name); err == nil {
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if crl, err := ParseCRL(der); err == nil {
			for _, e := range crl.RevokedCertificateEntries {
				if _, ok := crl.Revoked(e.SerialNumber); !ok {
					t.Errorf("%x is listed and not revoked", e.SerialNumber)
				}
			}
		}
	})
}

// AMD leaves the trailer of RSA-PSS out in lists and states it in certificates;
// both are signatures by the same key.
func TestVendorLists(t *testing.T) {
	dir := need.Vectors(t)
	names, err := filepath.Glob(filepath.Join(dir, "*", "*", "crl-*.der"))
	if err != nil || len(names) < 5 {
		t.Fatalf("%d lists, %v", len(names), err)
	}
	for _, name := range names {
		der, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseCRL(der); err != nil {
			t.Errorf("%s: %v", filepath.Base(name), err)
		}
	}
}
