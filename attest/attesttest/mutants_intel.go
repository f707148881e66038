// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// quotes makes the mutants that SGX and TDX quotes have in common.
type quotes struct {
	*generator
	prefix string // of codes: "sgx" or "tdx"
	info   string // "SGX" or "TDX"
	qe     string // "QE" or "TD_QE"
	m      *Machine
	quote  func(m *Machine, edit func(*Quote)) []byte
}

// pieces is the collateral of a machine's quotes.
func (q *quotes) pieces() []Piece {
	return []Piece{
		{"root.crl", q.m.RootCRL()}, {"pck-ca.crl", q.m.PCKCRL(q.m.CA)}, {"tcb-signing.crt", q.m.TCBSigning()},
		{"tcb-info.json", q.m.TCBInfo(q.info)}, {"qe-identity.json", q.m.Intel.QEIdentity(q.qe)},
	}
}

// acceptQuote makes a quote of the machine the base of what follows.
func (q *quotes) acceptQuote(name string) {
	data := bound()
	kind := map[string]string{"sgx": KindSGX, "tdx": KindTDX}[q.prefix]
	q.accept(Mutant{
		Name: name, Change: "none: this one is in order", Kind: kind, Input: q.quote(q.m, func(*Quote) {}), ReportData: data[:], Collateral: q.pieces(),
	})
}

// set sends the base with a quote that is made anew after edit.
func (q *quotes) set(name, change, code string, edit func(*Quote), also ...string) {
	q.refuse(name, change, q.code(code), func(m *Mutant) { m.Input, m.Also = q.quote(q.m, edit), q.codes(also) })
}

// code puts the technology before a code that begins with a dot.
func (q *quotes) code(code string) string {
	if strings.HasPrefix(code, ".") {
		return q.prefix + code
	}
	return code
}

func (q *quotes) codes(list []string) []string {
	var all []string
	for _, c := range list {
		all = append(all, q.code(c))
	}
	return all
}

// fields are altered and set parts of the quote around its body, which ends at
// the given place.
func (q *quotes) fields(end int) {
	for _, f := range []field{{"user_data", 28}, {"user_data_end", 47}} {
		q.alter("header/"+f.name, f.at, q.prefix+".quote.signature")
	}
	q.alter("header/vendor", 12, q.prefix+".header.qe-vendor")
	q.alter("header/version", 1, q.prefix+".header.version")
	q.alter("header/key_type", 2, q.prefix+".header.attestation-key-type")
	q.alter("signature/r", end+4, q.prefix+".quote.signature")
	q.alter("signature/s", end+4+63, q.prefix+".quote.signature")
	q.alter("attestation_key", end+4+64, q.prefix+".quote.attestation-key")
	qe := end + 4 + 128
	if q.prefix == "tdx" {
		q.alter("certification/type", qe, "tdx.certification-data")
		qe += 6
	}
	for _, f := range []field{
		{"cpusvn", 0}, {"miscselect", 16}, {"reserved", 21}, {"attributes", 48}, {"xfrm", 56}, {"mrenclave", 64}, {"mrsigner", 128},
		{"isvprodid", 256}, {"isvsvn", 258}, {"report_data", 320}, {"report_data_end", 383}, {"signature_r", 384}, {"signature_s", 384 + 63},
	} {
		q.alter("qe/"+f.name, qe+f.at, q.prefix+".qe.signature")
	}
	q.alter("qe/auth_data", qe+384+64+2, q.prefix+".qe.report-data")
	q.alter("certification/inner_type", qe+384+64+2+32, q.prefix+".certification-data")
	q.alter("length", end, q.prefix+".quote.length")

	q.refuse("length/short", "one byte shorter", q.prefix+".quote.length", func(m *Mutant) { m.Input = m.Input[:len(m.Input)-1] })
	q.refuse("length/header", "nothing but the header", q.prefix+".quote.length", func(m *Mutant) { m.Input = m.Input[:48] })
	q.refuse("trailing/one", "a byte that is not zero after the quote", q.prefix+".quote.trailing", func(m *Mutant) { m.Input = append(slices.Clone(m.Input), 1) })
	q.refuse("trailing/after_zeros", "a byte that is not zero after zeros", q.prefix+".quote.trailing", func(m *Mutant) {
		m.Input = append(append(slices.Clone(m.Input), make([]byte, 70)...), 1)
	})
	q.still("trailing/zeros", "zeros after the quote", func(m *Mutant) { m.Input = append(slices.Clone(m.Input), make([]byte, 70)...) })

	q.set("header/version/6", "an unknown version", ".header.version", func(x *Quote) {
		x.PatchHeader = func(raw []byte) { raw[0] = 6 }
	})
	q.set("header/key_type/3", "a key of another type", ".header.attestation-key-type", func(x *Quote) { x.KeyType = 3 })
	q.set("header/vendor/other", "another vendor's quoting enclave", ".header.qe-vendor", func(x *Quote) { x.Vendor[0] ^= 1 })
	q.set("certification/type/3", "no PCK certificate", ".certification-data", func(x *Quote) { x.CertificationType = 3 })
	q.set("signature/key/other", "the quote is signed by a key that is not the one in it", ".quote.signature", func(x *Quote) { x.Key = q.m.key("stray") })
	q.enclave()
}

