// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/rogpeppe/go-internal/testscript"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/cli/clitest"
	"enarx.dev/enarx/internal/need"
	"enarx.dev/enarx/oidctest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"enarx-drawbridge": main})
}

// TestScript runs the sessions, with the command in this binary.
func TestScript(t *testing.T) {
	need.Tool(t, "curl")
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

// patience is how long a test waits for what must happen.
var patience = need.Scale(20 * time.Second)

var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// idp [ADDRESS] starts an OpenID provider. $ISSUER is its URL, $TOKEN an
	// access token of somebody, $TOKEN2 one of somebody else.
	"idp": func(ts *testscript.TestScript, neg bool, args []string) {
		o := oidctest.Options{}
		if len(args) > 0 {
			o.Addr = args[0]
		}
		p, err := oidctest.New(o)
		ts.Check(err)
		ts.Defer(p.Close)
		ts.Setenv("ISSUER", p.Issuer())
		ts.Setenv("TOKEN", p.Mint(nil))
		ts.Setenv("TOKEN2", p.Mint(oidctest.Claims{"sub": "test|other"}))
	},
	// s3 BUCKET starts an S3 server with a bucket. $S3 is the bucket's URL.
	"s3": func(ts *testscript.TestScript, neg bool, args []string) {
		backend := s3mem.New()
		ts.Check(backend.CreateBucket(args[0]))
		server := httptest.NewServer(gofakes3.New(backend).Server())
		ts.Defer(server.Close)
		ts.Setenv("AWS_ACCESS_KEY_ID", "x")
		ts.Setenv("AWS_SECRET_ACCESS_KEY", "y")
		ts.Setenv("S3", "s3://"+args[0]+"?region=us-east-1&use_path_style=true&endpoint="+server.URL)
	},
	// certificate NAME HOST makes NAME.crt and NAME.key, a server's certificate
	// for HOST and 127.0.0.1, and the CA's NAME.ca and NAME.cakey.
	"certificate": func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Check(writeCertificate(ts.MkAbs(args[0]), args[1]))
	},
	// keep NAME CA URI makes NAME.crt and NAME.key as a Steward with the CA of
	// that certificate does for a Keep on SNP.
	"keep": func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Check(writeKeep(ts.MkAbs(args[0]), ts.MkAbs(args[1]), args[2]))
	},
	// port VARIABLE finds a port that nobody listens on.
	"port": func(ts *testscript.TestScript, neg bool, args []string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		ts.Check(err)
		ts.Setenv(args[0], port)
	},
	// digest VARIABLE FILE [TYPE] sets the Content-Digest of a file, and with a
	// type its tag entry as VARIABLE_ENTRY.
	"digest": func(ts *testscript.TestScript, neg bool, args []string) {
		m := drawbridge.MetaOf([]byte(ts.ReadFile(args[1])), drawbridge.TypeBinary)
		ts.Setenv(args[0], m.Digests.Header())
		if len(args) > 2 {
			m.Type = args[2]
			ts.Setenv(args[0]+"_ENTRY", string(drawbridge.Entry{Meta: m}.Canonical()))
		}
	},
	// load VARIABLE FILE sets a variable to what is in a file.
	"load": func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
	},
	// setfile FILE TEXT writes a file, without a newline at its end.
	"setfile": func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]), 0o600))
	},
	// expand FILE puts the values of $VARIABLES into a file.
	"expand": func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
	},
	// start NAME ARG… starts the Drawbridge, and returns when it serves. $NAME
	// is where, $NAME_ADMIN where its admin address is.
	"start": func(ts *testscript.TestScript, neg bool, args []string) {
		var env []string
		for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
			env = append(env, name+"="+ts.Getenv(name))
		}
		p, err := start(ts.MkAbs("."), env, args[1:]...)
		ts.Check(err)
		daemons(ts)[args[0]] = p
		line, err := p.Said(regexp.MustCompile(`server=public address=\S+`))
		ts.Check(err)
		ts.Setenv(args[0], address.FindStringSubmatch(line)[1])
		if slices.Contains(args, "--admin-addr") {
			line, err := p.Said(regexp.MustCompile(`server=admin address=\S+`))
			ts.Check(err)
			ts.Setenv(args[0]+"_ADMIN", address.FindStringSubmatch(line)[1])
		}
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
	// until REGEXP PROGRAM ARG… runs a program until it prints a line like that.
	"until": func(ts *testscript.TestScript, neg bool, args []string) {
		want, deadline := regexp.MustCompile("(?m)"+args[0]), time.Now().Add(patience)
		for {
			cmd := exec.Command(args[1], args[2:]...)
			cmd.Dir = ts.MkAbs(".")
			out, err := cmd.CombinedOutput()
			if want.Match(out) {
				return
			}
			if time.Now().After(deadline) {
				ts.Fatalf("%v: %s", err, out)
			}
		}
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
	// damage PATTERN changes the last byte of the first file like that.
	"damage": func(ts *testscript.TestScript, neg bool, args []string) {
		names, err := filepath.Glob(ts.MkAbs(args[0]))
		if err != nil || len(names) == 0 {
			ts.Fatalf("%s: no such file, %v", args[0], err)
		}
		data, err := os.ReadFile(names[0])
		ts.Check(err)
		data[len(data)-1] ^= 1
		ts.Check(os.Chmod(names[0], 0o600))
		ts.Check(os.WriteFile(names[0], data, 0o600))
	},
}

var address = regexp.MustCompile(`address=(\S+)`)

// start runs the Drawbridge in dir until it says that it is ready. It will not
// linger at its end, unless told to.
func start(dir string, env []string, args ...string) (*clitest.Process, error) {
	if !slices.Contains(args, "--drain") {
		args = append(slices.Clone(args), "--drain", "1ms")
	}
	return clitest.Start(dir, patience, env, "enarx-drawbridge", args...)
}

// writeCertificate makes a CA and a certificate for hosts, with commas between.
func writeCertificate(name, hosts string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "CA of " + filepath.Base(name)}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		return err
	}
	if err := writePEM(name+".ca", der, name+".cakey", key); err != nil {
		return err
	}
	return writeLeaf(name, name, &x509.Certificate{DNSNames: strings.Split(hosts, ","), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
}

// writeKeep makes a Keep's certificate.
func writeKeep(name, ca, uri string) error {
	u, err := url.Parse(uri)
	if err != nil {
		return err
	}
	ear := `{"ear_status":"affirming","submods":{"keep":{"ear_status":"affirming","ear_attester_claims":{"tee":"snp"},"ear_verifier_claims":{"roots":"vendor"}}}}`
	return writeLeaf(name, ca, &x509.Certificate{URIs: []*url.URL{u}, ExtraExtensions: []pkix.Extension{attest.CMW(attest.EARType, []byte(ear))}})
}

// writeLeaf makes the files name.crt and name.key by the CA of another.
func writeLeaf(name, ca string, leaf *x509.Certificate) error {
	issuer, err := tls.LoadX509KeyPair(ca+".ca", ca+".cakey")
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf.SerialNumber, leaf.NotBefore, leaf.NotAfter = serial(), issuer.Leaf.NotBefore, issuer.Leaf.NotAfter
	der, err := x509.CreateCertificate(rand.Reader, leaf, issuer.Leaf, key.Public(), issuer.PrivateKey)
	if err != nil {
		return err
	}
	return writePEM(name+".crt", der, name+".key", key)
}

func writePEM(crtFile string, crt []byte, keyFile string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(crtFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: crt}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}
