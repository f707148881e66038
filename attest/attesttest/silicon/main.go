// SPDX-License-Identifier: Apache-2.0

// Command silicon writes the synthetic silicon of a seed into a folder: roots to
// start a Steward with, the collateral around them, and certification requests
// with evidence, good and tampered with. Whoever knows the seed can make any
// evidence under these roots: they are for tests and demonstrations.
package main

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"enarx.dev/enarx/attest/attesttest"
)

func main() {
	err := run(os.Args[1:], os.Stdout, time.Now())
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "silicon: error:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage")

func run(args []string, out io.Writer, now time.Time) error {
	flags := flag.NewFlagSet("silicon", flag.ContinueOnError)
	seed := flags.String("seed", "enarx", "what everything is made from")
	dir := flags.String("out", "", "folder to write into; made if need be")
	at := flags.String("time", "", "time around which the collateral is fresh, like 2026-11-21T12:00:00Z (default now)")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if *dir == "" || flags.NArg() > 0 {
		fmt.Fprintln(flags.Output(), "usage: silicon --seed SEED --out DIR [--time TIME]")
		return errUsage
	}
	if *at != "" {
		var err error
		if now, err = time.Parse(time.RFC3339, *at); err != nil {
			return fmt.Errorf("--time: %w", err)
		}
	}
	for _, f := range files(attesttest.New(*seed, now)) {
		if err := f.write(*dir); err != nil {
			return err
		}
		fmt.Fprintf(out, "%-36s %s\n", f.name, f.what)
	}
	return nil
}

// A file is one that is written, and what is in it.
type file struct {
	name, what string
	data       []byte
	secret     bool
}

func (f *file) write(dir string) error {
	path := filepath.Join(dir, filepath.FromSlash(f.name))
	mode := os.FileMode(0o644)
	if f.secret {
		mode = 0o600
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// A key must not keep the mode of a file that was there before.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, f.data, mode)
}

func files(w *attesttest.World) []file {
	all := []file{{name: "roots.pem", what: "roots of AMD and Intel, and intermediates", data: rootsPEM(w)}}
	all = append(all, collateral(w)...)
	for _, r := range requests {
		der, key := w.CSR(r.shape, r.edit)
		all = append(all, file{name: r.name + ".csr", what: r.what, data: der})
		if !strings.Contains(r.name, "-") {
			all = append(all, file{name: r.name + ".key", what: "its private key", data: keyPEM(key), secret: true})
		}
	}
	return all
}

func rootsPEM(w *attesttest.World) []byte {
	var certificates [][]byte
	for _, p := range w.AMD.Products() {
		certificates = append(certificates, p.ARK(), p.ASK(), p.ASVK())
	}
	certificates = append(certificates, w.Intel.Root(), w.Intel.CA(attesttest.ProcessorCA), w.Intel.CA(attesttest.PlatformCA))
	return attesttest.PEM(certificates...)
}

// collateral is what AMD KDS and Intel PCS would serve, under their names for it.
func collateral(w *attesttest.World) []file {
	var all []file
	add := func(name, what string, data []byte) {
		all = append(all, file{name: "collateral/" + name, what: what, data: data})
	}
	for _, p := range w.AMD.Products() {
		add("crl-ark-"+strings.ToLower(p.Name)+".der", "CRL of ARK-"+p.Name, p.CRL())
	}
	add("crl-intel-root.der", "CRL of the Intel SGX Root CA", w.Intel.RootCRL())
	for _, ca := range []string{attesttest.ProcessorCA, attesttest.PlatformCA} {
		add("crl-pck-"+strings.ToLower(ca)+".der", "CRL of the Intel SGX PCK "+ca+" CA", w.Intel.PCKCRL(ca))
	}
	add("tcb-signing.pem", "Intel SGX TCB Signing, with the root", attesttest.PEM(w.Intel.TCBSigning(), w.Intel.Root()))
	add("tcbinfo-sgx.json", "TCB info of the machine for SGX", w.Machine().TCBInfo("SGX"))
	add("tcbinfo-tdx.json", "TCB info of the machine for TDX", w.Machine().TCBInfo("TDX"))
	add("qe-identity.json", "identity of the quoting enclave for SGX", w.Intel.QEIdentity("QE"))
	add("td-qe-identity.json", "identity of the quoting enclave for TDX", w.Intel.QEIdentity("TD_QE"))
	return all
}

// requests are the certification requests that are written. Those with a dash in
// their name are tampered with, in one field each.
var requests = []struct {
	name, shape, what string
	edit              func(*attesttest.Request)
}{
	{"snp", "snp-v2", "request with SNP evidence", func(*attesttest.Request) {}},
	{"sgx", "sgx-v3", "request with SGX evidence", func(*attesttest.Request) {}},
	{"tdx", "tdx-v1", "request with TDX evidence", func(*attesttest.Request) {}},
	{"none", "none", "request of a Keep without hardware", func(*attesttest.Request) {}},
	{"snp-altered", "snp-v2", "one bit of MEASUREMENT changed after the chip signed", alter(0x90)},
	{"snp-debug", "snp-v2", "a guest that the host may debug", func(r *attesttest.Request) {
		r.Report = func(rep *attesttest.Report) { rep.Policy |= attesttest.PolicyDebug }
	}},
	{"snp-otherkey", "snp-v2", "evidence bound to another key", func(r *attesttest.Request) {
		r.Report = func(rep *attesttest.Report) { rep.ReportData[0] ^= 1 }
	}},
	{"sgx-altered", "sgx-v3", "one bit of MRENCLAVE changed after the quoting enclave signed", alter(48 + 64)},
	{"sgx-debug", "sgx-v3", "an enclave that the host may debug", func(r *attesttest.Request) {
		r.SGX = func(q *attesttest.SGXQuote) { q.Body.Attributes |= attesttest.AttributeDebug }
	}},
	{"tdx-altered", "tdx-v1", "one bit of MRTD changed after the quoting enclave signed", alter(48 + 136)},
	{"tdx-debug", "tdx-v1", "a TD that the host may debug", func(r *attesttest.Request) {
		r.TDX = func(q *attesttest.TDXQuote) { q.TDAttributes |= attesttest.TDDebug }
	}},
}

func alter(at int) func(*attesttest.Request) {
	return func(r *attesttest.Request) {
		r.Evidence = func(e *attesttest.Evidence) {
			e.Report = slices.Clone(e.Report)
			e.Report[at] ^= 1
		}
	}
}

func keyPEM(key crypto.Signer) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic("silicon: bug: " + err.Error())
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
