// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/snp"
)

// EARProfile is the profile of the attestation results made here:
// draft-ietf-rats-ear-04.
const EARProfile = "tag:ietf.org,2026:rats/ear#04"

// EARType is the media type of an EAR that what carries it protects, RFC 9782.
const EARType = `application/eat-ucs+json; eat_profile="` + EARProfile + `"`

// Verifier is who vouches for a result.
type Verifier struct {
	Developer string // "" is Enarx
	Build     string // "" is "unknown"
}

// The trustworthiness claims of draft-ietf-rats-ar4si that are made here.
const (
	trustNone       = 0
	trustApproved   = 2  // of any category
	trustBoot       = 3  // executables: known ones were loaded at launch
	trustWarning    = 32 // of any category: known weaknesses
	trustUnknown    = 33 // executables: not known
	trustContra     = 96 // of any category: must not be trusted
	trustUnverified = 97 // hardware, instance: not recognised
)

// vector is an AR4SI trustworthiness vector, of the categories that there is
// something to say about.
type vector struct{ instance, configuration, executables, hardware, runtime int }

// status is the tier of the worst claim in v.
func (v *vector) status() string {
	worst := max(v.instance, v.configuration, v.executables, v.hardware, v.runtime)
	switch {
	case worst >= trustContra:
		return "contraindicated"
	case worst >= trustWarning:
		return "warning"
	case worst >= trustApproved:
		return "affirming"
	}
	return "none"
}

// trust says what r means in the terms of AR4SI.
func (r *Result) trust() vector {
	cl := r.Claims
	if !r.Accepted() {
		v := vector{}
		for _, g := range r.groups() {
			for c := range g.All() {
				if c.Status == check.Failed {
					v.blame(c.Code)
				}
			}
		}
		if v.status() != "contraindicated" {
			v.hardware = trustUnverified
		}
		return v
	}
	if cl.Technology == None {
		return vector{}
	}
	v := vector{instance: trustNone, configuration: trustApproved, executables: trustNone, hardware: trustApproved, runtime: trustApproved}
	if cl.Key != nil || cl.Data != nil {
		v.instance = trustApproved
	}
	if cl.Debug() {
		v.configuration, v.runtime = trustWarning, trustWarning
	}
	if status := cl.TCBStatus(); cl.Development() || cl.Technology != SNP && status != dcap.UpToDate || r.Broken != nil {
		v.hardware = trustWarning
	}
	if r.programKnown() {
		v.executables = trustBoot
	}
	return v
}

// programKnown reports whether the policy named what may run.
func (r *Result) programKnown() bool {
	p := r.Policy
	switch r.Claims.Technology {
	case SNP:
		return r.Program != "" || len(p.SNP.Hash)+len(p.SNP.Signer)+len(p.SNP.IDKey) > 0
	case SGX:
		return r.Program != "" || len(p.SGX.Hash)+len(p.SGX.Signer) > 0
	case TDX:
		return r.Program != "" || len(p.TDX.MRTD) > 0
	}
	return false
}

// blame gives the category that a failed check is about its worst value.
func (v *vector) blame(code string) {
	_, rest, _ := strings.Cut(code, ".")
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(rest, p) {
				return true
			}
		}
		return false
	}
	switch {
	case strings.HasPrefix(code, "binding.") || strings.HasPrefix(code, "csr."):
		v.instance = trustUnverified
	case has("debug"):
		v.configuration, v.runtime = trustContra, trustContra
	case strings.HasPrefix(code, "policy.expected"), has("measurement", "mrenclave", "mrsigner", "mrtd", "rtmr", "author_key", "id_key", "isv", "guest_svn") && !has("qe."):
		v.executables = trustContra
	case has("policy.", "attributes.", "vmpl", "platform_info", "host_data", "config", "mrowner", "mrservicetd", "miscselect"):
		v.configuration = trustContra
	default:
		v.hardware = trustUnverified
	}
}

// EAR returns r as the claims of an EAT attestation result in compact JSON,
// issued at now. It is not signed.
func (r *Result) EAR(now time.Time, by Verifier) []byte {
	if by.Developer == "" {
		by.Developer = "https://enarx.dev"
	}
	if by.Build == "" {
		by.Build = "unknown"
	}
	v := r.trust()
	status := v.status()
	w := &object{buf: make([]byte, 0, 1536)}
	w.open("")
	w.text("eat_profile", EARProfile)
	w.number("iat", now.Unix())
	w.text("ear_status", status)
	w.open("ear_verifier_id")
	w.text("developer", by.Developer)
	w.text("build", by.Build)
	w.close()
	w.open("submods")
	w.open("keep")
	w.text("ear_status", status)
	w.open("ear_trustworthiness_vector")
	w.number("instance-identity", int64(v.instance))
	w.number("configuration", int64(v.configuration))
	w.number("executables", int64(v.executables))
	w.number("hardware", int64(v.hardware))
	w.number("runtime-opaque", int64(v.runtime))
	w.close()
	if r.Policy != nil {
		w.raw("ear_appraisal_policy_ids", `["`+WorkloadURI(r.Policy.Digest())+`"]`)
	}
	if r.Claims != nil {
		r.attesterClaims(w)
		r.verifierClaims(w)
	}
	w.close()
	w.close()
	w.close()
	return w.buf
}

