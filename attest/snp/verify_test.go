// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
)

// at sets one byte of the report before it is signed.
func at(offset int, value byte) func(testing.TB, *platform) {
	return func(_ testing.TB, p *platform) { p.report[offset] = value }
}

// ext sets one extension of the certificate.
func ext(id int, value []byte) func(testing.TB, *platform) {
	return func(_ testing.TB, p *platform) { p.set(id, value) }
}

func without(id int) func(testing.TB, *platform) {
	return func(_ testing.TB, p *platform) { p.drop(id) }
}

func spoil(change func(signature []byte)) func(testing.TB, *platform) {
	return func(_ testing.TB, p *platform) { p.spoil = func(r []byte) { change(r[signedSize:]) } }
}

func cert(change func(*x509.Certificate)) func(testing.TB, *platform) {
	return func(_ testing.TB, p *platform) { p.change = change }
}

// What each change of an otherwise good platform is refused by. Reports are
// signed after the change, so that nothing but the check can notice it.
var changes = []struct {
	product string
	version uint32
	kind    SigningKey
	name    string
	change  func(testing.TB, *platform)
	want    string
}{
	{Milan, 2, SignedByVCEK, "nothing", nil, ""},
	{Milan, 3, SignedByVCEK, "nothing", nil, ""},
	{Milan, 4, SignedByVCEK, "nothing", nil, ""},
	{Milan, 5, SignedByVCEK, "nothing", nil, ""},
	{Genoa, 2, SignedByVCEK, "nothing", nil, ""},
	{Genoa, 5, SignedByVCEK, "nothing", nil, ""},
	{Turin, 5, SignedByVCEK, "nothing", nil, ""},
	{Turin, 3, SignedByVCEK, "nothing", nil, ""},
	{Milan, 2, SignedByVLEK, "nothing", nil, ""},
	{Genoa, 3, SignedByVLEK, "nothing", nil, ""},
	{Turin, 5, SignedByVLEK, "nothing", nil, ""},

	{Milan, 3, SignedByVCEK, "version 1", at(0, 1), "snp.version"},
	{Milan, 5, SignedByVCEK, "version 6", at(0, 6), "snp.version"},
	{Milan, 3, SignedByVCEK, "version 0x103", at(1, 1), "snp.version"},
	{Milan, 3, SignedByVCEK, "unknown family", at(0x188, 0x1b), "snp.product snp.vcek.product"},
	{Milan, 3, SignedByVCEK, "Genoa's model", at(0x189, 0x11), "snp.vcek.product"},
	{Milan, 3, SignedByVCEK, "Turin's family", at(0x188, 0x1a), "snp.current_tcb.reserved snp.reported_tcb.reserved snp.committed_tcb.reserved snp.launch_tcb.reserved " +
		"snp.vcek.product snp.vcek.tcb.fmc snp.vcek.tcb.bootloader snp.vcek.tcb.tee snp.vcek.tcb.snp"},
	{Turin, 2, SignedByVCEK, "before Turin", nil, "snp.current_tcb.reserved snp.reported_tcb.reserved snp.committed_tcb.reserved snp.launch_tcb.reserved snp.vcek.product"},
	{Milan, 3, SignedByVCEK, "signature algorithm", at(0x34, 2), "snp.signature_algo"},
	{Milan, 3, SignedByVCEK, "policy without bit 17", at(0x0a, 1), "snp.policy.reserved"},
	{Milan, 3, SignedByVCEK, "policy bit 26", at(0x0b, 4), "snp.policy.reserved"},
	{Milan, 3, SignedByVCEK, "policy bit 63", at(0x0f, 0x80), "snp.policy.reserved"},
	{Milan, 3, SignedByVCEK, "every policy bit with a meaning", func(_ testing.TB, p *platform) { p.report[0x0a], p.report[0x0b] = 0xff, 3 }, ""},
	{Milan, 3, SignedByVCEK, "policy of a later minor ABI", at(0x08, 56), "snp.policy.abi"},
	{Milan, 3, SignedByVCEK, "policy of a later major ABI", func(_ testing.TB, p *platform) { p.report[0x08], p.report[0x09] = 0, 2 }, "snp.policy.abi"},
	{Milan, 3, SignedByVCEK, "policy of the firmware's ABI", at(0x08, 55), ""},
	{Milan, 3, SignedByVCEK, "later major firmware", func(_ testing.TB, p *platform) { p.report[0x1e9], p.report[0x1ea] = 0, 2 }, ""},
	{Milan, 3, SignedByVCEK, "platform bit 7", at(0x40, 0x80), ""},
	{Milan, 3, SignedByVCEK, "platform bit 8", at(0x41, 1), "snp.platform_info.reserved"},
	{Milan, 3, SignedByVCEK, "key info bit 5", at(0x48, 0x20), "snp.key_info.reserved"},
	{Milan, 3, SignedByVCEK, "author key", at(0x48, 1), ""},
	{Milan, 3, SignedByVCEK, "masked chip key", at(0x48, 2), "snp.key_info.mask_chip_key"},
	{Milan, 3, SignedByVLEK, "masked chip key", at(0x48, 2|4), ""},
	{Milan, 3, SignedByVCEK, "reserved key", at(0x48, 2<<2), "snp.key_info.signing_key snp.vcek"},
	{Milan, 3, SignedByVCEK, "no key", at(0x48, 7<<2), "snp.key_info.signing_key snp.vcek"},
	{Milan, 3, SignedByVCEK, "the other key", at(0x48, 1<<2), "snp.vlek"},
	{Milan, 3, SignedByVLEK, "the other key", at(0x48, 0), "snp.vcek"},
	{Milan, 3, SignedByVCEK, "current TCB", at(0x38+2, 1), "snp.current_tcb.reserved"},
	{Milan, 3, SignedByVCEK, "reported TCB", at(0x180+5, 1), "snp.reported_tcb.reserved"},
	{Turin, 5, SignedByVCEK, "committed TCB", at(0x1e0+4, 1), "snp.committed_tcb.reserved"},
	{Turin, 5, SignedByVCEK, "launch TCB", at(0x1f0+6, 1), "snp.launch_tcb.reserved"},
	{Milan, 3, SignedByVCEK, "reserved 0x4f", at(0x4f, 1), "snp.reserved"},
	{Milan, 3, SignedByVCEK, "reserved 0x18b", at(0x18b, 1), "snp.reserved"},
	{Milan, 2, SignedByVCEK, "a family in version 2", at(0x188, 0x19), "snp.reserved"},
	{Milan, 4, SignedByVCEK, "mitigations in version 4", at(0x1f8, 1), "snp.reserved"},
	{Turin, 5, SignedByVCEK, "mitigations in version 5", at(0x1ff, 1), ""},
	{Turin, 5, SignedByVCEK, "reserved 0x1eb", at(0x1eb, 1), "snp.reserved"},
	{Turin, 5, SignedByVCEK, "reserved 0x1ef", at(0x1ef, 1), "snp.reserved"},
	{Turin, 5, SignedByVCEK, "reserved 0x208", at(0x208, 1), "snp.reserved"},
	{Turin, 5, SignedByVCEK, "reserved 0x29f", at(0x29f, 1), "snp.reserved"},

	{Milan, 3, SignedByVCEK, "another chip", at(0x1df, 1), "snp.vcek.chip_id"},
	{Turin, 5, SignedByVCEK, "another chip", at(0x1a0, 1), "snp.vcek.chip_id"},
	{Turin, 5, SignedByVCEK, "more of a chip id than Turin has", at(0x1a8, 1), "snp.vcek.chip_id"},
	{Milan, 3, SignedByVCEK, "masked chip id", func(_ testing.TB, p *platform) { clear(p.report[0x1a0:0x1e0]) }, "snp.vcek.chip_id"},
	{Milan, 3, SignedByVLEK, "a chip id", at(0x1a0, 1), ""},
	{Milan, 3, SignedByVCEK, "reported bootloader", at(0x180, 3), "snp.vcek.tcb.bootloader"},
	{Milan, 3, SignedByVCEK, "reported TEE", at(0x181, 3), "snp.vcek.tcb.tee"},
	{Milan, 3, SignedByVCEK, "reported SNP", at(0x186, 3), "snp.vcek.tcb.snp"},
	{Milan, 3, SignedByVLEK, "reported microcode", at(0x187, 3), "snp.vlek.tcb.microcode"},
	{Turin, 5, SignedByVCEK, "reported FMC", at(0x180, 3), "snp.vcek.tcb.fmc"},
	{Turin, 5, SignedByVCEK, "reported bootloader", at(0x181, 3), "snp.vcek.tcb.bootloader"},
	{Turin, 5, SignedByVCEK, "reported TEE", at(0x182, 3), "snp.vcek.tcb.tee"},
	{Turin, 5, SignedByVCEK, "reported SNP", at(0x183, 3), "snp.vcek.tcb.snp"},
	{Turin, 5, SignedByVCEK, "reported microcode", at(0x187, 3), "snp.vcek.tcb.microcode"},
	{Milan, 3, SignedByVCEK, "current TCB is not what the key is for", at(0x38, 200), ""},

	{Milan, 3, SignedByVCEK, "r", spoil(func(s []byte) { s[0]++ }), "snp.signature"},
	{Milan, 3, SignedByVCEK, "r too large", spoil(func(s []byte) { s[p384Size] = 1 }), "snp.signature.reserved"},
	{Milan, 3, SignedByVCEK, "s too large", spoil(func(s []byte) { s[2*scalarSize-1] = 1 }), "snp.signature.reserved"},
	{Milan, 3, SignedByVCEK, "after the signature", spoil(func(s []byte) { s[len(s)-1] = 1 }), "snp.signature.reserved"},
	{Milan, 3, SignedByVCEK, "r is zero", spoil(func(s []byte) { clear(s[:scalarSize]) }), "snp.signature"},
	{Milan, 3, SignedByVCEK, "r and s are the order", spoil(func(s []byte) {
		for i, b := range elliptic.P384().Params().N.Bytes() {
			s[p384Size-1-i], s[scalarSize+p384Size-1-i] = b, b
		}
	}), "snp.signature"},
	{Milan, 3, SignedByVCEK, "no signature", spoil(func(s []byte) { clear(s) }), "snp.signature"},

	{Milan, 3, SignedByVCEK, "no certificate", func(_ testing.TB, p *platform) { p.omit = true }, "snp.vcek"},
	{Milan, 3, SignedByVCEK, "another name", func(_ testing.TB, p *platform) { p.name = "SEV-VCEK2" }, "snp.vcek"},
	{Milan, 3, SignedByVCEK, "another structure", ext(extVersion, integer(2)), "snp.vcek.extensions"},
	{Turin, 5, SignedByVCEK, "Turin's structure", ext(extVersion, integer(1)), ""},
	{Milan, 3, SignedByVCEK, "no structure version", without(extVersion), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "no product", without(extProduct), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "unknown product", ext(extProduct, ia5String("Milano")), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "a stepping", ext(extProduct, ia5String("Milan-B0")), ""},
	{Milan, 3, SignedByVCEK, "product as UTF-8", ext(extProduct, append([]byte{12, 5}, "Milan"...)), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "another product", ext(extProduct, ia5String(Genoa)), "snp.ask.name snp.ark.product snp.vcek.product"},
	{Milan, 2, SignedByVCEK, "another product", ext(extProduct, ia5String(Genoa)), "snp.ask.name snp.ark.product"},
	{Milan, 3, SignedByVCEK, "no bootloader", without(extBootloader), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "no TEE", without(extTEE), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "no SNP", without(extSNP), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "no microcode", without(extMicrocode), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "microcode 256", ext(extMicrocode, integer(256)), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "microcode -37", ext(extMicrocode, []byte{2, 1, 219}), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "microcode in too many bytes", ext(extMicrocode, []byte{2, 3, 0, 0, 219}), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "microcode and more", ext(extMicrocode, append(integer(219), 0)), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "a spare part", ext(extSpare4+1, integer(1)), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "FMC", ext(extFMC, integer(0)), "snp.vcek.extensions"},
	{Turin, 5, SignedByVCEK, "no FMC", without(extFMC), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "an extension of tomorrow", ext(0x30a, integer(1)), ""},
	{Milan, 3, SignedByVCEK, "no hardware id", without(extHWID), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "a hardware id as the specification has it", func(_ testing.TB, p *platform) {
		p.set(extHWID, append([]byte{4, hwidSize}, p.report[0x1a0:0x1e0]...))
	}, ""},
	{Milan, 3, SignedByVCEK, "a hardware id of Turin", ext(extHWID, make([]byte, 8)), "snp.vcek.extensions"},
	{Turin, 5, SignedByVCEK, "a hardware id of Milan", ext(extHWID, make([]byte, 64)), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "half a hardware id", ext(extHWID, make([]byte, 32)), "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "a cloud provider", ext(extCSPID, ia5String("x")), "snp.vcek.extensions"},
	{Milan, 3, SignedByVLEK, "no cloud provider", without(extCSPID), "snp.vlek.extensions"},
	{Milan, 3, SignedByVLEK, "a hardware id", ext(extHWID, make([]byte, 64)), "snp.vlek.extensions"},
	{Milan, 3, SignedByVLEK, "an escape in the provider's name", ext(extCSPID, ia5String("\x1b[2J")), "snp.vlek.extensions"},
	{Milan, 3, SignedByVCEK, "P-256", func(t testing.TB, p *platform) { p.key = fixedKey(t, elliptic.P256(), "chip") }, "snp.vcek.extensions"},
	{Milan, 3, SignedByVCEK, "a CA", cert(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), "snp.vcek.usage"},
	{Milan, 3, SignedByVCEK, "key agreement", cert(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), "snp.vcek.usage"},
	{Milan, 3, SignedByVCEK, "signing", cert(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), ""},
	{Milan, 3, SignedByVCEK, "critical", cert(func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
	}), "snp.vcek.usage"},
	{Milan, 3, SignedByVCEK, "expired", cert(func(c *x509.Certificate) { c.NotAfter = m1.AddDate(0, 0, -1) }), "snp.vcek.validity"},
	{Milan, 3, SignedByVLEK, "not yet valid", cert(func(c *x509.Certificate) { c.NotBefore = m1.AddDate(0, 0, 1) }), "snp.vlek.validity"},
	{Milan, 3, SignedByVCEK, "before the ASK", func(_ testing.TB, p *platform) {
		p.now = m1.AddDate(-6, 0, 0)
		p.change = func(c *x509.Certificate) { c.NotBefore = p.now }
	}, "snp.ask.validity snp.ark.validity"},
	{Milan, 3, SignedByVCEK, "revoked ASK", func(t testing.TB, p *platform) { p.crls = []*pki.CRL{p.ark.list(t, 2)} }, "snp.ask.revoked"},
	{Milan, 3, SignedByVLEK, "revoked ASVK", func(t testing.TB, p *platform) { p.crls = []*pki.CRL{p.ark.list(t), p.ark.list(t, 3)} }, "snp.asvk.revoked"},
	{Milan, 3, SignedByVCEK, "another revoked", func(t testing.TB, p *platform) { p.crls = []*pki.CRL{p.ark.list(t, 9, 3)} }, ""},
	{Milan, 3, SignedByVCEK, "the ASVK's signature", func(t testing.TB, p *platform) { p.ask = authorityOf(t, p.ark, "SEV-VLEK-Milan", "asvk", 3) }, "snp.ask.name"},
	{Milan, 3, SignedByVLEK, "the ASK's signature", func(t testing.TB, p *platform) { p.ask = authorityOf(t, p.ark, "SEV-Milan", "ask", 3) }, "snp.asvk.name"},
	{Milan, 3, SignedByVCEK, "another product's root", func(t testing.TB, p *platform) {
		p.ark = authorityOf(t, nil, "ARK-Genoa", "ark", 1)
		p.ask = authorityOf(t, p.ark, "SEV-Milan", "ask", 2)
	}, "snp.ark.product"},
	{Milan, 3, SignedByVCEK, "ASK is no CA", func(t testing.TB, p *platform) {
		p.ask.cert = sign(t, p.ark, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: p.ask.cert.Subject, NotBefore: m1, NotAfter: m1}, p.ask.key)
	}, "snp.ask.ca"},
}

