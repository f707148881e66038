// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSelfSigned holds the certificate against spec/enarx.md 3.4.
func TestSelfSigned(t *testing.T) {
	id, err := SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	c := id.Leaf()
	if c.Version != 3 || c.Subject.String() != "CN=localhost" || c.Issuer.String() != "CN=localhost" {
		t.Errorf("version %d, subject %v, issuer %v", c.Version, c.Subject, c.Issuer)
	}
	if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
		t.Errorf("signature: %v", err)
	}
	if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() || c.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		t.Errorf("key %T, %v", c.PublicKey, c.SignatureAlgorithm)
	}
	if len(c.DNSNames)+len(c.IPAddresses)+len(c.URIs) != 0 || c.IsCA || !c.BasicConstraintsValid {
		t.Error("unexpected names or constraints")
	}
	if got := c.NotAfter.Sub(c.NotBefore); got != 365*24*time.Hour {
		t.Errorf("valid for %v", got)
	}
	if since := time.Since(c.NotBefore); since < 0 || since > time.Minute {
		t.Errorf("valid since %v", since)
	}
	if c.SerialNumber.BitLen() > 128 || c.SerialNumber.BitLen() < 64 {
		t.Errorf("serial %v is not 16 random bytes", c.SerialNumber)
	}
	critical := map[string]bool{}
	for _, e := range c.Extensions {
		critical[e.Id.String()] = e.Critical
	}
	// keyUsage, basicConstraints, extKeyUsage.
	if diff := cmp.Diff(map[string]bool{"2.5.29.15": true, "2.5.29.19": true, "2.5.29.37": false}, critical); diff != "" {
		t.Errorf("extensions (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, c.ExtKeyUsage); diff != "" {
		t.Errorf("extended key usage (-want +got):\n%s", diff)
	}
	if c.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment {
		t.Errorf("key usage %b", c.KeyUsage)
	}
	other, err := SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	if other.Leaf().SerialNumber.Cmp(c.SerialNumber) == 0 || other.Leaf().Equal(c) {
		t.Error("two identities are the same")
	}
}

func TestReplaceRefusesForeignCertificates(t *testing.T) {
	a, err := SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	b, err := SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	key := a.current.Load().PrivateKey.(*ecdsa.PrivateKey)
	if err := a.Replace(key, [][]byte{b.Leaf().Raw}); !errors.Is(err, ErrKeyMismatch) {
		t.Errorf("got %v, want ErrKeyMismatch", err)
	}
	if err := a.Replace(key, nil); err == nil {
		t.Error("an empty chain was accepted")
	}
	if _, err := New(key, [][]byte{{1, 2, 3}}); err == nil {
		t.Error("garbage was accepted")
	}
	if a.Leaf().Equal(b.Leaf()) {
		t.Error("a refused certificate is in use")
	}
}

func TestConfigs(t *testing.T) {
	id, err := SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for _, test := range []struct {
		name   string
		server Server
		want   tls.ClientAuthType
		fails  bool
	}{
		{"none", Server{}, tls.NoClientCert, false},
		{"request", Server{RequestClientAuth, pool}, tls.VerifyClientCertIfGiven, false},
		{"require", Server{RequireClientAuth, pool}, tls.RequireAndVerifyClientCert, false},
		{"request without CA", Server{RequestClientAuth, nil}, 0, true},
		{"require without CA", Server{RequireClientAuth, nil}, 0, true},
		{"unknown", Server{9, pool}, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			conf, err := id.TLSServer(test.server)
			if (err != nil) != test.fails {
				t.Fatal(err)
			}
			if err == nil && (conf.ClientAuth != test.want || conf.MinVersion != tls.VersionTLS13 || conf.MaxVersion != tls.VersionTLS13) {
				t.Errorf("got %+v", conf)
			}
		})
	}
}

// TestMozillaRoots fails when a TLS client would fall back to the trust store
// of the machine, or when the bundle is unreadable.
func TestMozillaRoots(t *testing.T) {
	id, err := SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	conf, err := id.TLSClient(nil)
	if err != nil {
		t.Fatal(err)
	}
	if conf.RootCAs == nil {
		t.Fatal("no roots: crypto/tls would use the machine's")
	}
	if conf.RootCAs.Equal(x509.NewCertPool()) {
		t.Error("the pool is empty")
	}
	again, err := id.TLSClient(nil)
	if err != nil || again.RootCAs != conf.RootCAs {
		t.Errorf("the roots are parsed again (%v)", err)
	}
}

