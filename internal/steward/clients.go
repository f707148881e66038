// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"enarx.dev/enarx/internal/serve"
)

// clients bounds how often each client comes. Its table is bounded: when half
// of it is full, those not seen since it was half full before are forgotten.
type clients struct {
	limit   rate.Limit
	burst   int
	proxies []netip.Prefix
	unix    bool // who comes by a Unix socket is a proxy
	now     func() time.Time
	size    int

	mu         sync.Mutex
	young, old map[netip.Prefix]*rate.Limiter
}

func newClients(l Limits, proxies []netip.Prefix, unix bool, now func() time.Time) *clients {
	c := &clients{limit: rate.Limit(l.Rate), burst: l.Burst, proxies: proxies, unix: unix, now: now, size: max(1, l.Clients/2), young: map[netip.Prefix]*rate.Limiter{}}
	if l.Rate < 0 {
		c.limit = rate.Inf
	}
	return c
}

// address is where a request came from. If that is a proxy we believe, it is
// the last address that the proxies did not add themselves. It is invalid for
// who comes by a Unix socket and is no proxy.
func (c *clients) address(r *http.Request) netip.Addr {
	from, _ := netip.ParseAddrPort(r.RemoteAddr) // a Unix socket has none
	at := from.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && c.trusts(at); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		at = hop.Unmap().WithZone("")
	}
	return at
}

func (c *clients) trusts(a netip.Addr) bool {
	if !a.IsValid() {
		return c.unix
	}
	return slices.ContainsFunc(c.proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// allow reports whether the client may make n more requests now.
func (c *clients) allow(a netip.Addr, n int) bool {
	if c.limit == rate.Inf {
		return true
	}
	key := serve.Client(a) // all without an address, as over a Unix socket, are one client
	return c.of(key).AllowN(c.now(), min(n, c.burst))
}

func (c *clients) of(key netip.Prefix) *rate.Limiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.young[key]; l != nil {
		return l
	}
	l := c.old[key]
	if l == nil {
		l = rate.NewLimiter(c.limit, c.burst)
	}
	if len(c.young) >= c.size {
		c.old, c.young = c.young, map[netip.Prefix]*rate.Limiter{}
	}
	c.young[key] = l
	return l
}
