// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
	"enarx.dev/enarx/oidctest"
)

const audience = "testserver"

// A rig is a Drawbridge with its site, on loopback, and a provider.
type rig struct {
	t       testing.TB
	host    string
	address string // where host really is
	idp     *oidctest.Provider
	store   *store.Store
	clock   func() time.Time // of the store
	pool    *x509.CertPool
	spki    string // of the server's certificate, for browsers
}

// newRig starts one at localhost. change may change the site's configuration.
func newRig(t testing.TB, change func(*Config)) *rig { t.Helper(); return newRigAt(t, "", change) }

// newRigAt starts one that takes itself to be at a host: clients must be told
// that it is at rig.address.
func newRigAt(t testing.TB, host string, change func(*Config)) *rig {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if host == "" {
		host = fmt.Sprintf("localhost:%d", listener.Addr().(*net.TCPAddr).Port)
	}
	idp := oidctest.Start(t, oidctest.Options{
		Clients: map[string]string{"site": ""}, Redirects: []string{"https://" + host + "/-/callback"},
	})
	r := &rig{t: t, host: host, address: listener.Addr().String(), idp: idp, clock: time.Now}
	st, err := store.OpenURL(t.Context(), "mem://", store.Options{Now: func() time.Time { return r.clock() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	r.store = st
	who, err := auth.New(auth.Config{
		Issuer: idp.Issuer(), Audiences: []string{audience}, JWT: true, Tokens: st, Hosts: []string{r.host},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); who.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })

	catalog := drawbridged.NewCatalog(st, nil)
	var site http.Handler
	server, err := drawbridged.New(drawbridged.Config{
		Store: st, Auth: who, Catalog: catalog,
		Web: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { site.ServeHTTP(w, q) }),
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Store: st, Catalog: catalog, API: server, Host: r.host, SignIn: &SignIn{Issuer: idp.Issuer(), ClientID: "site"},
		Log: slog.New(slog.NewTextHandler(testLog{t}, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	if site, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	r.listen(listener, server)
	return r
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("site: %s", bytes.TrimSpace(p))
	return len(p), nil
}

// listen serves TLS with a certificate of its own.
func (r *rig) listen(l net.Listener, h http.Handler) {
	r.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	name, _, _ := strings.Cut(r.host, ":")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		r.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		r.t.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	r.spki = base64.StdEncoding.EncodeToString(sum[:])
	r.pool = x509.NewCertPool()
	r.pool.AddCert(cert)
	server := &httptest.Server{
		Listener: l,
		Config:   &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)},
		TLS:      &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
	}
	server.StartTLS()
	r.t.Cleanup(server.Close)
}

// user makes a user in the store.
func (r *rig) user(name, subject string) {
	r.t.Helper()
	if _, err := r.store.PutUser(r.t.Context(), name, store.NewObject(drawbridge.User{Subject: subject}.Canonical(), drawbridge.TypeJSON)); err != nil {
		r.t.Fatal(err)
	}
}

// repo makes a repository in the store.
func (r *rig) repo(user, name string, public bool) {
	r.t.Helper()
	body := drawbridge.Repository{Public: public}.Canonical()
	if _, err := r.store.PutRepo(r.t.Context(), user, name, store.NewObject(body, drawbridge.TypeJSON)); err != nil {
		r.t.Fatal(err)
	}
}

// publish stores files, whose names may have folders, as a tag, and returns its
// digest.
func (r *rig) publish(user, repo, tag string, files map[string]string, signers ...crypto.Signer) string {
	r.t.Helper()
	root := r.folder(user, repo, tag, nil, files)
	entry := drawbridge.Entry{Meta: root}
	signed := drawbridge.NewTag(entry)
	if len(signers) > 0 {
		var err error
		if signed, err = drawbridge.SignTag(entry, user+"/"+repo+":"+tag, signers...); err != nil {
			r.t.Fatal(err)
		}
	}
	result, err := r.store.PutTag(r.t.Context(), user, repo, tag, store.NewObject(signed.Raw, signed.Type))
	if err != nil || !result.Committed {
		r.t.Fatal(result, err)
	}
	sum, _ := root.Digests.SHA256()
	return fmt.Sprintf("%x", sum)
}

func (r *rig) folder(user, repo, tag string, at drawbridge.Path, files map[string]string) drawbridge.Meta {
	r.t.Helper()
	dir, below := drawbridge.Directory{}, map[string]map[string]string{}
	for name, text := range files {
		if first, rest, ok := strings.Cut(name, "/"); ok {
			if below[first] == nil {
				below[first] = map[string]string{}
			}
			below[first][rest] = text
			continue
		}
		dir[name] = drawbridge.Entry{Meta: r.node(user, repo, drawbridge.TypeByName(name), text)}
	}
	for name, of := range below {
		dir[name] = drawbridge.Entry{Meta: r.folder(user, repo, tag, at.Child(name), of)}
	}
	return r.node(user, repo, drawbridge.TypeDirectory, string(dir.Canonical()))
}

func (r *rig) node(user, repo, mediaType, text string) drawbridge.Meta {
	r.t.Helper()
	m := drawbridge.MetaOf([]byte(text), mediaType)
	if _, err := r.store.PutNode(r.t.Context(), user, repo, "", nil, m, strings.NewReader(text)); err != nil {
		r.t.Fatal(err)
	}
	return m
}

// A visitor is a browser without a screen.
type visitor struct {
	*rig
	client *http.Client
}

func (r *rig) visitor() *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.pool}}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &visitor{r, &http.Client{Transport: transport, Jar: jar, Timeout: 20 * time.Second}}
}

