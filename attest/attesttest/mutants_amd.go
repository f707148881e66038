// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"time"
)

// oidUnknown is an extension that nobody knows.
var oidUnknown = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 58270, 99}

// critical makes a certificate have a critical extension that nobody knows.
func critical(c *Certificate) {
	c.Set(pkix.Extension{Id: oidUnknown, Critical: true, Value: null()})
}

// amdCertificates are the certificates above a report.
func (g *generator) amdCertificates() {
	chip := g.w.AMD.Milan.Chip("conformance")
	g.accept(g.snpCase("snp-endorsement", chip))
	g.vcek(chip)
	g.ask(chip)
	g.ark(chip)
	g.windows(chip)
}

// endorse sends the base with a VCEK that the ASK signed after edit.
func (g *generator) endorse(c *Chip, name, change, code string, edit func(*Certificate), also ...string) {
	g.refuse("vcek/"+name, change, code, func(m *Mutant) {
		m.replace("endorsement.crt", c.Endorsement(c.TCB, edit))
		m.Also = also
	})
}

func (g *generator) vcek(c *Chip) {
	key := sequence(oid(amdOID(3, 3)), octets(integer(int64(c.TCB.SNP))))
	g.alterPiece("vcek/hwid", "endorsement.crt", c.ID[:], 0, "snp.vcek.signature")
	g.alterPiece("vcek/tcb", "endorsement.crt", key, len(key)-1, "snp.vcek.signature")
	g.alterPiece("vcek/validity", "endorsement.crt", instant(leavesTo), 3, "snp.vcek.signature")
	g.bump("vcek/signature", "endorsement.crt", "snp.vcek.signature")

	unreadable := "snp.vcek.extensions"
	for _, e := range []struct {
		name string
		id   asn1.ObjectIdentifier
		code string
	}{
		{"struct_version", OIDStructVersion, unreadable}, {"product_name", OIDProductName, unreadable}, {"bootloader", OIDBootloader, unreadable},
		{"tee", OIDTEE, unreadable}, {"snp", OIDSNP, unreadable}, {"microcode", OIDMicrocode, unreadable}, {"hwid", OIDHWID, unreadable},
	} {
		g.endorse(c, e.name+"/missing", "without the extension", e.code, func(x *Certificate) { x.Remove(e.id) })
	}
	g.endorse(c, "struct_version/9", "of an unknown structure", unreadable, func(x *Certificate) { x.Set(Number(OIDStructVersion, 9)) })
	g.endorse(c, "product_name/unknown", "of an unknown product", unreadable, func(x *Certificate) { x.Set(Text(OIDProductName, "Naples-B1")) })
	g.endorse(c, "product_name/genoa", "of another product line", "snp.vcek.product", func(x *Certificate) { x.Set(Text(OIDProductName, "Genoa")) },
		"snp.ask.name", "snp.ark.product")
	g.endorse(c, "spare/1", "a level of a part that is not known", unreadable, func(x *Certificate) { x.Set(Number(amdOID(3, 4), 1)) })
	g.endorse(c, "snp/256", "a level that does not fit a byte", unreadable, func(x *Certificate) { x.Set(Number(OIDSNP, 256)) })
	g.endorse(c, "snp/negative", "a negative level", unreadable, func(x *Certificate) { x.Set(Number(OIDSNP, -1)) })
	g.endorse(c, "fmc/milan", "a part that only Turin has", unreadable, func(x *Certificate) { x.Set(Number(OIDFMC, 1)) })
	g.endorse(c, "csp_id/vcek", "lent to a cloud provider, which only a VLEK can be", unreadable, func(x *Certificate) { x.Set(Text(OIDCSPID, "cloud.example")) })
	g.endorse(c, "hwid/short", "a chip id of 63 bytes", unreadable, func(x *Certificate) { x.Set(pkix.Extension{Id: OIDHWID, Value: c.ID[:63]}) })
	g.endorse(c, "hwid/other", "of another chip", "snp.vcek.chip_id", func(x *Certificate) {
		x.Set(pkix.Extension{Id: OIDHWID, Value: c.Chip("other").ID[:]})
	})
	for _, t := range []struct {
		name string
		id   asn1.ObjectIdentifier
		svn  uint8
	}{{"bootloader", OIDBootloader, c.TCB.Bootloader}, {"tee", OIDTEE, c.TCB.TEE}, {"snp", OIDSNP, c.TCB.SNP}, {"microcode", OIDMicrocode, c.TCB.Microcode}} {
		g.endorse(c, t.name+"/other", "for one level more", "snp.vcek.tcb."+t.name, func(x *Certificate) { x.Set(Number(t.id, int64(t.svn)+1)) })
	}
	g.vcekPath(c)
}