// enclave are the fields of the quoting enclave's report, signed by the PCK.
func (q *quotes) enclave() {
	levels := map[string][2]uint16{"sgx": {8, 6}, "tdx": {6, 4}}[q.prefix]
	q.set("qe/mrsigner/other", "a quoting enclave of another signer", ".qe.mrsigner", func(x *Quote) { x.QE.MRSigner[31] ^= 1 })
	q.set("qe/isvprodid/other", "another enclave of Intel's", ".qe.isvprodid", func(x *Quote) { x.QE.ISVProdID = 9 })
	q.set("qe/attributes/debug", "a quoting enclave under debug", ".qe.attributes", func(x *Quote) { x.QE.Attributes |= AttributeDebug })
	q.set("qe/attributes/no_provision_key", "a quoting enclave without the provisioning key", ".qe.attributes", func(x *Quote) { x.QE.Attributes &^= AttributeProvisionKey })
	q.set("qe/miscselect/1", "a quoting enclave with extended state", ".qe.miscselect", func(x *Quote) { x.QE.MiscSelect = 1 })
	q.set("qe/isvsvn/older", "an out of date quoting enclave", ".tcb.status", func(x *Quote) { x.QE.ISVSVN = levels[0] - 1 })
	q.set("qe/isvsvn/unknown", "a quoting enclave older than any that Intel knows", ".qe.isvsvn", func(x *Quote) { x.QE.ISVSVN = levels[1] - 1 })
	q.set("qe/report_data/other", "a quoting enclave's report about another key", ".qe.report-data", func(x *Quote) { x.BoundData = &[64]byte{1} })
	q.set("qe/report_data/rest", "something after the digest of the key", ".qe.report-data", func(x *Quote) {
		x.PatchQE = func(raw []byte) { raw[383] = 1 }
	})
	q.set("qe/reserved/1", "a reserved byte is 1", ".qe.reserved", func(x *Quote) { x.PatchQE = func(raw []byte) { raw[31] = 1 } })
	q.set("qe/key/other", "the quoting enclave's report is signed by another key", ".qe.signature", func(x *Quote) { x.PCKKey = q.m.key("stray") })
	q.still("qe/auth_data/none", "no authentication data", func(m *Mutant) { m.Input = q.quote(q.m, func(x *Quote) { x.Auth = nil }) })
	q.still("qe/isvsvn/newer", "a newer quoting enclave", func(m *Mutant) { m.Input = q.quote(q.m, func(x *Quote) { x.QE.ISVSVN++ }) })
}

