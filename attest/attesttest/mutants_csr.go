// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"path"
	"slices"
	"strings"
)

// requests are certification requests with evidence.
func (g *generator) requests() {
	g.shapes()
	g.envelope()
	g.keysAndNames()
	g.evidence()
}

// csr is a request, with what belongs to it that its shape has no room for.
func (g *generator) csr(name, shape string, collateral []Piece, edits ...func(*Request)) Mutant {
	der, _ := g.w.CSR(shape, edits...)
	return Mutant{Name: "csr-" + name, Change: "none: this one is in order", Kind: KindRequest, Input: der, Collateral: collateral}
}

// shapes are all the forms that evidence has had.
func (g *generator) shapes() {
	m := g.w.Machine()
	crl := Piece{"ark-milan.crl", g.w.AMD.Milan.CRL()}
	root, pck := Piece{"root.crl", m.RootCRL()}, Piece{"pck-ca.crl", m.PCKCRL(m.CA)}
	signer, info := Piece{"tcb-signing.crt", m.TCBSigning()}, Piece{"tcb-info.json", m.TCBInfo("SGX")}
	qe := Piece{"qe-identity.json", m.Intel.QEIdentity("QE")}
	missing := func(file, code string, also ...string) {
		g.refuse(strings.TrimSuffix(file, path.Ext(file))+"/missing", "the collateral that this shape has no room for is not there", code, func(m *Mutant) {
			m.drop(file)
			m.Also = also
		})
	}
	g.accept(g.csr("snp-v1", "snp-v1", []Piece{crl}))
	missing("ark-milan.crl", "snp.ark.crl")
	g.accept(g.csr("sgx-v1", "sgx-v1", []Piece{root, pck, signer, info, qe}))
	missing("pck-ca.crl", "sgx.pck-ca.crl")
	missing("root.crl", "sgx.root.crl")
	g.accept(g.csr("sgx-v2", "sgx-v2", []Piece{signer, info, qe}))
	missing("tcb-info.json", "sgx.tcb-info")
	missing("tcb-signing.crt", "sgx.tcb-signing.role", "sgx.tcb-info", "sgx.qe-identity")
	g.accept(g.csr("sgx-v3", "sgx-v3", []Piece{qe}))
	missing("qe-identity.json", "sgx.qe-identity")
	g.alterEvidence("sgx-v3", "tcb-info/signed", "a byte of the TCB info changed in its signed body", "sgx.tcb-info.signature", func(e *Evidence) {
		at := bytes.Index(e.TCBInfo.JSON, []byte(`"tcbEvaluationDataNumber":1`))
		e.TCBInfo.JSON = flipped(e.TCBInfo.JSON, at+len(`"tcbEvaluationDataNumber":1`))
	})
	g.alterEvidence("sgx-v3", "tcb-info/around", "a byte of the TCB info changed outside of its signed body", "csr.evidence.encoding", func(e *Evidence) {
		e.TCBInfo.JSON = flipped(e.TCBInfo.JSON, len(`{"tcbInfo`))
	})
	g.accept(g.csr("tdx-v4", "tdx-v1", nil))
	g.accept(g.csr("tdx-v5", "tdx-v1", nil, func(r *Request) { r.Version = 5 }))
	g.accept(g.csr("snp-turin", "snp-v2", nil, func(r *Request) { r.Chip = g.w.AMD.Turin.Chip("conformance") }))
	g.accept(g.csr("snp-v2", "snp-v2", nil))

	none := g.csr("none", "none", nil)
	g.refuseAlone(none, "no evidence of hardware, which the policy does not accept", "none.accepted")
	none = g.csr("none-rsa", "none", nil, func(r *Request) { r.Key = g.w.RSAKey("request") })
	g.refuseAlone(none, "no evidence of hardware, for an RSA key", "none.accepted")
}

// refuseAlone sends a mutant that differs from nothing that is accepted.
func (g *generator) refuseAlone(m Mutant, change, code string) {
	m.Change, m.Code, m.Roots, m.Time = change, code, g.w.rootPieces(), g.w.Now
	g.send(m)
}

// resend sends the base as a request that is made anew after edit.
func (g *generator) resend(shape, name, change, code string, edit func(*Request), also ...string) {
	g.refuse(name, change, code, func(m *Mutant) {
		m.Input, _ = g.w.CSR(shape, edit)
		m.Also = also
	})
}

// alterEvidence sends the base with other evidence in it; the request is signed anew.
func (g *generator) alterEvidence(shape, name, change, code string, edit func(*Evidence)) {
	g.refuse(name+"/altered", change, code, func(m *Mutant) {
		m.Input, _ = g.w.CSR(shape, func(r *Request) { r.Evidence = edit })
		m.Loose = true
	})
}

// evidenceValue sends the base with an evidence extension of another value.
func (g *generator) evidenceValue(shape, name, change, code string, edit func(der []byte) []byte) {
	g.resend(shape, name, change, code, func(r *Request) {
		r.Extensions = func(list []pkix.Extension) []pkix.Extension {
			list[0].Value = edit(list[0].Value)
			return list
		}
	})
}

