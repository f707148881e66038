// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"time"
)

// rates returns the requests per second of all rounds.
func (s *server) rates(crowd int) []float64 {
	return s.each(crowd, func(x burst) float64 { return x.PerSecond })
}

func (s *server) each(crowd int, quantity func(burst) float64) []float64 {
	var numbers []float64
	for _, x := range s.Bursts[crowd] {
		numbers = append(numbers, quantity(x))
	}
	return numbers
}

func serveTable(servers []*server, length time.Duration) *table {
	t := &table{
		title: "HTTP server",
		intro: fmt.Sprintf("A Go net/http server, loaded by this program over loopback with C keep-alive connections for %v a round. "+
			"Requests per second are median (least-greatest); latencies in ms and the server's CPU microseconds per request are medians. "+
			"Idle: CPU seconds per second with %d silent connections. The guest is single-threaded, the native server is not. "+
			"wasmtime's command line gives preview 1 programs no listener any more, and Node's WASI never did, so they are not here.",
			length, crowds[len(crowds)-1]),
		head: []string{"server"},
	}
	for _, crowd := range crowds {
		c := fmt.Sprintf("C=%d ", crowd)
		t.head = append(t.head, c+"req/s", c+"p50", c+"p99", c+"CPU µs")
	}
	t.head = append(t.head, "idle", "MiB")
	for _, s := range servers {
		cells := []string{s.Name}
		for _, crowd := range crowds {
			cells = append(cells, s.crowdCells(t, crowd)...)
		}
		if s.Why != "" {
			gone := t.absent(s.Name, s.Why)
			cells = append(cells, gone, gone)
		} else {
			cells = append(cells, fmt.Sprintf("%.3f", s.Idle), short(s.MiB))
		}
		t.add(cells...)
	}
	return t
}

func (s *server) crowdCells(t *table, crowd int) []string {
	rate, ok := spreadOf(s.rates(crowd))
	if s.Why != "" || !ok {
		gone := t.absent(s.Name, s.Why)
		return []string{gone, gone, gone, gone}
	}
	p50, _ := spreadOf(s.each(crowd, func(x burst) float64 { return x.P50 }))
	p99, _ := spreadOf(s.each(crowd, func(x burst) float64 { return x.P99 }))
	cpu, _ := spreadOf(s.each(crowd, func(x burst) float64 { return x.CPU }))
	return []string{rate.String(), short(p50.Median), short(p99.Median), short(cpu.Median)}
}

var servePairs = []comparison{{keepTLS, keepTCP}, {nativeTLS, nativeTCP}, {keepTLS, nativeTLS}, {keepTCP, nativeTCP}}

func serveRatios(servers []*server) *table {
	t := &table{
		title: "HTTP server: ratios of requests per second",
		intro: "Median (least-greatest) of the ratios of each round; above 1 the first of the two serves more.",
		head:  []string{"pair"},
	}
	for _, crowd := range crowds {
		t.head = append(t.head, fmt.Sprintf("C=%d", crowd))
	}
	for _, p := range servePairs {
		cells := []string{p.String()}
		for _, crowd := range crowds {
			if s, ok := serveRatio(servers, p, crowd); ok {
				cells = append(cells, s.String())
				continue
			}
			for _, name := range []string{p.a, p.b} {
				if s := serverNamed(servers, name); s.Why != "" {
					cells = append(cells, t.absent(s.Name, s.Why))
					break
				}
			}
		}
		t.add(cells...)
	}
	return t
}

func serverNamed(servers []*server, name string) *server {
	i := slices.IndexFunc(servers, func(s *server) bool { return s.Name == name })
	if i < 0 {
		return &server{Name: name, Why: "was not measured"}
	}
	return servers[i]
}

func serveRatio(servers []*server, p comparison, crowd int) (spread, bool) {
	a, b := serverNamed(servers, p.a), serverNamed(servers, p.b)
	if a.Why != "" || b.Why != "" {
		return spread{}, false
	}
	return spreadOf(quotients(a.rates(crowd), b.rates(crowd)))
}