// chained sends the base with a quote that carries another chain.
func (q *quotes) chained(name, change, code string, chain func(m *Machine) [][]byte, also ...string) {
	q.set(name, change, code, func(x *Quote) { x.Chain = PEM(chain(q.m)...) }, also...)
}

// pck sends the base with a PCK certificate that its CA signed after edit.
func (q *quotes) pck(name, change, code string, edit func(*Certificate), also ...string) {
	q.chained("pck/"+name, change, code, func(m *Machine) [][]byte { return [][]byte{m.Certificate(edit), m.Intel.CA(m.CA), m.Root()} }, also...)
}

// platform sends the base with a PCK certificate for a machine of another kind.
func (q *quotes) platform(name, change, code string, edit func(*PCK), also ...string) {
	q.pck(name, change, code, func(x *Certificate) {
		p := q.m.PCK()
		edit(p)
		x.Set(p.Extension())
	}, also...)
}

// certificates are the certificates in a quote.
func (q *quotes) certificates() {
	now := q.w.Now
	flip := func(index int) func(m *Machine) [][]byte {
		return func(m *Machine) [][]byte {
			all := m.Chain()
			all[index] = flipped(all[index], len(all[index])-1)
			return all
		}
	}
	q.chained("pck/signature/altered", "the last byte of the PCK certificate changed", ".pck.signature", flip(0))
	q.chained("pck-ca/signature/altered", "the last byte of the CA's certificate changed", ".pck-ca.signature", flip(1))
	q.chained("chain/short", "a chain without the root", ".pck.chain", func(m *Machine) [][]byte { return m.Chain()[:2] }, ".root.crl", ".pck-ca.crl", ".tcb-info", ".qe-identity")
	q.chained("chain/long", "a certificate after the root", ".pck.chain", func(m *Machine) [][]byte { return append(m.Chain(), m.Root()) })
	q.chained("chain/reversed", "the root first", ".pck.role", func(m *Machine) [][]byte { c := m.Chain(); slices.Reverse(c); return c },
		".pck.extension", ".root.trusted", ".qe.signature")
	q.set("chain/garbage", "not PEM", ".pck.chain", func(x *Quote) { x.Chain = []byte("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n") })
	other := New(q.w.seed+"/other", now)
	q.chained("root/other", "a chain of the same names under another root", ".root.trusted", func(m *Machine) [][]byte {
		return other.Intel.Machine(m.Name).Chain()
	}, ".qe.signature")

	q.pck("role/other", "not named a PCK certificate", ".pck.role", func(x *Certificate) { x.Subject = intelName("Intel SGX TCB Signing") })
	q.pck("role/ca", "a PCK certificate that is a CA", ".pck.role", func(x *Certificate) { x.Set(BasicConstraints(true, -1)) })
	q.pck("issuer/other", "issued in another name", ".pck.issuer", func(x *Certificate) { x.Issuer = intelName("Intel SGX PCK Other CA") })
	q.pck("signer/other", "signed by another key", ".pck.signature", func(x *Certificate) { x.Signer = q.m.key("stray") })
	q.pck("key/other", "another key", ".qe.signature", func(x *Certificate) { x.PublicKey = q.m.key("stray").Public() })
	q.pck("validity/expired", "out of date since a second", ".pck.validity", func(x *Certificate) { x.NotAfter = now.Add(-time.Second) })
	q.pck("validity/future", "valid in a second", ".pck.validity", func(x *Certificate) { x.NotBefore = now.Add(time.Second) })
	q.pck("extension/missing", "without the SGX extension", ".pck.extension", func(x *Certificate) { x.Remove(OIDSGX) })
	q.pck("extension/empty", "an empty SGX extension", ".pck.extension", func(x *Certificate) { x.Set(pkix.Extension{Id: OIDSGX, Value: sequence()}) })

	q.machines()
	q.authorities()
}

