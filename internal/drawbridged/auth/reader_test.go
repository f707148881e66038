// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/internal/live"
	"enarx.dev/enarx/internal/steward"
	"enarx.dev/enarx/internal/steward/authority"
)

// A ca signs what it is told to.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T, name string, under *ca) *ca {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
	}
	c := &ca{}
	c.cert, c.key = issue(t, template, under)
	return c
}

// issue signs template under a CA, or by its own key.
func issue(t *testing.T, template *x509.Certificate, under *ca) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := template, key
	if under != nil {
		parent, signer = under.cert, under.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

func (c *ca) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})
}

// ear is an attestation result as our Steward writes it, cut short.
func ear(status, tee, roots string) pkix.Extension {
	return attest.CMW(attest.EARType, fmt.Appendf(nil,
		`{"ear_status":%q,"submods":{"keep":{"ear_status":%q,"ear_attester_claims":{"tee":%q},"ear_verifier_claims":{"roots":%q}}}}`,
		status, status, tee, roots))
}

// leafOf returns the template of a Keep's certificate.
func leafOf(uris []string, extensions ...pkix.Extension) *x509.Certificate {
	template := &x509.Certificate{
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour), ExtraExtensions: extensions,
	}
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		template.URIs = append(template.URIs, u)
	}
	return template
}

// What our Steward writes is what is read here.
func TestReadsOurSteward(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	world := attesttest.New("internal/drawbridged/auth", now)
	authorityKey, err := authority.Generate("steward.example", elliptic.P256(), now.Add(-time.Hour), authority.EphemeralLife)
	if err != nil {
		t.Fatal(err)
	}
	policy := attest.DefaultPolicy()
	policy.Insecure = true
	server, err := steward.New(steward.Config{
		CA: live.Fixed(authorityKey), Policy: live.Fixed(policy), Development: true, Now: func() time.Time { return now },
		Roots: &attest.Roots{Set: world.Roots(), Memo: pki.NewMemo(1 << 20)},
	})
	if err != nil {
		t.Fatal(err)
	}
	digest, slug := attest.WorkloadURI(root), attest.SlugURI(testHost+"/alice/r:1.0.0")
	certify := func(shape string, uris ...string) *Reader {
		t.Helper()
		der, _ := world.CSR(shape, func(r *attesttest.Request) { r.URIs = uris })
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(der))
		r.Header.Set("Content-Type", "application/pkcs10")
		w := httptest.NewRecorder()
		server.Handler().ServeHTTP(w, r)
		var chain []asn1.RawValue
		if _, err := asn1.Unmarshal(w.Body.Bytes(), &chain); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d, %v: %s", w.Code, err, w.Body)
		}
		leaf, err := x509.ParseCertificate(chain[len(chain)-1].FullBytes)
		if err != nil {
			t.Fatal(err)
		}
		return readLeaf(leaf, "ours")
	}
	about := Resource{User: "alice", Repo: "r", Tag: "1.0.0", Exists: true, Root: root, Hosts: []string{testHost}}

	r := certify("snp-v2", digest, slug, attest.LogURI("none"))
	if r.Problem != "" || r.TEE != "snp" || !r.Development || r.NoHardware || r.Status != Warning || r.Names.Slug != testHost+"/alice/r:1.0.0" || r.Serial == "" {
		t.Errorf("SNP: %+v", r)
	}
	if d := r.reads(ReadTree, about); d == nil || !strings.Contains(d.Reason, "allow_development") {
		t.Errorf("SNP under development roots: %+v", d)
	}
	if about.Policy, err = ParsePolicy([]byte(`{"allow_development":true}`)); err != nil {
		t.Fatal(err)
	}
	if d := r.reads(ReadTree, about); d != nil {
		t.Errorf("SNP under development roots, allowed: %+v", d)
	}
	r = certify("none", digest)
	if r.Problem != "" || !r.NoHardware || r.Status == Affirming || r.Names.Slug != "" {
		t.Errorf("no hardware: %+v", r)
	}
	if d := r.reads(ReadTree, about); d == nil || !strings.Contains(d.Reason, "allow_no_hardware") {
		t.Errorf("no hardware: %+v", d)
	}
}

