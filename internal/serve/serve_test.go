// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// start runs servers until stop is called, which returns what Run returned.
func start(t *testing.T, cfg Config, servers ...Server) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg, servers...) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

// Whoever was accepted is answered, although the server was told to stop in the
// middle; afterwards nobody is accepted any more.
func TestRunAnswersWhatItAccepted(t *testing.T) {
	l := Limit(listen(t), Limits{Connections: 1000, PerClient: 1000})
	var begun atomic.Int64
	half, release := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if begun.Add(1) == 20 {
			close(half)
		}
		<-release
		fmt.Fprint(w, "done")
	})
	stop := start(t, Config{}, Server{Name: "public", Listener: l, Handler: handler})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var answered atomic.Int64
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			resp, err := client.Get("http://" + l.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "done" {
				t.Errorf("%q, %v", body, err)
			}
			answered.Add(1)
		})
	}
	<-half
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	// The listener is closed while the requests are under way.
	for {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break
		}
		c.Close()
	}
	close(release)
	clients.Wait()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if answered.Load() != 20 {
		t.Errorf("%d of 20 answered", answered.Load())
	}
}

// TestTimeouts: without a time-out of the server's, a handler sets its own.
func TestTimeouts(t *testing.T) {
	for _, test := range []struct {
		read time.Duration
		want string
	}{{-1, "whole"}, {time.Millisecond, "cut"}} {
		l := listen(t)
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				fmt.Fprint(w, "cut")
				return
			}
			fmt.Fprint(w, "whole")
		})
		stop := start(t, Config{Timeouts: Timeouts{Header: time.Minute, Read: test.read}}, Server{Name: "public", Listener: l, Handler: handler})
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n1")
		if test.want == "whole" {
			time.Sleep(20 * time.Millisecond) // longer than any time-out that is not none
			fmt.Fprint(c, "2")
		}
		if answer, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(answer), test.want) {
			t.Errorf("%v: %q, %v", test.read, answer, err)
		}
		c.Close()
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestRunFails(t *testing.T) {
	good, bad := listen(t), listen(t)
	bad.Close()
	err := Run(t.Context(), Config{}, Server{Name: "good", Listener: good, Handler: http.NotFoundHandler()}, Server{Name: "bad", Listener: bad})
	if err == nil || !strings.Contains(err.Error(), "serving bad") {
		t.Errorf("%v", err)
	}
}

// A request that does not end is cut off after the grace.
func TestRunGrace(t *testing.T) {
	l := listen(t)
	in := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(in)
		<-r.Context().Done()
	})
	var told atomic.Bool
	stop := start(t, Config{Grace: time.Millisecond, Stop: func() { told.Store(true) }}, Server{Name: "x", Listener: l, Handler: handler})
	go func() {
		if resp, err := http.Get("http://" + l.Addr().String()); err == nil {
			resp.Body.Close()
		}
	}()
	<-in
	if err := stop(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if !told.Load() {
		t.Error("Stop was not called")
	}
}

// Clients that send a header or body a byte at a time, or nothing, are cut off
// in time, and others are served meanwhile.
func TestSlowClients(t *testing.T) {
	l := Limit(listen(t), Limits{Connections: 100, PerClient: 100})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusRequestTimeout)
		}
	})
	stop := start(t, Config{Timeouts: Timeouts{Header: 150 * time.Millisecond, Read: 300 * time.Millisecond}}, Server{Listener: l, Handler: handler})
	var slow sync.WaitGroup
	for i := range 40 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		slow.Go(func() {
			switch i % 3 {
			case 0: // nothing at all
			case 1:
				fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nX-A: ")
			case 2:
				fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
			}
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("slow client %d was not cut off", i)
			}
		})
	}
	begin := time.Now()
	resp, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	t.Logf("served beside 40 slow clients in %v", time.Since(begin))
	slow.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := l.Open(); n != 0 {
		t.Errorf("%d connections left", n)
	}
}