// A page is an answer with its text.
type page struct {
	*http.Response
	text string
}

func (v *visitor) send(q *http.Request) page {
	v.t.Helper()
	res, err := v.client.Do(q)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return page{res, string(text)}
}

func (v *visitor) request(method, path, body string) *http.Request {
	v.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = "https://" + v.host + path
	}
	q, err := http.NewRequestWithContext(v.t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	q.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	return q
}

func (v *visitor) get(path string) page { v.t.Helper(); return v.send(v.request("GET", path, "")) }

// want is get with the status that it must have.
func (v *visitor) want(status int, path string) page {
	v.t.Helper()
	p := v.get(path)
	if p.StatusCode != status {
		v.t.Fatalf("GET %s: %s, want %d\n%s", path, p.Status, status, p.text)
	}
	return p
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// post sends a form as a browser does from a page of the site.
func (v *visitor) post(path string, fields url.Values) page {
	v.t.Helper()
	if !fields.Has("csrf") {
		m := csrfField.FindStringSubmatch(v.get("/").text)
		if m == nil {
			v.t.Fatal("no form on the first page: not signed in")
		}
		fields.Set("csrf", m[1])
	}
	q := v.request("POST", path, fields.Encode())
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.Header.Set("Origin", "https://"+v.host)
	q.Header.Set("Sec-Fetch-Site", "same-origin")
	return v.send(q)
}

// signIn signs in at the provider, and returns where that ends.
func (v *visitor) signIn(subject, to string) page {
	v.t.Helper()
	p := v.want(200, "/-/login?to="+url.QueryEscape(to))
	return v.answer(p, subject, "allow")
}

// answer fills in the provider's form.
func (v *visitor) answer(p page, subject, action string) page {
	v.t.Helper()
	doc, err := html.Parse(strings.NewReader(p.text))
	if err != nil {
		v.t.Fatal(err)
	}
	fields := url.Values{}
	for _, input := range all(doc, "input") {
		fields.Set(attr(input, "name"), attr(input, "value"))
	}
	fields.Set("subject", subject)
	fields.Set("action", action)
	forms := all(doc, "form")
	if len(forms) != 1 {
		v.t.Fatalf("the provider shows no form:\n%s", p.text)
	}
	q := v.request("POST", attr(forms[0], "action"), fields.Encode())
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return v.send(q)
}

// all returns the elements with a name below n, in order.
func all(n *html.Node, name string) []*html.Node {
	var found []*html.Node
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && (d.Data == name || name == "*") {
			found = append(found, d)
		}
	}
	return found
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

// words is the text below n with the white space as a browser shows it.
func words(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// wordsOf is words for a page.
func wordsOf(t testing.TB, p page) string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(p.text))
	if err != nil {
		t.Fatal(err)
	}
	return words(doc)
}