// vcekPath is what a VCEK certificate has in common with all certificates.
func (g *generator) vcekPath(c *Chip) {
	g.endorse(c, "issuer/other", "issued in another name", "snp.ask", func(x *Certificate) { x.Issuer = amdName("SEV-Naples") })
	g.endorse(c, "signer/other", "signed by another key", "snp.vcek.signature", func(x *Certificate) { x.Signer = c.key("stray") })
	g.endorse(c, "signer/asvk", "signed by the ASVK", "snp.vcek.signature", func(x *Certificate) { x.Signer = c.key("ASVK") })
	g.endorse(c, "issuer/ark", "issued by the ARK itself", "snp.ask", func(x *Certificate) {
		x.Signer, x.Issuer = c.key("ARK"), amdName("ARK-Milan")
	})
	g.endorse(c, "issuer/asvk", "issued by the ASVK", "snp.ask.name", func(x *Certificate) {
		x.Signer, x.Issuer = c.key("ASVK"), amdName("SEV-VLEK-Milan")
	})
	g.endorse(c, "issuer/key", "it names another key of its issuer", "snp.vcek.issuer", func(x *Certificate) {
		x.Extensions = append(x.Extensions, AuthorityKeyID(c.key("stray").Public()))
	})
	g.endorse(c, "name/other", "not named a VCEK", "snp.vcek", func(x *Certificate) { x.Subject = amdName("SEV-OTHER") })
	g.endorse(c, "usage/critical", "an unknown critical extension", "snp.vcek.usage", critical)
	g.endorse(c, "usage/ca", "a CA", "snp.vcek.usage", func(x *Certificate) { x.Set(BasicConstraints(true, -1)) })
	g.endorse(c, "usage/key", "a key that is not for signing", "snp.vcek.usage", func(x *Certificate) { x.Set(KeyUsage(x509.KeyUsageKeyEncipherment)) })
	g.endorse(c, "key/p256", "a key on another curve", "snp.vcek.extensions", func(x *Certificate) { x.PublicKey = g.w.Key("stray", elliptic.P256()).Public() })
	g.endorse(c, "key/other", "another key", "snp.signature", func(x *Certificate) { x.PublicKey = g.w.Key("stray", elliptic.P384()).Public() })
	g.endorse(c, "validity/expired", "out of date since a second", "snp.vcek.validity", func(x *Certificate) { x.NotAfter = g.w.Now.Add(-time.Second) })
	g.endorse(c, "validity/future", "valid in a second", "snp.vcek.validity", func(x *Certificate) { x.NotBefore = g.w.Now.Add(time.Second) })
	g.still("vcek/validity/first_second", "valid since now", func(m *Mutant) {
		m.replace("endorsement.crt", c.Endorsement(c.TCB, func(x *Certificate) { x.NotBefore = g.w.Now }))
	})
	g.still("vcek/validity/last_second", "valid until now", func(m *Mutant) {
		m.replace("endorsement.crt", c.Endorsement(c.TCB, func(x *Certificate) { x.NotAfter = g.w.Now }))
	})
	g.still("vcek/trailer", "the default trailer field of RSA-PSS spelt out", func(m *Mutant) {
		m.replace("endorsement.crt", c.Endorsement(c.TCB, func(x *Certificate) { x.Trailer = true }))
	})
	g.still("vcek/hwid/wrapped", "the chip id in an OCTET STRING, as AMD specified it", func(m *Mutant) {
		m.replace("endorsement.crt", c.Endorsement(c.TCB, func(x *Certificate) { x.Set(pkix.Extension{Id: OIDHWID, Value: octets(c.ID[:])}) }))
	})
	g.still("vcek/reissue", "a later issue of the certificate beside this one", func(m *Mutant) {
		m.add("reissue.crt", c.Endorsement(c.TCB, func(x *Certificate) { x.NotBefore = g.w.Now.Add(time.Hour) }))
	})
}

