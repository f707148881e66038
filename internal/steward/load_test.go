// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"bytes"
	"context"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	runtimemetrics "runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"crypto/x509/pkix"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/internal/ledger"
	"enarx.dev/enarx/internal/live"
	"enarx.dev/enarx/internal/need"
)

// nested is about n bytes of SEQUENCEs in one another, all of the right length.
func nested(n int) []byte {
	der := make([]byte, 0, n)
	for left := n - 5; left >= 0; left -= 5 {
		der = append(der, 0x30, 0x83, byte(left>>16), byte(left>>8), byte(left))
	}
	return der
}

// quick requires f to take less than limit on an ordinary machine.
func quick(t *testing.T, what string, limit time.Duration, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	took := time.Since(begin)
	t.Logf("%s: %v", what, took)
	if took > need.Scale(limit) {
		t.Errorf("%s took %v", what, took)
	}
}

// TestHostileRequests: what is made to be expensive is cheap, and refused.
func TestHostileRequests(t *testing.T) {
	r := newRig(t, withCollateral)
	deep := nested(2 << 20)
	quick(t, "2 MiB of nested ASN.1", 2*time.Second, func() { r.wantCode("nested", deep, "csr.encoding") })
	quick(t, "the same as a bundle", 2*time.Second, func() {
		if resp := r.send("POST", "/", deep, "Content-Type", typeBundle); resp.StatusCode != 400 {
			t.Errorf("%s", resp.Status)
		}
	})
	// Signed requests: only somebody who wants to gets this far.
	inside := csr("snp-v2", func(r *request) {
		r.Extensions = func([]pkix.Extension) []pkix.Extension {
			return []pkix.Extension{{Id: attesttest.OIDEvidenceSNP, Value: nested(2<<20 - 4096)}}
		}
	})
	quick(t, "nested ASN.1 as evidence", 2*time.Second, func() { r.wantCode("nested", inside, "csr.evidence.encoding") })
	subject := csr("snp-v2", func(r *request) {
		r.Subject = attesttest.CommonName(strings.Repeat("x", 64<<10))
	})
	quick(t, "a subject of 64 KiB", time.Second, func() { r.wantCode("subject", subject, "csr.encoding") })
	good, forged := manyCRLs(1000, 0), manyCRLs(1000, 1)
	quick(t, "1,000 good CRLs", 2*time.Second, func() { r.wantCode("many", good, "csr.evidence.encoding") })
	quick(t, "1,000 forged CRLs", 2*time.Second, func() { r.wantCode("many", forged, "csr.evidence.encoding") })
	few := manyCRLs(64, 1)
	quick(t, "64 CRLs, most of them forged", time.Second, func() { r.issued(few) })
	quick(t, "250 extensions", time.Second, func() {
		r.wantCode("extensions", csr("snp-v2", func(r *request) {
			r.Extensions = func(l []pkix.Extension) []pkix.Extension {
				for len(l) < 250 {
					l = append(l, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, len(l)}})
				}
				return l
			}
		}), "csr.attributes")
	})
	r.issued(csr("snp-v2"))
}

// manyCRLs is a request with n lists of one issuer, whose signatures are good
// or changed.
func manyCRLs(n int, change byte) []byte {
	return csr("snp-v2", func(r *request) {
		r.Evidence = func(e *attesttest.Evidence) {
			one := e.CRLs[0]
			e.CRLs = nil
			for i := range n {
				crl := bytes.Clone(one.CRL)
				crl[len(crl)-1] ^= change * byte(i)
				crl[len(crl)-2] ^= change * byte(i>>8)
				e.CRLs = append(e.CRLs, attesttest.Published{URL: fmt.Sprint(one.URL, i), CRL: crl})
			}
		}
	})
}

// total is how much memory the runtime has of the system.
func total() uint64 {
	sample := []runtimemetrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	runtimemetrics.Read(sample)
	return sample[0].Value.Uint64() - sample[1].Value.Uint64()
}