func (g *generator) envelope() {
	r := g.w.NewRequest("snp-v2")
	evidence := []pkix.Extension{{Id: OIDEvidenceSNP, Value: r.evidence().DER()}}
	good := extensionRequest(evidence)
	raw := func(name, change, code string, der []byte) {
		g.refuse(name, change, code, func(m *Mutant) { m.Input = der })
	}
	whole := g.base.Input
	raw("encoding/trailing", "a byte after the request", "csr.encoding", append(slices.Clone(whole), 0))
	raw("encoding/short", "one byte shorter", "csr.encoding", whole[:len(whole)-1])
	raw("encoding/half", "half of it", "csr.encoding", whole[:len(whole)/2])
	raw("encoding/empty", "nothing", "csr.encoding", []byte{})
	raw("encoding/text", "PEM, not DER", "csr.encoding", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: whole}))
	raw("version/1", "of another version", "csr.version", request(1, nil, r.Key.Public(), r.Key, good))
	g.alter("signature", len(whole)-1, "csr.signature")
	raw("signature/other", "signed by another key", "csr.signature", request(0, nil, r.Key.Public(), g.w.Key("stray", elliptic.P384()), good))
	raw("algorithm/p521", "a key on P-521", "csr.algorithm", request(0, nil, g.w.Key("stray", elliptic.P521()).Public(), g.w.Key("stray", elliptic.P521()), good))
	password := sequence(oid(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}), set(utf8("secret")))
	raw("attributes/other", "a challenge password", "csr.attributes", request(0, nil, r.Key.Public(), r.Key, good, password))
	raw("attributes/garbage", "an attribute that is no list of extensions", "csr.attributes",
		request(0, nil, r.Key.Public(), r.Key, sequence(oid(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}), set(utf8("extensions")))))
	raw("evidence/none", "no attributes at all", "csr.evidence", request(0, nil, r.Key.Public(), r.Key))
	raw("evidence/no_extensions", "an empty list of extensions", "csr.evidence", request(0, nil, r.Key.Public(), r.Key, extensionRequest(nil)))
	list := func(name, change, code string, edit func([]pkix.Extension) []pkix.Extension) {
		raw(name, change, code, request(0, nil, r.Key.Public(), r.Key, extensionRequest(edit(slices.Clone(evidence)))))
	}
	list("evidence/twice", "the evidence twice", "csr.evidence.duplicate", func(l []pkix.Extension) []pkix.Extension { return append(l, l[0]) })
	list("evidence/two", "evidence of two technologies", "csr.evidence.duplicate", func(l []pkix.Extension) []pkix.Extension {
		return append(l, pkix.Extension{Id: OIDEvidenceNone})
	})
	list("evidence/critical", "a critical extension", "csr.evidence.critical", func(l []pkix.Extension) []pkix.Extension { l[0].Critical = true; return l })
	list("evidence/technology", "SNP evidence as SGX evidence", "csr.evidence.encoding", func(l []pkix.Extension) []pkix.Extension { l[0].Id = OIDEvidenceSGX; return l })
	list("extensions/ca", "it asks to be a CA", "csr.extensions", func(l []pkix.Extension) []pkix.Extension { return append(l, BasicConstraints(true, -1)) })
	list("extensions/usage", "it asks for a key usage", "csr.extensions", func(l []pkix.Extension) []pkix.Extension { return append(l, KeyUsage(certSign)) })
	g.still("subject", "with a subject", func(m *Mutant) { m.Input = request(0, CommonName("keep"), r.Key.Public(), r.Key, good) })
}

