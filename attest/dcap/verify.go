// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
)

// Input is what a quote is verified with.
type Input struct {
	Collateral
	Roots *roots.Set
	Now   time.Time
	Memo  *pki.Memo
}

// Kind is what differs between quotes of enclaves and of trust domains.
type Kind struct {
	Prefix     string // of the codes of all checks
	TCBInfo    string // the ID of the TCB infos to use
	QEIdentity string // the ID of the QE identities to use
	API        string // where the PCS has them
}

// Facts is what verification established.
type Facts struct {
	PCK        *PCK              // nil if the quote does not bring one that can be read
	Root       *x509.Certificate // the trust anchor; nil if the chain ends in none
	TCBInfo    *TCBInfo          // the one to judge the platform by; nil if there is none
	QEIdentity *QEIdentity       // the one to judge the quoting enclave by; nil if there is none
	QE         Status
	Collateral []pki.Dated
}

// verification is one in progress.
type verification struct {
	prefix    string
	kind      Kind
	in        Input
	g         *check.Group
	signature *Signature
	chain     *chain // nil if the quote does not bring one that can be read
	facts     Facts

	signers []*x509.Certificate // of TCB infos and QE identities
	signing []*x509.Certificate // signers whose path has been looked at
}

// Verify checks everything about a quote that is the same for enclaves and
// trust domains: signed is the quote's header and body. Whether the security
// versions that it finds good, outdated or revoked will do is not decided here,
// nor whether missing or stale collateral is tolerable.
func Verify(g *check.Group, kind Kind, in Input, signed []byte, s *Signature) *Facts {
	if in.Roots == nil {
		in.Roots = &roots.Set{}
	}
	v := &verification{prefix: kind.Prefix, kind: kind, in: in, g: g, signature: s}
	v.quoteSignature(signed)
	v.chainChecks()
	v.quotingEnclave()
	if v.facts.Root == nil {
		return &v.facts
	}
	v.findSigners()
	v.qeIdentity()
	if v.facts.PCK != nil {
		v.tcbInfo()
	}
	return &v.facts
}

// quoteSignature requires header and body to be signed by the attestation key.
func (v *verification) quoteSignature(signed []byte) {
	s := v.signature
	point := [65]byte{4}
	copy(point[1:], s.Key)
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point[:])
	if !v.g.Require(err == nil, check.Check{
		Code: v.prefix + ".quote.attestation-key", What: "the attestation key is a point on P-256",
		Found: check.Hex(s.Key), Source: quoteSource,
	}) {
		return
	}
	v.g.Require(verify(key, signed, s.Signature), check.Check{
		Code: v.prefix + ".quote.signature", What: "header and body are signed by the attestation key",
		Source: quoteSource, Fix: "none: the quote was altered",
	})
}

// quotingEnclave requires the enclave that made the attestation key to be
// vouched for by the platform.
func (v *verification) quotingEnclave() {
	g, s := v.g.Sub("Quoting enclave"), v.signature
	signed := check.Check{
		Code: v.prefix + ".qe.signature", What: "the quoting enclave's report is signed by the PCK",
		Source: quoteSource, Fix: "none: the quote was altered or put together from parts of several",
	}
	if v.chain == nil {
		g.Skip(signed, "there is no PCK certificate")
	} else {
		g.Require(v.qeSigned(), signed)
	}
	var expected [64]byte
	h := sha256.New()
	h.Write(s.Key)
	h.Write(s.AuthData)
	h.Sum(expected[:0])
	g.Require(s.QE.ReportData == expected, check.Check{
		Code: v.prefix + ".qe.report-data", What: "the quoting enclave's report is about the attestation key",
		Expected: check.Hex(expected[:]), Found: check.Hex(s.QE.ReportData[:]), Source: quoteSource,
		Fix: "none: the quote was altered or put together from parts of several",
	})
	g.Require(s.QE.ReservedZero(), check.Check{
		Code: v.prefix + ".qe.reserved", What: "reserved bytes of the quoting enclave's report are zero",
		Source: "Intel SDM volume 3D, REPORT",
	})
}