// TestParallel: 200 clients at once are all served, and what they took is given
// back.
func TestParallel(t *testing.T) {
	log, err := OpenLog(filepath.Join(t.TempDir(), "log"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r := newRig(t, withCollateral, func(cfg *Config) { cfg.Limits.Rate, cfg.Ledger = -1, log })
	bodies := [][]byte{csr("snp-v2"), csr("sgx-v3"), csr("tdx-v1")}
	transport := &http.Transport{MaxIdleConnsPerHost: 200}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	before := runtime.NumGoroutine()
	var served atomic.Int64
	var clients sync.WaitGroup
	begin := time.Now()
	for i := range 200 {
		clients.Go(func() {
			for range 3 {
				resp, err := client.Post(r.url, typeRequest, bytes.NewReader(bodies[i%3]))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
					t.Errorf("%s, %v", resp.Status, err)
				}
				resp.Body.Close()
				served.Add(1)
			}
		})
	}
	clients.Wait()
	t.Logf("%.0f certificates/s, clients included", float64(served.Load())/time.Since(begin).Seconds())
	if n := r.server.requests.Load() + r.server.held.Load() + int64(len(r.server.verifying)); n != 0 {
		t.Errorf("%d of something is still held", n)
	}
	if after := runtime.NumGoroutine(); after > before+1000 {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}

// TestMemory: bodies that come in and do not end take no more memory than the
// limit, and do not keep small requests out of a server that has room.
func TestMemory(t *testing.T) {
	const limit = 16 << 20
	r := newRig(t, withCollateral, func(cfg *Config) { cfg.Limits.Memory, cfg.Limits.Rate = limit, -1 })
	before, peak := total(), uint64(0)
	address := strings.TrimPrefix(r.url, "http://")
	var clients sync.WaitGroup
	body := make([]byte, 2<<20-1)
	answers := make(chan string, 100)
	conns := make(chan net.Conn, 100)
	for range 100 {
		clients.Go(func() {
			c, err := net.Dial("tcp", address)
			conns <- c
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", typeRequest, len(body)+1)
			go func() { _, _ = c.Write(body) }() // all but its last byte; it may be cut off
			status := make([]byte, len("HTTP/1.1 503"))
			_, _ = io.ReadFull(c, status)
			answers <- string(status)
		})
	}
	for range 80 { // at most 16 fit
		if a := <-answers; a != "HTTP/1.1 503" {
			t.Errorf("%q", a)
		}
		peak = max(peak, total())
	}
	if held := r.server.held.Load(); held > limit {
		t.Errorf("%d bytes held, the limit is %d", held, limit)
	}
	t.Logf("%d MiB before, at most %d MiB", before>>20, peak>>20)
	if peak > before+10*limit {
		t.Errorf("memory grew from %d to %d MiB", before>>20, peak>>20)
	}
	for range 100 {
		if c := <-conns; c != nil {
			c.Close()
		}
	}
	clients.Wait()
	for r.server.requests.Load() > 0 { // the server sees them go
		runtime.Gosched()
	}
	r.issued(csr("snp-v2"))
}

// load keeps posting body from several clients until done is closed. It tells
// served of answers, and collects how long the certificates live.
func load(r *rig, body []byte, done <-chan struct{}, served chan<- struct{}) (wait func() map[time.Duration]bool) {
	var clients sync.WaitGroup
	var mu sync.Mutex
	lives := map[time.Duration]bool{}
	client := func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			resp, err := http.Post(r.url, typeRequest, bytes.NewReader(body))
			if err != nil {
				r.t.Error(err)
				return
			}
			der, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != 200 {
				r.t.Errorf("%s, %v", resp.Status, err)
				return
			}
			leaf := certificates(r.t, der)[1]
			mu.Lock()
			lives[leaf.NotAfter.Sub(leaf.NotBefore)] = true
			mu.Unlock()
			select {
			case served <- struct{}{}:
			default:
			}
		}
	}
	for range 8 {
		clients.Go(client)
	}
	return func() map[time.Duration]bool {
		clients.Wait()
		return lives
	}
}

