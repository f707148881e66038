// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"net/http"
	"net/netip"
	"testing"
	"time"
)

func TestClients(t *testing.T) {
	at := time.Now()
	c := NewClients(Rates{
		Rate: 1, Burst: 2, Clients: 8, Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Now: func() time.Time { return at },
	})
	allow := func(a string, n int) bool { return c.Allow(netip.MustParseAddr(a), n) }
	if !allow("192.0.2.1", 2) || allow("192.0.2.1", 1) || !allow("192.0.2.2", 1) {
		t.Error("clients are not told apart")
	}
	if !c.AllowName("192.0.2.1", 2) || c.AllowName("192.0.2.1", 1) {
		t.Error("a name is not a client of its own")
	}
	if !allow("2001:db8::1", 2) || allow("2001:db8::2", 1) || !allow("2001:db8:0:1::1", 2) {
		t.Error("an IPv6 network is one client")
	}
	at = at.Add(time.Second)
	if !allow("192.0.2.1", 1) {
		t.Error("a second later there is no more room")
	}
	for i := range 1000 {
		c.Allow(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 1)
	}
	if n := len(c.young) + len(c.old); n > 8 {
		t.Errorf("%d clients are remembered", n)
	}
	for _, test := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:1", "", "192.0.2.1"},
		{"192.0.2.1:1", "203.0.113.1", "192.0.2.1"}, // not a proxy of ours: it may say anything
		{"10.1.1.1:1", "203.0.113.1", "203.0.113.1"},
		{"10.1.1.1:1", "198.51.100.7, 203.0.113.1", "203.0.113.1"},
		{"10.1.1.1:1", "203.0.113.1, 10.2.2.2", "203.0.113.1"},
		{"10.1.1.1:1", "nonsense", "10.1.1.1"},
		{"10.1.1.1:1", "", "10.1.1.1"},
		{"[::ffff:10.1.1.1]:1", "2001:db8::1", "2001:db8::1"},
		{"@", "203.0.113.1", "invalid IP"},
		{"unix", "", "invalid IP"},
		{"unix", "nonsense", "invalid IP"},
		{"unix", "203.0.113.1", "203.0.113.1"},
		{"unix", "198.51.100.7, 203.0.113.1, 10.2.2.2", "203.0.113.1"},
	} {
		c.rates.UnixProxy = test.remote == "unix"
		r := &http.Request{RemoteAddr: test.remote, Header: http.Header{}}
		if test.forwarded != "" {
			r.Header.Set("X-Forwarded-For", test.forwarded)
		}
		if got := c.Address(r).String(); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}
