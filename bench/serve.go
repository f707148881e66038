// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// server is one way to run server-go.
type server struct {
	Name    string          `json:"name"`
	Why     string          `json:"why,omitempty"`
	Bursts  map[int][]burst `json:"bursts,omitempty"` // by number of connections
	Idle    float64         `json:"idle_cpu"`         // CPU seconds per second
	MiB     float64         `json:"mib"`
	runner  string
	tls     bool
	address string
	cmd     *exec.Cmd
	ended   chan struct{} // closed when the process has ended; then stderr is complete
	stderr  bytes.Buffer
}

const (
	keepTLS   = "enarx, TLS"
	keepTCP   = "enarx, TCP"
	nativeTLS = "native, TLS"
	nativeTCP = "native, TCP"
)

// crowds are the numbers of connections at a time.
var crowds = []int{1, 16}

// idleFor is how long an idle server is watched.
const idleFor = 2 * time.Second

func newServers() []*server {
	servers := []*server{
		{Name: keepTLS, runner: enarx, tls: true},
		{Name: nativeTLS, runner: native, tls: true},
		{Name: keepTCP, runner: enarx},
		{Name: nativeTCP, runner: native},
	}
	for _, s := range servers {
		s.Bursts = map[int][]burst{}
	}
	return servers
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// serve has all servers up at once, because an idle one costs nothing (which is
// measured too), and loads them in turn.
func (b *bench) serve(ctx context.Context) {
	if !b.wants("serve/http") || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b.servers = newServers()
	for _, s := range b.servers {
		b.progress("serve/http: starting %s", s.Name)
		if err := b.start(ctx, s); err != nil {
			b.drop(s, err)
		}
		defer s.stop(cancel)
	}
	rounds, length := min(b.rounds, 3), 4*time.Second
	if b.quick {
		length = time.Second
	}
	for round := range rounds + 1 { // the first only warms up
		for _, crowd := range crowds {
			b.progress("serve/http: %d connections, round %d of %d", crowd, round, rounds)
			for _, s := range b.servers {
				b.burst(ctx, s, crowd, round, length)
			}
		}
	}
	b.progress("serve/http: idle")
	b.idle(ctx)
	b.show(serveTable(b.servers, length))
	b.show(serveRatios(b.servers))
}

func (b *bench) drop(s *server, err error) {
	if s.Why == "" {
		s.Why = err.Error()
		b.fail(s.runner, "serve/http: %s: %v", s.Name, err)
	}
}

func (b *bench) burst(ctx context.Context, s *server, crowd, round int, length time.Duration) {
	if s.Why != "" {
		return
	}
	if round == 0 {
		length = 500 * time.Millisecond
	}
	got, err := load(ctx, s, crowd, length)
	switch {
	case err != nil:
		b.drop(s, fmt.Errorf("under load from %d connections: %w", crowd, err))
	case round > 0:
		s.Bursts[crowd] = append(s.Bursts[crowd], got)
	}
}

// start runs the server and waits until it answers.
func (b *bench) start(ctx context.Context, s *server) error {
	var r runner
	for _, x := range b.runners {
		if x.name == s.runner {
			r = x
		}
	}
	if s.Why = r.why; s.Why != "" {
		return nil
	}
	file, err := b.builder.path(ctx, "server-go", r.wasm())
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	s.address = fmt.Sprintf("127.0.0.1:%d", port)
	argv := []string{file, s.address}
	switch {
	case r.wasm():
		config, err := b.writeConfig(s, port)
		if err != nil {
			return err
		}
		argv = r.argv(file, nil)
		argv = append(argv[:len(argv)-1:len(argv)-1], "--wasmcfgfile", config, file)
	case s.tls:
		argv = []string{file, "-tls", s.address}
	}
	s.cmd = command(ctx, argv, b.env)
	s.cmd.Stderr = &s.stderr
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		s.cmd.Wait()
	}()
	return s.answers(ctx)
}

// answers waits for the first answer; compiling the guest comes before it.
func (s *server) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, maxRun)
	defer cancel()
	for {
		clients, err := dialAll(ctx, s.address, s.tls, 1)
		if err == nil {
			closeAll(clients)
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server ended: %s", lastLine(s.stderr.Bytes()))
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop ends the server and waits for it. Cancelling kills the process group.
func (s *server) stop(cancel context.CancelFunc) {
	if s.ended != nil {
		cancel()
		<-s.ended
	}
}

// writeConfig makes the descriptor table of a Keep: the listener is descriptor 3.
func (b *bench) writeConfig(s *server, port int) (string, error) {
	prot := "tcp"
	if s.tls {
		prot = "tls"
	}
	text := fmt.Sprintf(`[[files]]
kind = "stdin"

[[files]]
kind = "stdout"

[[files]]
kind = "stderr"

[[files]]
kind = "listen"
name = "web"
prot = "%s"
addr = "127.0.0.1"
port = %d
`, prot, port)
	dir := filepath.Join(b.builder.out, "serve-"+prot)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(dir, "Enarx.toml")
	return file, os.WriteFile(file, []byte(text), 0o644)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// idle watches all servers at once while each has connections open on which nothing
// is sent: that is when a server that polls would show.
func (b *bench) idle(ctx context.Context) {
	before := map[*server]time.Duration{}
	for _, s := range b.servers {
		if s.Why != "" {
			continue
		}
		clients, err := dialAll(ctx, s.address, s.tls, crowds[len(crowds)-1])
		if err != nil {
			b.drop(s, fmt.Errorf("with idle connections: %w", err))
			continue
		}
		defer closeAll(clients)
	}
	time.Sleep(time.Second) // the work of the first requests must be over
	start := time.Now()
	for _, s := range b.servers {
		if s.Why == "" {
			before[s] = treeCPU(s.pid())
		}
	}
	time.Sleep(idleFor)
	for s, cpu := range before {
		s.Idle = (treeCPU(s.pid()) - cpu).Seconds() / time.Since(start).Seconds()
		s.MiB, _ = treePeak(s.pid())
	}
}
