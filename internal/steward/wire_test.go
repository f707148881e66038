// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/internal/need"
)

// TestWire is spec/steward.md sections 1.1 to 1.4: what upstream's clients see.
func TestWire(t *testing.T) {
	r := newRig(t, insecurely)
	good := csr("none")
	noEvidence := csr("none", dropEvidence)
	signature := append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]+1)
	large := make([]byte, 2<<20+1)
	for name, test := range map[string]struct {
		method, path, contentType string
		body                      []byte
		status                    int
		allow                     string
	}{
		"health":                  {"GET", "/", "", nil, 200, ""},
		"health by HEAD":          {"HEAD", "/", "", nil, 200, ""},
		"another method":          {"PUT", "/", typeRequest, good, 405, "GET, HEAD, POST"},
		"another path":            {"POST", "/x", typeRequest, good, 404, ""},
		"a path upstream 404s":    {"POST", "//", typeRequest, good, 404, ""},
		"a query":                 {"POST", "/?a=b", typeRequest, good, 200, ""},
		"one request":             {"POST", "/", typeRequest, good, 200, ""},
		"type in capitals":        {"POST", "/", "Application/PKCS10", good, 200, ""},
		"no type":                 {"POST", "/", "", good, 400, ""},
		"no type and large":       {"POST", "/", "", large, 400, ""},
		"another type":            {"POST", "/", "text/plain", good, 400, ""},
		"a type with parameters":  {"POST", "/", typeRequest + ";charset=utf-8", good, 400, ""},
		"another type and large":  {"POST", "/", "text/plain", large, 413, ""},
		"too large":               {"POST", "/", typeRequest, large, 413, ""},
		"as large as may be":      {"POST", "/", typeRequest, large[:2<<20], 400, ""},
		"nothing":                 {"POST", "/", typeRequest, nil, 400, ""},
		"PEM":                     {"POST", "/", typeRequest, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: good}), 400, ""},
		"bytes after it":          {"POST", "/", typeRequest, append(bytes.Clone(good), 0), 400, ""},
		"cut":                     {"POST", "/", typeRequest, good[:len(good)-1], 400, ""},
		"signature changed":       {"POST", "/", typeRequest, signature, 400, ""},
		"no evidence":             {"POST", "/", typeRequest, noEvidence, 401, ""},
		"a bundle":                {"POST", "/", typeBundle, sequence(good, good), 200, ""},
		"an empty bundle":         {"POST", "/", typeBundle, sequence(), 200, ""},
		"a request as a bundle":   {"POST", "/", typeBundle, good, 400, ""},
		"a bundle as a request":   {"POST", "/", typeRequest, sequence(good), 400, ""},
		"no evidence in a bundle": {"POST", "/", typeBundle, sequence(good, noEvidence), 401, ""},
		"a bad one in a bundle":   {"POST", "/", typeBundle, sequence(good, signature), 400, ""},
		"description by POST":     {"POST", wellKnown, typeRequest, good, 405, "GET, HEAD"},
	} {
		var headers []string
		if test.contentType != "" {
			headers = []string{"Content-Type", test.contentType}
		}
		resp := r.send(test.method, test.path, test.body, headers...)
		if resp.StatusCode != test.status {
			t.Errorf("%s: %s, want %d", name, resp.Status, test.status)
		}
		if resp.StatusCode != 200 && (len(resp.body) > 0 || resp.Header.Get("WWW-Authenticate") != "") {
			t.Errorf("%s: a refusal with %q, %q", name, resp.body, resp.Header)
		}
		if got := resp.Header.Get("Allow"); got != test.allow {
			t.Errorf("%s: Allow: %q", name, got)
		}
		if len(resp.Header.Get("X-Request-Id")) != 24 {
			t.Errorf("%s: no request id", name)
		}
	}
}

// dropEvidence asks for a certificate without showing anything.
func dropEvidence(r *attesttest.Request) { r.Extensions = nothing }

