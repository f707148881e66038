// SPDX-License-Identifier: Apache-2.0

//go:build !keepimages

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/oidctest"
)

// terminal is a pseudo-terminal of 80 columns: the side of the person, and that
// of programs.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("skipped: no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	fd := int(person.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return person, program
}

// TestTerminal: people see how far it is, and then what they need to know.
func TestTerminal(t *testing.T) {
	t.Parallel()
	r, err := newRig(rigOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, r.caPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	app := filepath.Join(dir, "app")
	writeLarge(t, app, 20<<20)
	env := append(os.Environ(), "HOME="+dir, "TERM=xterm", "ENARX_CA_BUNDLE="+ca, "ENARX_STORE_HOST="+r.host,
		"ENARX_INSECURE_AUTH_TOKEN="+r.idp.Mint(oidctest.Claims{}))
	screen := func(args ...string) string {
		person, program := terminal(t)
		cmd := exec.Command("enarx", args...)
		cmd.Env, cmd.Stderr = env, program
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		program.Close()
		text, _ := io.ReadAll(person) // ends with an error when the last program is gone
		if err := cmd.Wait(); err != nil {
			t.Fatalf("enarx %q: %v: %s", args, err, text)
		}
		return string(text)
	}
	screen("user", "register", "alice")
	screen("repo", "register", "alice/app")
	published := screen("package", "publish", "alice/app:1.0.0", app)
	if !strings.Contains(published, "\rsending  0 B of 20.0 MiB    0%") {
		t.Errorf("no progress: %q", published)
	}
	for _, line := range strings.FieldsFunc(published, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if len([]rune(line)) > 79 && !strings.Contains(line, "@sha256:") {
			t.Errorf("wider than the terminal: %q", line)
		}
	}
	last := published[strings.LastIndex(published, "Published."):]
	if want := regexp.MustCompile(`^Published\.\r\n20\.0 MiB sent, 0 B were there already\.\r\n` + r.host + `/alice/app:1\.0\.0@sha256:[0-9a-f]{64}\r\n$`); !want.MatchString(last) {
		t.Errorf("%q", last)
	}
	if before, _, _ := strings.Cut(published, "Published."); !strings.HasSuffix(before, " \r") {
		t.Errorf("the progress is still on the screen: %q", before)
	}
	fetched := screen("package", "fetch", "alice/app:1.0.0", filepath.Join(dir, "got"))
	if !strings.Contains(fetched, " is in "+filepath.Join(dir, "got")+".\r\n") {
		t.Errorf("%q", fetched)
	}
	token := screen("repo", "token", "generate", "alice/app")
	if !strings.HasPrefix(token, "This is a robot's token to read, for alice/app, good until ") || strings.Contains(token, "edb_") {
		t.Errorf("%q", token)
	}
}
