// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/cli/clitest"
	"enarx.dev/enarx/internal/drawbridged/store"
)

// clientOf is a client of a development server.
func clientOf(t *testing.T, dir string) *http.Client {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(dir, "dev", caFile))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 64}}
}

// put sends a body with all of its digests and returns the status, or an error
// if there was no whole answer.
func put(client *http.Client, token, url string, body []byte, mediaType string) (int, error) {
	req, err := http.NewRequest("PUT", url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Content-Digest", drawbridge.MetaOf(body, mediaType).Digests.Header())
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// TestTermUnderLoad: SIGTERM in the middle of many uploads loses none that was
// acknowledged, and cuts off none that was accepted.
func TestTermUnderLoad(t *testing.T) {
	dir := t.TempDir()
	p, err := start(dir, nil, "--development", "dev", "--addr", "127.0.0.1:0", "--drain", "100ms")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	line, err := p.Said(regexp.MustCompile("server=public address="))
	if err != nil {
		t.Fatal(err)
	}
	url := "https://" + address.FindStringSubmatch(line)[1] + drawbridge.Prefix + "/dev/load"
	text, err := os.ReadFile(filepath.Join(dir, "dev", tokenFile))
	if err != nil {
		t.Fatal(err)
	}
	client, token := clientOf(t, dir), strings.TrimSpace(string(text))
	defer client.CloseIdleConnections()
	if status, err := put(client, token, url, drawbridge.Repository{Public: true}.Canonical(), drawbridge.TypeJSON); status != 201 {
		t.Fatal(status, err)
	}
	acknowledged := load(t, client, token, url, p)
	s, err := store.OpenURL(t.Context(), "file://"+filepath.Join(dir, "dev", storeDir), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tags, err := s.Tags(t.Context(), "dev", "load")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, tag := range tags {
		there[tag.Name] = true
	}
	for _, tag := range acknowledged {
		if !there[tag] {
			t.Errorf("tag %s was acknowledged and is not there", tag)
		}
	}
	t.Logf("%d tags acknowledged, %d there", len(acknowledged), len(tags))
	if report, err := s.Fsck(t.Context(), store.FsckOptions{}); err != nil || !report.Clean() {
		t.Errorf("fsck: %v\n%s", err, report)
	}
}

// load publishes packages of one file from several clients until the server,
// which is told to end on the way, accepts no more. It returns the tags whose
// last file was acknowledged.
func load(t *testing.T, client *http.Client, token, url string, p *clitest.Process) (acknowledged []string) {
	var mu sync.Mutex
	enough := make(chan struct{})
	publish := func(tag string) bool {
		file := []byte("content of " + tag)
		entry := drawbridge.Entry{Meta: drawbridge.MetaOf(file, drawbridge.TypeWasm)}.Canonical()
		at := url + "/_tag/" + tag
		if status, err := put(client, token, at, entry, drawbridge.TypeEntry); err != nil || status != 201 {
			return refused(t, at, status, err)
		}
		if status, err := put(client, token, at+"/tree", file, drawbridge.TypeWasm); err != nil || status != 201 {
			return refused(t, at, status, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if acknowledged = append(acknowledged, tag); len(acknowledged) == 20 {
			close(enough)
		}
		return true
	}
	var clients sync.WaitGroup
	for n := range 16 {
		clients.Go(func() {
			for i := 0; publish(fmt.Sprintf("%d.%d.0", n, i)); i++ {
			}
		})
	}
	<-enough
	if err := p.Stop(); err != nil {
		t.Errorf("it did not end well: %v", err)
	}
	clients.Wait()
	return acknowledged
}

// refused is for what ends a client: that nobody listens any more, or closed a
// connection before anything was sent. An answer must be a good one, and whole.
func refused(t *testing.T, what string, status int, err error) bool {
	if err == nil || strings.Contains(err.Error(), "unexpected EOF") {
		t.Errorf("%s: %d, %v", what, status, err)
	}
	return false
}

// TestSocketActivation passes sockets as systemd does, and stops and starts the
// server without a client being refused.
func TestSocketActivation(t *testing.T) {
	dir := t.TempDir()
	var files []*os.File
	var addresses []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files, addresses = append(files, f), append(addresses, l.Addr().String())
	}
	get := func(client *http.Client, url string) string {
		resp, err := client.Get(url)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.Status + " " + string(text)
	}
	for range 2 { // each time the client is there before the server
		// LISTEN_PID has to be right, and only a shell knows it before exec.
		cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec enarx-drawbridge --development dev --drain 10ms`)
		cmd.Dir, cmd.ExtraFiles = dir, files
		cmd.Env = append(os.Environ(), "LISTEN_FDS=2", "LISTEN_FDNAMES=drawbridge:admin")
		p, err := clitest.Run(cmd, patience)
		if err != nil {
			t.Fatal(err)
		}
		if got := get(http.DefaultClient, "http://"+addresses[1]+"/ready"); got != "200 OK ready\n" {
			t.Errorf("%q", got)
		}
		client := clientOf(t, dir)
		if got := get(client, "https://"+addresses[0]+"/health"); got != "200 OK " {
			t.Errorf("%q", got)
		}
		http.DefaultClient.CloseIdleConnections()
		client.CloseIdleConnections()
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
}
