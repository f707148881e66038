// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/internal/live"
	"enarx.dev/enarx/internal/steward/authority"
)

// now is when the tests take place.
var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// world is the silicon of the tests. Requests are made under its lock.
var world = sync.OnceValue(func() *attesttest.World { return attesttest.New("internal/steward", now) })

var making sync.Mutex

// csr makes a request of that shape; the same one again costs nothing.
func csr(shape string, edits ...func(*attesttest.Request)) []byte {
	making.Lock()
	defer making.Unlock()
	if der, ok := made[shape]; ok && len(edits) == 0 {
		return der
	}
	der, _ := world().CSR(shape, edits...)
	if len(edits) == 0 {
		made[shape] = der
	}
	return der
}

var made = map[string][]byte{}

// collateral is what the vendors of world publish.
var collateral = sync.OnceValue(func() *attest.Collateral {
	making.Lock()
	defer making.Unlock()
	raw, c := world().Collateral(), &attest.Collateral{}
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	for _, der := range raw.Certificates {
		cert, err := x509.ParseCertificate(der)
		must(err)
		c.Certificates = append(c.Certificates, cert)
	}
	for _, der := range raw.CRLs {
		crl, err := pki.ParseCRL(der)
		must(err)
		c.CRLs = append(c.CRLs, crl)
	}
	for _, text := range raw.TCBInfos {
		info, err := dcap.ParseTCBInfo(text)
		must(err)
		c.TCBInfos = append(c.TCBInfos, info)
	}
	for _, text := range raw.QEIdentities {
		id, err := dcap.ParseQEIdentity(text)
		must(err)
		c.QEIdentities = append(c.QEIdentities, id)
	}
	return c
})

// withCollateral lets the server have all of it.
func withCollateral(cfg *Config) {
	cfg.Collateral = func(context.Context, *attest.Evidence, *check.Group) *attest.Collateral { return collateral() }
}

// insecurely accepts evidence without hardware.
func insecurely(cfg *Config) {
	p := attest.DefaultPolicy()
	p.Insecure = true
	cfg.Policy = live.Fixed(p)
}

// policy makes the server's policy that text.
func policy(t *testing.T, text string) func(*Config) {
	t.Helper()
	p, err := attest.ParsePolicy("policy.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return func(cfg *Config) { cfg.Policy = live.Fixed(p) }
}

// rig is a Steward with a front door.
type rig struct {
	t      *testing.T
	server *Server
	url    string
	ca     *authority.CA
	log    *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var testCA = sync.OnceValues(func() (*authority.CA, error) {
	return authority.Generate("steward.example", elliptic.P256(), now.Add(-time.Hour), authority.KeptLife)
})

func newRig(t *testing.T, edits ...func(*Config)) *rig {
	t.Helper()
	ca, err := testCA()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, log: &syncBuffer{}}
	making.Lock()
	roots := world().Roots()
	making.Unlock()
	cfg := Config{
		CA: live.Fixed(ca), Policy: live.Fixed(attest.DefaultPolicy()),
		Roots: &attest.Roots{Set: roots, Memo: pki.NewMemo(32 << 20)}, Development: true,
		Log: slog.New(slog.NewJSONHandler(r.log, nil)), Now: func() time.Time { return now },
	}
	for _, edit := range edits {
		edit(&cfg)
	}
	r.ca = cfg.CA.Get()
	if r.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(r.server.Handler())
	t.Cleanup(front.Close)
	r.url = front.URL
	return r
}

// reply is an answer that was read.
type reply struct {
	*http.Response
	body []byte
}

// send sends a request with headers given in pairs.
func (r *rig) send(method, path string, body []byte, headers ...string) reply {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply{resp, text}
}

// post sends one request.
func (r *rig) post(der []byte, headers ...string) reply {
	r.t.Helper()
	return r.send("POST", "/", der, append([]string{"Content-Type", typeRequest}, headers...)...)
}

// bundle sends several.
func (r *rig) bundle(requests [][]byte, headers ...string) reply {
	r.t.Helper()
	return r.send("POST", "/", sequence(requests...), append([]string{"Content-Type", typeBundle}, headers...)...)
}

// refused is the problem document of a request that must be refused.
func (r *rig) refused(der []byte, status int) problemDoc {
	r.t.Helper()
	resp := r.post(der, "Accept", typeProblem)
	var p problemDoc
	if resp.StatusCode != status || resp.Header.Get("Content-Type") != typeProblem {
		r.t.Fatalf("%s, %q: %q", resp.Status, resp.Header.Get("Content-Type"), resp.body)
	}
	if err := json.Unmarshal(resp.body, &p); err != nil {
		r.t.Fatalf("%v in %s", err, resp.body)
	}
	return p
}

// wantCode requires a request to be refused by the check with that code.
func (r *rig) wantCode(what string, der []byte, code string) problemDoc {
	r.t.Helper()
	p := r.refused(der, http.StatusBadRequest)
	if p.Code != code {
		r.t.Errorf("%s: refused by %s (%s), want %s", what, p.Code, p.Detail, code)
	}
	return p
}

// issued returns the certificate that a request must get.
func (r *rig) issued(der []byte) *x509.Certificate {
	r.t.Helper()
	resp := r.post(der)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != typeDER {
		r.t.Fatalf("%s, %q: %s", resp.Status, resp.Header.Get("Content-Type"), r.log)
	}
	path := certificates(r.t, resp.body)
	leaf := path[len(path)-1]
	if err := leaf.CheckSignatureFrom(r.ca.Certificate); err != nil {
		r.t.Fatal(err)
	}
	return leaf
}

type problemDoc struct {
	Title, Detail, Code, Fix string
	Status                   int
	RequestID                string `json:"request_id"`
	Index                    *int
	Checks                   json.RawMessage
}

// sequence encodes SEQUENCE { parts } by hand.
func sequence(parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	der, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: body})
	if err != nil {
		panic(err)
	}
	return der
}

