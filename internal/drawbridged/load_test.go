// SPDX-License-Identifier: Apache-2.0

package drawbridged_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"enarx.dev/enarx/internal/drawbridged"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
	"enarx.dev/enarx/internal/need"
	"enarx.dev/enarx/internal/serve"
	"enarx.dev/enarx/oidctest"
)

// loadSize is how many clients there are, and how many connections beside them
// that take their time. The race detector makes each cost many times as much.
func loadSize() (clients, slow int) {
	if raced() {
		return 40, 20
	}
	return 200, 100
}

const (
	loadUsers = 8

	// maxLoadMemory is what the server may take at its peak, the race detector
	// not counted: of 300 connections, with TLS, and bodies under way.
	maxLoadMemory = 256 << 20

	loadServerDir = "ENARX_TEST_LOAD_SERVER"
)

// long reports whether a load test takes its time.
func long() bool { return os.Getenv("ENARX_TEST_LONG") == "1" }

// loadPatience is what the server has with slow clients: more than the others
// need, also on a machine that has much else to do.
func loadPatience() time.Duration {
	switch {
	case long():
		return 10 * time.Second // as enarx-drawbridge
	case raced():
		return need.Scale(8 * time.Second)
	}
	return need.Scale(4 * time.Second)
}

// TestLoad: many clients read, write and make mistakes at once, slow ones sit
// beside them, and nobody gets an answer but the one that he should get; the
// server's memory stays bounded, and when they are gone nothing is left of
// them. ENARX_TEST_LONG=1 goes on for two minutes.
func TestLoad(t *testing.T) {
	length := need.Scale(4 * time.Second)
	if long() {
		length = 2 * time.Minute
	}
	dir := t.TempDir()
	idp := oidctest.Start(t, oidctest.Options{})
	pool := loadCertificate(t, dir)
	server := startLoadServer(t, dir, idp.Issuer())
	w := &world{t: t, address: server.address, pool: pool, tallies: map[string]*tallied{}}
	for n := range loadUsers {
		w.users = append(w.users, w.register(n, idp.Mint(oidctest.Claims{"sub": fmt.Sprint("load|", n)})))
	}
	w.closeIdle()
	before := server.settled(t, usage{1 << 30, 1 << 30})
	memory := server.memory(t, "VmRSS")

	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var slow, clients sync.WaitGroup
	var cut [len(slowKinds)]atomic.Int64
	many, dawdlers := loadSize()
	for n := range dawdlers {
		slow.Go(func() { w.dawdle(ctx, n, &cut[n%len(slowKinds)]) })
	}
	begin := time.Now()
	for n := range many {
		clients.Go(func() { w.client(ctx, n) })
	}
	clients.Wait()
	took := time.Since(begin)
	slow.Wait()

	w.report(many, took)
	peak := server.memory(t, "VmHWM")
	t.Logf("memory of the server: %d MiB before, %d MiB at its peak; goroutines and descriptors before: %d, %d",
		memory>>20, peak>>20, before.goroutines, before.descriptors)
	if peak > maxLoadMemory && !raced() {
		t.Errorf("the server took %d MiB", peak>>20)
	}
	for kind := range slowKinds {
		t.Logf("slow %s: cut off %d times", slowKinds[kind], cut[kind].Load())
	}
	after := server.settled(t, before)
	t.Logf("goroutines and descriptors after: %d, %d", after.goroutines, after.descriptors)
	server.stop(t)
	loadFsck(t, dir)
}

