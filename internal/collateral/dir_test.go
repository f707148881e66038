// SPDX-License-Identifier: Apache-2.0

package collateral_test

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/internal/collateral"
	"enarx.dev/enarx/internal/collateral/cachefile"
	"enarx.dev/enarx/internal/need"
)

func openDir(t *testing.T, dir string) *collateral.Dir {
	t.Helper()
	d, err := collateral.OpenDir(dir, pki.NewMemo(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// fill makes a folder with every form of file, and returns the names of those
// that are of no use.
func fill(t *testing.T, dir string) (useless []string) {
	t.Helper()
	w := world()
	signer, err := x509.ParseCertificate(w.Intel.TCBSigning())
	if err != nil {
		t.Fatal(err)
	}
	tcb, err := cachefile.EncodeTCB([]*x509.Certificate{signer}, w.Machine().TCBInfo("SGX"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"vcek-milan":     w.Chip().Endorsement(w.AMD.Milan.TCB),
		"other vcek.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.AMD.Milan.Chip("other").Endorsement(w.AMD.Milan.TCB)}),
		"chain.pem":      attesttest.PEM(w.AMD.Milan.ASK(), w.AMD.Milan.ARK()),
		"crls.der":       attest.MarshalCRLList([]attest.CRLEntry{{URL: "x", DER: w.AMD.Genoa.CRL()}, {URL: "y", DER: w.AMD.Milan.CRL()}}),
		"root.crl":       w.Intel.RootCRL(),
		"platform.hex":   []byte(hex.EncodeToString(w.Intel.PCKCRL(attesttest.PlatformCA)) + "\n"),
		"tcb.der":        tcb,
		"tdx-tcb.json":   w.Machine().TCBInfo("TDX"),
		"qe.json":        w.Intel.QEIdentity("TD_QE"),
		".hidden":        []byte("not looked at"),
		"vlek.der":       w.AMD.Milan.Chip("chip").Lent("cloud").Endorsement(w.AMD.Milan.TCB),

		"fmspc.txt": []byte("90C06F000000"), "README": []byte("what this folder is for"), "report.bin": report(w.AMD.Milan).Report,
		"empty": nil, "truncated.crl": w.Intel.RootCRL()[:100], "far too big.json": make([]byte, 4<<20+1),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"endless": "/dev/zero", "dangling": "nothing"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"fmspc.txt", "README", "report.bin", "empty", "truncated.crl", "far too big.json", "endless", "dangling"}
}

func TestDir(t *testing.T) {
	w, dir := world(), t.TempDir()
	ev := report(w.AMD.Milan)
	d := openDir(t, dir)
	if c, err := d.For(t.Context(), ev); err != nil || !c.Empty() || len(d.Problems()) != 0 {
		t.Errorf("empty: %s, %v, %v", holds(c), err, d.Problems())
	}
	useless := fill(t, dir)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	// The VLEK, ASK and ARK, the TCB signer, and the VCEK of this chip, not the other's.
	c, err := d.For(t.Context(), ev)
	if err != nil || holds(c) != "5 certificates, 4 CRLs, 2 TCB infos, 1 QE identities" {
		t.Errorf("%s, %v", holds(c), err)
	}
	if again, _ := d.For(t.Context(), ev); again != c {
		t.Error("another collateral for the same evidence")
	}
	for _, ev := range []*attest.Evidence{
		{Technology: attest.TDX, Report: w.Machine().QuoteTDX(4)}, {Technology: attest.SNP, Report: []byte("x")}, report(w.AMD.Turin),
	} {
		if c, err := d.For(t.Context(), ev); err != nil || holds(c) != "4 certificates, 4 CRLs, 2 TCB infos, 1 QE identities" {
			t.Errorf("for %s that is of no chip here: %s, %v", ev.Technology, holds(c), err)
		}
	}
	for _, name := range useless {
		n := 0
		for _, err := range d.Problems() {
			if strings.Contains(err.Error(), filepath.Join(dir, name)) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s is a problem %d times: %v", name, n, d.Problems())
		}
	}
	if len(d.Problems()) != len(useless) {
		t.Errorf("problems: %v", d.Problems())
	}
	// What cannot be read again stays as it was.
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := d.Reload(); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder that is gone: %v", err)
	}
	if same, _ := d.For(t.Context(), ev); same != c {
		t.Error("a failed reload changed something")
	}
	if _, err := collateral.OpenDir(dir, nil); err == nil {
		t.Error("a folder that is not there is opened")
	}
}

// TestDirWhileReloading: a question sees one state of the folder or the other.
func TestDirWhileReloading(t *testing.T) {
	w, dir := world(), t.TempDir()
	for name, data := range map[string][]byte{"crl": w.AMD.Milan.CRL(), "qe.json": w.Intel.QEIdentity("QE")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := openDir(t, dir)
	ev := report(w.AMD.Milan)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if c, err := d.For(ctx, ev); err != nil || len(c.CRLs) != 1 || len(c.QEIdentities) != 1 {
				t.Errorf("%s, %v", holds(c), err)
				return
			}
		}
	})
	for range 100 {
		if err := d.Reload(); err != nil {
			t.Error(err)
		}
	}
	cancel()
	wg.Wait()
}

// TestManyChips: the certificates of other chips cost a question nothing.
func TestManyChips(t *testing.T) {
	w, dir := world(), t.TempDir()
	for i := range 200 {
		chip := w.AMD.Genoa.Chip(fmt.Sprint(i))
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), chip.Endorsement(w.AMD.Genoa.TCB), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := openDir(t, dir)
	ev := &attest.Evidence{Technology: attest.SNP, Report: w.AMD.Genoa.Chip("7").SignReport()}
	c, err := d.For(t.Context(), ev)
	if err != nil || len(c.Certificates) != 1 || string(c.Certificates[0].Raw) != string(w.AMD.Genoa.Chip("7").Endorsement(w.AMD.Genoa.TCB)) {
		t.Errorf("%s, %v", holds(c), err)
	}
}

// TestDirOfVectors reads folders of real collateral, as they are.
func TestDirOfVectors(t *testing.T) {
	vectors := need.Vectors(t)
	for folder, want := range map[string]string{
		"more/amd":  "9 certificates, 2 CRLs, 0 TCB infos, 0 QE identities",
		"extracted": "2 certificates, 8 CRLs, 1 TCB infos, 0 QE identities",
	} {
		d := openDir(t, filepath.Join(vectors, folder))
		c, err := d.For(t.Context(), &attest.Evidence{Technology: attest.SGX})
		if err != nil || holds(c) != want {
			t.Errorf("%s: %s, %v, problems %v", folder, holds(c), err, d.Problems())
		}
	}
}
