// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha512"
	"crypto/x509"
	"strings"
	"time"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
)

// Input is what [Verify] looks at, and all of it.
type Input struct {
	Report       []byte
	Certificates []*x509.Certificate // the VCEK or VLEK, and any others; hints, no more
	CRLs         []*pki.CRL
	Roots        *roots.Set
	Now          time.Time
	Memo         *pki.Memo // may be nil
}

// Claims is what a report says and who says so. It means something only if
// every check that [Verify] recorded has passed.
type Claims struct {
	Report      *Report
	Product     string            // product line; "" if it could not be told
	Signer      string            // "VCEK" or "VLEK"; what else the report names otherwise
	Endorsement *x509.Certificate // of the signer; nil if there was none
	EndorsedTCB TCB               // what the endorsement says
	CSPID       string            // the cloud provider that a VLEK was lent to
	Root        *x509.Certificate // the pinned root key; nil if the path led to none
	Collateral  []pki.Dated       // the revocation lists and how current they are
}

// ReportedTCB returns the TCB that the signing key is bound to, which is the
// one to hold against minimums.
func (c *Claims) ReportedTCB() TCB { return c.Report.ReportedTCB.Decode(c.Product) }

// CurrentTCB returns the TCB that is running.
func (c *Claims) CurrentTCB() TCB { return c.Report.CurrentTCB.Decode(c.Product) }

// CommittedTCB returns the TCB that the platform can no longer go back behind.
func (c *Claims) CommittedTCB() TCB { return c.Report.CommittedTCB.Decode(c.Product) }

// LaunchTCB returns the TCB that was running when the guest was launched.
func (c *Claims) LaunchTCB() TCB { return c.Report.LaunchTCB.Decode(c.Product) }

// What the checks cite.
const (
	sourceABI      = "AMD 56860 SEV-SNP Firmware ABI, "
	sourceReport   = sourceABI + "ATTESTATION_REPORT Structure"
	sourcePolicy   = sourceABI + "Guest Policy"
	sourcePlatform = sourceABI + "PLATFORM_INFO Field"
	sourceTCB      = sourceABI + "TCB_VERSION Structure"
	sourceVCEK     = "AMD 57230 VCEK Certificate and KDS Interface, certificate definition"
)

// Verify checks that the report is well formed and signed by a key that AMD
// endorses for this chip and TCB, and records each check in g. Whether what the
// report says is acceptable (debugging, measurement, TCB level, how current the
// revocation lists are) is not its question. It returns nil if in.Report is not
// of a report's size.
func Verify(g *check.Group, in Input) *Claims {
	r, err := ParseReport(in.Report)
	if err != nil {
		g.Fail(check.Check{
			Code: "snp.size", What: "the report has the size of an attestation report",
			Expected: check.Uint(ReportSize), Found: check.Uint(len(in.Report)), Source: sourceReport,
			Fix: "present the report alone, as the firmware wrote it",
		})
		return nil
	}
	if in.Roots == nil {
		in.Roots = &roots.Set{}
	}
	v := &verification{Input: in, report: r, claims: &Claims{Report: r, Signer: r.KeyInfo.SigningKey().String()}}
	if r.Version >= 3 {
		v.claims.Product = ProductLine(r.Family, r.Model)
	}
	format, endorsement, signature := g.Sub("report format"), g.Sub("endorsement"), g.Sub("report signature")
	format.Checks, endorsement.Checks = make([]check.Check, 0, 16), make([]check.Check, 0, 24) // as many as there will be
	v.format(format)
	v.ek, v.role, v.kind = "snp.vcek", "ASK", "vcek"
	if r.KeyInfo.SigningKey() == SignedByVLEK {
		v.ek, v.role, v.kind = "snp.vlek", "ASVK", "vlek"
	}
	e := v.choose(endorsement)
	if e == nil {
		signature.Skip(check.Check{Code: "snp.signature", What: "the report is signed by the endorsed key", Source: sourceReport}, "no key to verify it with")
		return v.claims
	}
	if v.claims.Product == "" {
		v.claims.Product = e.Product
	}
	v.claims.Endorsement, v.claims.EndorsedTCB, v.claims.CSPID = e.Certificate, e.TCB, e.CSPID
	v.usage(endorsement, e)
	v.path(endorsement, e)
	v.match(endorsement, e)
	v.signature(signature, e)
	return v.claims
}

// verification is one run of Verify.
type verification struct {
	Input
	report *Report
	claims *Claims
	ek     string // the code of the checks on the endorsed key's certificate
	role   string // of the intermediate: "ASK" or "ASVK"
	kind   string // in paths of the KDS: "vcek" or "vlek"
}