func (g *generator) ask(c *Chip) {
	change := func(name, change, code string, edit func(*Certificate), also ...string) {
		g.refuse("ask/"+name, change, code, func(m *Mutant) {
			m.replace("ask-milan.crt", c.ASK(edit))
			m.Also = also
		})
	}
	g.bump("ask/signature", "ask-milan.crt", "snp.ask.signature")
	g.alterPiece("ask/validity", "ask-milan.crt", instant(rootsTo), 3, "snp.ask.signature")
	g.refuse("ask/missing", "no ASK", "snp.ask", func(m *Mutant) { m.drop("ask-milan.crt") })
	change("signer/other", "signed by another key", "snp.ask.signature", func(x *Certificate) { x.Signer = c.key("stray") })
	change("issuer/other", "issued in another name", "snp.ark", func(x *Certificate) { x.Issuer = amdName("ARK-Naples") })
	change("ca/no", "no CA", "snp.ask.ca", func(x *Certificate) { x.Set(BasicConstraints(false, -1)) })
	change("ca/missing", "no basic constraints", "snp.ask.ca", func(x *Certificate) { x.Remove(OIDBasicConstraints) })
	change("ca/usage", "a key that is not for signing certificates", "snp.ask.ca", func(x *Certificate) { x.Set(KeyUsage(x509.KeyUsageDigitalSignature)) })
	change("ca/critical", "an unknown critical extension", "snp.ask.ca", critical)
	change("validity/expired", "out of date since a second", "snp.ask.validity", func(x *Certificate) { x.NotAfter = g.w.Now.Add(-time.Second) })
	change("validity/future", "valid in a second", "snp.ask.validity", func(x *Certificate) { x.NotBefore = g.w.Now.Add(time.Second) })
	change("key/other", "another key in the name of the ASK", "snp.vcek.signature", func(x *Certificate) {
		x.PublicKey = c.key("stray").Public()
		x.Set(SubjectKeyID(x.PublicKey))
	})
}

// lent are the certificates above a report that a lent key signed.
func (g *generator) lent(c *Chip) {
	vlek := func(name, change, code string, edit func(*Certificate), also ...string) {
		g.refuse("vlek/"+name, change, code, func(m *Mutant) {
			m.replace("endorsement.crt", c.Endorsement(c.TCB, edit))
			m.Also = also
		})
	}
	asvk := func(name, change, code string, edit func(*Certificate)) {
		g.refuse("asvk/"+name, change, code, func(m *Mutant) { m.replace("asvk-milan.crt", c.ASVK(edit)) })
	}
	expired := func(x *Certificate) { x.NotAfter = g.w.Now.Add(-time.Second) }
	otherKey := func(x *Certificate) { x.Set(AuthorityKeyID(c.key("stray").Public())) }
	otherSigner := func(x *Certificate) { x.Signer = c.key("stray") }
	g.bump("vlek/signature", "endorsement.crt", "snp.vlek.signature")
	vlek("signer/other", "signed by another key", "snp.vlek.signature", otherSigner)
	vlek("issuer/key", "it names another key of its issuer", "snp.vlek.issuer", otherKey)
	vlek("validity/expired", "out of date since a second", "snp.vlek.validity", expired)
	vlek("usage/critical", "an unknown critical extension", "snp.vlek.usage", critical)
	vlek("usage/ca", "a CA", "snp.vlek.usage", func(x *Certificate) { x.Set(BasicConstraints(true, -1)) })
	vlek("hwid/vlek", "of one chip, which only a VCEK can be", "snp.vlek.extensions", func(x *Certificate) {
		x.Set(pkix.Extension{Id: OIDHWID, Value: make([]byte, 64)})
	}, "snp.csp_id")
	vlek("csp_id/missing", "lent to nobody", "snp.vlek.extensions", func(x *Certificate) { x.Remove(OIDCSPID) }, "snp.csp_id")
	vlek("csp_id/other", "lent to a cloud provider that the policy does not list", "snp.csp_id", func(x *Certificate) { x.Set(Text(OIDCSPID, "other.example")) })
	vlek("product_name/genoa", "of another product line", "snp.vlek.product", func(x *Certificate) { x.Set(Text(OIDProductName, "Genoa")) },
		"snp.asvk.name", "snp.ark.product")
	for _, t := range []struct {
		name string
		id   asn1.ObjectIdentifier
		svn  uint8
	}{{"bootloader", OIDBootloader, c.TCB.Bootloader}, {"tee", OIDTEE, c.TCB.TEE}, {"microcode", OIDMicrocode, c.TCB.Microcode}} {
		vlek(t.name+"/other", "for one level more", "snp.vlek.tcb."+t.name, func(x *Certificate) { x.Set(Number(t.id, int64(t.svn)+1)) })
	}
	g.bump("asvk/signature", "asvk-milan.crt", "snp.asvk.signature")
	asvk("signer/other", "signed by another key", "snp.asvk.signature", otherSigner)
	asvk("issuer/key", "it names another key of its issuer", "snp.asvk.issuer", otherKey)
	asvk("validity/expired", "out of date since a second", "snp.asvk.validity", expired)
	asvk("ca/no", "no CA", "snp.asvk.ca", func(x *Certificate) { x.Set(BasicConstraints(false, -1)) })
}

