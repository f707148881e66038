// SPDX-License-Identifier: Apache-2.0

//go:build !keepimages

package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"enarx.dev/enarx/internal/need"
	"enarx.dev/enarx/oidctest"
)

// TestStore runs the sessions with a Drawbridge, each with one of its own, at
// $store. Nobody is signed in; whoever signs in is $subject at once.
func TestStore(t *testing.T) {
	all := maps.Clone(commands)
	maps.Copy(all, storeCommands)
	testscript.Run(t, testscript.Params{Dir: "testdata/store", Cmds: all, Setup: func(env *testscript.Env) error {
		r, err := newRig(script(t, env.WorkDir))
		if err != nil {
			return err
		}
		env.Defer(r.close)
		env.Values["rig"] = r
		ca := filepath.Join(env.WorkDir, "ca.pem")
		if err := os.WriteFile(ca, r.caPEM, 0o644); err != nil {
			return err
		}
		for key, value := range map[string]string{
			"store": r.host, "issuer": r.idp.Issuer(), "ENARX_CA_BUNDLE": ca, "examples": filepath.Join(need.Root(t), "examples"), "DBUS_SESSION_BUS_ADDRESS": "/dev/null",
		} {
			env.Setenv(key, value)
		}
		return home(env)
	}})
}

// current is the last cutter of each session, still what is closed when that
// stands still.
var current, still sync.Map

func cutterOf(ts *testscript.TestScript) *cutter {
	c, _ := current.Load(ts.Name())
	return c.(*cutter)
}

func rigOf(ts *testscript.TestScript) *rig { return ts.Value("rig").(*rig) }

var storeCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// subject WHO has that user sign in from now on.
	"subject": func(ts *testscript.TestScript, neg bool, args []string) {
		r := rigOf(ts)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.subject = args[0]
	},
	// mint VARIABLE [SUBJECT] puts a good token into a variable.
	"mint": func(ts *testscript.TestScript, neg bool, args []string) {
		claims := oidctest.Claims{}
		if len(args) > 1 {
			claims["sub"] = args[1]
		}
		ts.Setenv(args[0], rigOf(ts).idp.Mint(claims))
	},
	// opaque TOKEN SUBJECT makes the provider know a token.
	"opaque": func(ts *testscript.TestScript, neg bool, args []string) { rigOf(ts).idp.Opaque(args[0], args[1]) },
	// provider {up|down} makes it misbehave.
	"provider": func(ts *testscript.TestScript, neg bool, args []string) {
		rigOf(ts).idp.Misbehave(map[string]oidctest.Fault{"down": {Down: true}, "up": {}}[args[0]])
	},
	// asked PATH N checks how often the provider was asked for a path.
	"asked": func(ts *testscript.TestScript, neg bool, args []string) {
		if n := strconv.Itoa(rigOf(ts).idp.Requests(args[0])); n != args[1] {
			ts.Fatalf("asked %s times for %s", n, args[0])
		}
	},
	// key FILE writes a private key, and the public one into FILE.pub.
	"key": func(ts *testscript.TestScript, neg bool, args []string) {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		ts.Check(err)
		der, err := x509.MarshalPKCS8PrivateKey(private)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
		der, err = x509.MarshalPKIXPublicKey(public)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	},
	// capture VARIABLE FILE puts the text of a file, or of stdout, into a variable.
	"capture": func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
	},
	// random FILE SIZE writes bytes that nobody has.
	"random": func(ts *testscript.TestScript, neg bool, args []string) {
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		data := make([]byte, n)
		_, _ = rand.Read(data)
		ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o755))
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o644))
	},
	// cutter VARIABLE AFTER… puts the host of a line to the store into a variable,
	// which breaks so many bytes after it was opened, once for each AFTER.
	"cutter": func(ts *testscript.TestScript, neg bool, args []string) {
		c, err := cut(rigOf(ts).host)
		ts.Check(err)
		ts.Defer(c.close)
		for _, arg := range args[1:] {
			n, err := strconv.ParseInt(arg, 10, 64)
			ts.Check(err)
			c.arm(n)
		}
		ts.Setenv(args[0], c.host)
		current.Store(ts.Name(), c)
	},
	// cut-all N checks that the last line broke so often that nothing is left of
	// what it was told.
	"cut-all": func(ts *testscript.TestScript, neg bool, args []string) {
		if n, _ := cutterOf(ts).left(); n != 0 {
			ts.Fatalf("the line has not broken %d times", n)
		}
	},
	// moved-at-most BYTES PERCENT checks how much more than that went up the line.
	"moved-at-most": func(ts *testscript.TestScript, neg bool, args []string) {
		want, err := strconv.ParseInt(args[0], 10, 64)
		ts.Check(err)
		percent, err := strconv.ParseInt(args[1], 10, 64)
		ts.Check(err)
		_, moved := cutterOf(ts).left()
		ts.Logf("%d bytes for %d", moved, want)
		if moved < want || moved > want+want*percent/100 {
			ts.Fatalf("%d bytes went up the line for %d", moved, want)
		}
	},
	// shorter FILE N checks that there is not more than that.
	"shorter": func(ts *testscript.TestScript, neg bool, args []string) {
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		if got := len(ts.ReadFile(args[0])); got == 0 || got >= n {
			ts.Fatalf("%d bytes", got)
		}
	},
	// many FOLDER N makes small files.
	"many": func(ts *testscript.TestScript, neg bool, args []string) {
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		ts.Check(os.MkdirAll(ts.MkAbs(args[0]), 0o755))
		for i := range n {
			ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), fmt.Sprintf("%05d", i)), nil, 0o644))
		}
	},
	// stand-still BYTES has the last line do so there, still waits until it does,
	// and go-on ends it.
	"stand-still": func(ts *testscript.TestScript, neg bool, args []string) {
		n, err := strconv.ParseInt(args[0], 10, 64)
		ts.Check(err)
		c := cutterOf(ts)
		c.stopAt(n)
		still.Store(ts.Name(), c.still)
	},
	"still": func(ts *testscript.TestScript, neg bool, args []string) {
		c, _ := still.Load(ts.Name())
		<-c.(chan struct{})
	},
	"go-on": func(ts *testscript.TestScript, neg bool, args []string) {
		c := cutterOf(ts)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.stop = 0
		close(c.on)
	},
	// hostile VARIABLE KIND puts the host of a store that lies into a variable.
	"hostile": func(ts *testscript.TestScript, neg bool, args []string) {
		host, stop, err := hostile(rigOf(ts), args[1])
		ts.Check(err)
		ts.Defer(stop)
		ts.Setenv(args[0], host)
	},
	// browser makes an xdg-open that signs in at the provider's page.
	"browser": func(ts *testscript.TestScript, neg bool, args []string) {
		dir := ts.MkAbs("browser")
		ts.Check(os.Mkdir(dir, 0o755))
		exe, err := os.Executable()
		ts.Check(err)
		text := fmt.Sprintf("#!/bin/sh\nENARX_TEST_BROWSER=1 exec %s -test.run='^TestBrowser$' \"$1\"\n", exe)
		ts.Check(os.WriteFile(filepath.Join(dir, "xdg-open"), []byte(text), 0o755))
		ts.Setenv("PATH", dir+string(os.PathListSeparator)+ts.Getenv("PATH"))
		ts.Setenv("BROWSER", "test")
	},
}

// TestBrowser is the browser of the sessions.
func TestBrowser(t *testing.T) {
	if os.Getenv("ENARX_TEST_BROWSER") == "" {
		t.Skip("skipped: this is the browser of the sessions")
	}
	u, err := url.Parse(os.Args[len(os.Args)-1])
	if err != nil {
		t.Fatal(err)
	}
	form := u.Query()
	form.Set("subject", "test|subject")
	form.Set("action", "allow")
	client := (&rig{}).client()
	client.Timeout = 10 * time.Second
	resp, err := client.PostForm(u.Scheme+"://"+u.Host+u.Path, form)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}
