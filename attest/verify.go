// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/x509"
	"time"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/insecure"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/attest/sgx"
	"enarx.dev/enarx/attest/snp"
	"enarx.dev/enarx/attest/tdx"
)

// Claims is what evidence says, and in Checks whether the vendor stands by it.
// Nothing in it is to be believed unless Checks is without failures.
type Claims struct {
	Technology Technology
	Shape      string
	Time       time.Time // of the verification
	Checks     *check.Group

	Key, Data []byte   // what it is to be bound to, from the evidence
	URIs      []string // what the certificate is to say, from the evidence

	// Nonce is what the report data has to hold after Key's hash or Data, in
	// place of zeros. A verifier that hands out nonces sets it before Appraise.
	Nonce []byte

	ReportData [64]byte
	SNP        *snp.Claims // of the three, the one of Technology, or nil if it could not be read
	SGX        *sgx.Claims
	TDX        *tdx.Claims
	Collateral []pki.Dated // what it relies on, and until when; the policy says whether that will do
}

// Verify establishes what the signatures under the evidence prove at that
// time, with the collateral that came with the evidence and with c, which may
// be nil. It decides nothing that a policy could decide otherwise: see
// [Appraise].
func Verify(ev *Evidence, r *Roots, c *Collateral, now time.Time) *Claims {
	cl := &Claims{
		Technology: ev.Technology, Shape: ev.Shape, Time: now, Key: ev.Key, Data: ev.Data, URIs: ev.URIs,
		Checks: check.New("Verification of " + ev.Technology.Title() + " evidence"),
	}
	all := ev.Collateral.Merge(c)
	anchors, memo := &roots.Set{}, (*pki.Memo)(nil)
	if r != nil {
		memo = r.Memo
		if r.Set != nil {
			anchors = r.Set
		}
	}
	switch ev.Technology {
	case SNP:
		cl.SNP = snp.Verify(cl.Checks, snp.Input{
			Report: ev.Report, Certificates: all.Certificates, CRLs: all.CRLs, Roots: anchors, Now: now, Memo: memo,
		})
		if cl.SNP != nil {
			cl.ReportData, cl.Collateral = cl.SNP.Report.ReportData, cl.SNP.Collateral
		}
	case SGX:
		cl.SGX = sgx.Verify(cl.Checks, sgx.Input{Quote: ev.Report, Collateral: dcap.Collateral(*all), Roots: anchors, Now: now, Memo: memo})
		if cl.SGX != nil {
			cl.ReportData, cl.Collateral = cl.SGX.Body.ReportData, cl.SGX.Collateral
		}
	case TDX:
		cl.TDX = tdx.Verify(cl.Checks, tdx.Input{Quote: ev.Report, Collateral: dcap.Collateral(*all), Roots: anchors, Now: now, Memo: memo})
		if cl.TDX != nil {
			cl.ReportData, cl.Collateral = cl.TDX.Body.ReportData, cl.TDX.Collateral
		}
	case None:
		insecure.Verify(cl.Checks, ev.Report)
	default:
		cl.Checks.Fail(check.Check{
			Code: "technology", What: "the technology is known", Found: check.Text(ev.Technology),
			Expected: check.List{string(SNP), string(SGX), string(TDX), string(None)},
		})
	}
	return cl
}

// Root is the trust anchor that the evidence led to, or nil.
func (cl *Claims) Root() *x509.Certificate {
	switch {
	case cl.SNP != nil:
		return cl.SNP.Root
	case cl.SGX != nil:
		return cl.SGX.Root
	case cl.TDX != nil:
		return cl.TDX.Root
	}
	return nil
}

// Development reports whether the trust anchor is not a vendor's: the chip may
// be a program.
func (cl *Claims) Development() bool {
	root := cl.Root()
	if root == nil {
		return false
	}
	vendors := roots.Vendors()
	for _, set := range [][]*x509.Certificate{vendors.AMD, vendors.Intel} {
		for _, c := range set {
			if c == root || c.Equal(root) {
				return false
			}
		}
	}
	return true
}

// Measurement is the launch measurement: MEASUREMENT, MRENCLAVE or MRTD; nil
// without hardware.
func (cl *Claims) Measurement() []byte {
	switch {
	case cl.SNP != nil:
		return cl.SNP.Report.Measurement[:]
	case cl.SGX != nil:
		return cl.SGX.Body.MREnclave[:]
	case cl.TDX != nil:
		return cl.TDX.Body.MRTD[:]
	}
	return nil
}

// Debug reports whether the host may look into the Keep.
func (cl *Claims) Debug() bool {
	switch {
	case cl.SNP != nil:
		return cl.SNP.Report.Policy&snp.PolicyDebug != 0
	case cl.SGX != nil:
		return cl.SGX.Body.Attributes&dcap.Debug != 0
	case cl.TDX != nil:
		return cl.TDX.Body.Attributes&tdx.UnderDebug != 0
	}
	return cl.Technology == None
}

// TCBStatus is what Intel says about the platform, or "" if nothing is known;
// AMD says nothing.
func (cl *Claims) TCBStatus() string {
	switch {
	case cl.SGX != nil:
		return cl.SGX.TCB.Name
	case cl.TDX != nil:
		return cl.TDX.TCB.Name
	}
	return ""
}