// TestReloadUnderLoad: new rules come into force without any request noticing,
// and bad ones do not.
func TestReloadUnderLoad(t *testing.T) {
	var turn atomic.Int64
	follow, err := live.New("policy", func() (*attest.Policy, error) {
		n := turn.Add(1)
		if n%3 == 0 {
			return attest.ParsePolicy("policy.toml", []byte("[nonsense]\n"))
		}
		return attest.ParsePolicy("policy.toml", fmt.Appendf(nil, "[certificate]\nlife = \"%dh\"\n", n%3))
	})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, withCollateral, func(cfg *Config) { cfg.Policy, cfg.Limits.Rate = follow, -1 })
	done, served := make(chan struct{}), make(chan struct{}, 1)
	wait := load(r, csr("sgx-v3"), done, served)
	for range 150 {
		r.server.Reloaded("policy", follow.Reload())
		<-served
	}
	close(done)
	seen := wait()
	if len(seen) != 2 || !seen[time.Hour] || !seen[2*time.Hour] {
		t.Errorf("lives %v", seen)
	}
	if text := metricsOf(t, r); !strings.Contains(text, `enarx_steward_reloads_total{result="failed",what="policy"} 50`) ||
		count(t, r.log, "keeping the old ones") != 50 {
		t.Errorf("bad policies were not counted or said:\n%s", text)
	}
}

// TestLimits: clients beyond their share are told when to come back.
func TestLimits(t *testing.T) {
	r := newRig(t, insecurely, func(cfg *Config) { cfg.Limits.Rate, cfg.Limits.Burst = 1, 3 })
	body := csr("none")
	for n := range 5 {
		resp := r.post(body, "Accept", typeProblem)
		if limited := n >= 3; (resp.StatusCode == 429) != limited || (resp.Header.Get("Retry-After") == "1") != limited {
			t.Errorf("request %d: %s", n, resp.Status)
		}
	}
	if resp := r.send("GET", "/", nil); resp.StatusCode != 200 {
		t.Errorf("health is limited too: %s", resp.Status)
	}
	// A bundle counts for what is in it.
	r = newRig(t, insecurely, func(cfg *Config) { cfg.Limits.Rate, cfg.Limits.Burst = 1, 5 })
	for n, status := range []int{200, 429} {
		if resp := r.bundle([][]byte{body, body, body}); resp.StatusCode != status {
			t.Errorf("bundle %d: %s", n, resp.Status)
		}
	}

	// One verification at a time, and nobody may wait for it.
	r = newRig(t, withCollateral, func(cfg *Config) {
		cfg.Limits.Verifications, cfg.Limits.Requests, cfg.Limits.Wait = 1, 2, time.Millisecond
	})
	r.server.verifying <- struct{}{}
	if resp := r.post(csr("snp-v2"), "Accept", typeProblem); resp.StatusCode != 503 || !bytes.Contains(resp.body, []byte("request.queue")) {
		t.Errorf("%s %s", resp.Status, resp.body)
	}
	<-r.server.verifying
	r.server.requests.Add(2) // two others that are being received
	if resp := r.post(csr("snp-v2"), "Accept", typeProblem); resp.StatusCode != 503 || !bytes.Contains(resp.body, []byte("request.busy")) {
		t.Errorf("%s %s", resp.Status, resp.body)
	}
	r.server.requests.Add(-2)
	r.issued(csr("snp-v2"))
}

// TestSlowVendor: who waits for a vendor's answer takes no turn from others,
// and does not wait for ever.
func TestSlowVendor(t *testing.T) {
	entered := make(chan struct{})
	var limit time.Duration
	r := newRig(t, func(cfg *Config) {
		cfg.Limits.Verifications, cfg.Limits.LookUp = 1, time.Minute
		cfg.Collateral = func(ctx context.Context, ev *attest.Evidence, _ *checkGroup) *attest.Collateral {
			if ev.Technology == attest.SNP {
				deadline, _ := ctx.Deadline()
				limit = time.Until(deadline)
				entered <- struct{}{}
				<-entered
			}
			return collateral()
		}
	})
	var slow sync.WaitGroup
	slow.Go(func() { r.issued(csr("snp-v2")) })
	<-entered
	r.issued(csr("sgx-v3")) // would wait for the one turn
	if limit <= 0 || limit > time.Minute {
		t.Errorf("a look-up may take %v", limit)
	}
	entered <- struct{}{}
	slow.Wait()
	if len(r.server.verifying) != 0 {
		t.Error("a turn was not given back")
	}
}