// qeSigned checks the PCK's signature. A quoting enclave's report is made once
// for an attestation key, which then signs any number of quotes: it is worth
// remembering.
func (v *verification) qeSigned() bool {
	s, c := v.signature, v.chain
	_, err := pki.Remember(v.in.Memo, "qe report", func() (struct{}, error) {
		if !verify(c.key, s.QE.Raw, s.QESignature) {
			return struct{}{}, errors.New("bad signature")
		}
		return struct{}{}, nil
	}, s.QE.Raw, s.QESignature, c.leaf.RawSubjectPublicKeyInfo)
	return err == nil
}

// knownQE is what Intel's quoting enclaves have always been, for policies that
// do without a current QE identity: the PCK vouches for any enclave, and one
// that anybody can write would vouch for any other.
var knownQE = map[string]*QEIdentity{
	IDQE: {
		MRSigner: [32]byte{
			0x8c, 0x4f, 0x57, 0x75, 0xd7, 0x96, 0x50, 0x3e, 0x96, 0x13, 0x7f, 0x77, 0xc6, 0x8a, 0x82, 0x9a,
			0x00, 0x56, 0xac, 0x8d, 0xed, 0x70, 0x14, 0x0b, 0x08, 0x1b, 0x09, 0x44, 0x90, 0xc5, 0x7b, 0xff,
		},
		ISVProdID: 1, Attributes: qeAttributes, AttributesMask: qeAttributesMask, MiscSelectMask: 0xffffffff,
	},
	IDTDQE: {
		MRSigner: [32]byte{
			0xdc, 0x9e, 0x2a, 0x7c, 0x6f, 0x94, 0x8f, 0x17, 0x47, 0x4e, 0x34, 0xa7, 0xfc, 0x43, 0xed, 0x03,
			0x0f, 0x7c, 0x15, 0x63, 0xf1, 0xba, 0xbd, 0xdf, 0x63, 0x40, 0xc8, 0x2e, 0x0e, 0x54, 0xa8, 0xc5,
		},
		ISVProdID: 2, Attributes: qeAttributes, AttributesMask: qeAttributesMask, MiscSelectMask: 0xffffffff,
	},
}

