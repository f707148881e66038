// SPDX-License-Identifier: Apache-2.0

package roots

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"enarx.dev/enarx/internal/need"
)

// The trust anchors by the SHA-256 of their certificates. Whoever changes this
// table changes whom every verifier trusts.
var anchors = map[string]string{
	"ARK-Genoa":         "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
	"ARK-Milan":         "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
	"ARK-Turin":         "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
	"Intel SGX Root CA": "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",
}

func TestAnchors(t *testing.T) {
	s := Vendors()
	if len(s.AMD) != 3 || len(s.Intel) != 1 || len(s.Intermediates) != 6 {
		t.Fatalf("%d AMD, %d Intel, %d intermediates", len(s.AMD), len(s.Intel), len(s.Intermediates))
	}
	all := append(s.AMD[:3:3], s.Intel...)
	for _, c := range all {
		sum := sha256.Sum256(c.Raw)
		if got := hex.EncodeToString(sum[:]); anchors[c.Subject.CommonName] != got {
			t.Errorf("%s is %s", c.Subject.CommonName, got)
		}
		if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
			t.Errorf("%s: %v", c.Subject.CommonName, err)
		}
	}
	for _, c := range s.Intermediates {
		signed := false
		for _, a := range s.AMD {
			signed = signed || a.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
		}
		if !signed {
			t.Errorf("%s is signed by no root", c.Subject.CommonName)
		}
	}
}

// The same certificates as other projects hold, from other sources.
func TestAnchorsElsewhere(t *testing.T) {
	dir := need.Vectors(t)
	have := map[string]bool{}
	s := Vendors()
	for _, list := range [][]*x509.Certificate{s.AMD, s.Intel, s.Intermediates} {
		for _, c := range list {
			have[string(c.Raw)] = true
		}
	}
	for _, name := range []string{"more/amd/milan_ask_ark_asvk.pem", "more/amd/genoa_ask_ark_asvk.pem", "more/amd/turin_ask_ark_asvk.pem"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			n++
			if !have[string(block.Bytes)] {
				t.Errorf("%s: certificate %d differs from ours", name, n)
			}
		}
		if n != 3 {
			t.Errorf("%s: %d certificates", name, n)
		}
	}
	intel, err := os.ReadFile(filepath.Join(dir, "root.der"))
	if err != nil {
		t.Fatal(err)
	}
	if !have[string(intel)] {
		t.Error("Intel's root differs from ours")
	}
}
