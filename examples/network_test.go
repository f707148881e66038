// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"enarx.dev/enarx/examples/internal/peer"
)

// server is a package that runs in a Keep until the test ends.
type server struct {
	addr string
	cmd  *exec.Cmd
}

// serve runs a copy of an example that listens on a free port, and returns when
// it prints its first line, which it does when it is ready.
func serve(t *testing.T, name string) server {
	t.Helper()
	addr, port := freePort(t)
	pkg := filepath.Join(t.TempDir(), name)
	if err := peer.CopyPackage(pkg, built(t, name), peer.Edit{Port: port}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := keep(ctx, t, pkg)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hang := time.AfterFunc(patience, cancel)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	hang.Stop()
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // ended by our signal
		if t.Failed() {
			t.Logf("standard error of the server:\n%s", stderr.String())
		}
	})
	if err != nil {
		t.Fatalf("the server printed %q: %v", line, err)
	}
	return server{addr, cmd}
}

// freePort returns an address that nothing listens on now.
func freePort(t *testing.T) (addr string, port int) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String(), listener.Addr().(*net.TCPAddr).Port
}

// guest is one client of the chat relay.
type guest struct {
	net.Conn
	lines *bufio.Reader
}

func join(t *testing.T, addr string, id int) guest {
	t.Helper()
	conn, err := peer.Dial(addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	g := guest{conn, bufio.NewReader(conn)}
	g.sees(t, fmt.Sprintf("* you are guest %d", id))
	return g
}

func (g guest) sees(t *testing.T, want string) {
	t.Helper()
	got, err := g.lines.ReadString('\n')
	if got != want+"\n" {
		t.Fatalf("saw %q (%v), not %q", got, err, want)
	}
}

func (g guest) says(t *testing.T, text string) {
	t.Helper()
	if _, err := g.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestChat(t *testing.T) {
	t.Parallel()
	addr := serve(t, "chat-c").addr

	first := join(t, addr, 1)
	second := join(t, addr, 2)
	first.sees(t, "* guest 2 joined")
	third := join(t, addr, 3)
	first.sees(t, "* guest 3 joined")
	second.sees(t, "* guest 3 joined")

	first.says(t, "hello\nin one pa")
	second.sees(t, "1: hello")
	third.sees(t, "1: hello")
	first.says(t, "cket or two\r\n")
	second.sees(t, "1: in one packet or two")
	third.sees(t, "1: in one packet or two")
	third.says(t, "grüße\n")
	first.sees(t, "3: grüße")
	second.sees(t, "3: grüße")

	// A guest that only closes its sending side has left, too.
	if err := second.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	first.sees(t, "* guest 2 left")
	third.sees(t, "* guest 2 left")
	third.Close()
	first.sees(t, "* guest 3 left")
	join(t, addr, 4)
	first.sees(t, "* guest 4 joined")
}

// A guest that never reads is dropped, and the others go on meanwhile.
func TestChatSlowReader(t *testing.T) {
	t.Parallel()
	addr := serve(t, "chat-c").addr
	join(t, addr, 1) // and never reads again
	reader := join(t, addr, 2)
	writer := join(t, addr, 3)
	reader.sees(t, "* guest 3 joined")

	var wait sync.WaitGroup
	defer wait.Wait()
	stop := make(chan struct{})
	defer close(stop)
	wait.Go(func() {
		block := []byte(strings.Repeat(strings.Repeat("x", 255)+"\n", 64))
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := writer.Write(block); err != nil {
				return
			}
		}
	})
	// The kernel's buffers hold some megabytes before the relay's own fills up.
	for {
		line, err := reader.lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "* guest 1 left\n" {
			return
		}
	}
}
