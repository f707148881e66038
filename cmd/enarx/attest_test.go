// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/internal/collateral/fakevendor"
	"enarx.dev/enarx/internal/need"
)

// TestAttest runs the sessions about evidence and collateral, with the command in
// this binary, against vendors of synthetic silicon. $vectors is the folder of real
// evidence, [vectors] whether there is one, [sev] whether this machine may say which
// AMD chip it has.
func TestAttest(t *testing.T) {
	vectors := ""
	t.Run("vectors", func(t *testing.T) { vectors = need.Vectors(t) }) // a skip is that subtest's
	var vendors sync.Map                                               // by the session's folder
	setup := func(env *testscript.Env) error {
		v := fakevendor.Of(silicon())
		v.SetPCK(silicon().Machine(), strings.Repeat("ab", 384), strings.Repeat("0c", 16), "0d00", "0000")
		server := httptest.NewServer(v)
		env.Defer(server.Close)
		vendors.Store(env.WorkDir, v)
		env.Setenv("ENARX_KDS_URL", server.URL)
		env.Setenv("ENARX_PCS_URL", server.URL)
		env.Setenv("vectors", vectors)
		return home(env)
	}
	own := maps.Clone(commands)
	// fault PREFIX STATUS [SECONDS] has the vendors answer so, and ask to wait so long.
	own["fault"] = func(ts *testscript.TestScript, neg bool, args []string) {
		v, _ := vendors.Load(ts.Getenv("WORK"))
		status, err := strconv.Atoi(args[1])
		ts.Check(err)
		f := fakevendor.Fault{Status: status}
		if len(args) > 2 {
			f.RetryAfter = args[2]
		}
		v.(*fakevendor.Vendor).Fail(args[0], f)
	}
	// silicon writes evidence and collateral of the synthetic world.
	own["silicon"] = func(ts *testscript.TestScript, neg bool, args []string) {
		for name, data := range siliconFiles() {
			ts.Check(os.WriteFile(ts.MkAbs(name), data, 0o644))
		}
	}
	// json checks that standard output is JSON and, if asked, that members in it
	// are what is said: json code=accepted
	own["json"] = func(ts *testscript.TestScript, neg bool, args []string) {
		var doc map[string]any
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &doc))
		for _, arg := range args {
			name, want, _ := strings.Cut(arg, "=")
			if got := fmt.Sprint(doc[name]); got != want {
				ts.Fatalf("%s is %s, want %s", name, got, want)
			}
		}
	}
	condition := func(name string) (bool, error) {
		switch name {
		case "vectors":
			return vectors != "", nil
		case "sev":
			_, err := os.Stat("/dev/sev")
			return err == nil, nil
		}
		return false, fmt.Errorf("no such condition")
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/attest", Setup: setup, Cmds: own, Condition: condition})
}

var silicon = sync.OnceValue(func() *attesttest.World {
	w := attesttest.New("cmd/enarx", time.Now())
	w.RSABits = 1024 // which does not take long to make
	return w
})