func TestChanges(t *testing.T) {
	for _, c := range changes {
		t.Run(c.product+" "+c.kind.String()+" "+decimal(uint8(c.version))+" "+c.name, func(t *testing.T) {
			p := newPlatform(t, c.product, c.version, c.kind)
			if c.change != nil {
				c.change(t, p)
			}
			if p.key.Curve != elliptic.P384() { // of whom only the certificate matters
				in := newPlatform(t, c.product, c.version, c.kind).input(t)
				in.Certificates = []*x509.Certificate{p.certificate(t)}
				refused(t, in, c.want)
				return
			}
			refused(t, p.input(t), c.want)
		})
	}
}

// refused verifies and wants exactly those codes to fail, with and without memory.
func refused(t *testing.T, in Input, want string) *Claims {
	t.Helper()
	var claims *Claims
	memo := pki.NewMemo(1 << 16)
	for _, in.Memo = range []*pki.Memo{nil, memo, memo} {
		g := check.New("SEV-SNP")
		claims = Verify(g, in)
		if got := codes(g); got != want || g.OK() != (want == "") {
			t.Errorf("failed %q, want %q", got, want)
		}
		for _, c := range g.Failures() {
			if c.Source == "" || c.What == "" || !strings.HasPrefix(c.Code, "snp.") {
				t.Errorf("says too little: %+v", c)
			}
		}
	}
	return claims
}

