// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"crypto"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"strings"
)

// Identifiers of the extensions that evidence travels in.
var (
	OIDEvidenceNone = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 58270, 1, 1}
	OIDEvidenceSGX  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 58270, 1, 2}
	OIDEvidenceSNP  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 58270, 1, 3}
	OIDEvidenceTDX  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 58270, 1, 4}
)

// Shapes are the forms that evidence in requests has had, by technology and age.
var Shapes = []string{"snp-v1", "snp-v2", "sgx-v1", "sgx-v2", "sgx-v3", "tdx-v1", "none"}

// OID returns the identifier of the extension for evidence of that shape.
func OID(shape string) asn1.ObjectIdentifier {
	switch shape[:strings.IndexByte(shape+"-", '-')] {
	case "snp":
		return OIDEvidenceSNP
	case "sgx":
		return OIDEvidenceSGX
	case "tdx":
		return OIDEvidenceTDX
	}
	return OIDEvidenceNone
}

// A Published is a revocation list and where it is published.
type Published struct {
	URL string
	CRL []byte
}

// list encodes revocation lists as requests carry them.
func list(crls []Published) []byte {
	var entries [][]byte
	for _, c := range crls {
		entries = append(entries, sequence(utf8(c.URL), c.CRL))
	}
	return sequence(sequence(entries...))
}

// Signed is a document of Intel's with the certificates of its signer.
type Signed struct {
	Chain [][]byte
	JSON  []byte
}

func (s *Signed) encode() []byte { return sequence(sequence(s.Chain...), octets(s.JSON)) }

// Evidence is what the evidence extension of a request holds, before it is encoded.
type Evidence struct {
	Shape       string
	Report      []byte // SNP report, or quote
	Endorsement []byte // SNP: VCEK or VLEK certificate
	CRLs        []Published
	TCBInfo     Signed // sgx-v3, tdx-v1
	QEIdentity  Signed // tdx-v1
}

// DER encodes e.
func (e *Evidence) DER() []byte {
	switch e.Shape {
	case "snp-v1":
		return sequence(e.Endorsement, octets(e.Report))
	case "snp-v2":
		return sequence(sequence(e.Endorsement, list(e.CRLs)), octets(e.Report))
	case "sgx-v1":
		return e.Report
	case "sgx-v2":
		return sequence(octets(e.Report), list(e.CRLs))
	case "sgx-v3":
		return sequence(octets(e.Report), list(e.CRLs), e.TCBInfo.encode())
	case "tdx-v1":
		return sequence(octets(e.Report), list(e.CRLs), e.TCBInfo.encode(), e.QEIdentity.encode())
	case "none":
		return nil
	}
	panic("attesttest: bug: unknown shape " + e.Shape)
}

// Published returns the revocation list of the chip's root key.
func (p *Product) Published(edits ...func(*CRL)) Published {
	return Published{p.url("vcek"), p.CRL(edits...)}
}

// Published returns the revocation lists of Intel.
func (in *Intel) Published() []Published {
	point := func(ca string) string { return strings.Replace(pckCRLPoint, "%s", strings.ToLower(ca), 1) }
	return []Published{
		{rootCRLPoint, in.RootCRL()}, {point(ProcessorCA), in.PCKCRL(ProcessorCA)}, {point(PlatformCA), in.PCKCRL(PlatformCA)},
	}
}

// A Request is a certification request with evidence, before it is encoded.
type Request struct {
	Shape   string
	Key     crypto.Signer // to be certified; P-384 for SNP and TDX, otherwise P-256
	Subject Name
	URIs    []string
	Chip    *Chip    // that makes SNP reports
	Machine *Machine // that makes SGX and TDX quotes
	Version uint16   // of TDX quotes: 4 or 5

	// Report, SGX and TDX change what is reported before it is signed, Evidence
	// what surrounds it, and Extensions the list of all that is asked for.
	Report     func(*Report)
	SGX        func(*SGXQuote)
	TDX        func(*TDXQuote)
	Evidence   func(*Evidence)
	Extensions func([]pkix.Extension) []pkix.Extension
	// Signer signs the request in place of Key.
	Signer crypto.Signer
}

