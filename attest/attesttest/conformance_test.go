// SPDX-License-Identifier: Apache-2.0

package attesttest_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/internal/need"
)

// conformance is the published corpus, and what the production verifier says
// to it. All tests share one: they run one after the other.
type conformance struct {
	dir   string
	memo  *pki.Memo
	Cases []attesttest.Case `json:"cases"`

	files   map[string][]byte
	results map[string]*attest.Result // by the case's name
}

var corpus *conformance

func openConformance(t *testing.T) *conformance {
	t.Helper()
	if corpus != nil {
		return corpus
	}
	c := &conformance{
		dir:  filepath.Join(need.Root(t), "testdata", "conformance"),
		memo: pki.NewMemo(64 << 20), files: map[string][]byte{}, results: map[string]*attest.Result{},
	}
	if err := json.Unmarshal(c.read(t, "index.json"), c); err != nil {
		t.Fatal(err)
	}
	if len(c.Cases) < 900 {
		t.Fatalf("%d cases", len(c.Cases))
	}
	corpus = c
	return c
}

func (c *conformance) read(t *testing.T, name string) []byte {
	t.Helper()
	if c.files[name] == nil {
		data, err := os.ReadFile(filepath.Join(c.dir, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		c.files[name] = data
	}
	return c.files[name]
}

// certificates are those in a PEM file.
func (c *conformance) certificates(t *testing.T, name string) (all [][]byte) {
	for block, rest := pem.Decode(c.read(t, name)); block != nil; block, rest = pem.Decode(rest) {
		all = append(all, block.Bytes)
	}
	return all
}

// TestCorpusIsCurrent compares the published corpus with what the generator
// makes, byte for byte.
func TestCorpusIsCurrent(t *testing.T) {
	c := openConformance(t)
	want := attesttest.Corpus()
	const fix = "run: go run ./attest/attesttest/conformance"
	for _, name := range slices.Sorted(maps.Keys(want)) {
		got, err := os.ReadFile(filepath.Join(c.dir, filepath.FromSlash(name)))
		if err != nil || !bytes.Equal(got, want[name]) {
			t.Fatalf("%s is not what the generator makes (%v); %s", name, err, fix)
		}
	}
	err := filepath.WalkDir(c.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(c.dir, p)
		if _, ok := want[filepath.ToSlash(name)]; !ok && name != "README.md" {
			t.Errorf("%s is not in the corpus; %s", name, fix)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestConformance has every case of the published corpus judged by the
// production verifier.
func TestConformance(t *testing.T) {
	c := openConformance(t)
	accepted := map[string]bool{}
	for _, k := range c.Cases {
		if _, twice := accepted[k.Name]; twice {
			t.Errorf("%s is there twice", k.Name)
		}
		accepted[k.Name] = k.Verdict == "accept"
		if k.Base != "" && !accepted[k.Base] {
			t.Errorf("%s: its base %s is not one that is accepted", k.Name, k.Base)
		}
		t.Run(k.Name, func(t *testing.T) { judge(t, k, c.verdict(t, k)) })
	}
}

// collateral reads files as the production verifier takes them.
func (c *conformance) collateral(t *testing.T, names []string) *attest.Collateral {
	t.Helper()
	var files []attest.File
	for _, name := range names {
		files = append(files, attest.File{Name: name, Data: c.read(t, name)})
	}
	bundle, err := attest.Recognise(files, c.memo)
	if err != nil {
		t.Fatal(err)
	}
	return &bundle.Collateral
}

func (c *conformance) roots(t *testing.T, name string) *attest.Roots {
	t.Helper()
	set := &roots.Set{}
	for _, der := range c.certificates(t, name) {
		cert, err := c.memo.Certificate(der)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		set.Add(cert)
	}
	return &attest.Roots{Set: set, Memo: c.memo}
}

// verdict is what the production verifier says: the codes of all failed checks,
// none if it accepts.
func (c *conformance) verdict(t *testing.T, k attesttest.Case) []string {
	t.Helper()
	r := c.result(t, k)
	if r == nil {
		return codes(c.evidence(t, k).refused)
	}
	failed := slices.Concat(r.Verification.Failures(), r.Appraisal.Failures())
	if r.Accepted() != (len(failed) == 0) {
		t.Errorf("accepted is %v with %d failed checks", r.Accepted(), len(failed))
	}
	return codes(failed)
}

// result is nil if the request was refused before its evidence was looked at.
func (c *conformance) result(t *testing.T, k attesttest.Case) *attest.Result {
	t.Helper()
	if r, known := c.results[k.Name]; known {
		return r
	}
	r := c.appraise(t, k)
	c.results[k.Name] = r
	return r
}

func (c *conformance) appraise(t *testing.T, k attesttest.Case) *attest.Result {
	t.Helper()
	var policy []byte
	if k.Policy != "" {
		policy = c.read(t, k.Policy)
	}
	p, err := attest.ParsePolicy(path.Base(k.Policy), policy)
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339, k.Time)
	if err != nil {
		t.Fatal(err)
	}
	ev := c.evidence(t, k)
	if ev.refused != nil {
		return nil
	}
	return attest.Appraise(attest.Verify(ev.Evidence, c.roots(t, k.Roots), c.collateral(t, k.Collateral), at), p)
}

type evidence struct {
	*attest.Evidence
	refused []*check.Check // why there is none
}

func (c *conformance) evidence(t *testing.T, k attesttest.Case) evidence {
	t.Helper()
	input := c.read(t, k.Input)
	if k.Kind == attesttest.KindRequest {
		req, err := attest.ParseRequest(input, c.memo)
		if err == nil {
			return evidence{Evidence: req.Evidence}
		}
		bad, ok := errors.AsType[*attest.RequestError](err)
		if !ok {
			t.Fatalf("%v is not a *RequestError", err)
		}
		return evidence{refused: bad.Checks.Failures()}
	}
	tech := map[string]attest.Technology{attesttest.KindSNP: attest.SNP, attesttest.KindSGX: attest.SGX, attesttest.KindTDX: attest.TDX}
	data, err := hex.DecodeString(k.ReportData)
	if err != nil || len(data) != 64 {
		t.Fatalf("report_data: %v", err)
	}
	return evidence{Evidence: &attest.Evidence{Technology: tech[k.Kind], Report: input, Data: data}}
}

func codes(failed []*check.Check) []string {
	var all []string
	for _, c := range failed {
		if !slices.Contains(all, c.Code) {
			all = append(all, c.Code)
		}
	}
	return all
}

// judge compares a verdict with what the corpus asks for.
func judge(t *testing.T, k attesttest.Case, failed []string) {
	t.Helper()
	switch {
	case k.Verdict == "accept" && len(failed) > 0:
		t.Errorf("refused by %v, should be accepted", failed)
	case k.Verdict == "accept":
	case len(failed) == 0:
		t.Errorf("accepted, should be refused by %s", k.Code)
	case !slices.Contains(failed, k.Code):
		t.Errorf("refused by %v, should be by %s", failed, k.Code)
	case !k.More:
		for _, code := range failed {
			if code != k.Code && !slices.Contains(k.Also, code) {
				t.Errorf("refused by %s too, besides %s %v", code, k.Code, k.Also)
			}
		}
	}
}
