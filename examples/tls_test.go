// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"enarx.dev/enarx/examples/internal/peer"
	"enarx.dev/enarx/internal/need"
)

// insecure trusts any certificate: a Keep without a Steward signs its own.
func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

func TestHTTPS(t *testing.T) {
	t.Parallel()
	server := serve(t, "https-go")
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: insecure()}}
	defer client.CloseIdleConnections()

	response, err := client.Get("https://" + server.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || string(body) != "Hello from a Keep\n" {
		t.Errorf("GET / is %q, %v", body, err)
	}
	if got := response.TLS.Version; got != tls.VersionTLS13 {
		t.Errorf("TLS version %s", tls.VersionName(got))
	}
	certificate := response.TLS.PeerCertificates[0]
	if got := certificate.Subject.String(); got != "CN=localhost" {
		t.Errorf("certificate of %s", got)
	}
	if err := certificate.CheckSignature(certificate.SignatureAlgorithm, certificate.RawTBSCertificate, certificate.Signature); err != nil {
		t.Errorf("the certificate is not self-signed: %v", err)
	}

	// More than one TLS record and more than any one buffer on the way.
	data := make([]byte, 1<<20)
	rand.Read(data)
	response, err = client.Post("https://"+server.addr+"/echo", "application/octet-stream", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	echoed, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || !bytes.Equal(echoed, data) {
		t.Errorf("POST /echo of %d bytes returned %d others, %v", len(data), len(echoed), err)
	}

	old := insecure()
	old.MaxVersion = tls.VersionTLS12
	if conn, err := tls.Dial("tcp", server.addr, old); err == nil {
		conn.Close()
		t.Error("a TLS 1.2 client got in")
	}
	if _, err := http.Get("http://" + server.addr + "/"); err == nil {
		t.Error("a client without TLS got in")
	}
}

// TestHTTPSCrowd holds 200 keep-alive clients while 50 others connect and send
// nothing: no handshake that does not go on may delay one that does.
func TestHTTPSCrowd(t *testing.T) {
	t.Parallel()
	server := serve(t, "https-go")
	const (
		silent  = 50
		clients = 200
		rounds  = 5
	)
	slowest := need.Scale(20 * time.Second) // of one request; a stall would be for ever
	for range silent {
		conn, err := peer.Dial(server.addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}

	conns := make([]*tls.Conn, clients)
	var wait sync.WaitGroup
	for i := range conns {
		wait.Go(func() {
			dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: slowest}, Config: insecure()}
			conn, err := dialer.Dial("tcp", server.addr)
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			conns[i] = conn.(*tls.Conn)
		})
	}
	wait.Wait()
	if t.Failed() {
		return
	}
	readers := make([]*bufio.Reader, clients)
	for i, conn := range conns {
		defer conn.Close()
		readers[i] = bufio.NewReader(conn)
	}
	for round := range rounds {
		for i := range conns {
			wait.Go(func() {
				if err := request(conns[i], readers[i], slowest); err != nil {
					t.Errorf("client %d, round %d: %v", i, round, err)
				}
			})
		}
		wait.Wait()
	}

	// All 250 connections are open: waiting for them must not cost anything.
	checkIdle(t, server.cmd.Process.Pid)
}

// request sends one keep-alive request on conn and reads the answer.
func request(conn net.Conn, reader *bufio.Reader, limit time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: keep\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if string(body) != "Hello from a Keep\n" || response.Close {
		return fmt.Errorf("answered %q, closing %v", body, response.Close)
	}
	return nil
}

// TestIdle watches a server that nobody has talked to yet.
func TestIdle(t *testing.T) {
	if need.Emulated() {
		t.Skip("skipped: starting this server takes most of a minute in the emulated machine: TestHTTPSCrowd looks at it when it is idle again")
	}
	t.Parallel()
	checkIdle(t, serve(t, "https-go").cmd.Process.Pid)
}

// checkIdle fails if `enarx run` and the Keep that it started use the processor over
// two seconds. It tries again, for what ran before may take a while to settle.
func checkIdle(t *testing.T, pid int) {
	t.Helper()
	const watch = 2 * time.Second
	settle := need.Scale(time.Minute)
	most := 2 // hundredths of a second: Go's monitor thread, kernel accounting
	if need.Emulated() {
		most = 40 // where the same takes longer; a processor that spins uses 200
	}
	for end := time.Now().Add(settle); ; {
		before := ticks(t, pid)
		time.Sleep(watch)
		used := ticks(t, pid) - before
		if used <= most {
			t.Logf("used %d0 ms in %v", used, watch)
			return
		}
		if time.Now().After(end) {
			t.Fatalf("still uses %d0 ms of processor in %v", used, watch)
		}
	}
}

// ticks returns the processor time, in hundredths of a second, that a process and
// its children have used.
func ticks(t *testing.T, pid int) int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	processes := []string{strconv.Itoa(pid)}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		processes = append(processes, strings.Fields(string(children))...)
	}
	if len(processes) < 2 && need.Backend() == "nil" { // only there is it a process of its own
		t.Fatalf("process %d has no child: where is the Keep?", pid)
	}
	sum := 0
	for _, process := range processes {
		stat, err := os.ReadFile("/proc/" + process + "/stat")
		if err != nil {
			t.Fatal(err)
		}
		// The program's name, in parentheses, can hold anything: count from behind it.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		for _, field := range fields[11:13] { // utime, stime: proc(5)
			n, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

func TestTLSClient(t *testing.T) {
	trusted, err := peer.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	other, err := peer.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		issuer *peer.Authority
		server string // what the certificate says
		stdout string
		code   int
	}{
		{"trusted", trusted, "localhost", "the server says: you said hello from a Keep\n", 0},
		{"other authority", other, "localhost", "", 1},
		{"other name", trusted, "example.org", "", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			certificate, err := test.issuer.Server(test.server)
			if err != nil {
				t.Fatal(err)
			}
			listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
				Certificates: []tls.Certificate{certificate},
				ClientAuth:   tls.RequireAnyClientCert, // the Keep's own
			})
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go answer(listener)

			pkg := filepath.Join(t.TempDir(), "tlsclient-go")
			edit := peer.Edit{Port: listener.Addr().(*net.TCPAddr).Port, CA: trusted.PEM()}
			if err := peer.CopyPackage(pkg, built(t, "tlsclient-go"), edit); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := keep(ctx, t, pkg)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			stdout, _ := cmd.Output() // the exit code is looked at
			if got := string(stdout); got != test.stdout || cmd.ProcessState.ExitCode() != test.code {
				t.Errorf("exit code %d, stdout %q, stderr %q", cmd.ProcessState.ExitCode(), got, stderr.String())
			}
			if test.code != 0 && !strings.HasPrefix(kernelWarning.ReplaceAllString(stderr.String(), ""), "enarx: error: ") {
				t.Errorf("stderr %q names no error", stderr.String())
			}
		})
	}
}

// answer serves one client, if one comes before the listener closes.
func answer(listener net.Listener) {
	conn, err := listener.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return // the Keep did not like us: its exit code tells
	}
	fmt.Fprintf(conn, "you said %s", line)
}