func (g *generator) ark(c *Chip) {
	other := New(g.w.seed+"/other", g.w.Now)
	other.RSABits = g.w.RSABits
	change := func(name, change, code string, edit func(*Certificate), also ...string) {
		g.refuse("ark/"+name, change, code, func(m *Mutant) {
			m.replace("ark-milan.crt", c.ARK(edit))
			m.Also = also
		})
	}
	g.refuse("ark/missing", "AMD's root is not trusted", "snp.ark", func(m *Mutant) { m.drop("ark-milan.crt") })
	g.refuse("ark/other", "another root of that name is trusted", "snp.ask.issuer", func(m *Mutant) { m.replace("ark-milan.crt", other.AMD.Milan.ARK()) })
	change("ca/no", "no CA", "snp.ark.ca", func(x *Certificate) { x.Set(BasicConstraints(false, -1)) })
	change("ca/path_length", "a CA for no further CAs", "snp.ark.ca", func(x *Certificate) { x.Set(BasicConstraints(true, 0)) })
	change("ca/usage", "a key that is not for signing certificates", "snp.ark.ca", func(x *Certificate) { x.Set(KeyUsage(crlSign)) })
	change("validity/expired", "out of date since a second", "snp.ark.validity", func(x *Certificate) { x.NotAfter = g.w.Now.Add(-time.Second) })
	g.refuse("ark/all_other", "evidence of another world's chip", "snp.vcek.signature", func(m *Mutant) {
		o := other.AMD.Milan.Chip("conformance")
		from := g.base
		*m = g.snpCase(m.Name, o)
		m.Change, m.Code, m.Loose = "all of it made under other roots of the same names", "snp.vcek.signature", true
		m.Roots, m.Time = from.Roots, from.Time
	})
}

// windows move the clock over the edges of what is dated.
func (g *generator) windows(c *Chip) {
	list := parsedCRL(c.CRL())
	for _, t := range []struct {
		name, code string
		at         time.Time
		also       []string
	}{
		{"crl/before", "snp.ark.crl", list.ThisUpdate.Add(-time.Second), nil},
		{"crl/first", "", list.ThisUpdate, nil},
		{"crl/last", "", list.NextUpdate.Add(-time.Second), nil},
		{"crl/after", "snp.ark.crl", list.NextUpdate, nil},
		{"vcek/before", "snp.vcek.validity", leavesFrom.Add(-time.Second), []string{"snp.ark.crl"}},
		{"vcek/after", "snp.vcek.validity", leavesTo.Add(time.Second), []string{"snp.ark.crl"}},
		{"roots/before", "snp.ark.validity", rootsFrom.Add(-time.Second), []string{"snp.vcek.validity", "snp.ask.validity", "snp.ark.crl"}},
		{"roots/after", "snp.ark.validity", rootsTo.Add(time.Second), []string{"snp.vcek.validity", "snp.ask.validity", "snp.ark.crl"}},
	} {
		edit := func(m *Mutant) { m.Time, m.Also = t.at, t.also }
		if t.code == "" {
			g.still("time/"+t.name, "the clock says "+t.at.Format(time.RFC3339), edit)
		} else {
			g.refuse("time/"+t.name, "the clock says "+t.at.Format(time.RFC3339), t.code, edit)
		}
	}
}

