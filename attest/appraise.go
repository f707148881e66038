// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"slices"
	"strings"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
)

// appraisal is one run of Appraise.
type appraisal struct {
	cl *Claims
	p  *Policy
	g  *check.Group
	r  *Result
}

// Appraise holds claims against a policy; nil is [DefaultPolicy]. All rules are
// looked at, whatever Verify found, so that the result says everything there is
// to change.
func Appraise(cl *Claims, p *Policy) *Result {
	if p == nil {
		p = DefaultPolicy()
	}
	r := &Result{Claims: cl, Policy: p, Verification: cl.Checks, Appraisal: check.New("Appraisal")}
	r.Appraisal.Checks = make([]check.Check, 0, 24)
	a := &appraisal{cl: cl, p: p, g: r.Appraisal, r: r}
	a.technology()
	a.binding()
	switch {
	case cl.SNP != nil:
		a.snp()
	case cl.SGX != nil:
		a.sgx()
	case cl.TDX != nil:
		a.tdx()
	}
	a.program()
	a.collateral()
	a.advisories()
	if cl.Development() {
		a.g.Note(check.Check{
			Code: "roots.development", What: "the trust anchor is not a vendor's: nothing shows that this is hardware",
			Found: check.Func(func() string { return cl.Root().Subject.String() }), Source: "the roots given",
		})
	}
	return r
}

// rule records a check that the key of the policy asks for. In fix, KEY stands
// for the key and where it is.
func (a *appraisal) rule(ok bool, key, fix string, c check.Check) bool {
	c.Source = a.p.source(key)
	if !ok {
		c.Fix = strings.ReplaceAll(fix, "KEY", a.p.fixIn(key))
	}
	return a.g.Require(ok, c)
}

// values is a list of binary values.
type values [][]byte

func (v values) String() string {
	all := make([]string, len(v))
	for i := range v {
		all[i] = hex.EncodeToString(v[i])
	}
	return "one of " + strings.Join(all, ", ")
}

// unsaid is the value that evidence does not have.
const unsaid = check.Text("nothing: the evidence does not say")

// listed requires found to be in the list of the key, if there is one.
func (a *appraisal) listed(key string, list [][]byte, found []byte, code, what string) {
	if len(list) == 0 {
		return
	}
	c := check.Check{Code: code, What: what, Expected: values(list), Found: check.Hex(found)}
	fix := "run what is listed, or add the value to KEY"
	if found == nil {
		c.Found, fix = unsaid, "use a machine whose evidence says it, or change KEY"
	}
	a.rule(found != nil && contains(list, found), key, fix, c)
}

// denied requires found not to be in the list of the key, if there is one. What
// the evidence does not say may be what is denied.
func (a *appraisal) denied(key string, list [][]byte, found []byte, code, what string) {
	if len(list) == 0 {
		return
	}
	c := check.Check{Code: code, What: what, Found: check.Hex(found)}
	fix := "remove the value from KEY"
	if found == nil {
		c.Found, fix = unsaid, "use a machine whose evidence says it, or change KEY"
	}
	a.rule(found != nil && !contains(list, found), key, fix, c)
}

// atLeast requires a number of the evidence to reach that of the key.
func (a *appraisal) atLeast(key string, least, found uint64, code, what string) {
	if least > 0 {
		a.rule(found >= least, key, "update what has this version, or lower KEY",
			check.Check{Code: code, What: what, Expected: atLeast(least), Found: check.Uint(found)})
	}
}

type atLeast uint64

func (v atLeast) String() string { return "at least " + check.Uint(v).String() }

// technology requires the kind of hardware to be welcome.
func (a *appraisal) technology() {
	if a.cl.Technology == None {
		a.rule(a.p.Insecure, "accept evidence without hardware", "run in a TEE; or, where nothing is at stake, start the Steward with --insecure-accept-no-tee",
			check.Check{Code: "none.accepted", What: "evidence without hardware is accepted here"})
		return
	}
	if a.p.Technologies != nil {
		a.rule(slices.Contains(a.p.Technologies, a.cl.Technology), "technologies", "add it to KEY", check.Check{
			Code: "policy.technology", What: "the technology is one that the policy accepts",
			Expected: technologyList(a.p.Technologies), Found: check.Text(a.cl.Technology),
		})
	}
}

type technologyList []Technology

func (l technologyList) String() string {
	var all check.List
	for _, t := range l {
		all = append(all, string(t))
	}
	return all.String()
}

// binding requires the evidence to be about this key and these names.
func (a *appraisal) binding() {
	if a.cl.Technology == None {
		a.workload(nil, "")
		return
	}
	if a.cl.SNP == nil && a.cl.SGX == nil && a.cl.TDX == nil {
		a.g.Skip(check.Check{Code: "binding.key", What: "the evidence is bound to a key"}, "the evidence could not be read")
		return
	}
	data := a.cl.ReportData[:]
	want, hash := a.cl.Data, ""
	if a.cl.Key != nil {
		want, hash = a.keyDigest()
	}
	switch {
	case want == nil && a.p.RequireBinding:
		a.rule(false, "the evidence is bound", "present a request with the evidence, or say what the report data must be", check.Check{
			Code: "binding.key", What: "the evidence is bound to a key", Found: check.Hex(data), Expected: check.Text("a key or data to compare with"),
		})
	case want == nil:
		a.g.Note(check.Check{Code: "binding.key", What: "what the report data is about was not looked at", Found: check.Hex(data)})
	default:
		code, what := "binding.key", "the report data begins with the "+hash+" of the request's public key"
		if hash == "" {
			code, what = "binding.data", "the report data begins with the data expected"
		}
		n := min(len(want), len(data))
		a.rule(len(want) <= len(data) && bytes.Equal(data[:n], want), "the evidence is bound", "get evidence for this key: its hash, then zeros, is the report data", check.Check{
			Code: code, What: what, Expected: check.Hex(want), Found: check.Hex(data[:n]),
		})
		a.tail(data[n:])
	}
	a.bindWorkload()
}

