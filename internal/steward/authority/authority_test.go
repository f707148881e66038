// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/crypto/ssh/agent"

	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/need"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func newKeyPair(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issued makes a certificate by hand, of parent or of itself.
func issued(t *testing.T, key, parentKey *ecdsa.PrivateKey, parent *x509.Certificate, name string, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if change != nil {
		change(template)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func certPEM(certs ...*x509.Certificate) []byte {
	var text bytes.Buffer
	for _, c := range certs {
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return text.Bytes()
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func sec1(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

func write(t *testing.T, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestLoad(t *testing.T) {
	key, other := newKeyPair(t, elliptic.P256()), newKeyPair(t, elliptic.P384())
	p224 := newKeyPair(t, elliptic.P224())
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	root := issued(t, other, nil, nil, "root", nil)
	mid := issued(t, key, other, root, "steward", nil)
	stranger := issued(t, other, nil, nil, "stranger", nil)
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 0}})
	leaf := issued(t, key, other, root, "leaf", func(c *x509.Certificate) { c.IsCA = false })
	noSign := issued(t, key, other, root, "no", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })
	forged := issued(t, key, p224, issued(t, p224, nil, nil, "root", nil), "steward", nil)
	for name, test := range map[string]struct {
		key, crt []byte
		want     string // "" means it loads
	}{
		"PKCS#8":                 {pkcs8(t, key), certPEM(mid), ""},
		"SEC1":                   {sec1(t, key), certPEM(mid), ""},
		"SEC1 with parameters":   {append(parameters, sec1(t, key)...), certPEM(mid), ""},
		"P-384 and self-signed":  {pkcs8(t, other), certPEM(root), ""},
		"with its issuer":        {pkcs8(t, key), certPEM(mid, root), ""},
		"text around the blocks": {append([]byte("key:\n"), pkcs8(t, key)...), append([]byte("mine\n"), certPEM(mid)...), ""},

		"another key":          {pkcs8(t, other), certPEM(mid), "not for this key"},
		"wrong order":          {pkcs8(t, key), certPEM(root, mid), "not for this key"},
		"not the issuer":       {pkcs8(t, key), certPEM(mid, stranger), "does not issue"},
		"forged":               {pkcs8(t, key), certPEM(forged, root), "is not signed by"},
		"no CA":                {pkcs8(t, key), certPEM(leaf), "is not a CA's"},
		"may not sign":         {pkcs8(t, key), certPEM(noSign), "key usage"},
		"P-224":                {pkcs8(t, p224), certPEM(issued(t, p224, nil, nil, "x", nil)), "P-256 and P-384"},
		"RSA":                  {pkcs8(t, rsaKey), certPEM(mid), "P-256 or P-384"},
		"encrypted":            {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY"}), certPEM(mid), "encrypted"},
		"no key":               {[]byte("hello"), certPEM(mid), "no PEM private key"},
		"a certificate as key": {certPEM(mid), certPEM(mid), `starts with "CERTIFICATE"`},
		"damaged key":          {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}), certPEM(mid), "bad CA key"},
		"no certificate":       {pkcs8(t, key), nil, "no PEM certificate"},
		"a key in between":     {pkcs8(t, key), append(certPEM(mid), pkcs8(t, key)...), `holds "PRIVATE KEY"`},
		"damaged certificate":  {pkcs8(t, key), append(certPEM(mid), "-----BEGIN CERTIFICATE-----\n!\n"...), "certificate 2"},
		"huge":                 {pkcs8(t, key), make([]byte, maxPEM+1), "more than"},
	} {
		ca, err := Load(write(t, test.key), write(t, test.crt))
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", name, err, test.want)
		case test.want == "" && ca.Check(now) != nil:
			t.Errorf("%s: %v", name, ca.Check(now))
		}
	}
}

func TestChain(t *testing.T) {
	key, rootKey := newKeyPair(t, elliptic.P256()), newKeyPair(t, elliptic.P384())
	root := issued(t, rootKey, nil, nil, "root", nil)
	mid := issued(t, key, rootKey, root, "steward", nil)
	ca, err := Load(write(t, pkcs8(t, key)), write(t, certPEM(mid, root)))
	if err != nil {
		t.Fatal(err)
	}
	if want := append(bytes.Clone(root.Raw), mid.Raw...); !bytes.Equal(ca.Path(), want) {
		t.Error("the path does not go down from the root")
	}
	if !bytes.Equal(ca.PEM(), certPEM(mid, root)) {
		t.Error("the PEM chain does not go up from the CA")
	}
	for _, at := range []time.Time{now.Add(-2 * time.Hour), now.Add(2 * time.Hour)} {
		if ca.Check(at) == nil {
			t.Errorf("can issue at %v", at)
		}
	}
}

