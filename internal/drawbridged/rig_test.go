// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
	"enarx.dev/enarx/internal/ledger"
	"enarx.dev/enarx/internal/serve"
	"enarx.dev/enarx/oidctest"
)

// A rig is a Drawbridge on loopback as the command runs it: real TLS, a real
// provider, a store in memory.
type rig struct {
	t      *testing.T
	idp    *oidctest.Provider
	store  *store.Store
	server *Server
	addr   string // host:port
	ca     *testCA
	client *tls.Config // for connections without a client certificate
	log    *syncBuffer
	kept   *http.Transport // ask's
}

// rigOptions are how a rig differs from the ordinary.
type rigOptions struct {
	down     bool // the provider is
	userinfo bool // instead of JWTs; both if jwt is set as well
	jwt      bool
	noIdP    bool // there is none
	store    store.Options
	bucket   *store.Store // instead of one in memory
	audit    string       // path of an audit log
	config   func(*Config)
	timeouts serve.Timeouts
	now      func() time.Time // of authentication
}

func newRig(t *testing.T, o rigOptions) *rig {
	t.Helper()
	r := &rig{t: t, ca: newTestCA(t, "Test Steward"), log: new(syncBuffer)}
	r.idp = oidctest.Start(t, oidctest.Options{Audience: "testserver"})
	if o.down {
		r.idp.Misbehave(oidctest.Fault{Down: true})
	}
	r.store = o.bucket
	if r.store == nil {
		var err error
		if r.store, err = store.OpenURL(t.Context(), "mem://", o.store); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.store.Close() })
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = listener.Addr().String()
	authorities := new(auth.Authorities)
	if err := authorities.Add("steward", r.ca.pem()); err != nil {
		t.Fatal(err)
	}
	who := auth.Config{
		Audiences: []string{"testserver"}, JWT: o.jwt || !o.userinfo, UserInfo: o.userinfo, Issuer: r.idp.Issuer(), ClientID: "enarx",
		Authorities: func() *auth.Authorities { return authorities }, Hosts: []string{r.addr}, Tokens: r.store, Subjects: r.store, Now: o.now,
	}
	if o.noIdP {
		who.Issuer, who.JWT, who.UserInfo = "", false, false
	}
	authenticator, err := auth.New(who)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Store: r.store, Auth: authenticator, Log: slog.New(slog.NewJSONHandler(r.log, nil))}
	if o.audit != "" {
		if cfg.Audit, err = ledger.Open[Record](o.audit, "the audit log", nil); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cfg.Audit.Close() })
	}
	if o.config != nil {
		o.config(&cfg)
	}
	if r.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	leaf := r.ca.issue(t, &x509.Certificate{
		DNSNames: []string{"localhost", "*.localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	config := serve.TLSConfig(func() (*tls.Certificate, error) { return leaf, nil })
	config.ClientAuth, config.ClientCAs = tls.VerifyClientCertIfGiven, authorities.Pool()
	pool := x509.NewCertPool()
	pool.AddCert(r.ca.cert)
	r.client = &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS13}

	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { authenticator.Run(ctx) })
	running.Go(func() {
		err := serve.Run(ctx, serve.Config{Timeouts: o.timeouts}, serve.Server{Name: "test", Listener: listener, Handler: r.server.Handler(), TLS: config})
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	// It is closed first: the server waits for connections that were never used.
	r.kept = r.transport(nil)
	return r
}

// token is a JWT with these claims besides the usual ones.
func (r *rig) token(claims oidctest.Claims) string { return r.idp.Mint(claims) }

// syncBuffer is a log that a test reads while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// take returns what was written, and forgets it.
func (b *syncBuffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.buf.Reset()
	return b.buf.String()
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// A testCA issues certificates, as a Steward does.
type testCA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newTestCA(t *testing.T, name string) *testCA {
	t.Helper()
	ca := &testCA{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca.cert = sign(t, template, template, ca.key.Public(), ca.key)
	return ca
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, key crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (ca *testCA) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// issue makes a leaf from the template.
func (ca *testCA) issue(t *testing.T, template *x509.Certificate) *tls.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	key := newKey(t)
	cert := sign(t, template, ca.cert, key.Public(), ca.key)
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// keep issues what upstream's Steward issues to a Keep without hardware, with
// the names that ours adds.
func (ca *testCA) keep(t *testing.T, names ...string) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		DNSNames:        []string{"foo.bar.hub.profian.com"},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 58270, 1, 1}}},
	}
	for _, name := range names {
		u, err := url.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	return ca.issue(t, template)
}

// ask is one request by Go's own client, for what is not about bytes on the
// wire. header is "Name: value" lines.
func (r *rig) ask(method, path, body string, header ...string) (*http.Response, string) {
	r.t.Helper()
	return r.askAs(nil, method, path, body, header...)
}

func (r *rig) askAs(cert *tls.Certificate, method, path, body string, header ...string) (*http.Response, string) {
	r.t.Helper()
	transport := r.kept
	if cert != nil {
		transport = r.transport(cert)
	}
	var in io.Reader = http.NoBody
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, "https://"+r.addr+path, in)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp, string(text)
}

// transport is how ask connects, with or without a client certificate.
func (r *rig) transport(cert *tls.Certificate) *http.Transport {
	config := r.client.Clone()
	if cert != nil {
		present(config, cert)
	}
	transport := &http.Transport{TLSClientConfig: config, DisableCompression: true}
	r.t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// want is ask, and a failure unless the status is as expected. It returns the
// body.
func (r *rig) want(status int, method, path, body string, header ...string) string {
	r.t.Helper()
	resp, text := r.ask(method, path, body, header...)
	if resp.StatusCode != status {
		r.t.Errorf("%s %s: %d %q, want %d", method, path, resp.StatusCode, text, status)
	}
	return text
}

func bearer(token string) string { return "Authorization: Bearer " + token }

// present makes a client show its certificate whether or not the server says
// that it knows the CA: Go's client would keep it to itself, rustls does not.
func present(config *tls.Config, cert *tls.Certificate) {
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
}
