// SPDX-License-Identifier: Apache-2.0

package collateral

// Slots returns how many documents f knows something of.
func Slots(f *Fetcher) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.young) + len(f.old)
}

// Share asks for i as if a flight for it had just been missed.
func Share(f *Fetcher, i Item) { f.share(i) }