func TestReadLeaf(t *testing.T) {
	under := newCA(t, "Steward", nil)
	digest := attest.WorkloadURI(root)
	good := ear(Affirming, "snp", "vendor")
	tests := []struct {
		name string
		leaf *x509.Certificate
		why  string // that the default policy does not trust it; "" if it does
	}{
		{"good", leafOf([]string{digest}, good), ""},
		{"strange URI", leafOf([]string{digest, "https://x.example/"}, good), "not a URI that a Steward vouches for"},
		{"two digests", leafOf([]string{digest, attest.WorkloadURI(other)}, good), "second workload digest"},
		{"escaped URI", leafOf([]string{"ni:///sha-256;%41" + strings.TrimPrefix(digest, "ni:///sha-256;")[1:]}, good), "URIs"},
		{"query in URI", leafOf([]string{digest + "?a=b"}, good), "URIs"},
		{"no result", leafOf([]string{digest}), "no attestation result"},
		{"upstream's mark", leafOf([]string{digest}, good, pkix.Extension{Id: attest.OIDNone}), "allow_no_hardware"},
		{"garbage result", leafOf([]string{digest}, pkix.Extension{Id: attest.OIDCMW, Value: []byte("garbage")}), "not a CMW"},
		{"another type", leafOf([]string{digest}, attest.CMW("application/json", []byte("{}"))), "unknown type"},
		{"no JSON", leafOf([]string{digest}, attest.CMW(attest.EARType, []byte("{"))), "attestation result:"},
		{"about nobody", leafOf([]string{digest}, attest.CMW(attest.EARType, []byte(`{"ear_status":"affirming"}`))), "not about one Keep"},
		{"about two", leafOf([]string{digest}, attest.CMW(attest.EARType, []byte(`{"ear_status":"affirming","submods":{"keep":{"ear_status":"affirming","ear_verifier_claims":{"roots":"vendor"}},"other":{}}}`))), "not about one Keep"},
		{"two tiers", leafOf([]string{digest}, attest.CMW(attest.EARType, []byte(`{"ear_status":"affirming","submods":{"keep":{"ear_status":"warning"}}}`))), "not about one Keep"},
		{"contraindicated", leafOf([]string{digest}, ear("contraindicated", "snp", "vendor")), "contraindicated"},
		{"tier none", leafOf([]string{digest}, ear("none", "snp", "vendor")), `"none"`},
		{"unknown roots", leafOf([]string{digest}, ear(Affirming, "snp", "unknown")), "unknown"},
		{"affirming development", leafOf([]string{digest}, ear(Affirming, "snp", "development")), "allow_development"},
		{"affirming nothing", leafOf([]string{digest}, ear(Affirming, "none", "vendor")), "allow_no_hardware"},
		{"debug", leafOf([]string{digest}, attest.CMW(attest.EARType, []byte(
			`{"ear_status":"affirming","submods":{"keep":{"ear_status":"affirming","ear_attester_claims":{"tee":"snp","debug":true},"ear_verifier_claims":{"roots":"vendor"}}}}`))), "debugged"},
	}
	for _, tt := range tests {
		leaf, _ := issue(t, tt.leaf, under)
		r := readLeaf(leaf, "steward")
		why := (*Policy)(nil).trusts(r)
		if (why == "") != (tt.why == "") || !strings.Contains(why, tt.why) {
			t.Errorf("%s: %q, %+v", tt.name, why, r)
		}
	}
	for unit, why := range map[string]string{markNoHardware: "allow_no_hardware", markDevelopment: "allow_development"} {
		template := leafOf([]string{digest}, good)
		template.Subject.OrganizationalUnit = []string{unit}
		leaf, _ := issue(t, template, under)
		if got := (*Policy)(nil).trusts(readLeaf(leaf, "steward")); !strings.Contains(got, why) {
			t.Errorf("%s: %q", unit, got)
		}
	}
}