// Initialized, with the provisioning key, without DEBUG; 64 bits or not.
var (
	qeAttributes     = [16]byte{0x11}
	qeAttributesMask = [16]byte{0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// qeMatches requires the quoting enclave to be the one that id describes, and
// returns Intel's word on its version.
func (v *verification) qeMatches(g *check.Group, id *QEIdentity) Status {
	v.qeIs(g, id, pcsIdentity)
	return id.SVNStatus(g, id.Levels, v.signature.QE.ISVSVN, check.Check{
		Code: v.prefix + ".qe.isvsvn", What: "Intel knows this version of the quoting enclave", Source: pcsIdentity,
		Fix: "update the platform's quoting enclave",
	})
}

// qeIs requires the quoting enclave to be the one that id describes, whatever
// its version, because source says so.
func (v *verification) qeIs(g *check.Group, id *QEIdentity, source string) {
	qe := &v.signature.QE
	g.Require(qe.MRSigner == id.MRSigner, check.Check{
		Code: v.prefix + ".qe.mrsigner", What: "the quoting enclave is signed by Intel",
		Expected: check.Hex(id.MRSigner[:]), Found: check.Hex(qe.MRSigner[:]), Source: source,
		Fix: "none: this is not Intel's quoting enclave",
	})
	g.Require(qe.ISVProdID == id.ISVProdID, check.Check{
		Code: v.prefix + ".qe.isvprodid", What: "the quoting enclave is the right one of Intel's enclaves",
		Expected: check.Uint(id.ISVProdID), Found: check.Uint(qe.ISVProdID), Source: source,
		Fix: "none: this is not Intel's quoting enclave",
	})
	var attributes, masked [16]byte
	copy(attributes[:], qe.Raw[48:64])
	for i, mask := range id.AttributesMask {
		masked[i] = attributes[i] & mask
	}
	g.Require(masked == id.Attributes, check.Check{
		Code: v.prefix + ".qe.attributes", What: "the quoting enclave's attributes are as they must be",
		Expected: check.Func(func() string {
			return check.Hex(id.Attributes[:]).String() + " under the mask " + check.Hex(id.AttributesMask[:]).String()
		}),
		Found: check.Hex(qe.Raw[48:64]), Source: source,
		Fix: "none: this is not Intel's quoting enclave in its normal operation",
	})
	g.Require(qe.MiscSelect&id.MiscSelectMask == id.MiscSelect, check.Check{
		Code: v.prefix + ".qe.miscselect", What: "the quoting enclave's MISCSELECT is as it must be",
		Expected: check.Flags(id.MiscSelect), Found: check.Flags(qe.MiscSelect), Source: source,
		Fix: "none: this is not Intel's quoting enclave in its normal operation",
	})
}

// SVNStatus requires svn to reach one of levels, which are in Intel's order, best
// first, and returns the status of the first that it does. c says what this is
// about.
func (d *Document) SVNStatus(g *check.Group, levels []SVNLevel, svn uint16, c check.Check) Status {
	i := slices.IndexFunc(levels, func(l SVNLevel) bool { return svn >= l.ISVSVN })
	c.Found = check.Func(func() string {
		s := "version " + check.Uint(svn).String()
		if i >= 0 {
			s += ": " + levels[i].Status + " as of " + levels[i].Date.Format(time.DateOnly)
		}
		return s
	})
	if !g.Require(i >= 0, c) {
		return Status{}
	}
	l := &levels[i]
	return Status{l.Status, l.Advisories, l.Date, d.EvaluationNumber, true}
}

// Match returns the first of the levels that the platform reaches, or nil, as
// Intel has it determined: all component versions and the PCE's version are at
// least the level's, and for trust domains also the TDX module's (tee not nil),
// without its own two components if its major version, which is the second, is
// not zero: these are judged by the module's identity. Levels are in Intel's
// order, best first.
func (t *TCBInfo) Match(p *PCK, tee *[16]uint8) *TCBLevel {
	first := 0
	if tee != nil && tee[1] != 0 {
		first = 2
	}
	for i := range t.Levels {
		l := &t.Levels[i]
		if p.PCESVN >= l.PCESVN && reaches(p.Components[:], l.SGX[:]) &&
			(tee == nil || reaches(tee[first:], l.TDX[first:])) {
			return l
		}
	}
	return nil
}

// reaches compares component by component.
func reaches(have, need []uint8) bool {
	for i := range need {
		if have[i] < need[i] {
			return false
		}
	}
	return true
}

// PlatformStatus requires a level of t to match, and returns its status.
func (t *TCBInfo) PlatformStatus(g *check.Group, prefix string, p *PCK, tee *[16]uint8) Status {
	l := t.Match(p, tee)
	if !g.Require(l != nil, check.Check{
		Code: prefix + ".tcb-info.level", What: "Intel knows the platform's security versions",
		Found: check.Func(func() string {
			s := "CPUSVN components " + check.Hex(p.Components[:]).String() + ", PCESVN " + check.Uint(p.PCESVN).String()
			if tee != nil {
				s += ", TEE_TCB_SVN " + check.Hex(tee[:]).String()
			}
			if l != nil {
				s += ": " + l.Status + " as of " + l.Date.Format(time.DateOnly)
			}
			return s
		}),
		Source: pcsTCBInfo, Fix: "update the platform's firmware and microcode",
	}) {
		return Status{}
	}
	return Status{l.Status, l.Advisories, l.Date, t.EvaluationNumber, true}
}