func TestSize(t *testing.T) {
	raw := newPlatform(t, Milan, 3, SignedByVCEK).signed(t)
	for _, data := range [][]byte{nil, raw[:ReportSize-1], append(bytes.Clone(raw), 0)} {
		g := check.New("")
		if Verify(g, Input{Report: data}) != nil || codes(g) != "snp.size" {
			t.Errorf("%d bytes: failed %q", len(data), codes(g))
		}
		if _, err := ParseReport(data); err != ErrSize {
			t.Errorf("%d bytes: %v", len(data), err)
		}
	}
}

func TestClaims(t *testing.T) {
	c := refused(t, newPlatform(t, Turin, 5, SignedByVLEK).input(t), "")
	want := TCB{FMC: 2, Bootloader: 4, TEE: 1, SNP: 24, Microcode: 219, HasFMC: true}
	if c.Product != Turin || c.Signer != "VLEK" || c.CSPID != "CN=cloud.example" || c.EndorsedTCB != want || c.Root.Subject.CommonName != "ARK-Turin" {
		t.Errorf("got %+v", c)
	}
	if c.ReportedTCB() != want || c.CurrentTCB() != want || c.CommittedTCB() != want || c.LaunchTCB() != want {
		t.Errorf("TCBs are %s, %s, %s, %s", c.ReportedTCB(), c.CurrentTCB(), c.CommittedTCB(), c.LaunchTCB())
	}
	if len(c.Collateral) != 1 || !c.Collateral[0].Missing || c.Collateral[0].Code != "snp.ark.crl" ||
		c.Collateral[0].FetchFix != "fetch https://kdsintf.amd.com/vlek/v1/Turin/crl" {
		t.Errorf("collateral %+v", c.Collateral)
	}
}

