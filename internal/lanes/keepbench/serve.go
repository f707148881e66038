// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// crowds are the numbers of connections at a time.
var crowds = []int{1, 16}

// protocols are the kinds of listener of an Enarx.toml.
var protocols = []string{"tcp", "tls"}

// answer is what bench/guests/server-go replies to everything.
const answer = "Hello from the server of the benchmark\n"

// server is one Keep that serves.
type server struct {
	name    string // protocol/backend
	address string
	secure  bool
	child   *child
}

// measureServe has all servers up at once, because an idle one costs nothing, and
// loads them in turn.
func measureServe(ctx context.Context, o options, r *results) error {
	dir, err := os.MkdirTemp("", "keepbench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var servers []*server
	for _, protocol := range protocols {
		for _, backend := range backends {
			progress("serve: starting %s %s", backend, protocol)
			s, err := startServer(ctx, o.Files, dir, protocol, backend)
			if err != nil {
				return err
			}
			defer s.child.kill()
			servers = append(servers, s)
		}
	}
	length := 3 * time.Second
	if o.Quick {
		length = 2 * time.Second
	}
	for round := range o.Rounds + 1 { // the first warms up
		progress("serve, round %d of %d", round, o.Rounds)
		for _, crowd := range crowds {
			for _, s := range servers {
				perSecond, err := s.load(ctx, crowd, length)
				if err != nil {
					s.child.kill()
					return fmt.Errorf("%s, %d connections: %w", s.name, crowd, s.child.failed(err))
				}
				if round > 0 {
					r.add(fmt.Sprintf("serve/%s/%d", s.name, crowd), perSecond)
				}
			}
		}
	}
	return nil
}

func startServer(ctx context.Context, f programs, dir, protocol, backend string) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().(*net.TCPAddr)
	l.Close() // the port is the Keep's to open
	config := filepath.Join(dir, protocol+"-"+backend+".toml")
	text := "[[files]]\nkind = \"stdin\"\n\n[[files]]\nkind = \"stdout\"\n\n[[files]]\nkind = \"stderr\"\n\n" +
		fmt.Sprintf("[[files]]\nkind = \"listen\"\nname = \"web\"\nprot = %q\naddr = \"127.0.0.1\"\nport = %d\n", protocol, address.Port)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	s := &server{name: protocol + "/" + backend, address: address.String(), secure: protocol == "tls"}
	if s.child, err = start(ctx, maxRun, nil, f.Enarx, "run", "--backend", backend, "--wasmcfgfile", config, f.Server); err != nil {
		return nil, err
	}
	go io.Copy(io.Discard, s.child.stdout)
	deadline := time.Now().Add(maxProgram / 2)
	for {
		clients, err := s.dial(ctx, 1)
		if err == nil {
			closeAll(clients)
			return s, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			s.child.kill()
			return nil, s.child.failed(fmt.Errorf("it does not answer: %w", err))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// client is one keep-alive connection. It writes the same request again and again:
// a full http.Client would need more of the processors than the server.
type client struct {
	conn net.Conn
	in   *bufio.Reader
}

const requestText = "GET / HTTP/1.1\r\nHost: bench\r\n\r\n"

// dial opens n connections and uses each once.
func (s *server) dial(ctx context.Context, n int) ([]*client, error) {
	var clients []*client
	for range n {
		var conn net.Conn
		var err error
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		if s.secure {
			// The certificate is made at each start, and nothing here is secret.
			dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}}
			conn, err = dialer.DialContext(ctx, "tcp", s.address)
		} else {
			conn, err = new(net.Dialer).DialContext(ctx, "tcp", s.address)
		}
		cancel()
		if err == nil {
			c := &client{conn, bufio.NewReader(conn)}
			clients = append(clients, c)
			err = errors.Join(conn.SetDeadline(time.Now().Add(time.Minute)), c.get())
		}
		if err != nil {
			closeAll(clients)
			return nil, err
		}
	}
	return clients, nil
}

func closeAll(clients []*client) {
	for _, c := range clients {
		c.conn.Close()
	}
}

// get sends one request and reads its answer.
func (c *client) get() error {
	if _, err := io.WriteString(c.conn, requestText); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	var body strings.Builder
	if _, err := io.Copy(&body, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || body.String() != answer {
		return fmt.Errorf("status %d, body %.40q", response.StatusCode, body.String())
	}
	return nil
}

// load keeps n connections busy for a while, and returns the requests per second.
func (s *server) load(ctx context.Context, n int, length time.Duration) (float64, error) {
	clients, err := s.dial(ctx, n)
	if err != nil {
		return 0, err
	}
	defer closeAll(clients)
	counts, errs := make([]int, n), make([]error, n)
	var workers sync.WaitGroup
	start := time.Now()
	for i, c := range clients {
		workers.Go(func() {
			for ctx.Err() == nil && errs[i] == nil && time.Since(start) < length {
				errs[i] = c.get()
				counts[i]++
			}
		})
	}
	workers.Wait()
	took := time.Since(start).Seconds()
	all := 0
	for _, n := range counts {
		all += n
	}
	return float64(all) / took, errors.Join(append(errs, ctx.Err())...)
}