// tail judges the report data after what it is bound to: the verifier's nonce
// if there is one, then zeros.
func (a *appraisal) tail(found []byte) {
	c := check.Check{Code: "binding.tail", What: "the rest of the report data is zero", Found: check.Hex(found)}
	fix := "get evidence with zeros after it"
	if a.cl.Nonce != nil {
		c.What, c.Expected = "the rest of the report data is the verifier's nonce, then zeros", check.Hex(a.cl.Nonce)
		fix = "get evidence with the verifier's nonce after it"
	}
	rest, ok := bytes.CutPrefix(found, a.cl.Nonce)
	a.rule(ok && zero(rest), "the evidence is bound", fix, c)
}

// keyDigest is what the report data has to begin with, and the hash's name.
func (a *appraisal) keyDigest() (digest []byte, hash string) {
	if a.cl.Technology == SGX {
		d := sha256.Sum256(a.cl.Key)
		return d[:], "SHA-256"
	}
	d := sha512.Sum384(a.cl.Key)
	return d[:], "SHA-384"
}

func zero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}

// collateral judges every piece that the evidence relies on. Verify names one
// of each kind for evidence that it found nothing wrong with; claims without
// are not of its making.
func (a *appraisal) collateral() {
	kinds := map[string]bool{}
	for i := range a.cl.Collateral {
		d := &a.cl.Collateral[i]
		kinds[d.Kind] = true
		a.fresh(d)
	}
	if a.cl.Technology == None || !a.cl.Checks.OK() {
		return
	}
	c, intel := &a.p.Collateral, a.cl.Technology != SNP
	if c.RequireCRL && !kinds["crl"] || intel && (c.RequireTCBInfo && !kinds["tcb-info"] || c.RequireQEIdentity && !kinds["qe-identity"]) {
		a.rule(false, "collateral is looked at", "verify the evidence with attest.Verify",
			check.Check{Code: "collateral", What: "the collateral that the evidence relies on is named"})
	}
}

// fresh requires a piece of collateral to be there and of this time.
func (a *appraisal) fresh(d *pki.Dated) {
	c := &a.p.Collateral
	key, required := "collateral.require_crl", c.RequireCRL
	switch d.Kind {
	case "tcb-info":
		key, required = "collateral.require_tcb_info", c.RequireTCBInfo
	case "qe-identity":
		key, required = "collateral.require_qe_identity", c.RequireQEIdentity
	}
	now := a.cl.Time
	state := d.State(now)
	good := state == "fresh"
	if good && c.MaxAge > 0 && now.Sub(d.Issued) > c.MaxAge {
		good, state, key = false, "older than "+c.MaxAge.String(), "collateral.max_age"
	}
	k := check.Check{Code: d.Code, What: "the " + d.Title + " is there and current", Source: a.p.source(key)}
	if !d.Missing {
		k.Expected = check.Func(func() string { return check.Time(d.Issued).String() + " to " + check.Time(d.Next).String() })
		k.Found = check.Time(now)
	}
	if good {
		a.g.Require(true, k)
		return
	}
	k.Found = check.Func(func() string {
		s := state
		if !d.Missing {
			s += ": " + check.Time(now).String()
		}
		if d.Forged > 0 {
			s += " (" + check.Uint(d.Forged).String() + " with a bad signature)"
		}
		return s
	})
	if !required {
		a.g.Note(k)
		return
	}
	k.Fix = d.FetchFix
	if k.Fix == "" {
		k.Fix = "add a current one"
	}
	a.g.Fail(k)
}

// program requires the measurement to be an expected one, and finds its name.
func (a *appraisal) program() {
	m := a.cl.Measurement()
	if m == nil || len(a.p.Measurements) == 0 {
		return
	}
	for name, known := range a.p.Measurements {
		if contains(known.of(a.cl.Technology), m) && (a.r.Program == "" || name < a.r.Program) &&
			(a.p.Expected == nil || slices.Contains(a.p.Expected, name)) {
			a.r.Program = name
		}
	}
	if a.p.Expected != nil {
		a.rule(a.r.Program != "", "expected", "run one of the programs expected, or add this measurement to a table [measurements.NAME] named in KEY", check.Check{
			Code: "policy.expected", What: "the measurement is that of an expected program",
			Expected: check.List(a.p.Expected), Found: check.Hex(m),
		})
	}
}

func (m *Measurement) of(t Technology) [][]byte {
	switch t {
	case SNP:
		return m.SNP
	case SGX:
		return m.SGX
	}
	return m.TDX
}