// leafTemplate is a certificate with everything in it that Issue can write.
func leafTemplate(t *testing.T, ca *CA, key *ecdsa.PrivateKey) *Template {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	san, err := SubjectAltName([]string{"svc.example"}, []string{"enarx:host/user/repo:1.0"})
	if err != nil {
		t.Fatal(err)
	}
	ski, err := SubjectKeyID(spki)
	if err != nil {
		t.Fatal(err)
	}
	aki, ok := ca.AuthorityKeyID()
	if !ok {
		t.Fatal("a generated CA has no subject key id")
	}
	san.Critical = true // as it has to be beside an empty subject
	return &Template{
		Serial: NewSerial(), NotBefore: now, NotAfter: now.Add(24 * time.Hour), Subject: EmptyName, PublicKey: spki,
		Extensions: []pkix.Extension{san, ExtKeyUsage, KeyUsage, NoCA, ski, aki},
	}
}

func TestIssue(t *testing.T) {
	openssl := need.Tool(t, "openssl")
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()} {
		ca, err := Generate("steward.example", curve, now, EphemeralLife)
		if err != nil {
			t.Fatal(err)
		}
		key := newKeyPair(t, elliptic.P384())
		template := leafTemplate(t, ca, key)
		der, err := ca.Issue(template)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := c.CheckSignatureFrom(ca.Certificate); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.Version != 3 || c.SerialNumber.Cmp(new(big.Int).SetBytes(template.Serial)) != 0 || !c.NotBefore.Equal(now) || !c.NotAfter.Equal(now.Add(24*time.Hour)) ||
			c.IsCA || !c.BasicConstraintsValid || c.KeyUsage != x509.KeyUsageDigitalSignature || len(c.ExtKeyUsage) != 2 ||
			c.DNSNames[0] != "svc.example" || c.URIs[0].String() != "enarx:host/user/repo:1.0" ||
			!bytes.Equal(c.AuthorityKeyId, ca.Certificate.SubjectKeyId) || len(c.SubjectKeyId) != 20 || !key.PublicKey.Equal(c.PublicKey) {
			t.Errorf("%s: %+v", name, c)
		}
		if len(c.UnhandledCriticalExtensions) != 0 {
			t.Errorf("%s: unhandled: %v", name, c.UnhandledCriticalExtensions)
		}
		// What crypto/x509 makes of the same facts has the same key id.
		if twin := issued(t, key, nil, nil, "twin", nil); !bytes.Equal(twin.SubjectKeyId, c.SubjectKeyId) {
			t.Errorf("%s: key id %x, crypto/x509 says %x", name, c.SubjectKeyId, twin.SubjectKeyId)
		}
		cmd := exec.Command(openssl, "verify", "-x509_strict", "-purpose", "sslserver", "-attime", "1795262500",
			"-CAfile", write(t, ca.PEM()), write(t, certPEM(c)))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: openssl: %v\n%s", name, err, out)
		}
	}
}

func TestIssueTimesAndSerials(t *testing.T) {
	ca, err := Generate("x", elliptic.P256(), now, EphemeralLife)
	if err != nil {
		t.Fatal(err)
	}
	key := newKeyPair(t, elliptic.P256())
	for _, serial := range [][]byte{{1}, {0x80}, {0, 0, 0x7f}, bytes.Repeat([]byte{0xff}, 16)} {
		template := leafTemplate(t, ca, key)
		template.Serial = serial
		template.NotBefore = time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)
		template.NotAfter = template.NotBefore.Add(time.Second)
		der, err := ca.Issue(template)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatalf("%x: %v", serial, err)
		}
		if c.SerialNumber.Cmp(new(big.Int).SetBytes(serial)) != 0 || c.NotAfter.Year() != 2050 {
			t.Errorf("%x: %v, %v", serial, c.SerialNumber, c.NotAfter)
		}
		if !bytes.Contains(c.RawTBSCertificate, []byte("\x17\x0d491231235959Z\x18\x0f20500101000000Z")) {
			t.Error("times are not UTCTime until 2049 and GeneralizedTime from then on")
		}
	}
	seen := map[string]bool{}
	for range 1000 {
		serial := NewSerial()
		if len(serial) != SerialSize || seen[string(serial)] {
			t.Fatalf("serial %x", serial)
		}
		seen[string(serial)] = true
	}
}

func TestSignJWT(t *testing.T) {
	for curve, alg := range map[elliptic.Curve]jose.SignatureAlgorithm{elliptic.P256(): jose.ES256, elliptic.P384(): jose.ES384} {
		ca, err := Generate("x", curve, now, EphemeralLife)
		if err != nil {
			t.Fatal(err)
		}
		for range 64 { // some signatures have a half that starts with zeros
			text, err := ca.SignJWT([]byte(`{"a":1}`))
			if err != nil {
				t.Fatal(err)
			}
			object, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{alg})
			if err != nil {
				t.Fatal(err)
			}
			if claims, err := object.Verify(ca.Certificate.PublicKey); err != nil || string(claims) != `{"a":1}` {
				t.Fatalf("%s, %v", claims, err)
			}
			header := object.Signatures[0].Protected
			pool := x509.NewCertPool()
			pool.AddCert(ca.Certificate)
			chain, err := header.Certificates(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			if err != nil || !chain[0][0].Equal(ca.Certificate) || header.KeyID != ca.KeyID() || header.ExtraHeaders["typ"] != "eat+jwt" {
				t.Fatalf("%v, %+v", err, header)
			}
		}
	}
}