// handshake returns what a server with these CAs sees of a client, or its error.
func handshake(t *testing.T, a *Authorities, leaf *x509.Certificate, key *ecdsa.PrivateKey, chain ...*x509.Certificate) (tls.ConnectionState, error) {
	t.Helper()
	serverCA := newCA(t, "Server CA", nil)
	serverLeaf, serverKey := issue(t, &x509.Certificate{
		DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}, serverCA)
	roots := x509.NewCertPool()
	roots.AddCert(serverCA.cert)
	clientConfig := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	if leaf != nil {
		mine := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
		for _, c := range chain {
			mine.Certificate = append(mine.Certificate, c.Raw)
		}
		// Sent whatever the server says it takes.
		clientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &mine, nil }
	}
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		client := tls.Client(far, clientConfig)
		client.Handshake()          //nolint:errcheck // the server's side is what is tested
		io.Copy(io.Discard, client) //nolint:errcheck
		client.NetConn().Close()    //nolint:errcheck
	}()
	server := tls.Server(near, &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{serverLeaf.Raw}, PrivateKey: serverKey}}, MinVersion: tls.VersionTLS13,
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: a.Pool(), SessionTicketsDisabled: true,
	})
	err := server.HandshakeContext(context.Background())
	return server.ConnectionState(), err
}

func TestConnections(t *testing.T) {
	steward, second, foreign := newCA(t, "Steward", nil), newCA(t, "Second", nil), newCA(t, "Foreign", nil)
	between := newCA(t, "Between", steward)
	a := new(Authorities)
	for name, c := range map[string]*ca{"first": steward, "second": second} {
		if err := a.Add(name, c.pem()); err != nil {
			t.Fatal(err)
		}
	}
	template := func() *x509.Certificate {
		return leafOf([]string{attest.WorkloadURI(root)}, ear(Affirming, "snp", "vendor"))
	}
	now := time.Now()

	leaf, key := issue(t, template(), steward) // without any EKU, like upstream's test certificate
	state, err := handshake(t, a, leaf, key)
	if err != nil {
		t.Fatal(err)
	}
	if r := newReader(&state, a, now); r == nil || r.Authority != "first" || r.Serial != leaf.SerialNumber.Text(16) {
		t.Errorf("%+v", r)
	}
	if r := newReader(&state, a, now.Add(25*time.Hour)); r != nil {
		t.Errorf("expired on a connection, and yet %+v", r)
	}
	if r := newReader(&state, a, now.Add(-2*time.Hour)); r != nil {
		t.Errorf("before its time: %+v", r)
	}
	less := new(Authorities)
	if err := less.Add("second", second.pem()); err != nil {
		t.Fatal(err)
	}
	for _, trusted := range []*Authorities{less, new(Authorities), nil} {
		if r := newReader(&state, trusted, now); r != nil {
			t.Errorf("the CA has gone, and yet %+v", r)
		}
	}

	leaf, key = issue(t, template(), second)
	if state, err = handshake(t, a, leaf, key); err != nil {
		t.Fatal(err)
	}
	if r := newReader(&state, a, now); r == nil || r.Authority != "second" {
		t.Errorf("%+v", r)
	}
	leaf, key = issue(t, template(), between)
	if state, err = handshake(t, a, leaf, key, between.cert); err != nil {
		t.Fatal(err)
	}
	if r := newReader(&state, a, now); r == nil || r.Authority != "first" {
		t.Errorf("under an intermediate: %+v", r)
	}

	refused(t, a, template, steward, foreign)
}