func TestLimitsAreSane(t *testing.T) {
	for _, l := range []Limits{{Verifications: -1}, {Burst: -1}, {Memory: -1}} {
		if _, err := New(Config{CA: validAt(t, now), Policy: live.Fixed(attest.DefaultPolicy()), Limits: l}); err == nil {
			t.Errorf("%+v was taken", l)
		}
	}
}

// TestLedger: what is issued is in the log, and what is not in the log is not
// handed out.
func TestLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log, err := OpenLog(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, withCollateral, func(cfg *Config) { cfg.Ledger = log })
	leaf := r.issued(csr("snp-v2"))
	r.post(csr("snp-v2", debuggable))
	r.bundle([][]byte{csr("sgx-v3"), csr("tdx-v1")})
	lines := strings.Split(strings.TrimSpace(readFile(t, path)), "\n")
	if len(lines) != 3 {
		t.Fatalf("%q", lines)
	}
	for _, want := range []string{fmt.Sprintf("%032x", leaf.SerialNumber), `"technology":"snp"`, measurement(t), leaf.NotAfter.Format(time.RFC3339)} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("no %s in %s", want, lines[0])
		}
	}
	log.Close()
	if resp := r.post(csr("snp-v2")); resp.StatusCode != 500 || len(resp.body) != 0 {
		t.Errorf("a certificate without a log entry: %s", resp.Status)
	}
}

// TestLedgerFormat: the log of an earlier release is continued, to the byte.
func TestLedgerFormat(t *testing.T) {
	const old = `{"seq":1,"prev":"0000000000000000000000000000000000000000000000000000000000000000","time":"2026-11-21T12:00:01.5Z","request":"r\u003c1\u003e","serial":"0a","sha256":"0100000000000000000000000000000000000000000000000000000000000000","technology":"snp","measurement":"ab","policy":"0200000000000000000000000000000000000000000000000000000000000000","uris":["enarx:host/user/repo:1.0.0","ni:///sha-256;AA\u0026b"],"not_after":"2026-11-21T13:00:01.5Z"}
{"seq":2,"prev":"15dcd29a786f5b0d76835108e7a7ca14d457815b79306db72a9ad1c586d75385","time":"2026-11-21T12:00:01.5Z","serial":"0b","sha256":"0000000000000000000000000000000000000000000000000000000000000000","technology":"none","policy":"0000000000000000000000000000000000000000000000000000000000000000","not_after":"2026-11-21T12:00:01.5Z","insecure":true}
`
	at := time.Date(2026, 11, 21, 12, 0, 1, 500e6, time.UTC)
	entries := []Entry{
		{Time: at, Request: "r<1>", Serial: "0a", Certificate: ledger.Hash{1}, Technology: "snp", Measurement: "ab", Policy: ledger.Hash{2},
			URIs: []string{"enarx:host/user/repo:1.0.0", "ni:///sha-256;AA&b"}, NotAfter: at.Add(time.Hour)},
		{Time: at, Serial: "0b", Technology: "none", NotAfter: at, Insecure: true},
	}
	first, _, _ := strings.Cut(old, "\n")
	for _, begin := range []string{"", first + "\n"} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(begin), 0o600); err != nil {
			t.Fatal(err)
		}
		log, err := OpenLog(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(log.Append(entries[strings.Count(begin, "\n"):]...), log.Close()); err != nil {
			t.Fatal(err)
		}
		if text := readFile(t, path); text != old {
			t.Errorf("after %d lines:\n%s", strings.Count(begin, "\n"), text)
		}
	}
}