// attesterClaims are what the evidence says.
func (r *Result) attesterClaims(w *object) {
	cl := r.Claims
	w.open("ear_attester_claims")
	w.text("tee", string(cl.Technology))
	switch {
	case cl.SNP != nil:
		report := cl.SNP.Report
		w.text("product", cl.SNP.Product)
		w.bytes("author_key_digest", report.AuthorKeyDigest[:])
		w.bytes("id_key_digest", report.IDKeyDigest[:])
		w.bytes("host_data", report.HostData[:])
		w.number("vmpl", int64(report.VMPL))
		w.number("guest_svn", int64(report.GuestSVN))
		w.open("tcb")
		tcb := cl.SNP.ReportedTCB()
		for _, name := range snp.Components {
			if level, ok := tcb.Component(name); ok {
				w.number(name, int64(level))
			}
		}
		w.close()
	case cl.SGX != nil:
		body := cl.SGX.Body
		w.bytes("mr_signer", body.MRSigner[:])
		w.number("product_id", int64(body.ISVProdID))
		w.number("security_version", int64(body.ISVSVN))
	case cl.TDX != nil:
		body := cl.TDX.Body
		for i, name := range [...]string{"rtmr0", "rtmr1", "rtmr2", "rtmr3"} {
			w.bytes(name, body.RTMR[i][:])
		}
	}
	if m := cl.Measurement(); m != nil {
		w.bytes("measurement", m)
	}
	w.boolean("debug", cl.Debug())
	if r.Names.Workload != nil {
		w.text("workload", WorkloadURI([32]byte(r.Names.Workload)))
	}
	if r.Names.Slug != "" {
		w.text("slug", r.Names.Slug)
	}
	if r.Names.Log != "" {
		w.text("log", r.Names.Log)
	}
	w.close()
}

// verifierClaims are what we say to that.
func (r *Result) verifierClaims(w *object) {
	cl := r.Claims
	w.open("ear_verifier_claims")
	w.text("verdict", r.Code())
	roots := "vendor"
	switch {
	case cl.Technology == None:
		roots = "none"
	case cl.Development():
		roots = "development"
	case cl.Root() == nil:
		roots = "unknown"
	}
	w.text("roots", roots)
	if r.Program != "" {
		w.text("program", r.Program)
	}
	if r.Names.Workload != nil {
		w.boolean("workload_bound", r.WorkloadBound)
	}
	var tcb dcap.Status
	switch {
	case cl.SGX != nil:
		tcb = cl.SGX.TCB
	case cl.TDX != nil:
		tcb = cl.TDX.TCB
	}
	if tcb.Known {
		w.text("tcb_status", tcb.Name)
		w.text("tcb_date", tcb.Date.UTC().Format(time.RFC3339))
		w.texts("tcb_advisories", tcb.Advisories)
	}
	if r.Broken != nil {
		w.texts("silicon_advisories", r.Broken)
	}
	w.close()
}

// object writes JSON objects member by member, without the detours that
// encoding/json has to make for everybody.
type object struct {
	buf   []byte
	first bool // nothing in the innermost object yet
}

func (w *object) name(name string) {
	if !w.first && len(w.buf) > 0 {
		w.buf = append(w.buf, ',')
	}
	w.first = false
	if name != "" {
		w.buf = append(append(append(w.buf, '"'), name...), '"', ':')
	}
}

func (w *object) open(name string) {
	w.name(name)
	w.buf = append(w.buf, '{')
	w.first = true
}

func (w *object) close() {
	w.buf = append(w.buf, '}')
	w.first = false
}

func (w *object) raw(name, json string) {
	w.name(name)
	w.buf = append(w.buf, json...)
}

func (w *object) text(name, s string) {
	w.name(name)
	w.quote(s)
}

func (w *object) texts(name string, all []string) {
	w.name(name)
	w.buf = append(w.buf, '[')
	for i, s := range all {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.quote(s)
	}
	w.buf = append(w.buf, ']')
}

// quote writes a JSON string. Everything but plain ASCII is escaped or, where
// it is not UTF-8, replaced.
func (w *object) quote(s string) {
	w.buf = append(w.buf, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			w.buf = append(w.buf, '\\', byte(r))
		case r >= ' ' && r < utf8.RuneSelf && r != 0x7f:
			w.buf = append(w.buf, byte(r))
		case r < 0x10000:
			const digits = "0123456789abcdef"
			w.buf = append(w.buf, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
		default:
			w.buf = utf8.AppendRune(w.buf, r)
		}
	}
	w.buf = append(w.buf, '"')
}

func (w *object) bytes(name string, b []byte) {
	w.name(name)
	w.buf = append(hex.AppendEncode(append(w.buf, '"'), b), '"')
}

func (w *object) number(name string, n int64) {
	w.name(name)
	w.buf = strconv.AppendInt(w.buf, n, 10)
}

func (w *object) boolean(name string, b bool) {
	w.name(name)
	w.buf = strconv.AppendBool(w.buf, b)
}

// base64url is how CMW carries values.
var base64url = base64.RawURLEncoding