// refused are the connections that do not come about.
func refused(t *testing.T, a *Authorities, template func() *x509.Certificate, steward, foreign *ca) {
	now := time.Now()
	state, err := handshake(t, a, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := newReader(&state, a, now); r != nil {
		t.Errorf("of no certificate: %+v", r)
	}
	leaf, key := issue(t, template(), foreign)
	if _, err = handshake(t, a, leaf, key); err == nil {
		t.Error("a foreign CA gets through the handshake")
	}
	leaf, key = issue(t, template(), nil)
	if _, err = handshake(t, a, leaf, key); err == nil {
		t.Error("a self-signed certificate gets through the handshake")
	}
	expired := template()
	expired.NotAfter = now.Add(-time.Second)
	leaf, key = issue(t, expired, steward)
	if _, err = handshake(t, a, leaf, key); err == nil {
		t.Error("an expired certificate gets through the handshake")
	}
	leaf, key = issue(t, template(), steward)
	if _, err = handshake(t, new(Authorities), leaf, key); err == nil {
		t.Error("without any CA, a certificate gets through the handshake")
	}
}

// A certificate and a token may come together; each opens what it opens.
func TestCertificateAndToken(t *testing.T) {
	steward := newCA(t, "Steward", nil)
	trusted := new(Authorities)
	if err := trusted.Add("steward", steward.pem()); err != nil {
		t.Fatal(err)
	}
	leaf, _ := issue(t, leafOf([]string{attest.WorkloadURI(root)}, ear(Affirming, "snp", "vendor")), steward)
	a, err := New(Config{Authorities: func() *Authorities { return trusted }, Hosts: []string{testHost}})
	if err != nil {
		t.Fatal(err)
	}
	mine := Resource{User: "alice", Repo: "r", Owner: "a", Tag: "1.0.0", Exists: true, Root: root}
	others := mine
	others.Root = other
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf, steward.cert}}}
	c := a.Caller(request)
	if err := c.Decide(t.Context(), ReadTree, mine); err != nil || c.Seen().Kind != Attested {
		t.Errorf("%v, seen %+v", err, c.Seen())
	}
	if err := c.Decide(t.Context(), ReadTree, others); err == nil || err.Error() != "The client certificate does not open this package" {
		t.Errorf("got %v", err)
	}
	if _, err := c.Authenticate(t.Context()); err == nil || err.Error() != "Bearer token header missing" {
		t.Errorf("a certificate instead of a token: %v", err)
	}
	request.Header.Set("Authorization", "Bearer nonsense")
	c = a.Caller(request)
	if err := c.Decide(t.Context(), ReadTree, mine); err != nil {
		t.Errorf("a bad token beside: %v", err)
	}
	if err := c.Decide(t.Context(), ReadTree, others); err == nil || err.Error() != invalidText {
		t.Errorf("got %v", err)
	}
}

func TestAuthorities(t *testing.T) {
	one, two := newCA(t, "One", nil), newCA(t, "Two", nil)
	between := newCA(t, "Between", one)
	leaf, _ := issue(t, leafOf(nil), one)
	dir := t.TempDir()
	write := func(name string, parts ...[]byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, bytes.Join(parts, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, err := LoadAuthorities([]string{write("old.pem", one.pem(), two.pem()), "new=" + write("x.pem", between.pem())})
	if err != nil {
		t.Fatal(err)
	}
	if names := a.Names(); len(names) != 2 {
		t.Errorf("names %q", names)
	}
	warnings := strings.Join(a.Warnings(), "\n")
	if strings.Count(warnings, "self-signed") != 2 || strings.Contains(warnings, "Between") {
		t.Errorf("warnings %q", warnings)
	}
	if name, ok := a.of([][]*x509.Certificate{{leaf, two.cert}}); !ok || name != "old" {
		t.Errorf("named %q", name)
	}
	if name, ok := a.of([][]*x509.Certificate{{}, {leaf, leaf}}); ok {
		t.Errorf("a chain to nobody is named %q", name)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})
	for name, files := range map[string][]string{
		"missing":      {filepath.Join(dir, "missing.pem")},
		"empty":        {write("empty.pem")},
		"text":         {write("text.pem", one.pem(), []byte("and more"))},
		"private key":  {write("key.pem", one.pem(), key)},
		"garbage":      {write("garbage.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}))},
		"two names":    {"a=" + write("a.pem", one.pem()), "b=" + write("b.pem", one.pem())},
		"no name":      {"=" + write("c.pem", one.pem())},
		"a large file": {write("large.pem", make([]byte, maxAuthorityFile+1))},
	} {
		if _, err := LoadAuthorities(files); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if got := new(Authorities).Pool(); got == nil || !got.Equal(x509.NewCertPool()) {
		t.Error("no CAs are not an empty pool")
	}
}
