// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
)

// explainer prints explanations.
type explainer struct {
	out            io.Writer
	color, verbose bool
}

// text prints the verdict, what the evidence says, and the checks.
func (w *explainer) text(e *explanation, r *attest.Result) error {
	var out strings.Builder
	out.WriteString(w.verdict(r) + "\n\n")
	for _, f := range facts(e, r) {
		fmt.Fprintf(&out, "  %-13s %s\n", f.name, oneLine(f.value))
	}
	counts := map[check.Status]int{}
	for _, g := range []*check.Group{r.Verification, r.Appraisal} {
		for c := range g.All() {
			if counts[c.Status]++; c.Status == check.Noted {
				fmt.Fprintf(&out, "  %-13s %s [%s]\n", "Note", oneLine(c.What), c.Code)
			}
		}
	}
	fmt.Fprintf(&out, "  %-13s %d passed, %d failed, %d noted, %d skipped\n\n", "Checks",
		counts[check.Passed], counts[check.Failed], counts[check.Noted], counts[check.Skipped])
	for _, g := range []*check.Group{r.Verification, r.Appraisal} {
		if g != nil {
			if err := g.Write(&out, check.Style{Color: w.color, Brief: !w.verbose}); err != nil {
				return err
			}
		}
	}
	_, err := io.WriteString(w.out, out.String())
	return err
}

// verdict is one line.
func (w *explainer) verdict(r *attest.Result) string {
	if c := r.Failed(); c != nil {
		return w.paint("31", "refused") + ": " + c.Code + ": not so: " + oneLine(c.What)
	}
	switch {
	case r.Claims.Technology == attest.None:
		return w.paint("33", "accepted, WITHOUT HARDWARE: it proves nothing")
	case r.Claims.Development():
		return w.paint("33", "accepted, ON THE WORD OF A DEVELOPMENT ROOT: it proves nothing")
	}
	return w.paint("32", "accepted")
}

// oneLine escapes what could look like more than one line, or drive a
// terminal: values come from whoever made the evidence.
func oneLine(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	quoted := strconv.QuoteToGraphic(s)
	return quoted[1 : len(quoted)-1]
}

