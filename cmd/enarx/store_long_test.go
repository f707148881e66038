// SPDX-License-Identifier: Apache-2.0

//go:build !keepimages

package main

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"enarx.dev/enarx/oidctest"
)

func init() { programs["test-drawbridge"] = rigMain }

// rigMain is a rig with its blobs in a folder, as a process of its own. It says
// on standard output where it is, and ends with standard input.
func rigMain() {
	r, err := newRig(rigOptions{storeURL: "file://" + os.Args[1]})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	where, _ := json.Marshal([]string{r.host, string(r.caPEM), r.idp.Mint(oidctest.Claims{})})
	fmt.Printf("%s\n", where)
	_, _ = io.Copy(io.Discard, os.Stdin)
	r.close()
}

// peak watches the memory of a process until stop is called, and returns the
// most that it had, in bytes. The high-water mark of Linux is of this program
// alone, unlike that of getrusage, which starts with what its parent had.
func peak(pid int) (stop func() int64) {
	var most int64
	over := make(chan struct{})
	var watching sync.WaitGroup
	look := func() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return
		}
		if _, rest, ok := strings.Cut(string(text), "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			most = max(most, n<<10)
		}
	}
	watching.Go(func() {
		for {
			look()
			select {
			case <-over:
				look()
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	return func() int64 {
		close(over)
		watching.Wait()
		return most
	}
}

// process is a rig in a process of its own, for who measures it.
type process struct {
	t               *testing.T
	home            string
	host, ca, token string
	peak            func() int64 // of the memory of the Drawbridge
}

func startRig(t *testing.T, dir string) *process {
	t.Helper()
	blobs := filepath.Join(dir, "blobs")
	if err := os.Mkdir(blobs, 0o700); err != nil {
		t.Fatal(err)
	}
	server := exec.Command("test-drawbridge", blobs)
	server.Stderr = os.Stderr
	in, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, home: dir, ca: filepath.Join(dir, "ca.pem"), peak: peak(server.Process.Pid)}
	t.Cleanup(func() {
		in.Close()
		if err := server.Wait(); err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var where []string
	if err := json.Unmarshal(line, &where); err != nil {
		t.Fatal(err)
	}
	p.host, p.token = where[0], where[2]
	if err := os.WriteFile(p.ca, []byte(where[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// enarx runs a command, and returns what it printed and the most memory it had.
func (p *process) enarx(args ...string) (stdout string, most int64) {
	p.t.Helper()
	cmd := exec.Command("enarx", args...)
	cmd.Env = append(os.Environ(), "HOME="+p.home, "ENARX_CA_BUNDLE="+p.ca, "ENARX_INSECURE_AUTH_TOKEN="+p.token, "ENARX_STORE_HOST="+p.host)
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = &text, os.Stderr
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	stop := peak(cmd.Process.Pid)
	err := cmd.Wait()
	most = stop()
	if err != nil {
		p.t.Fatalf("enarx %q: %v", args, err)
	}
	return text.String(), most
}

// TestPublishLarge publishes 1 GiB, or less unless ENARX_TEST_LONG is set, over a
// line that breaks three times: nothing that was stored is sent again, and
// neither side holds the package in its memory.
func TestPublishLarge(t *testing.T) {
	t.Parallel()
	// The short one and what programs need anyway are over its limit, too.
	total, limit := int64(64<<20), int64(80<<20)
	if os.Getenv("ENARX_TEST_LONG") != "" {
		total, limit = 1<<30, 100<<20
	}
	dir := t.TempDir()
	app := filepath.Join(dir, "app")
	writeLarge(t, app, total)
	p := startRig(t, dir)
	c, err := cut(p.host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	p.enarx("user", "register", "alice")
	p.enarx("repo", "register", "alice/app")
	c.arm(total/8, total/4, total/8)
	begin := time.Now()
	_, client := p.enarx("package", "publish", c.host+"/alice/app:1.0.0", app)
	took := time.Since(begin)
	cuts, moved := c.left()
	if report, _ := p.enarx("package", "publish", "--json", "alice/app:1.0.0", app); !strings.Contains(report, `"created": false`) || !strings.Contains(report, `"sent": 0`) {
		t.Errorf("again: %s", report)
	}
	if verified, _ := p.enarx("package", "verify", "alice/app:1.0.0"); !strings.Contains(verified, "as listed") {
		t.Errorf("%s", verified)
	}
	server := p.peak()
	t.Logf("%d MiB in %v over a line that broke %d times: %.1f%% of it sent again; memory: client %d MiB, server %d MiB",
		total>>20, took.Round(time.Millisecond), 3-cuts, 100*float64(moved-total)/float64(total), client>>20, server>>20)
	if cuts != 0 {
		t.Errorf("the line was to break %d times more", cuts)
	}
	// A break costs at most the piece of a file that was on its way: if the client
	// is back before the server has seen the break, all that it has of it.
	const piece = 16 << 20
	if again := moved - total; again > 3*piece+total/50 {
		t.Errorf("%d bytes were sent again", again)
	}
	for who, bytes := range map[string]int64{"client": client, "server": server} {
		if bytes == 0 || bytes > limit {
			t.Errorf("the %s had %d MiB of memory", who, bytes>>20)
		}
	}
}

// writeLarge writes a package of that size: a large file, some that are not, and
// a module.
func writeLarge(t *testing.T, dir string, total int64) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "parts"), 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]int64{"main.wasm": 8 << 20, "large.bin": total / 2}
	left := total - files["main.wasm"] - files["large.bin"]
	for i := range 8 {
		files[fmt.Sprintf("parts/%d", i)] = left / 8
	}
	for name, n := range files {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		const head = "\x00asm\x01\x00\x00\x00"
		if _, err := f.WriteString(head); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(f, rand.Reader, n-int64(len(head))); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