// TestSingle is the answer to one request, as upstream's clients take it apart.
func TestSingle(t *testing.T) {
	r := newRig(t, withCollateral)
	for _, shape := range []string{"snp-v1", "snp-v2", "sgx-v1", "sgx-v2", "sgx-v3", "tdx-v1"} {
		resp := r.post(csr(shape))
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != typeDER || resp.ContentLength != int64(len(resp.body)) {
			t.Errorf("%s: %s %v: %s", shape, resp.Status, resp.Header, r.log)
			continue
		}
		path := certificates(t, resp.body)
		if len(path) != 2 || !path[0].Equal(r.ca.Certificate) || path[1].CheckSignatureFrom(path[0]) != nil {
			t.Errorf("%s: not the CA and what it issued: %d", shape, len(path))
		}
	}
	if shape := csr("snp-v2"); count(t, r.log, `"msg":"issued"`) != 6 || strings.Contains(r.log.String(), string(shape)) {
		t.Errorf("%s", r.log)
	}
}

// TestOpenSSL lets openssl read both answers and verify what is in them.
func TestOpenSSL(t *testing.T) {
	openssl := need.Tool(t, "openssl")
	r := newRig(t, withCollateral, func(cfg *Config) { cfg.Profile.DNSNames = []string{"svc.example"} })
	run := func(stdin []byte, args ...string) string {
		t.Helper()
		cmd := exec.Command(openssl, args...)
		cmd.Stdin = bytes.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	depths := func(out, depth string) (n int) {
		for line := range strings.Lines(out) {
			if strings.Contains(line, "d="+depth+" ") && strings.Contains(line, "cons: SEQUENCE") {
				n++
			}
		}
		return n
	}
	single := r.post(csr("snp-v2")).body
	if out := run(single, "asn1parse", "-inform", "DER"); depths(out, "1") != 2 {
		t.Errorf("not a sequence of two certificates:\n%s", out)
	}
	bundle := r.bundle([][]byte{csr("snp-v2"), csr("sgx-v3"), csr("tdx-v1")}).body
	if out := run(bundle, "asn1parse", "-inform", "DER"); depths(out, "1") != 2 || depths(out, "2") != 1+3 {
		t.Errorf("not a chain of one and three issued:\n%s", out)
	}
	// Take the leaf out of the single form as openssl sees it, and verify it.
	path := certificates(t, single)
	dir := t.TempDir()
	write := func(name string, c *x509.Certificate) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	ca, leaf := write("ca.pem", path[0]), write("leaf.pem", path[1])
	at := "1795262400" // now
	for _, purpose := range []string{"sslserver", "sslclient"} {
		run(nil, "verify", "-x509_strict", "-attime", at, "-purpose", purpose, "-CAfile", ca, leaf)
	}
	text := run(nil, "x509", "-in", leaf, "-noout", "-text")
	for _, want := range []string{
		"Version: 3 (0x2)", "Issuer: CN = steward.example", "Subject: O = Enarx Keep, OU = INSECURE: development roots",
		"Not Before: Nov 21 12:00:00 2026 GMT", "Not After : Nov 22 12:00:00 2026 GMT", "ASN1 OID: secp384r1",
		"DNS:svc.example", "TLS Web Server Authentication, TLS Web Client Authentication", "X509v3 Key Usage: critical",
		"Digital Signature", "CA:FALSE", "X509v3 Authority Key Identifier", "1.3.6.1.5.5.7.1.35", "ecdsa-with-SHA256",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the certificate does not say %q:\n%s", want, text)
		}
	}
}