// NewRequest returns a request of that shape from the world's default chip or machine.
func (w *World) NewRequest(shape string) *Request {
	r := &Request{Shape: shape, Chip: w.Chip(), Machine: w.Machine(), Version: 4}
	if tech := OID(shape); tech.Equal(OIDEvidenceSNP) || tech.Equal(OIDEvidenceTDX) {
		r.Key = w.Key("request/"+shape, elliptic.P384())
	} else {
		r.Key = w.Key("request/"+shape, elliptic.P256())
	}
	return r
}

// CSR returns a certification request of that shape, and the key it is for. The
// evidence is bound to the key, and to the workload if a URI names its digest.
func (w *World) CSR(shape string, edits ...func(*Request)) (der []byte, key crypto.Signer) {
	r := w.NewRequest(shape)
	for _, edit := range edits {
		edit(r)
	}
	return r.DER(), r.Key
}

// DER encodes and signs r.
func (r *Request) DER() []byte {
	list := []pkix.Extension{{Id: OID(r.Shape), Value: r.evidence().DER()}}
	if len(r.URIs) > 0 {
		list = append(list, URIs(r.URIs...))
	}
	if r.Extensions != nil {
		list = r.Extensions(list)
	}
	var attributes [][]byte
	if len(list) > 0 {
		attributes = append(attributes, extensionRequest(list))
	}
	signer := r.Signer
	if signer == nil {
		signer = r.Key
	}
	return request(0, r.Subject, r.Key.Public(), signer, attributes...)
}

// request is a PKCS#10 certification request, RFC 2986.
func request(version int64, subject Name, key crypto.PublicKey, signer crypto.Signer, attributes ...[]byte) []byte {
	return signed(signer, sequence(integer(version), subject.DER(), SPKI(key), explicit(0, attributes...)), true)
}

// extensionRequest is the attribute that asks for extensions.
func extensionRequest(list []pkix.Extension) []byte {
	return sequence(oid(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}), set(extensions(list)))
}

// URIs is an extension of alternative names that are URIs.
func URIs(uris ...string) pkix.Extension {
	var names [][]byte
	for _, u := range uris {
		names = append(names, contextOctets(6, []byte(u)))
	}
	return pkix.Extension{Id: OIDSubjectAltName, Value: sequence(names...)}
}

// Workload returns the digest in the first of the URIs that is the name of one
// (RFC 6920, SHA-256), or zeroes.
func Workload(uris []string) (digest [32]byte) {
	for _, u := range uris {
		if name, ok := strings.CutPrefix(u, "ni:///sha-256;"); ok {
			raw, _ := base64.RawURLEncoding.DecodeString(name)
			copy(digest[:], raw)
			break
		}
	}
	return digest
}

// WorkloadURI is the name of a workload's digest.
func WorkloadURI(digest [32]byte) string {
	return "ni:///sha-256;" + base64.RawURLEncoding.EncodeToString(digest[:])
}

// evidence is that of r, bound to its key and workload.
func (r *Request) evidence() *Evidence {
	workload := Workload(r.URIs)
	var e *Evidence
	switch tech := OID(r.Shape); {
	case tech.Equal(OIDEvidenceSNP):
		e = r.Chip.Evidence(r.Shape, BindSNP(r.Key.Public()), workload, r.Report)
	case tech.Equal(OIDEvidenceSGX):
		e = r.Machine.EvidenceSGX(r.Shape, BindSGX(r.Key.Public()), workload, r.SGX)
	case tech.Equal(OIDEvidenceTDX):
		e = r.Machine.EvidenceTDX(r.Version, BindTDX(r.Key.Public()), workload, r.TDX)
	default:
		e = &Evidence{Shape: r.Shape}
	}
	if r.Evidence != nil {
		r.Evidence(e)
	}
	return e
}