// The certificates that come along are hints, in any order and number.
func TestChoice(t *testing.T) {
	p := newPlatform(t, Milan, 3, SignedByVCEK)
	own := p.certificate(t)
	with := func(change func(*platform)) *x509.Certificate {
		o := newPlatform(t, Milan, 3, SignedByVCEK)
		o.key = fixedKey(t, elliptic.P384(), "other chip")
		change(o)
		return o.certificate(t)
	}
	otherKey := with(func(*platform) {})
	otherChip := with(func(o *platform) { o.set(extHWID, make([]byte, hwidSize)) })
	otherTCB := with(func(o *platform) { o.set(extMicrocode, integer(218)) })
	broken := with(func(o *platform) { o.drop(extSNP) })
	reissue := with(func(o *platform) {
		o.key = p.key
		o.change = func(c *x509.Certificate) { c.NotBefore, c.NotAfter = m1.AddDate(0, 0, -2), m1.AddDate(0, 0, -1) }
	})
	crowd := []*x509.Certificate{p.ark.cert, p.ask.cert, broken, otherChip, reissue, otherTCB, otherKey}
	for _, c := range []struct {
		name  string
		certs []*x509.Certificate
		want  string
	}{
		{"last", append(crowd, own), ""},
		{"first", append([]*x509.Certificate{own}, crowd...), ""},
		{"expired issue of the same key", crowd, "snp.vcek.validity"},
		{"same chip, other TCB", []*x509.Certificate{otherChip, otherTCB, broken}, "snp.vcek.tcb.microcode snp.signature"},
		{"same claims, other key", []*x509.Certificate{otherChip, otherKey, otherTCB}, "snp.signature"},
		{"broken", []*x509.Certificate{broken}, "snp.vcek.extensions"},
		{"none", crowd[:2], "snp.vcek"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := p.input(t)
			in.Certificates = c.certs
			refused(t, in, c.want)
		})
	}
	in := p.input(t)
	in.Certificates = []*x509.Certificate{otherTCB}
	g := check.New("")
	Verify(g, in)
	k := g.Find("snp.vcek.tcb.microcode")
	if k.Expected.String() != "219" || k.Found.String() != "218" || !strings.HasSuffix(k.Fix, "?blSPL=04&teeSPL=01&snpSPL=24&ucodeSPL=219") {
		t.Errorf("got %s, change %q", k, k.Fix)
	}
}

