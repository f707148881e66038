// SPDX-License-Identifier: Apache-2.0

package attesttest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"enarx.dev/enarx/internal/need"
)

// TestDifferencesDocumented holds docs/verifiers.md to the tables of the other
// verifiers' tests: each case and its reason on one line, and no case more.
func TestDifferencesDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(need.Root(t), "docs", "verifiers.md"))
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]string{} // of each case in the document, its section's name before it
	section := ""
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(title)
		}
		cells := strings.Split(line, " | ")
		if section == "" || len(cells) != 2 || !strings.HasPrefix(cells[0], "| `") {
			continue
		}
		for name := range strings.SplitSeq(strings.TrimPrefix(cells[0], "| "), ", ") {
			reasons[section+": "+strings.Trim(name, "`")] = strings.TrimSuffix(strings.TrimSpace(cells[1]), " |")
		}
	}
	for title, table := range map[string]map[string]string{
		"go-sev-guest 0.15.0":           sevGuestDiffers,
		"go-tdx-guest 0.3.2-0.20250814": tdxGuestDiffers,
		"openssl 3.0 verify":            opensslDiffers,
		"openssl 3.0 req":               opensslRequests,
	} {
		for name, why := range table {
			key := title + ": " + name
			if reasons[key] != why {
				t.Errorf("docs/verifiers.md says %q of %s, the test %q", reasons[key], key, why)
			}
			delete(reasons, key)
		}
	}
	for key := range reasons {
		t.Errorf("docs/verifiers.md has %s, and no test does", key)
	}
}