// BindSNP is the report data that binds an SNP report to a key.
func BindSNP(key crypto.PublicKey) (data [64]byte) {
	sum := sha512.Sum384(SPKI(key))
	copy(data[:], sum[:])
	return data
}

// BindTDX is the report data that binds a TDX quote to a key.
func BindTDX(key crypto.PublicKey) [64]byte { return BindSNP(key) }

// BindSGX is the report data that binds an SGX quote to a key.
func BindSGX(key crypto.PublicKey) (data [64]byte) {
	sum := sha256.Sum256(SPKI(key))
	copy(data[:], sum[:])
	return data
}

// Evidence returns a report of the chip with what belongs to it, of shape snp-v1
// or snp-v2. The edit may be nil.
func (c *Chip) Evidence(shape string, reportData [64]byte, hostData [32]byte, edit func(*Report)) *Evidence {
	var tcb TCB
	report := c.SignReport(func(r *Report) {
		r.ReportData, r.HostData = reportData, hostData
		if edit != nil {
			edit(r)
		}
		tcb = r.ReportedTCB
	})
	return &Evidence{Shape: shape, Report: report, Endorsement: c.Endorsement(tcb), CRLs: []Published{c.Published()}}
}

// EvidenceSGX returns a quote of an enclave on the machine with what belongs to
// it, of shape sgx-v1, sgx-v2 or sgx-v3. The edit may be nil.
func (m *Machine) EvidenceSGX(shape string, reportData [64]byte, workload [32]byte, edit func(*SGXQuote)) *Evidence {
	quote := m.QuoteSGX(func(q *SGXQuote) {
		q.Body.ReportData = reportData
		copy(q.Body.ConfigID[:], workload[:])
		if edit != nil {
			edit(q)
		}
	})
	e := &Evidence{Shape: shape, Report: quote}
	m.surround(e, "SGX", "QE")
	return e
}

// EvidenceTDX returns a quote of a TD on the machine with what belongs to it, of
// shape tdx-v1. The edit may be nil.
func (m *Machine) EvidenceTDX(version uint16, reportData [64]byte, workload [32]byte, edit func(*TDXQuote)) *Evidence {
	quote := m.QuoteTDX(version, func(q *TDXQuote) {
		q.ReportData = reportData
		copy(q.MRConfigID[:], workload[:])
		if edit != nil {
			edit(q)
		}
	})
	e := &Evidence{Shape: "tdx-v1", Report: quote}
	m.surround(e, "TDX", "TD_QE")
	return e
}

func (m *Machine) surround(e *Evidence, info, qe string) {
	chain := [][]byte{m.TCBSigning(), m.Root()}
	e.CRLs = m.Published()
	e.TCBInfo = Signed{chain, m.TCBInfo(info)}
	e.QEIdentity = Signed{chain, m.Intel.QEIdentity(qe)}
}

// SNPEvidence is a report of the world's default chip as the value of an evidence
// extension, with all that is needed to verify it but the root.
func (w *World) SNPEvidence(reportData [64]byte, hostData [32]byte) []byte {
	return w.Chip().Evidence("snp-v2", reportData, hostData, nil).DER()
}

// SGXEvidence is a quote of the world's default machine as the value of an
// evidence extension. The shape has no room for the QE identity, which a verifier
// must have from [World.Collateral].
func (w *World) SGXEvidence(reportData [64]byte, workload [32]byte) []byte {
	return w.Machine().EvidenceSGX("sgx-v3", reportData, workload, nil).DER()
}

// TDXEvidence is a quote of the world's default machine as the value of an
// evidence extension, with all that is needed to verify it but the root.
func (w *World) TDXEvidence(reportData [64]byte, workload [32]byte) []byte {
	return w.Machine().EvidenceTDX(4, reportData, workload, nil).DER()
}