// TestBundle: answers in the order of the requests, and the first refusal
// decides for all.
func TestBundle(t *testing.T) {
	r := newRig(t, withCollateral)
	shapes := []string{"sgx-v3", "snp-v2", "sgx-v1", "tdx-v1"}
	var requests [][]byte
	for _, s := range shapes {
		requests = append(requests, csr(s))
	}
	resp := r.bundle(requests)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != typeDER {
		t.Fatalf("%s: %s", resp.Status, r.log)
	}
	parts := children(t, resp.body)
	if len(parts) != 2 {
		t.Fatalf("%d parts", len(parts))
	}
	chain, issued := certificates(t, parts[0]), certificates(t, parts[1])
	if len(chain) != 1 || !chain[0].Equal(r.ca.Certificate) || len(issued) != len(shapes) {
		t.Fatalf("%d in the chain, %d issued", len(chain), len(issued))
	}
	for i, c := range issued {
		want, err := x509.ParseCertificateRequest(requests[i])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.RawSubjectPublicKeyInfo, want.RawSubjectPublicKeyInfo) || c.CheckSignatureFrom(chain[0]) != nil {
			t.Errorf("certificate %d is for another key", i)
		}
	}
	if empty := r.bundle(nil); empty.StatusCode != 200 || len(certificates(t, children(t, empty.body)[1])) != 0 {
		t.Errorf("an empty bundle: %s", empty.Status)
	}
	refused := r.bundle([][]byte{csr("snp-v2"), csr("none"), csr("none", dropEvidence)}, "Accept", typeProblem)
	var p problemDoc
	if err := json.Unmarshal(refused.body, &p); err != nil || refused.StatusCode != 400 || p.Index == nil || *p.Index != 1 {
		t.Errorf("%s: %+v", refused.Status, p)
	}
	if n := count(t, r.log, `"msg":"issued"`); n != 1 {
		t.Errorf("%d bundles were issued", n)
	}
	// What does not decode is 400 before anything is judged.
	bare := csr("none", dropEvidence)
	for i, status := range []int{401, 400} {
		requests := [][]byte{bare, bare, sequence()}[:2+i]
		if resp := r.bundle(requests); resp.StatusCode != status {
			t.Errorf("%d requests: %s, want %d", len(requests), resp.Status, status)
		}
	}
}

// TestAccept is what clients get that ask for more than upstream has.
func TestAccept(t *testing.T) {
	r := newRig(t, withCollateral)
	good, bad := csr("snp-v2"), csr("snp-v2", debuggable)
	for name, test := range map[string]struct {
		body       []byte
		accept     string
		status     int
		wantedType string
	}{
		"certificate":             {good, "*/*", 200, typeDER},
		"certificate or problem":  {good, typeProblem, 200, typeDER},
		"chain in PEM":            {good, "text/html, application/pem-certificate-chain;q=0.5", 200, typePEM},
		"PEM if need be":          {good, "application/octet-stream, application/pem-certificate-chain;q=0.5", 200, typeDER},
		"anything but PEM":        {good, "application/pem-certificate-chain;q=0", 200, typeDER},
		"result":                  {good, typeEAT, 200, typeEAT},
		"nonsense":                {good, ";;;,,q=x", 200, typeDER},
		"refused":                 {bad, "*/*", 400, ""},
		"refused with problem":    {bad, "application/problem+json", 400, typeProblem},
		"refused with result":     {bad, typeEAT, 400, typeEAT},
		"refused in words":        {bad, "application/pem-certificate-chain, text/plain;q=0.9", 400, typeText + "; charset=utf-8"},
		"certificate, not words":  {good, typeText, 200, typeDER},
		"no evidence, in words":   {csr("none", dropEvidence), typeText, 401, typeText + "; charset=utf-8"},
		"malformed, in words":     {good[:9], typeText, 400, typeText + "; charset=utf-8"},
		"refused, result first":   {bad, "application/problem+json;q=0.3, application/eat+jwt", 400, typeEAT},
		"refused, certificate":    {bad, "application/octet-stream", 400, ""},
		"no evidence, result":     {csr("none", dropEvidence), typeEAT, 401, typeProblem},
		"malformed, with problem": {good[:9], typeProblem, 400, typeProblem},
	} {
		resp := r.post(test.body, "Accept", test.accept)
		if resp.StatusCode != test.status || resp.Header.Get("Content-Type") != test.wantedType {
			t.Errorf("%s: %s, %q: %s", name, resp.Status, resp.Header.Get("Content-Type"), resp.body)
		}
	}
	chain := r.post(good, "Accept", typePEM).body
	var order []*x509.Certificate
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, c)
	}
	if len(order) != 2 || order[0].CheckSignatureFrom(order[1]) != nil {
		t.Errorf("the PEM chain is not leaf first: %d", len(order))
	}
}

// debuggable asks for a report of a guest that the host may look into.
func debuggable(r *attesttest.Request) {
	r.Report = func(rep *attesttest.Report) { rep.Policy |= attesttest.PolicyDebug }
}

