// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"enarx.dev/enarx/internal/cli/clitest"
	"enarx.dev/enarx/internal/collateral/fakevendor"
	"enarx.dev/enarx/internal/ledger"
	"enarx.dev/enarx/internal/steward"
)

// overSocket is a client of the Steward at that Unix socket.
func overSocket(path string, keepAlive bool) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: !keepAlive, MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
}

// TestTermUnderLoad: SIGTERM in the middle of many requests loses none that was
// accepted: every certificate in the issuance log has reached its client, and
// no answer was cut off.
func TestTermUnderLoad(t *testing.T) {
	for _, keepAlive := range []bool{false, true} {
		t.Run(fmt.Sprintf("keepalive=%v", keepAlive), func(t *testing.T) { termUnderLoad(t, keepAlive) })
	}
}

func termUnderLoad(t *testing.T, keepAlive bool) {
	dir := t.TempDir()
	if err := writeSilicon(dir); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(filepath.Join(dir, "sgx-v3.csr"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := start(dir, nil, "--host", "x", "--roots", "roots.pem", "--collateral", "collateral", "--listen", "unix:s.sock",
		"--issuance-log", "log", "--rate", "-1", "--log-level", "error", "--drain", "100ms")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	client := overSocket(filepath.Join(dir, "s.sock"), keepAlive)
	defer client.CloseIdleConnections()
	var served, cut atomic.Int64
	enough := make(chan struct{})
	var clients sync.WaitGroup
	for range 32 {
		clients.Go(func() {
			for {
				resp, err := client.Post("http://steward/", "application/pkcs10", bytes.NewReader(body))
				if err != nil {
					return // it accepts no more
				}
				der, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || len(der) == 0 {
					cut.Add(1)
					t.Errorf("%s, %d bytes, %v", resp.Status, len(der), err)
					return
				}
				if served.Add(1) == 100 {
					close(enough)
				}
			}
		})
	}
	<-enough
	if err := p.Stop(); err != nil {
		t.Errorf("it did not end well: %v", err)
	}
	clients.Wait()
	log, err := os.Open(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s, err := ledger.Audit[steward.Entry](log, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d certificates issued, %d arrived, %d answers cut", s.Lines, served.Load(), cut.Load())
	if int64(s.Lines) != served.Load() {
		t.Errorf("%d certificates were issued and %d arrived", s.Lines, served.Load())
	}
}

// descriptors are those of listeners, for another process.
func descriptors(t *testing.T, listeners ...net.Listener) (files []*os.File) {
	t.Helper()
	for _, l := range listeners {
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		files = append(files, f)
	}
	return files
}

// TestSocketActivation passes sockets as systemd does, and stops and starts the
// Steward without a client being refused.
func TestSocketActivation(t *testing.T) {
	dir := t.TempDir()
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer public.Close()
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	files := descriptors(t, public, admin)
	run := func() *clitest.Process {
		// LISTEN_PID has to be right, and only a shell knows it before exec.
		cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec enarx-steward --host x --drain 10ms`)
		cmd.Dir, cmd.ExtraFiles = dir, files
		cmd.Env = append(os.Environ(), "LISTEN_FDS=2", "LISTEN_FDNAMES=steward:admin")
		p, err := clitest.Run(cmd, patience)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	get := func(l net.Listener, path string) string {
		resp, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.Status + " " + string(text)
	}
	for range 2 { // the second time, the client is there before the Steward
		answer := make(chan string, 1)
		go func() { answer <- get(public, "/") }()
		p := run()
		if got := <-answer; got != "200 OK " {
			t.Errorf("%q", got)
		}
		if got := get(admin, "/readyz"); got != "200 OK ready\n" {
			t.Errorf("%q", got)
		}
		http.DefaultClient.CloseIdleConnections()
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// TestPort: without sockets of systemd or --listen, upstream's flags say where.
func TestPort(t *testing.T) {
	p, err := start(t.TempDir(), nil, "--host", "x", "--addr", "127.0.0.1", "-p", "0", "--admin", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if _, err := p.Said(regexp.MustCompile(`server=public address=127\.0\.0\.1:\d+ `)); err != nil {
		t.Error(err)
	}
	if _, err := p.Said(regexp.MustCompile(`server=admin address=127\.0\.0\.1:\d+ `)); err != nil {
		t.Error(err)
	}
	if err := p.Cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-p.Ended
	if p.Err != nil {
		t.Errorf("SIGINT: %v", p.Err)
	}
}

// TestFetch: what old requests lack is asked of the vendors, here of imitations.
func TestFetch(t *testing.T) {
	dir := t.TempDir()
	if err := writeSilicon(dir); err != nil {
		t.Fatal(err)
	}
	vendors := httptest.NewServer(fakevendor.Of(silicon()))
	defer vendors.Close()
	p, err := start(dir, nil, "--host", "x", "--roots", "roots.pem", "--listen", "unix:s.sock",
		"--fetch", "--cache", "cache", "--kds-url", vendors.URL, "--pcs-url", vendors.URL, "--intel-certs-url", vendors.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	client := overSocket(filepath.Join(dir, "s.sock"), false)
	post := func(file string) (int, string) {
		t.Helper()
		body, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest("POST", "http://steward/", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/pkcs10")
		req.Header.Set("Accept", "application/problem+json")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	for _, file := range []string{"sgx-v1.csr", "snp-v1.csr"} {
		if status, text := post(file); status != 200 {
			t.Errorf("%s: %d %s", file, status, text)
		}
	}
	vendors.Close()
	// The vendors are gone; what was fetched goes on, and what was not is named.
	if status, text := post("sgx-v1.csr"); status != 200 {
		t.Errorf("from the cache: %d %s", status, text)
	}
	if status, text := post("genoa-v1.csr"); status != 400 || !strings.Contains(text, "the vendor's service could not be reached") {
		t.Errorf("without the vendor: %d %s", status, text)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}
