// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// answer is what server-go replies to everything.
const answer = "Hello from the server of the benchmark\n"

// client is one keep-alive connection. It writes the same request again and again
// and parses answers with net/http's parser only: a full http.Client would need
// more of the two processors than the server that is measured.
type client struct {
	conn net.Conn
	in   *bufio.Reader
}

var requestText = []byte("GET / HTTP/1.1\r\nHost: bench\r\n\r\n")

func dial(ctx context.Context, address string, secure bool) (*client, error) {
	var conn net.Conn
	var err error
	if secure {
		// The certificate is self-signed and new in each run: there is nothing to
		// check it against, and no secret on the connection.
		dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}}
		conn, err = dialer.DialContext(ctx, "tcp", address)
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, err
	}
	return &client{conn, bufio.NewReader(conn)}, nil
}

// get sends one request and reads its answer.
func (c *client) get() error {
	if _, err := c.conn.Write(requestText); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || !bytes.Equal(body, []byte(answer)) {
		return fmt.Errorf("status %d, body %.40q", response.StatusCode, body)
	}
	return nil
}

// dialAll opens n connections and uses each once.
func dialAll(ctx context.Context, address string, secure bool, n int) ([]*client, error) {
	var clients []*client
	for range n {
		c, err := dial(ctx, address, secure)
		if err == nil {
			c.conn.SetDeadline(time.Now().Add(maxRun))
			clients = append(clients, c)
			err = c.get()
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

// burst is what a server did under load.
type burst struct {
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	CPU       float64 `json:"cpu_us_per_request"` // of the server
}

// load keeps n connections busy for a while: each sends its next request when the
// answer to the last has come.
func load(ctx context.Context, s *server, n int, length time.Duration) (burst, error) {
	clients, err := dialAll(ctx, s.address, s.tls, n)
	if err != nil {
		return burst{}, err
	}
	defer closeAll(clients)
	times := make([][]time.Duration, n)
	errs := make([]error, n)
	before, start := treeCPU(s.pid()), time.Now()
	var workers sync.WaitGroup
	for i, c := range clients {
		workers.Go(func() {
			for ctx.Err() == nil && errs[i] == nil && time.Since(start) < length {
				sent := time.Now()
				errs[i] = c.get()
				times[i] = append(times[i], time.Since(sent))
			}
		})
	}
	workers.Wait()
	took, cpu := time.Since(start), treeCPU(s.pid())-before
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return burst{}, err
	}
	all := slices.Concat(times...)
	slices.Sort(all)
	ms := make([]float64, len(all))
	for i, d := range all {
		ms[i] = d.Seconds() * 1000
	}
	return burst{
		PerSecond: float64(len(all)) / took.Seconds(),
		P50:       quantile(ms, 0.50),
		P99:       quantile(ms, 0.99),
		CPU:       float64(cpu.Microseconds()) / float64(len(all)),
	}, nil
}