// TestPlain is the explanation of a refusal for whoever has only curl.
func TestPlain(t *testing.T) {
	r := newRig(t, withCollateral)
	for name, test := range map[string]struct {
		body []byte
		want []string
	}{
		"evidence":  {csr("snp-v2", debuggable), []string{"refused: snp.policy.debug", "✗ the host may not debug the guest  [snp.policy.debug]", "change ", "request id "}},
		"request":   {csr("snp-v2")[:99], []string{"refused: csr.encoding", "request id "}},
		"no reason": {csr("none", dropEvidence), []string{"refused: csr.evidence", "request id "}},
	} {
		body := string(r.post(test.body, "Accept", typeText).body)
		for _, want := range test.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %q in:\n%s", name, want, body)
			}
		}
	}
}

// TestProblem is the explanation of a refusal.
func TestProblem(t *testing.T) {
	r := newRig(t, withCollateral)
	resp := r.post(csr("snp-v2", debuggable), "Accept", typeProblem)
	var p problemDoc
	if err := json.Unmarshal(resp.body, &p); err != nil {
		t.Fatal(err)
	}
	if p.Status != 400 || p.Title != "Bad Request" || p.Code != "snp.policy.debug" || p.RequestID != resp.Header.Get("X-Request-Id") ||
		!strings.HasPrefix(p.Detail, p.Code+": ") || p.Fix == "" || p.Index != nil || !bytes.Contains(p.Checks, []byte(`"snp.signature"`)) ||
		!bytes.Contains(p.Checks, []byte(`"enarx-steward `)) {
		t.Errorf("%s", resp.body)
	}
	if !strings.Contains(r.log.String(), p.RequestID) || !strings.Contains(r.log.String(), `"verdict":"snp.policy.debug"`) {
		t.Errorf("the log does not have it: %s", r.log)
	}
	none := r.refused(csr("none", dropEvidence), http.StatusUnauthorized)
	if none.Code != "csr.evidence" || none.Fix == "" || len(none.Checks) == 0 {
		t.Errorf("%+v", none)
	}
}

// TestResult is the signed result, and that asking for it issues nothing.
func TestResult(t *testing.T) {
	r := newRig(t, withCollateral)
	for name, test := range map[string]struct {
		body   []byte
		status string
	}{"accepted": {csr("sgx-v3"), "warning"}, "refused": {csr("snp-v2", debuggable), "contraindicated"}} {
		resp := r.post(test.body, "Accept", typeEAT)
		object, err := jose.ParseSignedCompact(string(resp.body), []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatalf("%s: %v in %s", name, err, resp.body)
		}
		claims, err := object.Verify(r.ca.Certificate.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		var ear struct {
			IssuedAt int64  `json:"iat"`
			Profile  string `json:"eat_profile"`
			Submods  map[string]struct {
				Status string `json:"ear_status"`
			}
		}
		if err := json.Unmarshal(claims, &ear); err != nil {
			t.Fatal(err)
		}
		if ear.IssuedAt != now.Unix() || ear.Profile == "" || len(ear.Submods) != 1 {
			t.Errorf("%s: %s", name, claims)
		}
		for _, m := range ear.Submods {
			if m.Status != test.status {
				t.Errorf("%s: %s, want %s", name, m.Status, test.status)
			}
		}
	}
	if n := count(t, r.log, `"msg":"issued"`); n != 0 {
		t.Errorf("%d certificates were issued", n)
	}
}

// TestWellKnown is what the server says about itself.
func TestWellKnown(t *testing.T) {
	r := newRig(t, insecurely)
	resp := r.send("GET", wellKnown, nil)
	var d description
	if err := json.Unmarshal(resp.body, &d); err != nil || resp.Header.Get("Content-Type") != typeJSON {
		t.Fatalf("%v in %s", err, resp.body)
	}
	if len(d.Chain) != 1 || !bytes.Equal(d.Chain[0], r.ca.Certificate.Raw) || d.ChainPEM != string(r.ca.PEM()) || len(d.PolicyDigest) != 64 ||
		!d.Insecure || !d.Development || strings.Join(d.Technologies, " ") != "snp sgx tdx none" || d.Life != 24*3600 || d.MaxBody != 2<<20 {
		t.Errorf("%s", resp.body)
	}
	pemFile := r.send("GET", wellKnownCA, nil)
	if string(pemFile.body) != string(r.ca.PEM()) || pemFile.Header.Get("Content-Type") != typePEM {
		t.Errorf("%s", pemFile.body)
	}
	if d.NotAfter.Before(now.Add(24 * time.Hour)) {
		t.Errorf("%v", d.NotAfter)
	}
}
