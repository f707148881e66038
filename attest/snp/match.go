// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"bytes"
	"crypto/x509"
	"slices"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
)

// choose returns the endorsement among the certificates that suits the report
// best, so that what does not suit is about the certificate that was meant. It
// decides nothing: everything about the choice is checked afterwards.
func (v *verification) choose(g *check.Group) *Endorsement {
	key := v.report.KeyInfo.SigningKey()
	var best []*Endorsement
	most := -1
	var broken error
	for _, c := range v.Certificates {
		if kind, ok := endorsementKind(c); !ok || kind != key {
			continue
		}
		e, err := endorsement(v.Memo, c)
		if err != nil {
			broken = err
			continue
		}
		switch n := v.suits(e); {
		case n > most:
			best, most = append(best[:0], e), n
		case n == most:
			best = append(best, e)
		}
	}
	c := check.Check{Code: v.ek, What: "the certificate of the key that signed the report is there", Source: sourceVCEK}
	switch {
	case len(best) > 0:
		e := v.among(best)
		c.Found = check.Func(func() string { return e.ProductName + ", " + e.TCB.String() })
		g.Require(true, c)
		return e
	case broken != nil:
		g.Fail(check.Check{
			Code: v.ek + ".extensions", What: "the certificate says what such a certificate has to say",
			Found: check.Text(broken.Error()), Source: sourceVCEK, Fix: v.fetch(),
		})
	default:
		c.Fix = v.fetch()
		g.Fail(c)
	}
	return nil
}

// suits tells how well e suits the report: the product line counts more than
// the chip, and the chip more than the TCB.
func (v *verification) suits(e *Endorsement) (n int) {
	for i, ok := range [...]bool{v.sameTCB(e), v.sameChip(e), v.sameProduct(e)} {
		if ok {
			n |= 1 << i
		}
	}
	return n
}

func (v *verification) matches(e *Endorsement) bool {
	return v.sameProduct(e) && v.sameChip(e) && v.sameTCB(e)
}

func (v *verification) sameProduct(e *Endorsement) bool {
	if v.report.Version < 3 {
		return e.Product == Milan || e.Product == Genoa
	}
	return e.Product == ProductLine(v.report.Family, v.report.Model)
}

func (v *verification) sameChip(e *Endorsement) bool {
	if e.Kind == SignedByVLEK {
		return true
	}
	id := v.report.ChipID[:]
	return bytes.HasPrefix(id, e.HWID) && firstNonZero(id, span{len(e.HWID), len(id)}) < 0
}

func (v *verification) sameTCB(e *Endorsement) bool {
	product := v.claims.Product
	if product == "" {
		product = e.Product
	}
	return e.TCB == v.report.ReportedTCB.Decode(product)
}

// maxTrials is how many keys are tried on one report.
const maxTrials = 4

// among chooses from endorsements that say the same: the key that signed, then
// a certificate of this time, then the latest issue.
func (v *verification) among(best []*Endorsement) *Endorsement {
	if len(best) == 1 {
		return best[0]
	}
	var key []byte // whose key signed, if one did
	var tried [][]byte
	for _, e := range best {
		spki := e.Certificate.RawSubjectPublicKeyInfo
		if len(tried) == maxTrials || slices.ContainsFunc(tried, func(t []byte) bool { return bytes.Equal(t, spki) }) {
			continue
		}
		tried = append(tried, spki)
		if verifies(e.Key, v.report.Raw) {
			key = spki
			break
		}
	}
	var chosen *Endorsement
	for _, e := range best {
		if key != nil && !bytes.Equal(key, e.Certificate.RawSubjectPublicKeyInfo) {
			continue
		}
		if chosen == nil || v.better(e.Certificate, chosen.Certificate) {
			chosen = e
		}
	}
	return chosen
}

func (v *verification) better(a, b *x509.Certificate) bool {
	valid := func(c *x509.Certificate) bool { return !v.Now.Before(c.NotBefore) && !v.Now.After(c.NotAfter) }
	if valid(a) != valid(b) {
		return valid(a)
	}
	return a.NotBefore.After(b.NotBefore)
}