func TestListenerLimits(t *testing.T) {
	closed := func(c net.Conn) bool {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err := c.Read(make([]byte, 1))
		return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
	}
	for name, test := range map[string]struct {
		limits Limits
		want   int
	}{
		"per client": {Limits{Connections: 100, PerClient: 3}, 3},
		"in all":     {Limits{Connections: 5, PerClient: 100}, 5},
		"a proxy":    {Limits{Connections: 8, PerClient: 3, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, 8},
	} {
		l := Limit(listen(t), test.limits)
		var served []net.Conn
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				served = append(served, c)
				_, _ = c.Write([]byte("x"))
			}
		})
		var open int
		for range 10 {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if !closed(c) {
				open++
			}
		}
		if open != test.want || int(l.Refused.Load()) != 10-test.want {
			t.Errorf("%s: %d open, %d refused", name, open, l.Refused.Load())
		}
		// What is closed makes room.
		l.Close()
		wg.Wait()
		for _, c := range served {
			c.Close()
			c.Close() // twice does not count twice
		}
		if l.Open() != 0 || len(l.clients) != 0 {
			t.Errorf("%s: %d open, %v", name, l.Open(), l.clients)
		}
	}
}

func TestClient(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3::4": "2001:db8:1:2::/64",
	} {
		if got := Client(netip.MustParseAddr(in)); got.String() != want {
			t.Errorf("%s: %v", in, got)
		}
	}
	if Client(netip.Addr{}).IsValid() {
		t.Error("a client without an address has one")
	}
}

// certificate returns a self-signed one.
func certificate(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"x"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLSConfig(t *testing.T) {
	l, cert := listen(t), certificate(t)
	conf := TLSConfig(func() (*tls.Certificate, error) { return cert, nil })
	start(t, Config{}, Server{Listener: l, TLS: conf, Handler: http.NotFoundHandler()})
	for version, ok := range map[uint16]bool{tls.VersionTLS12: false, tls.VersionTLS13: true} {
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: version, NextProtos: []string{"h2", "http/1.1"}})
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			if p := c.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
				t.Errorf("protocol %q", p)
			}
			c.Close()
		}
	}
}

// TestActivated starts this test binary as systemd would.
func TestActivated(t *testing.T) {
	if os.Getenv("ENARX_TEST_ACTIVATED") != "" {
		_ = os.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid())) // systemd knows it before exec
		sockets, err := Activated()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for name, l := range sockets {
			names = append(names, name+"="+l.Addr().String())
		}
		slices.Sort(names)
		if again, err := Activated(); err != nil || again != nil {
			t.Errorf("a second call: %v, %v", again, err)
		}
		fmt.Println("got", strings.Join(names, " "))
		return
	}
	a, b := listen(t).(*net.TCPListener), listen(t).(*net.TCPListener)
	af, err := a.File()
	if err != nil {
		t.Fatal(err)
	}
	defer af.Close()
	bf, err := b.File()
	if err != nil {
		t.Fatal(err)
	}
	defer bf.Close()
	run := func(env ...string) string {
		cmd := exec.Command(os.Args[0], "-test.run=^TestActivated$", "-test.v")
		cmd.ExtraFiles = []*os.File{af, bf}
		cmd.Env = append(append(os.Environ(), "ENARX_TEST_ACTIVATED=1"), env...)
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	want := fmt.Sprintf("got =%s admin=%s\n", a.Addr(), b.Addr())
	if out := run("LISTEN_FDS=2", "LISTEN_FDNAMES=unknown:admin.socket"); !strings.Contains(out, want) {
		t.Errorf("%s\nwant %s", out, want)
	}
	if out := run("LISTEN_FDS=2", "LISTEN_FDNAMES=a:a"); !strings.Contains(out, "two sockets") {
		t.Errorf("%s", out)
	}
	if out := run("LISTEN_FDS=-1"); !strings.Contains(out, "not a small number") {
		t.Errorf("%s", out)
	}
	if out := run("LISTEN_FDS="); !strings.Contains(out, "got \n") {
		t.Errorf("%s", out)
	}
}

func TestNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify("READY=1"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{filepath.Join(t.TempDir(), "s"), fmt.Sprintf("@enarx-test-%d", os.Getpid())} {
		address := name
		if name[0] == '@' {
			address = "\x00" + name[1:]
		}
		l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("NOTIFY_SOCKET", name)
		if err := Notify("READY=1"); err != nil {
			t.Error(err)
		}
		buf := make([]byte, 64)
		if n, err := bufio.NewReader(l).Read(buf); err != nil || string(buf[:n]) != "READY=1" {
			t.Errorf("%q, %v", buf[:n], err)
		}
		l.Close()
	}
	t.Setenv("NOTIFY_SOCKET", "/does/not/exist")
	if err := Notify("READY=1"); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("%v", err)
	}
}
