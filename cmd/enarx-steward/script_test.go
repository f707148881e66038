// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/internal/cli/clitest"
	"enarx.dev/enarx/internal/need"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"enarx-steward": main})
}

// TestScript runs the sessions, with the command in this binary.
func TestScript(t *testing.T) {
	need.Tool(t, "curl")
	need.Tool(t, "openssl")
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", Cmds: commands,
		Setup: func(env *testscript.Env) error {
			env.Values["daemons"] = map[string]*clitest.Process{}
			env.Defer(func() {
				for _, p := range env.Values["daemons"].(map[string]*clitest.Process) {
					p.Kill()
				}
			})
			return nil
		},
	})
}

func daemons(ts *testscript.TestScript) map[string]*clitest.Process {
	return ts.Value("daemons").(map[string]*clitest.Process)
}

var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// silicon FOLDER writes synthetic roots, collateral and requests.
	"silicon": func(ts *testscript.TestScript, neg bool, args []string) { ts.Check(writeSilicon(ts.MkAbs(args[0]))) },
	// certificate FILE.crt FILE.key NAME writes a self-signed certificate of a CA.
	"certificate": func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Check(writeCertificate(ts.MkAbs(args[0]), ts.MkAbs(args[1]), args[2]))
	},
	// start NAME ARG… starts the Steward, and returns when it serves.
	"start": func(ts *testscript.TestScript, neg bool, args []string) {
		var env []string
		for _, name := range environment {
			env = append(env, name+"="+ts.Getenv(name))
		}
		p, err := start(ts.MkAbs("."), env, args[1:]...)
		ts.Check(err)
		daemons(ts)[args[0]] = p
	},
	// halt NAME ends it by SIGTERM; it must end well.
	"halt": func(ts *testscript.TestScript, neg bool, args []string) { ts.Check(daemons(ts)[args[0]].Stop()) },
	// hup NAME sends SIGHUP.
	"hup": func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Check(daemons(ts)[args[0]].Cmd.Process.Signal(syscall.SIGHUP))
	},
	// said NAME REGEXP waits until it has logged a line like that, after those
	// of earlier calls.
	"said": func(ts *testscript.TestScript, neg bool, args []string) {
		_, err := daemons(ts)[args[0]].Said(regexp.MustCompile(args[1]))
		ts.Check(err)
	},
	// code N PROGRAM ARG… runs a program that must end with exit code N.
	"code": func(ts *testscript.TestScript, neg bool, args []string) {
		code := 0
		if err := ts.Exec(args[1], args[2:]...); err != nil {
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok {
				ts.Fatalf("%v", err)
			}
			code = exit.ExitCode()
		}
		if strconv.Itoa(code) != args[0] {
			ts.Fatalf("exit code %d, want %s", code, args[0])
		}
	},
}

// start runs the Steward in dir until it says that it is ready. It will not
// linger at its end, unless told to.
func start(dir string, env []string, args ...string) (*clitest.Process, error) {
	if !slices.Contains(args, "--drain") {
		args = append(slices.Clone(args), "--drain", "1ms")
	}
	return clitest.Start(dir, patience, env, "enarx-steward", args...)
}

// patience is how long a test waits for what must happen.
var patience = need.Scale(20 * time.Second)

// silicon is the synthetic silicon of the sessions; its keys take a moment to make.
var silicon = sync.OnceValue(func() *attesttest.World { return attesttest.New("cmd/enarx-steward", time.Now()) })

var making sync.Mutex

func writeSilicon(dir string) error {
	making.Lock()
	defer making.Unlock()
	w, files := silicon(), map[string][]byte{}
	for _, shape := range []string{"snp-v1", "snp-v2", "sgx-v3", "sgx-v1", "tdx-v1", "none"} {
		files[shape+".csr"], _ = w.CSR(shape)
	}
	files["debug.csr"], _ = w.CSR("snp-v2", func(r *attesttest.Request) {
		r.Report = func(rep *attesttest.Report) { rep.Policy |= attesttest.PolicyDebug }
	})
	files["genoa-v1.csr"], _ = w.CSR("snp-v1", func(r *attesttest.Request) { r.Chip = w.AMD.Genoa.Chip("x") })
	files["workload.csr"], _ = w.CSR("snp-v2", func(r *attesttest.Request) {
		r.URIs = []string{attesttest.WorkloadURI([32]byte{1})}
	})
	files["empty.csr"], _ = w.CSR("none", func(r *attesttest.Request) {
		r.Extensions = func([]pkix.Extension) []pkix.Extension { return nil }
	})
	roots := w.Roots()
	for _, list := range [][]*x509.Certificate{roots.AMD, roots.Intel, roots.Intermediates} {
		for _, c := range list {
			files["roots.pem"] = append(files["roots.pem"], attesttest.PEM(c.Raw)...)
		}
	}
	c := w.Collateral()
	for kind, list := range map[string][][]byte{"crt": c.Certificates, "crl": c.CRLs, "tcb.json": c.TCBInfos, "qe.json": c.QEIdentities} {
		for i, data := range list {
			files[fmt.Sprintf("collateral/%d.%s", i, kind)] = data
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "collateral"), 0o700); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func writeCertificate(crtFile, keyFile, name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	crt, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600),
		os.WriteFile(crtFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: crt}), 0o600))
}