// Several issuers have one name, as AMD's ASKs 0x20001 and 0x20002 of Genoa do.
func TestIssuers(t *testing.T) {
	p := newPlatform(t, Genoa, 3, SignedByVCEK)
	old := authorityOf(t, p.ark, "SEV-Genoa", "old ask", 7)
	own := p.certificate(t)
	good := p.ask
	p.ask = old
	byOld := p.certificate(t)
	p.ask = good
	revoking := []*pki.CRL{p.ark.list(t, 7)}
	stranger := authorityOf(t, nil, "ARK-Genoa", "stranger", 1)
	fake := authorityOf(t, stranger, "SEV-Genoa", "ask Genoa", 2) // the ASK's key, certified by a stranger
	for _, c := range []struct {
		name                string
		leaf                *x509.Certificate
		roots, help, beside []*x509.Certificate
		want                string
	}{
		{"the revoked one is known too", own, []*x509.Certificate{p.ark.cert}, []*x509.Certificate{old.cert, p.ask.cert}, nil, ""},
		{"the revoked one is sent along", own, []*x509.Certificate{p.ark.cert}, []*x509.Certificate{p.ask.cert}, []*x509.Certificate{old.cert}, ""},
		{"sent along", own, []*x509.Certificate{p.ark.cert}, nil, []*x509.Certificate{old.cert, p.ask.cert}, ""},
		{"the revoked one signed", byOld, []*x509.Certificate{p.ark.cert}, []*x509.Certificate{old.cert, p.ask.cert}, nil, "snp.ask.revoked"},
		{"the revoked one signed and is sent along", byOld, []*x509.Certificate{p.ark.cert}, []*x509.Certificate{p.ask.cert}, []*x509.Certificate{old.cert}, "snp.ask.revoked"},
		{"only the revoked one is known", own, []*x509.Certificate{p.ark.cert}, []*x509.Certificate{old.cert}, nil, "snp.vcek.issuer snp.ask.revoked"},
		{"no intermediate", own, []*x509.Certificate{p.ark.cert}, nil, nil, "snp.ask"},
		{"no root", own, nil, []*x509.Certificate{p.ask.cert}, nil, "snp.ark"},
		{"a root that is sent along", own, nil, nil, []*x509.Certificate{p.ask.cert, p.ark.cert}, "snp.ark"},
		{"two roots of one name", own, []*x509.Certificate{stranger.cert, p.ark.cert}, []*x509.Certificate{p.ask.cert}, nil, ""},
		{"another root of that name", own, []*x509.Certificate{stranger.cert}, []*x509.Certificate{p.ask.cert}, nil, "snp.ask.issuer"},
		{"a stranger's word for the ASK", own, []*x509.Certificate{p.ark.cert}, nil, []*x509.Certificate{fake.cert}, "snp.ask.issuer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := p.input(t)
			in.Certificates, in.CRLs = append([]*x509.Certificate{c.leaf}, c.beside...), revoking
			in.Roots.AMD, in.Roots.Intermediates = c.roots, c.help
			refused(t, in, c.want)
		})
	}
}

func TestNoRoots(t *testing.T) {
	in := newPlatform(t, Milan, 3, SignedByVCEK).input(t)
	in.Roots = nil
	refused(t, in, "snp.ask")
}

// However many certificates claim to be of the chip, few keys are tried.
func TestCrowd(t *testing.T) {
	p := newPlatform(t, Milan, 3, SignedByVCEK)
	in := p.input(t)
	own := in.Certificates[0]
	in.Certificates = nil
	for i := range maxTrials {
		p.key = fixedKey(t, elliptic.P384(), "crowd"+decimal(uint8(i)))
		in.Certificates = append(in.Certificates, p.certificate(t))
	}
	in.Certificates = append(in.Certificates, own)
	refused(t, in, "snp.signature")
	in.Certificates = in.Certificates[1:]
	refused(t, in, "")
}