// machines are what PCK certificates say about machines.
func (q *quotes) machines() {
	q.platform("fmspc/other", "a machine of another kind", ".tcb-info.fmspc", func(p *PCK) { p.FMSPC[5] ^= 1 })
	q.platform("pceid/other", "another provisioning enclave", ".tcb-info.pceid", func(p *PCK) { p.PCEID[1] ^= 1 })
	for i := range 8 {
		if q.m.SVN[i] == 0 {
			continue
		}
		q.platform(fmt.Sprintf("svn_%d/older", i), "one less, for which Intel says OutOfDate or Revoked", ".tcb.status", func(p *PCK) { p.SVN[i]-- })
	}
	q.platform("svn_0/unknown", "less than Intel knows", ".tcb-info.level", func(p *PCK) { p.SVN[0] = 0 })
	q.platform("pcesvn/older", "one less, for which Intel says Revoked", ".tcb.status", func(p *PCK) { p.PCESVN-- })
	q.platform("pcesvn/unknown", "less than Intel knows", ".tcb-info.level", func(p *PCK) { p.PCESVN = 4 })
	q.still("pck/newer", "a machine of newer firmware than Intel's newest level", func(m *Mutant) {
		m.Input = q.quote(q.m, func(x *Quote) {
			p := q.m.PCK()
			p.SVN[0], p.PCESVN = p.SVN[0]+1, p.PCESVN+1
			x.Chain = PEM(q.m.Certificate(func(c *Certificate) { c.Set(p.Extension()) }), q.m.Intel.CA(q.m.CA), q.m.Root())
		})
	})
}

// authorities are the certificates above those of machines.
func (q *quotes) authorities() {
	now, in := q.w.Now, q.m.Intel
	second := func(at int, edit func(*Certificate)) func(m *Machine) [][]byte {
		return func(m *Machine) [][]byte {
			all := m.Chain()
			if all[1] = in.CA(m.CA, edit); at == 2 {
				all[1], all[2] = in.CA(m.CA), in.Root(edit)
			}
			return all
		}
	}
	q.chained("pck-ca/role/other", "not named a PCK CA", ".pck-ca.role", func(m *Machine) [][]byte {
		name := intelName("Intel SGX TCB Signing")
		return [][]byte{m.Certificate(func(x *Certificate) { x.Issuer = name }), in.CA(m.CA, func(x *Certificate) { x.Subject = name }), m.Root()}
	}, ".pck-ca.crl")
	q.chained("pck-ca/ca/no", "the PCK CA is no CA", ".pck-ca.ca", second(1, func(x *Certificate) { x.Set(BasicConstraints(false, -1)) }), ".pck-ca.role")
	q.chained("pck-ca/ca/usage", "the PCK CA's key is not for signing certificates", ".pck-ca.ca", second(1, func(x *Certificate) { x.Set(KeyUsage(x509.KeyUsageCRLSign)) }))
	q.chained("pck-ca/ca/critical", "an unknown critical extension", ".pck-ca.ca", second(1, critical))
	q.chained("pck-ca/signer/other", "signed by another key", ".pck-ca.signature", second(1, func(x *Certificate) { x.Signer = q.m.key("stray") }))
	q.chained("pck-ca/issuer/other", "issued in another name", ".pck-ca.issuer", second(1, func(x *Certificate) { x.Issuer = intelName("Intel Root") }))
	q.chained("pck-ca/validity/expired", "out of date since a second", ".pck-ca.validity", second(1, func(x *Certificate) { x.NotAfter = now.Add(-time.Second) }))
	q.chained("pck-ca/validity/future", "valid in a second", ".pck-ca.validity", second(1, func(x *Certificate) { x.NotBefore = now.Add(time.Second) }))
	q.refuse("root/ca/no", "the root is no CA", q.prefix+".root.ca", func(m *Mutant) {
		m.replace("intel-root.crt", in.Root(func(x *Certificate) { x.Set(BasicConstraints(false, -1)) }))
	})
	q.refuse("root/ca/path_length", "a root for no further CAs", q.prefix+".root.ca", func(m *Mutant) {
		m.replace("intel-root.crt", in.Root(func(x *Certificate) { x.Set(BasicConstraints(true, 0)) }))
	})
	q.refuse("root/missing", "Intel's root is not trusted", q.prefix+".root.trusted", func(m *Mutant) { m.drop("intel-root.crt") })
	q.still("chain/without_nul", "a chain that does not end in NUL", func(m *Mutant) {
		m.Input = q.quote(q.m, func(x *Quote) { x.Chain = PEM(q.m.Chain()...) })
	})
}