// raced reports whether this is built with the race detector, which takes
// memory of its own for all that is touched.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// loadFsck reads the whole store: everything that was acknowledged is there.
func loadFsck(t *testing.T, dir string) {
	t.Helper()
	s, err := store.OpenURL(t.Context(), "file://"+filepath.Join(dir, "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	report, err := s.Fsck(t.Context(), store.FsckOptions{})
	if err != nil || !report.Clean() {
		t.Errorf("fsck: %v\n%s", err, report)
	}
}

// TestLoadServer is the server of TestLoad, which runs it in a process of its
// own: for each line that it reads it says what it uses, and it stops at the
// end of its input.
func TestLoadServer(t *testing.T) {
	dir := os.Getenv(loadServerDir)
	if dir == "" {
		return // it was not asked for
	}
	s, err := store.OpenURL(t.Context(), "file://"+filepath.Join(dir, "store"), store.Options{GCWait: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	who, err := auth.New(auth.Config{Issuer: os.Getenv("ISSUER"), Audiences: []string{"testserver"}, JWT: true, Tokens: s, Subjects: s})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	audit, err := drawbridged.OpenAudit(filepath.Join(dir, "audit"), log)
	if err != nil {
		t.Fatal(err)
	}
	defer audit.Close()
	server, err := drawbridged.New(drawbridged.Config{
		Store: s, Auth: who, Audit: audit, Log: log,
		Limits: drawbridged.Limits{Rate: -1, Grace: loadPatience(), Stall: loadPatience(), Uploads: 1000},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.pem"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	background.Go(func() { who.Run(ctx) })
	background.Go(func() { collectLoad(ctx, s, server) })
	background.Go(func() {
		fmt.Println("LOAD", l.Addr())
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			fmt.Println("LOAD", runtime.NumGoroutine())
		}
		cancel()
	})
	err = serve.Run(ctx, serve.Config{Timeouts: serve.Timeouts{Header: loadPatience(), Read: -1, Write: loadPatience()}, Log: log}, serve.Server{
		Name: "public", Listener: serve.Limit(l, serve.Limits{Connections: 4096, PerClient: 4096}), Handler: server.Handler(),
		TLS: serve.TLSConfig(func() (*tls.Certificate, error) { return &pair, nil }),
	})
	if err != nil {
		t.Error(err)
	}
}

// collectLoad collects garbage while the clients are there.
func collectLoad(ctx context.Context, s *store.Store, server *drawbridged.Server) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		report, err := s.GC(ctx)
		if ctx.Err() == nil {
			server.Collected(report, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// loadServer is TestLoadServer in its process.
type loadServer struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	address string
}

func startLoadServer(t *testing.T, dir, issuer string) *loadServer {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := &loadServer{cmd: exec.Command(os.Args[0], "-test.run=^TestLoadServer$", "-test.timeout=10m")}
	s.cmd.Env = append(os.Environ(), loadServerDir+"="+dir, "ISSUER="+issuer)
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it has ended, unless the test failed
		_ = s.cmd.Wait()
	})
	s.out = bufio.NewScanner(out)
	s.address = s.line(t)
	return s
}

// line returns what the server says next.
func (s *loadServer) line(t *testing.T) string {
	t.Helper()
	for s.out.Scan() {
		if text, ok := strings.CutPrefix(s.out.Text(), "LOAD "); ok {
			return text
		}
	}
	t.Fatalf("the server ended: %v", s.out.Err())
	return ""
}

// stop ends the server, which must end well.
func (s *loadServer) stop(t *testing.T) {
	t.Helper()
	s.in.Close()
	for s.out.Scan() { // to its end, so that it can write it
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("the server: %v", err)
	}
}

// usage is what connections and requests must give back.
type usage struct{ goroutines, descriptors int }

// settled waits until the server uses no more than limit, and a few for what
// comes and goes, and does not get less: then it returns what it uses.
func (s *loadServer) settled(t *testing.T, limit usage) usage {
	t.Helper()
	const few, looks = 8, 10
	var same int
	var last usage
	for deadline := time.Now().Add(need.Scale(20 * time.Second)); ; {
		now := s.usage(t)
		if same++; now != last {
			last, same = now, 0
		}
		within := now.goroutines <= limit.goroutines+few && now.descriptors <= limit.descriptors+few
		if within && same >= looks {
			return now
		}
		if time.Now().After(deadline) {
			t.Errorf("%d goroutines and %d descriptors are left, %d and %d were there before", now.goroutines, now.descriptors, limit.goroutines, limit.descriptors)
			return now
		}
		time.Sleep(20 * time.Millisecond) // another process: there is nothing to wait for
	}
}

func (s *loadServer) usage(t *testing.T) usage {
	t.Helper()
	fmt.Fprintln(s.in)
	goroutines, err := strconv.Atoi(s.line(t))
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return usage{goroutines, len(files)}
}

// memory reads what Linux says of the server's memory: VmRSS now, VmHWM at most.
func (s *loadServer) memory(t *testing.T, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name+":" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no %s in\n%s", name, text)
	return 0
}

// loadCertificate makes the server's certificate.
func loadCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, text := range map[string][]byte{"tls.pem": crt, "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(crt)
	return pool
}

// report says what was done, and how long it took.
func (w *world) report(clients int, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := 0
	for _, name := range sortedKeys(w.tallies) {
		d := w.tallies[name].took
		slices.Sort(d)
		all += len(d)
		w.t.Logf("%-24s %7d  p50 %8v  p99 %8v  max %8v", name, len(d), d[len(d)/2].Round(time.Microsecond), d[len(d)*99/100].Round(time.Microsecond), d[len(d)-1].Round(time.Microsecond))
		if len(d) == 0 {
			w.t.Errorf("%s was never done", name)
		}
	}
	busy := w.busy.Load()
	w.t.Logf("%d requests by %d clients in %v: %.0f/s; told to come back later: %d", all, clients, took.Round(time.Millisecond), float64(all)/took.Seconds(), busy)
	if busy > int64(all/100) {
		w.t.Errorf("%d of %d requests were told to come back later", busy, all)
	}
}
