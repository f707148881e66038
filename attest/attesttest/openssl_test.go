// SPDX-License-Identifier: Apache-2.0

package attesttest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/internal/need"
)

// openssl runs one command of it, and returns what it printed.
func openssl(t *testing.T, tool string, args ...string) (string, bool) {
	t.Helper()
	cmd := exec.Command(tool, args...)
	out, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return string(out), err == nil
}

// pemFile writes PEM blocks of one type into a new file.
func pemFile(t *testing.T, dir, kind string, all ...[]byte) string {
	t.Helper()
	var out []byte
	for _, der := range all {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	sum := sha256.Sum256(out)
	name := filepath.Join(dir, fmt.Sprintf("%x.pem", sum[:8]))
	if _, err := os.Stat(name); err == nil {
		return name
	}
	if err := os.WriteFile(name, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// certificatePath are the codes of what openssl verify looks at. It gets no CRL
// of AMD's: there is none of the ASK, and openssl wants all or none.
var certificatePath = regexp.MustCompile(`^(snp\.(vcek|vlek|ask|asvk|ark)\.(signature|validity|issuer|ca|usage)|snp\.(ask|asvk|ark)|` +
	`(sgx|tdx)\.(pck|pck-ca|root)\.(signature|validity|issuer|revoked|ca|crl|trusted))$`)

// opensslDiffers are the cases in which openssl and we say different things
// about a certificate path, and why.
var opensslDiffers = map[string]string{
	"snp-endorsement/vcek/issuer/ark":           "a path without an ASK is a path to openssl; AMD's have one",
	"snp-endorsement/vcek/usage/ca":             "openssl was not told what the certificate is for",
	"snp-vlek/vlek/usage/ca":                    "openssl was not told what the certificate is for",
	"snp-endorsement/vcek/usage/key":            "openssl was not told what the certificate is for",
	"snp-endorsement/vcek/validity/last_second": "RFC 5280 includes the second of notAfter, openssl does not",
	"sgx/chain/reversed":                        "openssl verifies the first certificate, which is the root; we want a PCK certificate there",
	"sgx/root_crl/endless":                      "openssl takes a CRL without nextUpdate for current for ever; we for out of date",
	"sgx/pck-ca_crl/endless":                    "openssl takes a CRL without nextUpdate for current for ever; we for out of date",
}

// TestOpenSSLPaths has openssl judge every certificate path in the corpus. One
// run of it judges all certificates that go with the same others at the same time.
func TestOpenSSLPaths(t *testing.T) {
	tool := need.Tool(t, "openssl")
	c := openConformance(t)
	dir := t.TempDir()
	first := map[string]attesttest.Case{} // by the whole command
	leaves := map[string][]string{}       // by the command without its last argument
	for _, k := range c.Cases {
		args, ok := c.opensslPath(t, dir, k)
		if !ok {
			continue
		}
		whole := strings.Join(args, " ")
		if _, known := first[whole]; !known {
			first[whole] = k
			command := strings.Join(args[:len(args)-1], " ")
			leaves[command] = append(leaves[command], args[len(args)-1])
		}
	}
	for command, files := range leaves {
		out, _ := openssl(t, tool, append(strings.Fields(command), files...)...)
		for _, file := range files {
			k := first[command+" "+file]
			ours := !slices.ContainsFunc(c.verdict(t, k), certificatePath.MatchString)
			theirs := strings.Contains(out, file+": OK")
			why, explained := opensslDiffers[k.Name]
			if (ours != theirs) != explained {
				t.Errorf("%s (%s): we say %v, openssl says %v (%s): openssl %s %s", k.Name, k.Change, ours, theirs, why, command, file)
			}
		}
	}
	t.Logf("%d different paths in %d runs", len(first), len(leaves))
}

// opensslPath is how openssl is asked about the path of a case.
func (c *conformance) opensslPath(t *testing.T, dir string, k attesttest.Case) (args []string, ok bool) {
	at, err := time.Parse(time.RFC3339, k.Time)
	if err != nil {
		t.Fatal(err)
	}
	args = []string{"verify", "-attime", fmt.Sprint(at.Unix()), "-check_ss_sig", "-no-CApath", "-no-CAstore"}
	var leaf []byte
	var hints, crls [][]byte
	for _, name := range k.Collateral {
		switch filepath.Ext(name) {
		case ".crl":
			crls = append(crls, c.read(t, name))
		case ".crt":
			if leaf == nil {
				leaf = c.read(t, name)
			}
		}
	}
	switch k.Kind {
	case attesttest.KindSNP: // AMD publishes no CRL of the ASK, so openssl cannot use the ARK's
		if leaf == nil {
			return nil, false
		}
	case attesttest.KindSGX, attesttest.KindTDX:
		input := c.read(t, k.Input)
		start := bytes.Index(input, []byte("-----BEGIN CERTIFICATE"))
		if start < 0 {
			return nil, false
		}
		for block, rest := pem.Decode(input[start:]); block != nil; block, rest = pem.Decode(rest) {
			hints = append(hints, block.Bytes)
		}
		if len(hints) == 0 {
			return nil, false
		}
		leaf, hints = hints[0], hints[1:]
		args = append(args, "-crl_check_all")
		for _, crl := range crls {
			args = append(args, "-CRLfile", pemFile(t, dir, "X509 CRL", crl))
		}
	default:
		return nil, false
	}
	var trusted [][]byte
	for _, der := range c.certificates(t, k.Roots) {
		if p := parse(t, der); bytes.Equal(p.RawIssuer, p.RawSubject) {
			trusted = append(trusted, der)
		} else {
			hints = append(hints, der)
		}
	}
	args = append(args, "-CAfile", pemFile(t, dir, "CERTIFICATE", trusted...))
	if len(hints) > 0 {
		args = append(args, "-untrusted", pemFile(t, dir, "CERTIFICATE", hints...))
	}
	return append(args, pemFile(t, dir, "CERTIFICATE", leaf)), true
}

// TestOpenSSLRequests has openssl judge the signature of every request in the corpus.
func TestOpenSSLRequests(t *testing.T) {
	tool := need.Tool(t, "openssl")
	c := openConformance(t)
	own := regexp.MustCompile(`^csr\.(encoding|signature|version|algorithm)$`)
	done := map[string]bool{}
	for _, k := range c.Cases {
		if k.Kind != attesttest.KindRequest || done[k.Input] {
			continue
		}
		done[k.Input] = true
		ours := !slices.ContainsFunc(c.verdict(t, k), own.MatchString)
		out, theirs := openssl(t, tool, "req", "-inform", "der", "-in", filepath.Join(c.dir, k.Input), "-verify", "-noout")
		theirs = theirs && strings.Contains(out, "verify OK")
		if why, explained := opensslRequests[k.Name]; (ours != theirs) != explained {
			t.Errorf("%s (%s): we say %v, openssl says %v: %s (%s)", k.Name, k.Change, ours, theirs, out, why)
		}
	}
}

// opensslRequests are the requests that openssl takes and we do not, and why.
var opensslRequests = map[string]string{
	"csr-snp-v2/encoding/trailing": "openssl passes over what follows the request",
	"csr-snp-v2/version/1":         "openssl does not look at the version",
	"csr-snp-v2/algorithm/p521":    "openssl knows the curve; no TEE's request is on it, and we do not certify it",
}

// TestOpenSSLReads has openssl read and check what a world consists of.
func TestOpenSSLReads(t *testing.T) {
	tool := need.Tool(t, "openssl")
	w := attesttest.New("openssl", now)
	dir := t.TempDir()
	check := func(want string, args ...string) {
		t.Helper()
		if out, ok := openssl(t, tool, args...); !ok || !strings.Contains(out, want) {
			t.Errorf("openssl %s: %s", strings.Join(args, " "), out)
		}
	}
	for _, p := range w.AMD.Products() {
		ark := pemFile(t, dir, "CERTIFICATE", p.ARK())
		check("verify OK", "crl", "-in", pemFile(t, dir, "X509 CRL", p.CRL()), "-CAfile", ark, "-noout")
		out, _ := openssl(t, tool, "x509", "-in", ark, "-noout", "-text")
		for _, want := range []string{"CN = ARK-" + p.Name, "rsassaPss", "sha384", "Salt Length: 0x30", "Certificate Sign, CRL Sign", "CA:TRUE"} {
			if !strings.Contains(out, want) {
				t.Errorf("ARK-%s has no %q", p.Name, want)
			}
		}
	}
	root := pemFile(t, dir, "CERTIFICATE", w.Intel.Root())
	check("verify OK", "crl", "-in", pemFile(t, dir, "X509 CRL", w.Intel.RootCRL()), "-CAfile", root, "-noout")
	for _, ca := range []string{attesttest.PlatformCA, attesttest.ProcessorCA} {
		chain := pemFile(t, dir, "CERTIFICATE", w.Intel.CA(ca), w.Intel.Root())
		check("verify OK", "crl", "-in", pemFile(t, dir, "X509 CRL", w.Intel.PCKCRL(ca)), "-CAfile", chain, "-noout")
	}
}
