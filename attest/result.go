// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"enarx.dev/enarx/attest/check"
)

// Result is the verdict on evidence, and why. Nothing in it is secret: it may
// be shown to whoever sent the evidence.
type Result struct {
	Claims        *Claims
	Policy        *Policy
	Verification  *check.Group // what the vendor's signatures prove
	Appraisal     *check.Group // what the policy says to that
	Program       string       // the name that the policy has for the measurement, or ""
	Names         Names        // what the certificate may say
	WorkloadBound bool         // the launch confirms Names.Workload
	Broken        []string     // the advisories of kind "broken" that apply
	By            Verifier     // who has judged, for the JSON form; may be left empty
}

// Refusal is the error of a result that is not accepted: the first check that
// failed.
type Refusal struct{ Check *check.Check }

// Error is the check in one line.
func (e *Refusal) Error() string { return e.Check.String() }

// notShown is the failure of evidence of which nothing was shown at all.
var notShown = check.Check{Code: "evidence", What: "something was verified"}

// Accepted reports whether every check of the evidence and of the policy
// passed, and there were some of both.
func (r *Result) Accepted() bool { return r.Verification.OK() && r.Appraisal.OK() }

// groups are the trees of r; a request that is refused has no second one.
func (r *Result) groups() []*check.Group {
	if r.Appraisal == nil {
		return []*check.Group{r.Verification}
	}
	return []*check.Group{r.Verification, r.Appraisal}
}

// Failed returns the first check that failed, or nil.
func (r *Result) Failed() *check.Check {
	for _, g := range r.groups() {
		for c := range g.All() {
			if c.Status == check.Failed {
				return c
			}
		}
	}
	if !r.Accepted() {
		return &notShown
	}
	return nil
}

// Err returns nil for an accepted result, else a *Refusal.
func (r *Result) Err() error {
	if c := r.Failed(); c != nil {
		return &Refusal{c}
	}
	return nil
}

// Code is "accepted", or the code of the first check that failed.
func (r *Result) Code() string {
	if c := r.Failed(); c != nil {
		return c.Code
	}
	return "accepted"
}

// Write prints the verdict and the checks for people.
func (r *Result) Write(w io.Writer, style check.Style) error {
	for _, g := range r.groups() {
		if err := g.Write(w, style); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, r.verdict())
	return err
}

func (r *Result) verdict() string {
	c := r.Failed()
	switch {
	case c == nil && r.Claims != nil && r.Claims.Technology == None:
		return "accepted, WITHOUT HARDWARE"
	case c == nil && r.Claims != nil && r.Claims.Development():
		return "accepted, on the word of a development root"
	case c == nil:
		return "accepted"
	}
	return "refused: " + c.Code
}

// MarshalJSON gives the verdict, the first failure's code, what the evidence
// says, and all checks. Fields are only ever added.
func (r *Result) MarshalJSON() ([]byte, error) {
	type doc struct {
		Verdict    string          `json:"verdict"`
		Code       string          `json:"code"`
		Technology Technology      `json:"technology,omitempty"`
		Shape      string          `json:"shape,omitempty"`
		Time       string          `json:"time,omitempty"`
		Policy     string          `json:"policy_sha256,omitempty"`
		EAR        json.RawMessage `json:"ear,omitempty"`
		Checks     []*check.Group  `json:"checks"`
	}
	d := doc{Verdict: "refused", Code: r.Code(), Checks: []*check.Group{}}
	if r.Accepted() {
		d.Verdict = "accepted"
	}
	if cl := r.Claims; cl != nil {
		d.Technology, d.Shape, d.Time = cl.Technology, cl.Shape, cl.Time.UTC().Format(time.RFC3339)
		d.EAR = r.EAR(cl.Time, r.By)
	}
	if r.Policy != nil {
		digest := r.Policy.Digest()
		d.Policy = check.Hex(digest[:]).String()
	}
	d.Checks = append(d.Checks, r.groups()...)
	return json.Marshal(d)
}

// RefusedRequest is the result for a request that [ParseRequest] refused: its
// checks, and no claims.
func RefusedRequest(err *RequestError, p *Policy) *Result {
	return &Result{Policy: p, Verification: err.Checks}
}