// The files of the synthetic world that sessions use.
var siliconFiles = sync.OnceValue(func() map[string][]byte {
	w := silicon()
	csr := func(shape string, edits ...func(*attesttest.Request)) []byte {
		der, _ := w.CSR(shape, edits...)
		return der
	}
	asked := func(r *attesttest.Report) { copy(r.ReportData[:], "nonce") }
	genoa := w.AMD.Genoa.Chip("chip")
	files := map[string][]byte{
		"snp.csr": csr("snp-v2"), "sgx.csr": csr("sgx-v3"), "tdx.csr": csr("tdx-v1"), "none.csr": csr("none"),
		"snp-bare.csr": csr("snp-v1"), "sgx-bare.csr": csr("sgx-v1"),
		"genoa.csr": csr("snp-v2", func(r *attesttest.Request) { r.Chip = genoa }),
		"snp-debug.csr": csr("snp-v2", func(r *attesttest.Request) {
			r.Report = func(r *attesttest.Report) { r.Policy |= attesttest.PolicyDebug }
		}),
		"report.bin": genoa.SignReport(asked),
		"report.txt": []byte(hex.EncodeToString(genoa.SignReport(asked)) + "\n"),
		"turin.bin":  w.AMD.Turin.Chip("chip").SignReport(asked),
		"masked.bin": genoa.SignReport(asked, func(r *attesttest.Report) { r.ChipID = [64]byte{} }),
		"old.bin":    genoa.SignReport(asked, func(r *attesttest.Report) { r.Version = 2 }),
		"vcek.der":   genoa.Endorsement(w.AMD.Genoa.TCB),
		"crl.der":    w.AMD.Genoa.CRL(),
		"qe.json":    w.Intel.QEIdentity("QE"),
		"quote.bin":  w.Machine().QuoteSGX(),
		"brief.txt":  []byte("until " + w.Now.Add(time.Hour).Format(time.RFC3339) + ","),
		"brief.csr": csr("sgx-v3", func(r *attesttest.Request) { // the PCK is the first to expire
			brief := w.Machine().Certificate(func(c *attesttest.Certificate) { c.NotAfter = w.Now.Add(time.Hour) })
			r.SGX = func(q *attesttest.SGXQuote) {
				q.Chain = attesttest.PEM(brief, w.Intel.CA(attesttest.PlatformCA), w.Intel.Root())
			}
		}),
		"issued.pem":   issued(w, "affirming", "issued.test"),
		"insecure.pem": issued(w, "none", "issued.test"),
		"pckid_retrieval.csv": []byte(strings.Join([]string{strings.Repeat("ab", 384), "0000", strings.Repeat("0c", 16), "0d00",
			strings.Repeat("ee", 16)}, ",") + "\n"),
	}
	steward, _ := stewardCA()
	leaf, _ := pem.Decode(files["issued.pem"])
	path, err := asn1.Marshal([]asn1.RawValue{{FullBytes: steward.Raw}, {FullBytes: leaf.Bytes}})
	if err != nil {
		panic(err)
	}
	files["issued.path"] = path // as a Steward answers
	files["steward.pem"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: steward.Raw})
	files["namesake.pem"] = selfSigned("another key")
	files["snp.pem"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: files["snp.csr"]})
	for _, p := range w.AMD.Products() {
		files["roots.pem"] = append(files["roots.pem"], attesttest.PEM(p.ARK(), p.ASK(), p.ASVK())...)
	}
	files["roots.pem"] = append(files["roots.pem"], attesttest.PEM(w.Intel.Root())...)
	altered := append([]byte(nil), files["report.bin"]...)
	altered[0x90] ^= 1 // the measurement
	files["altered.bin"] = altered
	return files
})

// stewardCA is a certification authority, and its key.
var stewardCA = sync.OnceValues(func() (*x509.Certificate, *ecdsa.PrivateKey) {
	key := silicon().Key("steward", elliptic.P256())
	block, _ := pem.Decode(selfSigned("steward"))
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		panic(err)
	}
	return ca, key
})

// selfSigned is the certificate of a Steward's CA with that key of the world.
func selfSigned(name string) []byte {
	key := silicon().Key(name, elliptic.P256())
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Steward"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: silicon().Now.Add(-time.Hour), NotAfter: silicon().Now.Add(1000 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issued returns a certificate with a result of that status.
func issued(w *attesttest.World, status, name string) []byte {
	ca, key := stewardCA()
	result := fmt.Sprintf(`{"ear_status":%q,"submods":{"keep":{"ear_attester_claims":{"tee":"snp","measurement":"abcd"},"ear_verifier_claims":{"verdict":"accepted"}}}}`, status)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Keep\n  Status        invented\u202e"}, DNSNames: []string{name}, URIs: []*url.URL{{Scheme: "urn", Opaque: "enarx:log:none"}},
		NotBefore: ca.NotBefore, NotAfter: w.Now.Add(24 * time.Hour), ExtraExtensions: []pkix.Extension{attest.CMW(attest.EARType, []byte(result))}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, w.Key("keep", elliptic.P384()).Public(), key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestParseTime(t *testing.T) {
	want := time.Date(2023, 1, 27, 0, 0, 0, 0, time.UTC)
	for _, s := range []string{"2023-01-27", "2023-01-27T00:00:00Z", "2023-01-27T01:00:00+01:00", "2023-01-27 00:00:00", "2023-01-27T00:00:00", "1674777600"} {
		if got, err := parseTime(s); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "yesterday", "2023-13-01", "-1", "99999999999999999999", "2023"} {
		if got, err := parseTime(s); err == nil && s != "2023" {
			t.Errorf("%q is %v", s, got)
		}
	}
}

// FuzzPCKID: Intel's tool writes the file, and whoever may write the folder.
func FuzzPCKID(f *testing.F) {
	f.Add(string(siliconFiles()["pckid_retrieval.csv"]))
	f.Add("\"")
	f.Add("")
	path := filepath.Join(f.TempDir(), "pckid.csv")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		id, err := platformID(t.Context(), path)
		if err == nil && (len(id.encryptedPPID) != 768 || len(id.cpusvn) != 32 || len(id.pceid) != 4 || len(id.pcesvn) != 4) {
			t.Errorf("%+v", id)
		}
	})
}