// lists are Intel's revocation lists.
func (q *quotes) lists() {
	now := q.w.Now
	pck := parsed(q.m.Certificate()).SerialNumber
	revoke := func(serial *big.Int) func(*CRL) {
		return func(l *CRL) { l.Revoked = []Revoked{{big.NewInt(7), now.Add(issued)}, {serial, now.Add(issued)}} }
	}
	for _, l := range []struct {
		file, code string
		make       func(...func(*CRL)) []byte
	}{
		{"root.crl", ".root.crl", q.m.RootCRL},
		{"pck-ca.crl", ".pck-ca.crl", func(edits ...func(*CRL)) []byte { return q.m.PCKCRL(q.m.CA, edits...) }},
	} {
		name, code := strings.TrimSuffix(l.file, ".crl")+"_crl", q.code(l.code)
		q.refuse(name+"/missing", "no CRL", code, func(m *Mutant) { m.drop(l.file) })
		q.bump(name+"/signature", l.file, code)
		for _, e := range []struct {
			name, change string
			edit         func(*CRL)
		}{
			{"signer", "signed by another key", func(c *CRL) { c.Signer = q.m.key("stray") }},
			{"issuer", "issued in another name", func(c *CRL) { c.Issuer = intelName("Intel Root") }},
			{"stale", "a next one should be there since a second", func(c *CRL) { c.NextUpdate = now.Add(-time.Second) }},
			{"future", "issued in a second", func(c *CRL) { c.ThisUpdate = now.Add(time.Second) }},
			{"endless", "it promises no next one", func(c *CRL) { c.NextUpdate = time.Time{} }},
		} {
			q.refuse(name+"/"+e.name, e.change, code, func(m *Mutant) { m.replace(l.file, l.make(e.edit)) })
		}
	}
	q.refuse("pck/revoked", "the CA's CRL has the PCK certificate", q.code(".pck.revoked"), func(m *Mutant) {
		m.replace("pck-ca.crl", q.m.PCKCRL(q.m.CA, revoke(pck)))
	})
	q.still("pck/others_revoked", "the CA's CRL has another certificate", func(m *Mutant) {
		m.replace("pck-ca.crl", q.m.PCKCRL(q.m.CA, revoke(big.NewInt(8))))
	})
	q.refuse("pck-ca/revoked", "the root's CRL has the PCK CA", q.code(".pck-ca.revoked"), func(m *Mutant) {
		m.replace("root.crl", q.m.RootCRL(revoke(parsed(q.m.Intel.CA(q.m.CA)).SerialNumber)))
	})
	q.refuse("tcb-signing/revoked", "the root's CRL has the TCB Signing certificate", q.code(".tcb-signing.revoked"), func(m *Mutant) {
		m.replace("root.crl", q.m.RootCRL(revoke(parsed(q.m.TCBSigning()).SerialNumber)))
	})
	q.refuse("pck-ca_crl/other_ca", "the CRL of the other PCK CA", q.code(".pck-ca.crl"), func(m *Mutant) {
		m.replace("pck-ca.crl", q.m.PCKCRL(ProcessorCA))
	})
}
