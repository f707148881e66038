// SPDX-License-Identifier: Apache-2.0

package store

import (
	"container/list"
	"sync"
)

// A cache keeps values up to a sum of costs. The one that was not asked for
// longest goes first.
type cache[K comparable, V any] struct {
	mu    sync.Mutex
	limit int64
	cost  int64
	byKey map[K]*list.Element
	order list.List // of *cached, the latest in front
}

type cached[K comparable, V any] struct {
	key   K
	value V
	cost  int64
}

func newCache[K comparable, V any](limit int64) *cache[K, V] {
	return &cache[K, V]{limit: limit, byKey: map[K]*list.Element{}}
}

func (c *cache[K, V]) get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached[K, V]).value, true
}

// put keeps a value, in place of an older one. A value that costs more than
// all is not kept.
func (c *cache[K, V]) put(key K, value V, cost int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(key)
	if cost > c.limit {
		return
	}
	c.byKey[key] = c.order.PushFront(&cached[K, V]{key, value, cost})
	for c.cost += cost; c.cost > c.limit; {
		c.remove(c.order.Back().Value.(*cached[K, V]).key)
	}
}

func (c *cache[K, V]) drop(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(key)
}

func (c *cache[K, V]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.byKey)
	c.order.Init()
	c.cost = 0
}

func (c *cache[K, V]) remove(key K) {
	if e, ok := c.byKey[key]; ok {
		c.cost -= e.Value.(*cached[K, V]).cost
		c.order.Remove(e)
		delete(c.byKey, key)
	}
}
