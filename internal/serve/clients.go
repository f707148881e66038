// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rates are how often each client may come, and how clients are told apart.
type Rates struct {
	Rate      float64        // requests per second; negative: unlimited
	Burst     int            // that may come at once
	Clients   int            // that are told apart
	Proxies   []netip.Prefix // whose X-Forwarded-For is believed
	UnixProxy bool           // who comes by a Unix socket is such a proxy
	Now       func() time.Time
}

// Clients bounds how often each client comes. Its table is bounded: when half
// of it is full, those not seen since it was half full before are forgotten. It
// is safe for concurrent use.
type Clients struct {
	rates Rates
	limit rate.Limit

	mu         sync.Mutex
	young, old map[string]*rate.Limiter
}

// NewClients returns a table without clients.
func NewClients(r Rates) *Clients {
	c := &Clients{rates: r, limit: rate.Limit(r.Rate), young: map[string]*rate.Limiter{}}
	if r.Rate < 0 {
		c.limit = rate.Inf
	}
	return c
}

// Address is where a request came from. If that is a proxy we believe, it is
// the last address that the proxies did not add themselves. It is invalid for
// who comes by a Unix socket and is no proxy.
func (c *Clients) Address(r *http.Request) netip.Addr {
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

func (c *Clients) trusts(a netip.Addr) bool {
	if !a.IsValid() {
		return c.rates.UnixProxy
	}
	return slices.ContainsFunc(c.rates.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Allow reports whether who has the address may make n more requests now. All
// without one, as over a Unix socket, are one client.
func (c *Clients) Allow(a netip.Addr, n int) bool {
	return c.limit == rate.Inf || c.take("address "+Client(a).String(), n)
}

// AllowName is Allow for who is known by a name.
func (c *Clients) AllowName(name string, n int) bool {
	return c.limit == rate.Inf || c.take("name "+name, n)
}

func (c *Clients) take(key string, n int) bool {
	return c.of(key).AllowN(c.rates.Now(), min(n, c.rates.Burst))
}

func (c *Clients) of(key string) *rate.Limiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.young[key]; l != nil {
		return l
	}
	l := c.old[key]
	if l == nil {
		l = rate.NewLimiter(c.limit, c.rates.Burst)
	}
	if len(c.young) >= max(1, c.rates.Clients/2) {
		c.old, c.young = c.young, map[string]*rate.Limiter{}
	}
	c.young[key] = l
	return l
}