// path requires the endorsement to lead to a pinned root of its product line.
func (v *verification) path(g *check.Group, e *Endorsement) {
	// ASK and ASVK carry the same names for every issue of them, so the one is
	// looked for that signed; our own come before those that were sent along.
	sub := v.issuer(e.Certificate, v.Roots.Intermediates, v.Certificates)
	code := "snp." + strings.ToLower(v.role)
	if sub == nil {
		g.Fail(check.Check{
			Code: code, What: "the certificate of the " + v.role + " that issued the " + v.claims.Signer + " is there",
			Expected: check.Text(e.Certificate.Issuer.String()), Source: sourceVCEK,
			Fix: "add the certificates of " + KDS + ChainURLPath(e.Product, v.kind),
		})
		return
	}
	ark := v.issuer(sub, v.Roots.AMD, nil)
	if !g.Require(ark != nil, check.Check{
		Code: "snp.ark", What: "the " + v.role + " was issued in the name of an AMD root key that is trusted here",
		Expected: check.Func(func() string { return commonNames(v.Roots.AMD) }),
		Found:    check.Func(func() string { return sub.Issuer.CommonName }), Source: "the roots given",
		Fix: "none, unless the root is to be trusted",
	}) {
		return
	}
	v.claims.Root = ark
	lists, _ := pki.Path{Now: v.Now, CRLs: v.CRLs, Memo: v.Memo}.Validate(g,
		pki.Link{Code: v.ek, Title: v.claims.Signer, Cert: e.Certificate},
		pki.Link{Code: code, Title: v.role, Cert: sub},
		pki.Link{Code: "snp.ark", Title: ark.Subject.CommonName, Cert: ark, CRL: true})
	for i := range lists {
		lists[i].FetchFix = "fetch " + KDS + CRLURLPath(e.Product, v.kind)
	}
	v.claims.Collateral = lists
	v.roles(g, e, code, sub, ark)
}

// roles requires the certificates above e to be of its kind and product line.
func (v *verification) roles(g *check.Group, e *Endorsement, code string, sub, ark *x509.Certificate) {
	name := "SEV-" + e.Product
	if e.Kind == SignedByVLEK {
		name = "SEV-VLEK-" + e.Product
	}
	g.Require(sub.Subject.CommonName == name, check.Check{
		Code: code + ".name", What: "the " + v.role + " is the one for this kind of key and product line",
		Expected: check.Text(name), Found: check.Text(sub.Subject.CommonName), Source: sourceVCEK,
	})
	g.Require(ark.Subject.CommonName == "ARK-"+e.Product, check.Check{
		Code: "snp.ark.product", What: "the root key is of this product line",
		Expected: check.Text("ARK-" + e.Product), Found: check.Text(ark.Subject.CommonName), Source: sourceVCEK,
	})
}

// maxIssuers is how many certificates in the right name are tried.
const maxIssuers = 8

// issuer returns the certificate among those whose name and key c was issued
// with, or one with the name if none has the key, or nil.
func (v *verification) issuer(c *x509.Certificate, sets ...[]*x509.Certificate) (found *x509.Certificate) {
	var named [maxIssuers]*x509.Certificate
	n := 0
	for _, set := range sets {
		for _, s := range set {
			if n < maxIssuers && bytes.Equal(s.RawSubject, c.RawIssuer) && !(n > 0 && bytes.Equal(named[n-1].Raw, s.Raw)) {
				named[n] = s
				n++
			}
		}
	}
	if n > 1 {
		for _, s := range named[:n] {
			if v.Memo.SignedBy(c, s) == nil {
				return s
			}
		}
	}
	return named[0] // alone, or as good as the others: its signature is checked with the path
}

func commonNames(certs []*x509.Certificate) string {
	var names check.List
	for _, c := range certs {
		names = append(names, c.Subject.CommonName)
	}
	return names.String()
}

// signature requires e's key to have signed the report.
func (v *verification) signature(g *check.Group, e *Endorsement) {
	sig := v.report.Raw[signedSize:]
	at := firstNonZero(sig, span{p384Size, scalarSize}, span{scalarSize + p384Size, 2 * scalarSize}, span{2 * scalarSize, len(sig)})
	g.Require(at < 0, check.Check{
		Code: "snp.signature.reserved", What: "the signature's unused bytes are zero",
		Found: offset(v.report.Raw, signedSize, at), Source: sourceABI + "Format for an ECDSA P-384 with SHA-384 Signature",
	})
	good := verifies(e.Key, v.report.Raw)
	c := check.Check{
		Code: "snp.signature", What: "the report is signed by the " + v.claims.Signer, Source: sourceReport,
	}
	if !good {
		c.Found = check.Text("a signature that does not verify under the " + v.claims.Signer + "'s key")
		c.Fix = "none: the report was altered or is of another key"
		if firstNonZero(sig, span{0, len(sig)}) < 0 {
			c.Found, c.Fix = check.Text("no signature"), "have the host let the firmware sign (MASK_CHIP_KEY off in SNP_CONFIG, or a VLEK loaded)"
		} else if !v.matches(e) {
			c.Fix = "present the " + v.claims.Signer + " of this chip and TCB"
		}
	}
	g.Require(good, c)
}

// verifies reports whether key signed the report.
func verifies(key *ecdsa.PublicKey, raw []byte) bool {
	digest := sha512.Sum384(raw[:signedSize])
	var buf [2 * (p384Size + 4)]byte
	r, s := raw[signedSize:][:scalarSize], raw[signedSize+scalarSize:][:scalarSize]
	der := append(buf[:0], 0x30, 0)
	der = appendInteger(appendInteger(der, r), s)
	der[1] = byte(len(der) - 2)
	return ecdsa.VerifyASN1(key, digest[:], der)
}

// appendInteger appends the DER of a number below 2^384 that has its least
// significant byte first. What lies above is not looked at here.
func appendInteger(der, le []byte) []byte {
	n := p384Size
	for n > 1 && le[n-1] == 0 {
		n--
	}
	pad := le[n-1] >> 7 // a sign
	der = append(der, 0x02, byte(n)+pad)
	if pad != 0 {
		der = append(der, 0)
	}
	for n--; n >= 0; n-- {
		der = append(der, le[n])
	}
	return der
}
