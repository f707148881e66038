// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/internal/need"
)

// codes is the set of codes of checks.
type codes map[string]bool

func (s codes) add(groups ...*check.Group) {
	for _, g := range groups {
		for c := range g.All() {
			s[c.Code] = true
		}
	}
}

// addMutants adds the codes of the whole conformance corpus.
func (s codes) addMutants(t *testing.T, memo *pki.Memo) {
	for m := range attesttest.Mutants(silicon) {
		if m.Kind == attesttest.KindRequest {
			_, err := ParseRequest(m.Input, memo)
			if refused, ok := errors.AsType[*RequestError](err); ok {
				s.add(refused.Checks)
				continue
			}
		}
		b := NewBundle(memo)
		for _, f := range append([]attesttest.Piece{{Name: m.Name, Data: m.Input}}, m.Collateral...) {
			b.Add(File(f)) // what cannot be read has no checks
		}
		p, err := ParsePolicy("policy.toml", []byte(m.Policy))
		if err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		if b.Evidence == nil {
			continue
		}
		set := &roots.Set{}
		for _, piece := range m.Roots {
			if c, err := memo.Certificate(piece.Data); err == nil {
				set.Add(c)
			}
		}
		b.Evidence.Data = m.ReportData
		s.add(Appraise(Verify(b.Evidence, &Roots{set, memo}, &b.Collateral, m.Time), p).groups()...)
	}
}

// addVectors adds the codes of the real evidence.
func (s codes) addVectors(t *testing.T, memo *pki.Memo) {
	root := need.Vectors(t)
	for file, cases := range verdicts {
		for _, v := range cases {
			if v.at == "" {
				continue
			}
			b := NewBundle(memo)
			for _, name := range append([]string{file}, v.with...) {
				data, err := os.ReadFile(filepath.Join(root, name))
				if err != nil {
					t.Fatal(err)
				}
				if err := b.Add(File{name, data}); err != nil {
					t.Fatal(err)
				}
			}
			s.add(v.appraise(t, b, memo).groups()...)
		}
	}
}

// literals returns all string literals of the verifier's source that have the
// form of a code, or of the end of one.
func literals(t *testing.T, folder string) codes {
	found := codes{}
	literal := regexp.MustCompile("\"((?:[a-z]+)?(?:\\.[a-z0-9_-]+)*\\.?)\"")
	err := filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "attesttest") || strings.Contains(name, "fakevendor") {
			return err
		}
		text, err := os.ReadFile(name)
		for _, m := range literal.FindAllSubmatch(text, -1) {
			found[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestChecksDocumented holds docs/checks.md to the checks that there are:
// those that this package's source spells out, those that the whole
// conformance corpus and the vectors bring to light, and no others.
func TestChecksDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(need.Root(t), "docs", "checks.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := codes{}
	for line := range strings.SplitSeq(string(text), "\n") {
		if cells := strings.Split(line, "|"); len(cells) == 4 {
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
				if documented[m[1]] {
					t.Errorf("%s is listed twice", m[1])
				}
				documented[m[1]] = true
			}
		}
	}
	memo := pki.NewMemo(memoSize)
	seen := codes{}
	seen.addMutants(t, memo)
	seen.addVectors(t, memo)
	for _, code := range slices.Sorted(maps.Keys(seen)) {
		if !documented[code] {
			t.Errorf("%s is not in docs/checks.md", code)
		}
	}
	source := literals(t, ".")
	for _, user := range []string{"internal/steward", "internal/collateral", "cmd/enarx"} { // they have checks of their own
		maps.Copy(source, literals(t, filepath.Join(need.Root(t), user)))
	}
	for _, code := range slices.Sorted(maps.Keys(documented)) {
		if !seen[code] && !source.make(code) {
			t.Errorf("%s is in docs/checks.md and nowhere else", code)
		}
	}
	isKey := func(s string) bool {
		table, key, _ := strings.Cut(s, ".")
		return policyTables[table][key] != nil
	}
	for _, s := range slices.Sorted(maps.Keys(source)) {
		if regexp.MustCompile(`^(csr|binding|none|advisory|snp|sgx|tdx|roots|policy)(\.[a-z0-9_-]+)+$`).MatchString(s) && !documented[s] && !isKey(s) {
			t.Errorf("%s looks like a code and is not in docs/checks.md", s)
		}
	}
	if len(seen) < 200 || len(documented) < 200 {
		t.Errorf("%d codes seen, %d documented: are they read right?", len(seen), len(documented))
	}
}

// make reports whether literals, one after the other, spell code.
func (s codes) make(code string) bool {
	if s[code] {
		return true
	}
	for i := 1; i < len(code); i++ {
		if s[code[:i]] && s.make(code[i:]) {
			return true
		}
	}
	id, isAdvisory := strings.CutPrefix(code, "advisory.")
	all, _ := Advisories()
	return isAdvisory && slices.ContainsFunc(all, func(a Advisory) bool { return strings.EqualFold(a.ID, id) })
}