func TestParseCA(t *testing.T) {
	id, err := SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	one := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.Leaf().Raw}))
	for _, test := range []struct {
		name, text string
		ok         bool
	}{
		{"one", one, true},
		{"two and a comment", "# mine\n" + one + "\n" + one, true},
		{"empty", "", false},
		{"text", "not a certificate", false},
		{"cut off", one[:len(one)/2], false},
		{"a key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})), false},
		{"garbage inside", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})), false},
		{"huge", strings.Repeat("a", maxCA+1), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			pool, err := ParseCA([]byte(test.text))
			if (err == nil) != test.ok || (pool != nil) != test.ok {
				t.Errorf("got %v, %v", pool, err)
			}
			if err != nil && !errors.Is(err, ErrBadCA) {
				t.Errorf("got %v, want ErrBadCA", err)
			}
		})
	}
}

func FuzzParseCA(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if pool, err := ParseCA(text); err == nil && pool == nil {
			t.Error("neither pool nor error")
		}
	})
}

// TestRenewal swaps the certificate while a connection stands: the connection
// keeps working and the next one sees the new certificate.
func TestRenewal(t *testing.T) {
	id, err := SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	server, err := id.TLSServer(Server{})
	if err != nil {
		t.Fatal(err)
	}
	careless := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	first, firstPeer, err := connect(t, careless, server)
	if err != nil {
		t.Fatal(err)
	}
	before := first.ConnectionState().PeerCertificates[0]

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "renewed"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Replace(key, [][]byte{der}); err != nil {
		t.Fatal(err)
	}
	second, _, err := connect(t, careless, server)
	if err != nil {
		t.Fatal(err)
	}
	if got := second.ConnectionState().PeerCertificates[0]; got.Equal(before) || got.Subject.CommonName != "renewed" {
		t.Errorf("the new connection sees %v", got.Subject)
	}
	go firstPeer.Write([]byte("still here"))
	buf := make([]byte, 16)
	if n, err := first.Read(buf); err != nil || string(buf[:n]) != "still here" {
		t.Errorf("old connection: %q, %v", buf[:n], err)
	}
}

// TestMutual connects two Keeps whose certificates come from one CA, and then
// Keeps that the other side has no reason to trust.
func TestMutual(t *testing.T) {
	ours, theirs := newCA(t), newCA(t)
	for _, test := range []struct {
		name           string
		server, client ca // who issued their certificates
		auth           ClientAuth
		trusted        bool
	}{
		{"same CA", ours, ours, RequireClientAuth, true},
		{"requested", ours, ours, RequestClientAuth, true},
		{"foreign server", theirs, ours, NoClientAuth, false},
		{"foreign client", ours, theirs, RequireClientAuth, false},
		{"foreign client, requested", ours, theirs, RequestClientAuth, false},
		{"foreign client, not asked", ours, theirs, NoClientAuth, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			pool, err := ParseCA(ours.pem)
			if err != nil {
				t.Fatal(err)
			}
			server, err := test.server.issue(t, "server.test").TLSServer(Server{ClientAuth: test.auth, ClientCAs: pool})
			if err != nil {
				t.Fatal(err)
			}
			keep := test.client.issue(t, "client.test")
			client, err := keep.TLSClient(pool)
			if err != nil {
				t.Fatal(err)
			}
			client.ServerName = "server.test"
			_, s, err := connect(t, client, server)
			if (err == nil) != test.trusted {
				t.Fatalf("got %v", err)
			}
			if err == nil && test.auth != NoClientAuth {
				if peers := s.ConnectionState().PeerCertificates; len(peers) == 0 || !peers[0].Equal(keep.Leaf()) {
					t.Errorf("the server sees %v", peers)
				}
			}
		})
	}
}

// TestSelfSignedIsNotTrusted: by default only the Mozilla roots count.
func TestSelfSignedIsNotTrusted(t *testing.T) {
	id, err := SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	server, err := id.TLSServer(Server{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := id.TLSClient(nil)
	if err != nil {
		t.Fatal(err)
	}
	client.ServerName = "localhost"
	if _, _, err := connect(t, client, server); err == nil {
		t.Error("a self-signed server was trusted")
	}
}

type ca struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func newCA(t *testing.T) ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return ca{key, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (c ca) issue(t *testing.T, name string) *Identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	id, err := New(key, [][]byte{der, c.cert.Raw})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// connect does a handshake and sends one byte each way: in TLS 1.3 a client
// learns only then that it was refused.
func connect(t *testing.T, clientConf, serverConf *tls.Config) (client, server *tls.Conn, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	client, server = tls.Client(a, clientConf), tls.Server(b, serverConf)
	result := make(chan error, 1)
	go func() {
		_, err := server.Read(make([]byte, 1))
		if err == nil {
			_, err = server.Write([]byte{1})
		}
		if err != nil {
			b.Close()
		}
		result <- err
	}()
	if _, err = client.Write([]byte{1}); err == nil {
		_, err = client.Read(make([]byte, 1))
	}
	if err != nil {
		a.Close()
	}
	return client, server, errors.Join(err, <-result)
}