func (g *generator) keysAndNames() {
	digest := [32]byte{1, 2, 3}
	workload := WorkloadURI(digest)
	g.resend("snp-v2", "key/other", "evidence bound to another key", "binding.key", func(r *Request) {
		r.Report = func(rep *Report) { rep.ReportData = BindSNP(g.w.Key("stray", elliptic.P384()).Public()) }
	})
	g.resend("snp-v2", "key/tail", "something after the digest of the key", "binding.tail", func(r *Request) {
		r.Report = func(rep *Report) { rep.ReportData[48] = 1 }
	})
	g.resend("snp-v2", "key/sha256", "the digest that is for SGX", "binding.key", func(r *Request) {
		r.Report = func(rep *Report) { rep.ReportData = BindSGX(r.Key.Public()) }
	})
	g.resend("snp-v2", "key/p256", "a P-256 key with SNP evidence", "csr.key.technology", func(r *Request) { r.Key = g.w.Key("stray", elliptic.P256()) })
	for _, n := range []struct {
		name, change string
		names        pkix.Extension
	}{
		{"dns", "a DNS name", pkix.Extension{Id: OIDSubjectAltName, Value: sequence(contextOctets(2, []byte("example.com")))}},
		{"empty", "no names", pkix.Extension{Id: OIDSubjectAltName, Value: sequence()}},
		{"unknown", "a URI that nobody can check", URIs("spiffe://example.com/a")},
		{"twice", "two digests", URIs(workload, WorkloadURI([32]byte{9}))},
		{"short", "a digest of 31 bytes", URIs(workload[:len(workload)-2])},
	} {
		g.resend("snp-v2", "san/"+n.name, n.change, "csr.san", func(r *Request) {
			r.Extensions = func(l []pkix.Extension) []pkix.Extension { return append(l, n.names) }
		})
	}
	for _, t := range []struct {
		shape string
		clear func(*Request)
		other func(*Request)
	}{
		{
			"snp-v2", func(r *Request) { r.Report = func(rep *Report) { rep.HostData = [32]byte{} } },
			func(r *Request) { r.Report = func(rep *Report) { rep.HostData[0] ^= 1 } },
		},
		{
			"sgx-v3", func(r *Request) { r.SGX = func(q *SGXQuote) { q.Body.ConfigID = [64]byte{} } },
			func(r *Request) { r.SGX = func(q *SGXQuote) { q.Body.ConfigID[40] = 1 } },
		},
		{
			"tdx-v1", func(r *Request) { r.TDX = func(q *TDXQuote) { q.MRConfigID = [48]byte{} } },
			func(r *Request) { r.TDX = func(q *TDXQuote) { q.MRConfigID[47] = 1 } },
		},
	} {
		named := func(r *Request) { r.URIs = []string{workload} }
		var collateral []Piece
		if t.shape == "sgx-v3" {
			collateral = []Piece{{"qe-identity.json", g.w.Intel.QEIdentity("QE")}}
		}
		g.accept(g.csr("workload-"+t.shape, t.shape, collateral, named))
		g.resend(t.shape, "unbound", "launched for no workload", "binding.workload", func(r *Request) { named(r); t.clear(r) })
		g.resend(t.shape, "other", "launched for something else", "binding.workload", func(r *Request) { named(r); t.other(r) })
	}
	g.resend("sgx-v3", "p384", "a P-384 key with SGX evidence", "csr.key.technology", func(r *Request) { r.Key = g.w.Key("stray", elliptic.P384()) })
}

// evidence is what is in the evidence extension.
func (g *generator) evidence() {
	const shape, malformed = "snp-v2", "csr.evidence.encoding"
	g.accept(g.csr("evidence", shape, nil))
	chip := g.w.Chip()
	g.evidenceValue(shape, "trailing", "a byte after the evidence", malformed, func(der []byte) []byte { return append(slices.Clone(der), 0) })
	g.evidenceValue(shape, "short", "one byte shorter", malformed, func(der []byte) []byte { return der[:len(der)-1] })
	g.evidenceValue(shape, "empty", "nothing", malformed, func([]byte) []byte { return nil })
	url := Published{}
	change := func(name, change, code string, edit func(*Evidence), also ...string) {
		g.resend(shape, name, change, code, func(r *Request) { r.Evidence = edit }, also...)
	}
	change("report/short", "a report that is one byte shorter", malformed, func(e *Evidence) { e.Report = e.Report[:ReportSize-1] })
	change("crl/missing", "no CRL", "snp.ark.crl", func(e *Evidence) { e.CRLs = nil })
	change("crl/genoa", "the CRL of another product line", "snp.ark.crl", func(e *Evidence) { e.CRLs = []Published{g.w.AMD.Genoa.Published()} })
	change("crl/garbage", "something that is not a CRL", malformed, func(e *Evidence) { url = e.CRLs[0]; url.CRL = sequence(); e.CRLs = []Published{url} })
	change("vcek/other", "the VCEK of another chip", "snp.vcek.chip_id", func(e *Evidence) { e.Endorsement = chip.Chip("other").Endorsement(chip.TCB) }, "snp.signature")
	g.evidenceValue(shape, "crl/url_printable", "a CRL's URL as PrintableString", malformed, func([]byte) []byte {
		e := g.w.NewRequest(shape).evidence()
		entry := sequence(printable(e.CRLs[0].URL), e.CRLs[0].CRL)
		return sequence(sequence(e.Endorsement, sequence(sequence(entry))), octets(e.Report))
	})
	g.evidenceValue(shape, "crl/list_short", "a list of CRLs that is cut short", malformed, func([]byte) []byte {
		e := g.w.NewRequest(shape).evidence()
		entry := sequence(utf8(e.CRLs[0].URL), e.CRLs[0].CRL[:40])
		return sequence(sequence(e.Endorsement, sequence(sequence(entry))), octets(e.Report))
	})
	g.still("crl/two", "the CRL of another product line too", func(m *Mutant) {
		m.Input, _ = g.w.CSR(shape, func(r *Request) {
			r.Evidence = func(e *Evidence) { e.CRLs = append([]Published{g.w.AMD.Genoa.Published()}, e.CRLs...) }
		})
	})
	g.still("crl/other_url", "the CRL under another URL", func(m *Mutant) {
		m.Input, _ = g.w.CSR(shape, func(r *Request) {
			r.Evidence = func(e *Evidence) { e.CRLs[0].URL = "https://mirror.example/crl" }
		})
	})
	g.alterEvidence(shape, "measurement", "a bit of MEASUREMENT changed after the chip signed", "snp.signature", func(e *Evidence) {
		e.Report = flipped(e.Report, 0x90)
	})
}
