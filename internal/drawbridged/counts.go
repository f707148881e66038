// SPDX-License-Identifier: Apache-2.0

package drawbridged

import "sync"

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
