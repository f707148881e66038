// SPDX-License-Identifier: Apache-2.0

package attesttest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/internal/need"
)

// withoutMutant are checks that no case is refused by, and why.
var withoutMutant = map[string]string{
	"none.report":     "a request with anything in the extension for no hardware is refused when it is read, csr.evidence.encoding",
	"advisory.broken": "it passes where no advisory applies; one that does has a code of its own",
}

// TestEveryCheckHasAMutant looks for checks of the production verifier that
// nothing in the corpus fails: what cannot fail shows nothing.
func TestEveryCheckHasAMutant(t *testing.T) {
	c := openConformance(t)
	looked, refuses := map[string]string{}, map[string]bool{}
	for _, k := range c.Cases {
		refuses[k.Code] = true
		for x := range c.checks(t, k) {
			if x.Status == check.Passed || x.Status == check.Failed {
				looked[x.Code] = k.Name
			}
		}
	}
	for code, name := range looked {
		if _, excused := withoutMutant[code]; !refuses[code] && !excused {
			t.Errorf("%s, looked at in %s, refuses nothing in the corpus", code, name)
		}
	}
	for code := range withoutMutant {
		if refuses[code] {
			t.Errorf("%s has a mutant: it needs no excuse", code)
		}
	}
}

// TestEveryPolicyKeyHasAMutant looks for keys of policies that no case of the
// corpus uses.
func TestEveryPolicyKeyHasAMutant(t *testing.T) {
	c := openConformance(t)
	source, err := os.ReadFile(filepath.Join(need.Root(t), "attest", "policy_keys.go"))
	if err != nil {
		t.Fatal(err)
	}
	used := ""
	for _, k := range c.Cases {
		if k.Policy != "" {
			used += string(c.read(t, k.Policy))
		}
	}
	set := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z_0-9]+) = `).FindAllStringSubmatch(used, -1) {
		set[m[1]] = true
	}
	keys := regexp.MustCompile(`(?m)^\t\t?"([a-z_0-9]+)": +[^m]`).FindAllStringSubmatch(string(source), -1)
	if len(keys) < 50 {
		t.Fatalf("%d keys found in policy_keys.go", len(keys))
	}
	for _, m := range keys {
		switch key := m[1]; {
		case key == "life" || key == "max_life": // of certificates: nothing that evidence could fail
		case key == "measurements" || key == "collateral" || key == "certificate": // tables
		case !set[key]:
			t.Errorf("no case has a policy with %s", key)
		}
	}
}

// checks goes through all that is looked at in a case.
func (c *conformance) checks(t *testing.T, k attesttest.Case) func(func(*check.Check) bool) {
	return func(yield func(*check.Check) bool) {
		groups := []*check.Group{}
		if k.Kind == attesttest.KindRequest {
			if req, err := attest.ParseRequest(c.read(t, k.Input), c.memo); err == nil {
				groups = append(groups, req.Checks)
			}
		}
		if r := c.result(t, k); r != nil {
			groups = append(groups, r.Verification, r.Appraisal)
		}
		for _, g := range groups {
			for x := range g.All() {
				if !yield(x) {
					return
				}
			}
		}
	}
}

// TestBytes flips a bit here and there in evidence that is accepted, fields or
// not: all of it is signed, or has to be as it is.
func TestBytes(t *testing.T) {
	c := openConformance(t)
	for _, name := range []string{"snp-milan-v3", "snp-turin-v5", "sgx", "tdx-v4", "tdx-v5", "csr-snp-v2", "csr-sgx-v3"} {
		i := slices.IndexFunc(c.Cases, func(k attesttest.Case) bool { return k.Name == name })
		if i < 0 {
			t.Fatalf("no case %s", name)
		}
		k := c.Cases[i]
		base, err := time.Parse(time.RFC3339, k.Time)
		if err != nil {
			t.Fatal(err)
		}
		input := c.read(t, k.Input)
		end, stride := len(input), 7
		if k.Kind == attesttest.KindRequest {
			stride = 101 // there is one signature over all of it
		}
		if k.Kind != attesttest.KindRequest {
			if pem := bytes.Index(input, []byte("-----BEGIN")); pem >= 0 {
				end = pem // in text, a space can be another and mean the same
			}
		}
		roots, collateral := c.roots(t, k.Roots), c.collateral(t, k.Collateral)
		for at := 0; at < end; at += stride {
			ev := c.evidence(t, k)
			altered := slices.Clone(input)
			altered[at] ^= 1 << (at % 8)
			if k.Kind == attesttest.KindRequest {
				req, err := attest.ParseRequest(altered, c.memo)
				if err != nil {
					continue
				}
				ev.Evidence = req.Evidence
			} else {
				ev.Report = altered
			}
			r := attest.Appraise(attest.Verify(ev.Evidence, roots, collateral, base), nil)
			if r.Accepted() {
				t.Errorf("%s: accepted with a bit of byte 0x%x flipped", name, at)
			}
		}
	}
}

// TestNames holds the corpus to one way of naming.
func TestNames(t *testing.T) {
	for _, k := range openConformance(t).Cases {
		if strings.Trim(k.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_/") != "" {
			t.Errorf("%s: a name of other characters", k.Name)
		}
		if (k.Verdict == "accept") != (k.Code == "") {
			t.Errorf("%s: %s with code %q", k.Name, k.Verdict, k.Code)
		}
		if k.Base != "" && !strings.HasPrefix(k.Name, k.Base+"/") {
			t.Errorf("%s: not named after its base %s", k.Name, k.Base)
		}
	}
}