func TestKeep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "state")
	var wg sync.WaitGroup
	made := make([]*CA, 8)
	for i := range made {
		wg.Go(func() {
			ca, err := Keep(dir, "steward.example", elliptic.P384(), now)
			if err != nil {
				t.Error(err)
				return
			}
			made[i] = ca
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, ca := range made {
		if !ca.Certificate.Equal(made[0].Certificate) || ca.Certificate.Subject.CommonName != "steward.example" {
			t.Error("eight starts made different CAs")
		}
	}
	key, crt := filepath.Join(dir, KeyName), filepath.Join(dir, CertName)
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// Without its certificate, the key gets a new one; the other way round is a loss.
	if err := os.Remove(crt); err != nil {
		t.Fatal(err)
	}
	again, err := Keep(dir, "other", elliptic.P256(), now)
	if err != nil || !again.Certificate.PublicKey.(*ecdsa.PublicKey).Equal(made[0].Certificate.PublicKey) {
		t.Errorf("the key was not kept: %v", err)
	}
	if err := os.Chmod(key, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Keep(dir, "x", elliptic.P256(), now); err == nil || !strings.HasPrefix(diag.HintOf(err), "chmod 600") {
		t.Errorf("a key that others can read: %v", err)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if _, err := Keep(dir, "x", elliptic.P256(), now); err == nil || !strings.Contains(err.Error(), "without its key") {
		t.Errorf("a certificate without its key: %v", err)
	}
}

func TestCurve(t *testing.T) {
	for name, want := range map[string]elliptic.Curve{"p256": elliptic.P256(), "P-384": elliptic.P384(), "p521": nil} {
		if got, err := Curve(name); got != want || (err == nil) != (want != nil) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// mute is a token that was pulled out.
type mute struct{ crypto.Signer }

func (mute) Sign(_ io.Reader, _ []byte, _ crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("gone")
}

func TestNewRefusesDeadKey(t *testing.T) {
	key := newKeyPair(t, elliptic.P256())
	if _, err := New(mute{key}, []*x509.Certificate{issued(t, key, nil, nil, "x", nil)}); !errors.Is(err, ErrKey) {
		t.Errorf("%v", err)
	}
}

// keyring serves an agent in this process and returns its socket.
func keyring(t *testing.T, ring agent.Agent) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = agent.ServeAgent(ring, conn) // ends with the connection
				conn.Close()
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return socket
}

// TestW16: the CA's key need not be in a file. An ssh-agent signs with what it
// holds, or with what a PKCS#11 token holds for it (spec/steward.md section 6).
func TestW16(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		key := newKeyPair(t, curve)
		crt := write(t, certPEM(issued(t, key, nil, nil, "x", nil)))
		ring := agent.NewKeyring()
		socket := keyring(t, ring)
		if _, err := Load("ssh-agent:"+socket, crt); err == nil || !strings.Contains(diag.HintOf(err), "ssh-add") {
			t.Errorf("an agent without the key: %v", err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
		usable(t, "ssh-agent:"+socket, crt)
	}
	if KeyFile("ssh-agent:/x") != "" || KeyFile("/x") != "/x" {
		t.Error("KeyFile")
	}
}

// usable loads a CA and lets it sign both things that it signs.
func usable(t *testing.T, key, crt string) {
	t.Helper()
	ca, err := Load(key, crt)
	if err != nil {
		t.Fatal(err)
	}
	template := &Template{Serial: NewSerial(), NotBefore: now, NotAfter: now, Subject: EmptyName, PublicKey: ca.Certificate.RawSubjectPublicKeyInfo,
		Extensions: []pkix.Extension{KeyUsage}}
	der, err := ca.Issue(template)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckSignatureFrom(ca.Certificate); err != nil {
		t.Error(err)
	}
	if _, err := ca.SignJWT([]byte("{}")); err != nil {
		t.Error(err)
	}
}

// TestOpenSSHAgent signs with the agent that operators have.
func TestOpenSSHAgent(t *testing.T) {
	program, err := exec.LookPath("ssh-agent")
	if err != nil {
		t.Skip("skipped: no ssh-agent on this machine")
	}
	socket := filepath.Join(t.TempDir(), "agent.sock")
	cmd := exec.Command(program, "-D", "-a", socket)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 64)); err != nil { // it prints its socket once it listens
		t.Fatal(err)
	}
	key := newKeyPair(t, elliptic.P256())
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := agent.NewClient(conn).Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	usable(t, "ssh-agent:"+socket, write(t, certPEM(issued(t, key, nil, nil, "x", nil))))
}

func BenchmarkIssue(b *testing.B) {
	ca, err := Generate("x", elliptic.P256(), now, EphemeralLife)
	if err != nil {
		b.Fatal(err)
	}
	template := &Template{Serial: NewSerial(), NotBefore: now, NotAfter: now, Subject: EmptyName, PublicKey: ca.Certificate.RawSubjectPublicKeyInfo,
		Extensions: []pkix.Extension{KeyUsage, NoCA, ExtKeyUsage}}
	for b.Loop() {
		if _, err := ca.Issue(template); err != nil {
			b.Fatal(err)
		}
	}
}
