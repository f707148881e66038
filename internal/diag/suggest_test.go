// SPDX-License-Identifier: Apache-2.0

package diag

import (
	"strings"
	"testing"
)

func TestSuggest(t *testing.T) {
	known := []string{"abi", "signer", "MinimumTCB"}
	for word, want := range map[string]string{
		"abj":                    `did you mean "abi"?`,
		"bai":                    `did you mean "abi"?`,
		"singer":                 `did you mean "signer"?`,
		"minimum_tcb":            `did you mean "MinimumTCB"?`,
		"sgnr":                   `did you mean "signer"?`,
		"other":                  "keys: abi, signer, MinimumTCB",
		"":                       "keys: abi, signer, MinimumTCB",
		strings.Repeat("x", 100): "keys: abi, signer, MinimumTCB",
	} {
		if got := Suggest(word, "keys", known); got != want {
			t.Errorf("%.20q: got %q, want %q", word, got, want)
		}
	}
	if got := Suggest("x", "keys", nil); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"prot", "prto", 1}, {"host", "hots", 1}, {"kind", "kid", 1}, {"listen", "lissten", 1}, {"args", "envs", 3}, {strings.Repeat("a", 41), "a", 100}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
		if got := distance(test.b, test.a); got != test.want {
			t.Errorf("distance(%q, %q) = %d, want %d", test.b, test.a, got, test.want)
		}
	}
}