// fetch says where the certificate that is missing can be had.
func (v *verification) fetch() string {
	r := v.report
	switch r.KeyInfo.SigningKey() {
	case SignedByVLEK:
		return "add the VLEK certificate that the cloud provider's host hands out with the report"
	case SignedByVCEK:
	default:
		return ""
	}
	if firstNonZero(r.ChipID[:], span{0, len(r.ChipID)}) < 0 {
		return "add the VCEK certificate from the host: the report does not name the chip (MASK_CHIP_ID in SNP_CONFIG)"
	}
	fix := ""
	for _, product := range r.ProductLines() {
		if fix != "" {
			fix += " or "
		}
		fix += KDS + VCEKURLPath(product, r.ChipID[:], r.ReportedTCB.Decode(product))
	}
	if fix == "" {
		return ""
	}
	return "fetch the VCEK for the reported TCB: " + fix
}

// usage requires the certificate to be one that may sign reports.
func (v *verification) usage(g *check.Group, e *Endorsement) {
	c := e.Certificate
	found := pki.Unhandled(c)
	switch {
	case found != "":
	case c.IsCA:
		found = "a CA"
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		found = "its key usage does not allow signing"
	}
	k := check.Check{Code: v.ek + ".usage", What: "the " + v.claims.Signer + " may sign reports", Source: "RFC 5280 section 4.2"}
	if found != "" {
		k.Found = check.Text(found)
	}
	g.Require(found == "", k)
}

// match requires the endorsement to be for this product line, chip and TCB.
func (v *verification) match(g *check.Group, e *Endorsement) {
	r, ek := v.report, v.claims.Signer
	g.Require(v.sameProduct(e), check.Check{
		Code: v.ek + ".product", What: "the " + ek + " is of the report's product line",
		Expected: check.Func(func() string { return check.List(r.ProductLines()).String() }),
		Found:    check.Text(e.ProductName), Source: sourceVCEK, Fix: v.fixUnless(v.sameProduct(e)),
	})
	v.chip(g, e)
	tcb := r.ReportedTCB.Decode(v.claims.Product)
	for i, name := range Components {
		want, ok := tcb.Component(name)
		found, has := e.TCB.Component(name)
		if !ok && !has {
			continue
		}
		same := ok == has && want == found
		g.Require(same, check.Check{
			Code: v.ek + ".tcb." + name, What: "the " + ek + " is for the reported level of the " + componentTitles[i],
			Expected: level8{want, ok}, Found: level8{found, has}, Source: sourceVCEK, Fix: v.fixUnless(same),
		})
	}
}

// componentTitles are what people call Components.
var componentTitles = [len(Components)]string{"FMC", "bootloader", "TEE", "SNP firmware", "microcode"}

// level8 is a level of a part of the TCB that a platform may not have.
type level8 struct {
	level uint8
	ok    bool
}

func (l level8) String() string {
	if !l.ok {
		return "none"
	}
	return decimal(l.level)
}

func (v *verification) fixUnless(ok bool) string {
	if ok {
		return ""
	}
	return v.fetch()
}

// chip requires a VCEK to be of the chip that the report names.
func (v *verification) chip(g *check.Group, e *Endorsement) {
	r := v.report
	c := check.Check{
		Code: v.ek + ".chip_id", What: "the " + v.claims.Signer + " is of the chip that the report names",
		Source: sourceVCEK + ", hwID",
	}
	if e.Kind == SignedByVLEK {
		g.Skip(c, "a VLEK is not of one chip")
		return
	}
	ok := v.sameChip(e)
	c.Expected, c.Found, c.Fix = check.Hex(r.ChipID[:]), check.Hex(e.HWID), v.fixUnless(ok)
	if !ok && firstNonZero(r.ChipID[:], span{0, len(r.ChipID)}) < 0 {
		c.Expected = check.Text("no chip: the host masks its id")
		c.Fix = "have the host set MASK_CHIP_ID to 0 (SNP_CONFIG)"
	}
	g.Require(ok, c)
}