// certificates parses SEQUENCE OF Certificate.
func certificates(t *testing.T, der []byte) []*x509.Certificate {
	t.Helper()
	var raw []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &raw); err != nil || len(rest) > 0 {
		t.Fatalf("%v, %d bytes left", err, len(rest))
	}
	var all []*x509.Certificate
	for _, r := range raw {
		c, err := x509.ParseCertificate(r.FullBytes)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// count returns how often the log says something.
func count(t *testing.T, log *syncBuffer, part string) int {
	t.Helper()
	return bytes.Count([]byte(log.String()), []byte(part))
}

// nothing asks for no extension at all.
func nothing([]pkix.Extension) []pkix.Extension { return nil }

// children returns the elements of a SEQUENCE.
func children(t *testing.T, der []byte) [][]byte {
	t.Helper()
	var raw []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &raw); err != nil || len(rest) > 0 {
		t.Fatalf("%v, %d bytes left", err, len(rest))
	}
	var all [][]byte
	for _, r := range raw {
		all = append(all, r.FullBytes)
	}
	return all
}

// validAt returns a CA that can issue then.
func validAt(t *testing.T, at time.Time) *live.Value[*authority.CA] {
	t.Helper()
	ca, err := authority.Generate("steward.example", elliptic.P256(), at.Add(-time.Hour), authority.EphemeralLife)
	if err != nil {
		t.Fatal(err)
	}
	return live.Fixed(ca)
}

type ecPublic = *ecdsa.PublicKey

var p256 = elliptic.P256()

func itoa(n int) string { return strconv.Itoa(n) }

func serialOf(t *testing.T, der []byte) *big.Int {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c.SerialNumber
}

// measurement is that of the default guest, as a result says it.
func measurement(t *testing.T) string {
	t.Helper()
	m := world().Chip().NewReport().Measurement
	return hex.EncodeToString(m[:])
}

// metricsOf returns what the admin address says.
func metricsOf(t *testing.T, r *rig) string {
	t.Helper()
	w := httptest.NewRecorder()
	r.server.Admin().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d", w.Code)
	}
	return w.Body.String()
}

type checkGroup = check.Group

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
