// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
)

// Limits on what is tried: a stranger who brings more only harms himself.
const (
	maxCandidates = 16 // documents
	maxSigners    = 8
)

// findSigners picks the certificates that are for signing TCB infos and QE
// identities. There have been several with the same key, so those that are
// valid at this time come first.
func (v *verification) findSigners() {
	for _, c := range v.in.Certificates {
		if c.Subject.CommonName != cnTCBSigning || len(v.signers) == maxSigners || slices.Contains(v.signers, c) {
			continue
		}
		if !v.in.Now.Before(c.NotBefore) && !v.in.Now.After(c.NotAfter) {
			v.signers = slices.Insert(v.signers, 0, c)
		} else {
			v.signers = append(v.signers, c)
		}
	}
}

// signer returns who signed d, or nil.
func (v *verification) signer(d *Document) *x509.Certificate {
	for _, c := range v.signers {
		_, err := pki.Remember(v.in.Memo, "dcap document", func() (struct{}, error) {
			key, ok := c.PublicKey.(*ecdsa.PublicKey)
			if !ok || key.Curve != elliptic.P256() || !verify(key, d.Body, d.Signature) {
				return struct{}{}, errors.New("bad signature")
			}
			return struct{}{}, nil
		}, d.Body, d.Signature, c.RawSubjectPublicKeyInfo)
		if err == nil {
			return c
		}
	}
	return nil
}

// compare is negative if a is to be preferred over b: documents of the future
// come last, then what knows most comes first, then what is latest.
func (a *Document) compare(b *Document, now time.Time) int {
	if af, bf := a.IssueDate.After(now), b.IssueDate.After(now); af != bf {
		if af {
			return 1
		}
		return -1
	}
	return cmp.Or(cmp.Compare(b.EvaluationNumber, a.EvaluationNumber), b.IssueDate.Compare(a.IssueDate))
}

// statement is a kind of document, and how to talk about it.
type statement struct {
	code, title, kind, source, header, fetch string
}

// choose returns the best of docs that is properly signed, or nil, and records
// who signed it and the fact of having it or not.
func (v *verification) choose(s statement, docs []*Document, misfit string) *Document {
	fact := pki.Dated{Code: s.code, Title: s.title, Kind: s.kind, FetchFix: "fetch " + s.fetch}
	if len(docs) == 0 {
		fact.Missing, fact.Code = true, s.code+misfit
		v.facts.Collateral = append(v.facts.Collateral, fact)
		return nil
	}
	g := v.g.Sub(s.title)
	var best *Document
	var by *x509.Certificate
	slices.SortStableFunc(docs, func(a, b *Document) int { return a.compare(b, v.in.Now) })
	for _, best = range docs[:min(len(docs), maxCandidates)] {
		if by = v.signer(best); by != nil {
			break
		}
		fact.Forged++
	}
	signed := check.Check{
		Code: s.code + ".signature", What: "the " + s.title + " is signed by Intel", Source: s.source,
		Fix: "present it with the bytes that Intel gave out",
	}
	switch {
	case len(v.signers) == 0:
		g.Fail(check.Check{
			Code: v.prefix + roleSigning.code, What: roleSigning.what, Expected: roleSigning.names, Found: check.Func(func() string { return names(v.in.Certificates).String() }),
			Source: profileSource, Fix: "present the issuer chain that came with it, in the header " + s.header,
		})
	case by == nil:
		g.Fail(signed)
	default:
		g.Require(true, signed)
		v.signerPath(g, by)
		fact.Issued, fact.Next = best.IssueDate, best.NextUpdate
		v.facts.Collateral = append(v.facts.Collateral, fact)
		return best
	}
	fact.Missing = true
	v.facts.Collateral = append(v.facts.Collateral, fact)
	return nil
}

// signerPath requires c to be what it is named, under the root of the platform.
func (v *verification) signerPath(g *check.Group, c *x509.Certificate) {
	if slices.Contains(v.signing, c) {
		return
	}
	v.signing = append(v.signing, c)
	v.role(g, &roleSigning, c)
	v.validate(g,
		pki.Link{Code: v.prefix + ".tcb-signing", Title: "TCB signer", Cert: c},
		pki.Link{Code: v.prefix + ".root", Title: "Intel SGX Root CA", Cert: v.facts.Root, CRL: true})
}

// qeIdentity judges the quoting enclave.
func (v *verification) qeIdentity() {
	var docs []*Document
	misfit := ""
	for _, q := range v.in.QEIdentities {
		if q.ID == v.kind.QEIdentity {
			docs = append(docs, &q.Document)
		} else {
			misfit = ".id"
		}
	}
	best := v.choose(statement{
		code: v.prefix + ".qe-identity", title: "QE identity", kind: "qe-identity", source: pcsIdentity,
		header: "SGX-Enclave-Identity-Issuer-Chain", fetch: v.kind.API + "qe/identity",
	}, docs, misfit)
	for _, q := range v.in.QEIdentities {
		if best == &q.Document {
			v.facts.QEIdentity = q
			v.facts.QE = v.qeMatches(v.g.Sub("Version of the quoting enclave"), q)
			return
		}
	}
	v.qeIs(v.g.Sub("Quoting enclave without a QE identity"), knownQE[v.kind.QEIdentity], "what Intel's quoting enclaves have always been")
}

// tcbInfo finds what to judge the platform by.
func (v *verification) tcbInfo() {
	p := v.facts.PCK
	var docs []*Document
	misfit := 0 // the closest
	for _, t := range v.in.TCBInfos {
		if m := t.misfit(v.kind.TCBInfo, p); m != 0 {
			misfit = max(misfit, m)
		} else {
			docs = append(docs, &t.Document)
		}
	}
	s := statement{
		code: v.prefix + ".tcb-info", title: "TCB info", kind: "tcb-info", source: pcsTCBInfo,
		header: "TCB-Info-Issuer-Chain", fetch: v.kind.API + "tcb?fmspc=" + p.fmspc,
	}
	best := v.choose(s, docs, misfits[misfit])
	for _, t := range v.in.TCBInfos {
		if best == &t.Document {
			v.facts.TCBInfo = t
			return
		}
	}
}

// misfits is what misfit returns, as the end of a code.
var misfits = [...]string{"", ".id", ".fmspc", ".pceid"}

// misfit says what of t does not fit the platform, the higher the closer. What
// may be written in two ways, like an FMSPC in hexadecimal, is compared by its
// value.
func (t *TCBInfo) misfit(id string, p *PCK) int {
	switch {
	case t.ID != id:
		return 1
	case t.FMSPC != p.FMSPC:
		return 2
	case t.PCEID != p.PCEID:
		return 3
	}
	return 0
}
