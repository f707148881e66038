// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// BenchmarkPingPong is the latency of one message there and back between a
// plain Go client and a guest-like loop that sleeps until Wake.
func BenchmarkPingPong(b *testing.B) {
	for _, mode := range []string{"tcp", "tls"} {
		for _, size := range []int{64, 4096, 16384} {
			b.Run(mode+"/"+sizeName(size), func(b *testing.B) {
				g := newGuest(b, Config{})
				client, conn := g.pair(mode == "tls")
				done := make(chan struct{})
				go func() { defer close(done); g.echo(conn) }()
				out, in := make([]byte, size), make([]byte, size)
				measure(b)
				b.SetBytes(int64(2 * size))
				for b.Loop() {
					if _, err := client.Write(out); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(client, in); err != nil {
						b.Fatal(err)
					}
				}
				client.Close()
				<-done
			})
		}
	}
}

// BenchmarkPingPongStock is the same with a server on package net alone.
func BenchmarkPingPongStock(b *testing.B) {
	for _, mode := range []string{"tcp", "tls"} {
		for _, size := range []int{64, 16384} {
			b.Run(mode+"/"+sizeName(size), func(b *testing.B) {
				client := stockEcho(b, mode == "tls")
				out, in := make([]byte, size), make([]byte, size)
				measure(b)
				b.SetBytes(int64(2 * size))
				for b.Loop() {
					if _, err := client.Write(out); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(client, in); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkSend is the throughput from guest to peer, in Sends of 32 KiB.
func BenchmarkSend(b *testing.B) {
	for _, mode := range []string{"tcp", "tls"} {
		b.Run(mode, func(b *testing.B) {
			g := newGuest(b, Config{})
			client, conn := g.pair(mode == "tls")
			done := make(chan struct{})
			go func() { defer close(done); _, _ = io.Copy(onlyWriter{io.Discard}, client) }()
			p := make([]byte, 32<<10)
			measure(b)
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				if err := g.sendAll(conn, p); err != nil {
					b.Fatal(err)
				}
			}
			conn.Close()
			<-done
		})
	}
}

// BenchmarkRecv is the throughput from peer to guest.
func BenchmarkRecv(b *testing.B) {
	for _, mode := range []string{"tcp", "tls"} {
		b.Run(mode, func(b *testing.B) {
			g := newGuest(b, Config{})
			client, conn := g.pair(mode == "tls")
			stop := make(chan struct{})
			go func() {
				defer close(stop)
				p := make([]byte, 32<<10)
				for {
					if _, err := client.Write(p); err != nil {
						return
					}
				}
			}()
			p := make([]byte, 32<<10)
			measure(b)
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				for got := 0; got < len(p); {
					n, err := g.recv(conn, p[got:])
					if err != nil || n == 0 {
						b.Fatal(n, err)
					}
					got += n
				}
			}
			client.Close()
			<-stop
		})
	}
}

// measure also reports CPU time, of both ends: on a busy machine it says more
// than the clock.
func measure(b *testing.B) {
	b.ReportAllocs()
	before := cpuTime(b)
	b.Cleanup(func() { b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op") })
}

// stockEcho returns a client of an echo server written the usual way.
func stockEcho(tb testing.TB, secure bool) net.Conn {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	pki := newPKI(tb)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if secure {
			conn = tls.Server(conn, pki.server)
		}
		defer conn.Close()
		_, _ = io.CopyBuffer(onlyWriter{conn}, onlyReader{conn}, make([]byte, 32<<10))
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	if secure {
		conn = tls.Client(conn, pki.client)
	}
	tb.Cleanup(func() { conn.Close(); l.Close() })
	return conn
}

type onlyWriter struct{ io.Writer }

type onlyReader struct{ io.Reader }

func sizeName(n int) string {
	if n < 1024 {
		return "64B"
	}
	return map[int]string{4096: "4KiB", 16384: "16KiB"}[n]
}

// BenchmarkClients is 16 clients in ping-pong with one guest that serves
// whichever is readable: the load of a small HTTP server.
func BenchmarkClients(b *testing.B) {
	const clients = 16
	for _, mode := range []string{"tcp", "tls"} {
		b.Run(mode, func(b *testing.B) {
			g := newGuest(b, Config{})
			var conf *tls.Config
			if mode == "tls" {
				conf = g.pki.server
			}
			l := g.listen(conf)
			peers, conns := make([]net.Conn, clients), make([]*Conn, clients)
			for i := range peers {
				peers[i] = g.dial(l, conf != nil)
				conns[i] = g.accept(l)
			}
			measure(b)
			var wg sync.WaitGroup
			for i, peer := range peers {
				wg.Go(func() {
					p := make([]byte, 512)
					for range b.N/clients + min(1, max(0, b.N%clients-i)) {
						if _, err := peer.Write(p); err != nil {
							b.Error(err)
						}
						if _, err := io.ReadFull(peer, p); err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.ResetTimer()
			g.serve(conns, b.N*512)
			wg.Wait()
		})
	}
}

// serve echoes total bytes.
func (g *guest) serve(conns []*Conn, total int) {
	p := make([]byte, 512)
	for total > 0 {
		<-g.woken
		for _, c := range conns {
			n, err := c.Recv(p, false)
			if errors.Is(err, ErrAgain) {
				continue
			}
			if err != nil {
				g.Error(err)
				return
			}
			total -= n
			if err := g.sendAll(c, p[:n]); err != nil {
				g.Error(err)
				return
			}
		}
	}
}