func parsedCRL(der []byte) *x509.RevocationList {
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		panic("attesttest: bug: " + err.Error())
	}
	return l
}

// amdCollateral are AMD's revocation lists.
func (g *generator) amdCollateral() {
	c := g.w.AMD.Milan.Chip("conformance")
	const crl, file, missing = "crl/", "ark-milan.crl", "snp.ark.crl"
	g.accept(g.snpCase("snp-collateral", c))
	change := func(name, change, code string, edit func(*CRL)) {
		g.refuse(crl+name, change, code, func(m *Mutant) { m.replace(file, c.CRL(edit)) })
	}
	now := g.w.Now
	ask := parsed(c.ASK()).SerialNumber
	g.refuse(crl+"missing", "no CRL", missing, func(m *Mutant) { m.drop(file) })
	g.bump(crl+"signature", file, missing)
	g.alterPiece(crl+"next_update", file, instant(now.Add(longLived)), 3, missing)
	g.refuse(crl+"genoa", "the CRL of another product line", missing, func(m *Mutant) { m.replace(file, g.w.AMD.Genoa.CRL()) })
	change("signer", "signed by another key", missing, func(l *CRL) { l.Signer = c.key("stray") })
	change("signer_ask", "signed by the ASK", missing, func(l *CRL) { l.Signer = c.key("ASK") })
	change("issuer", "issued in another name", missing, func(l *CRL) { l.Issuer = amdName("ARK-Naples") })
	change("authority_key", "of another key of that name", missing, func(l *CRL) {
		l.Extensions = []pkix.Extension{AuthorityKeyID(c.key("stray").Public()), crlNumber(3)}
	})
	change("stale", "a next one should be there since a second", missing, func(l *CRL) { l.NextUpdate = now.Add(-time.Second) })
	change("future", "issued in a second", missing, func(l *CRL) { l.ThisUpdate = now.Add(time.Second) })
	change("endless", "it promises no next one", missing, func(l *CRL) { l.NextUpdate = time.Time{} })
	revoke := func(serial *big.Int) []Revoked {
		return []Revoked{{big.NewInt(7), now.Add(issued)}, {serial, now.Add(issued)}}
	}
	change("ask_revoked", "it has the ASK", "snp.ask.revoked", func(l *CRL) { l.Revoked = revoke(ask) })
	g.refuse(crl+"ask_revoked_stale", "it has the ASK, and is out of date", "snp.ask.revoked", func(m *Mutant) {
		m.replace(file, c.CRL(func(l *CRL) { l.Revoked, l.NextUpdate = revoke(ask), now.Add(-time.Second) }))
		m.Also = []string{missing}
	})
	g.still(crl+"others_revoked", "it has another certificate", func(m *Mutant) {
		m.replace(file, c.CRL(func(l *CRL) { l.Revoked = revoke(big.NewInt(8)) }))
	})
	g.refuse(crl+"older_beside", "an older CRL without the ASK beside one with it", "snp.ask.revoked", func(m *Mutant) {
		m.replace(file, c.CRL(func(l *CRL) { l.ThisUpdate = now.Add(2 * issued) }))
		m.add("newer.crl", c.CRL(func(l *CRL) { l.Revoked = revoke(ask) }))
	})
	g.refuse("policy/max_age", "the policy wants a CRL of the last day", missing, func(m *Mutant) { m.Policy = policy("collateral", `max_age = "1d"`) })
	g.still("policy/no_crl", "no CRL, and the policy does not ask for one", func(m *Mutant) {
		m.drop(file)
		m.Policy = policy("collateral", "require_crl = false")
	})
	g.refuse("policy/no_crl/revoked", "the policy does not ask for a CRL, but there is one with the ASK", "snp.ask.revoked", func(m *Mutant) {
		m.replace(file, c.CRL(func(l *CRL) { l.Revoked = revoke(ask) }))
		m.Policy = policy("collateral", "require_crl = false")
	})
}
