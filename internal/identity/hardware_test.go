// SPDX-License-Identifier: Apache-2.0

package identity

import "testing"

// TestHardware runs on an ordinary kernel, which has no such system call.
func TestHardware(t *testing.T) {
	if got, err := Hardware(); err != nil || got != NoHardware {
		t.Errorf("got %d, %v", got, err)
	}
}