func (w *explainer) paint(code, s string) string {
	if !w.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// json prints the result with what the files were taken for, and until when it
// stands.
func (w *explainer) json(e *explanation, r *attest.Result) error {
	type file struct {
		Name string `json:"name"`
		What string `json:"what"`
	}
	head := struct {
		Files []file `json:"files"`
		Until string `json:"accepted_until,omitempty"`
	}{Files: []file{}}
	for _, f := range e.files.Found {
		head.Files = append(head.Files, file(f))
	}
	if until, ok := e.until(r); ok {
		head.Until = until.UTC().Format(time.RFC3339)
	}
	first, err := json.Marshal(head)
	if err != nil {
		return err
	}
	rest, err := json.Marshal(r)
	if err != nil {
		return err
	}
	// Both are objects with members: one object with the members of both.
	return w.indented(slices.Concat(first[:len(first)-1], []byte(","), rest[1:]))
}

func (w *explainer) indented(doc []byte) error {
	var out bytes.Buffer
	if err := json.Indent(&out, doc, "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err := w.out.Write(out.Bytes())
	return err
}

// A fact is one line about evidence.
type fact struct{ name, value string }

// facts says what the evidence claims, in words. Unless it is accepted nobody
// stands by them.
func facts(e *explanation, r *attest.Result) (all []fact) {
	add := func(name, value string) {
		if value != "" {
			all = append(all, fact{name, value})
		}
	}
	cl := r.Claims
	if cl == nil {
		add("Evidence", found(e.files))
		return all
	}
	shape := cl.Technology.Title()
	if cl.Shape != "" {
		shape += ", in the shape " + cl.Shape
	}
	add("Evidence", shape)
	add("At", e.now.UTC().Format(time.RFC3339))
	switch {
	case cl.SNP != nil:
		all = append(all, snpFacts(cl)...)
	case cl.SGX != nil:
		all = append(all, sgxFacts(cl)...)
	case cl.TDX != nil:
		all = append(all, tdxFacts(cl)...)
	}
	if cl.Technology != attest.None {
		add("Debug", map[bool]string{true: "YES: the host can read and change its memory", false: "no"}[cl.Debug()])
		add("Report data", hexOrNone(cl.ReportData[:]))
	}
	add("Program", r.Program)
	add("Names", strings.Join(cl.URIs, ", "))
	if until, ok := e.until(r); ok {
		add("Accepted", "until "+until.UTC().Format(time.RFC3339)+", with this collateral")
	}
	return all
}

func snpFacts(cl *attest.Claims) []fact {
	c, r := cl.SNP, cl.SNP.Report
	product := c.Product
	if product == "" {
		product = "unknown"
	}
	signer := c.Signer
	if c.CSPID != "" {
		signer += ", lent to " + c.CSPID
	}
	major, minor := r.Policy.ABI()
	return set(
		fact{"Product", "AMD EPYC " + product + ", chip " + hexOrNone(bytes.TrimRight(r.ChipID[:], "\x00"))},
		fact{"Signer", signer},
		fact{"TCB", c.ReportedTCB().String()},
		fact{"Measurement", hex.EncodeToString(r.Measurement[:])},
		fact{"Author key", nonzero(r.AuthorKeyDigest[:])},
		fact{"ID key", nonzero(r.IDKeyDigest[:])},
		fact{"Host data", nonzero(r.HostData[:])},
		fact{"Guest", fmt.Sprintf("security version %d, VMPL %d, needs firmware ABI %d.%d, policy %s",
			r.GuestSVN, int32(r.VMPL), major, minor, check.List(r.Policy.Names()))},
	)
}

func sgxFacts(cl *attest.Claims) []fact {
	c, b := cl.SGX, cl.SGX.Body
	config := ""
	if b.Attributes&dcap.KSS != 0 {
		config = nonzero(b.ConfigID[:])
	}
	return append(intelFacts(c.PCK, c.TCB), set(
		fact{"Measurement", hex.EncodeToString(b.MREnclave[:])},
		fact{"Signer", hex.EncodeToString(b.MRSigner[:])},
		fact{"Enclave", fmt.Sprintf("product %d, security version %d, attributes %s", b.ISVProdID, b.ISVSVN, b.Attributes)},
		fact{"Configuration", config},
	)...)
}

func tdxFacts(cl *attest.Claims) []fact {
	c, b := cl.TDX, cl.TDX.Body
	all := append(intelFacts(c.PCK, c.TCB), set(
		fact{"Measurement", hex.EncodeToString(b.MRTD[:])},
		fact{"RTMR 0", nonzero(b.RTMR[0][:])}, fact{"RTMR 1", nonzero(b.RTMR[1][:])},
		fact{"RTMR 2", nonzero(b.RTMR[2][:])}, fact{"RTMR 3", nonzero(b.RTMR[3][:])},
		fact{"Configuration", nonzero(b.MRConfigID[:])},
		fact{"Owner", nonzero(b.MROwner[:])},
		fact{"Service TD", nonzero(b.MRServiceTD[:])},
		fact{"Domain", fmt.Sprintf("attributes %s, TDX module security versions %x", b.Attributes, b.TEETCBSVN[:])},
	)...)
	return all
}

// intelFacts is what SGX and TDX have in common.
func intelFacts(pck *dcap.PCK, tcb dcap.Status) []fact {
	platform, status := "unknown: the quote has no PCK certificate", "unknown: no TCB info says"
	if pck != nil {
		platform = fmt.Sprintf("FMSPC %X, PPID %x", pck.FMSPC, pck.PPID)
	}
	if tcb.Known {
		status = tcb.Name
		if len(tcb.Advisories) > 0 {
			status += ", " + strings.Join(tcb.Advisories, ", ")
		}
		if !tcb.Date.IsZero() {
			status += ", of " + tcb.Date.UTC().Format(time.DateOnly)
		}
	}
	return []fact{{"Platform", platform}, {"TCB", status}}
}

// set leaves out what has no value.
func set(all ...fact) []fact {
	return slices.DeleteFunc(all, func(f fact) bool { return f.value == "" })
}

// nonzero is b in hexadecimal, or nothing if nothing is set.
func nonzero(b []byte) string {
	if len(bytes.Trim(b, "\x00")) == 0 {
		return ""
	}
	return hex.EncodeToString(b)
}

func hexOrNone(b []byte) string {
	if s := nonzero(b); s != "" {
		return s
	}
	return "none"
}

// until is when the verdict would change from accepted to refused if nothing
// is renewed: the first of all dates there are after which it is refused.
func (e *explanation) until(r *attest.Result) (t time.Time, ok bool) {
	if !r.Accepted() || e.files.Evidence == nil {
		return t, false
	}
	var dates []time.Time
	for _, c := range slices.Concat(e.files.Evidence.Collateral.Certificates, e.collateral.Certificates, e.roots.AMD, e.roots.Intel, e.roots.Intermediates) {
		dates = append(dates, c.NotAfter)
	}
	if chain, err := dcap.QuoteChain(e.roots.Memo, e.files.Evidence.Report); err == nil { // a quote holds its own
		for _, c := range chain {
			dates = append(dates, c.NotAfter)
		}
	}
	for _, d := range r.Claims.Collateral {
		dates = append(dates, d.Next)
		if age := e.policy.Collateral.MaxAge; age > 0 {
			dates = append(dates, d.Issued.Add(age))
		}
	}
	slices.SortFunc(dates, time.Time.Compare)
	for _, t := range slices.Compact(dates) {
		if t.After(e.now) && !e.judge(t.Add(time.Second)).Accepted() {
			return t, true
		}
	}
	return t, false
}
