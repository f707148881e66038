// SPDX-License-Identifier: Apache-2.0

package drawbridged

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

// clients bounds how often each client comes, whether it is told by its
// address or by its token. Its table is bounded: when half of it is full,
// those not seen since it was half full before are forgotten.
type clients struct {
	limit   rate.Limit
	burst   int
	proxies []netip.Prefix
	unix    bool // who comes by a Unix socket is a proxy
	now     func() time.Time
	size    int

	mu         sync.Mutex
	young, old map[string]*rate.Limiter
}

func newClients(l Limits, proxies []netip.Prefix, unix bool, now func() time.Time) *clients {
	c := &clients{
		limit: rate.Limit(l.Rate), burst: l.Burst, proxies: proxies, unix: unix, now: now,
		size: max(1, l.Clients/2), young: map[string]*rate.Limiter{},
	}
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

// allow reports whether one more request may come from there. All without an
// address, as over a Unix socket, are one client.
func (c *clients) allow(a netip.Addr) bool { return c.take("a:" + serve.Client(a).String()) }

// charge is allow for a request that is as much work as several.
func (c *clients) charge(a netip.Addr, n int) bool {
	return c.limit == rate.Inf || c.of("a:"+serve.Client(a).String()).AllowN(c.now(), min(n, c.burst))
}

// allowPrincipal is allow for who is known by more than an address.
func (c *clients) allowPrincipal(name string) bool { return c.take("p:" + name) }

func (c *clients) take(key string) bool {
	return c.limit == rate.Inf || c.of(key).AllowN(c.now(), 1)
}

func (c *clients) of(key string) *rate.Limiter {
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
		c.old, c.young = c.young, map[string]*rate.Limiter{}
	}
	c.young[key] = l
	return l
}

// counts is how much of something each principal has under way.
type counts struct {
	mu sync.Mutex
	n  map[string]int
}

// enter counts one in unless there are limit already, and returns what counts
// it out.
func (c *counts) enter(key string, limit int) (leave func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n[key] >= limit {
		return nil, false
	}
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[key]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.n[key]--; c.n[key] == 0 {
			delete(c.n, key)
		}
	}, true
}

// total is how many are under way in all.
func (c *counts) total() (sum int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.n {
		sum += n
	}
	return sum
}
