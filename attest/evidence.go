// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/snp"
)

// ErrShape is wrapped by the errors of [ParseEvidence]: the bytes are in none
// of the shapes that evidence of that technology has had.
var ErrShape = errors.New("attest: malformed evidence")

// technologyOf returns whose extension that is.
func technologyOf(oid asn1.ObjectIdentifier) (Technology, bool) {
	switch {
	case oid.Equal(OIDSNP):
		return SNP, true
	case oid.Equal(OIDSGX):
		return SGX, true
	case oid.Equal(OIDTDX):
		return TDX, true
	case oid.Equal(OIDNone):
		return None, true
	}
	return "", false
}

// OID is the extension that carries evidence of t.
func (t Technology) OID() asn1.ObjectIdentifier {
	switch t {
	case SNP:
		return OIDSNP
	case SGX:
		return OIDSGX
	case TDX:
		return OIDTDX
	}
	return OIDNone
}

// ParseEvidence reads the value of the extension of that technology, in any
// shape it has had. It parses; it verifies nothing. Certificates, CRLs and TCB
// infos that memo knows are not parsed again.
func ParseEvidence(t Technology, value []byte, memo *pki.Memo) (*Evidence, error) {
	if len(value) > maxEvidence {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrShape, len(value), maxEvidence)
	}
	ev := &Evidence{Technology: t}
	r := &reader{String: value, memo: memo}
	switch t {
	case SNP:
		ev.readSNP(r)
	case SGX:
		ev.readSGX(r)
	case TDX:
		ev.readTDX(r)
	case None:
		ev.Shape = ShapeNone
	default:
		return nil, fmt.Errorf("%w: unknown technology %.16q", ErrShape, string(t))
	}
	r.done(r, "evidence")
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShape, r.err)
	}
	return ev, nil
}

// readSNP reads {{vcek, crls}, report}, or {vcek, report}. A certificate's
// third element is a BIT STRING; {vcek, crls} has two elements.
func (ev *Evidence) readSNP(r *reader) {
	outer := r.within("SNP evidence", der.SEQUENCE)
	var vcek *x509.Certificate
	if isCertificate(outer.String) {
		ev.Shape = ShapeSNPv1
		vcek = outer.certificate("VCEK certificate")
	} else {
		ev.Shape = ShapeSNPv2
		certs := outer.within("SNP certificates", der.SEQUENCE)
		vcek = certs.certificate("VCEK certificate")
		ev.Collateral.CRLs = certs.crls("SNP CRLs")
		certs.done(outer, "SNP certificates")
	}
	ev.Report = outer.octets("SNP report", maxReport)
	if outer.err == nil && len(ev.Report) != snp.ReportSize {
		outer.fail("SNP report: %d bytes, not %d", len(ev.Report), snp.ReportSize)
	}
	outer.done(r, "SNP evidence")
	ev.Collateral.Certificates = []*x509.Certificate{vcek}
}

// isCertificate reports whether the first element of s has a certificate's form.
func isCertificate(s cryptobyte.String) bool {
	var first, part cryptobyte.String
	return s.ReadASN1(&first, der.SEQUENCE) && first.ReadASN1(&part, der.SEQUENCE) &&
		first.ReadASN1(&part, der.SEQUENCE) && first.ReadASN1(&part, der.BIT_STRING) && first.Empty()
}

// readSGX reads {quote, crls, tcb}, {quote, crls}, or the quote itself.
func (ev *Evidence) readSGX(r *reader) {
	if bytes.HasPrefix(r.String, []byte{3, 0, 2, 0}) {
		ev.Shape = ShapeSGXv1
		if len(r.String) > maxReport {
			r.fail("SGX quote: %d bytes, more than %d", len(r.String), maxReport)
		}
		ev.Report, r.String = r.String, nil
		return
	}
	outer := r.within("SGX evidence", der.SEQUENCE)
	ev.Report = outer.octets("SGX quote", maxReport)
	ev.Collateral.CRLs = outer.crls("SGX CRLs")
	ev.Shape = ShapeSGXv2
	if !outer.String.Empty() {
		ev.Shape = ShapeSGXv3
		ev.readTCB(outer)
	}
	outer.done(r, "SGX evidence")
}

// readTDX reads {quote, crls, tcb, qe}.
func (ev *Evidence) readTDX(r *reader) {
	ev.Shape = ShapeTDXv1
	outer := r.within("TDX evidence", der.SEQUENCE)
	ev.Report = outer.octets("TDX quote", maxReport)
	ev.Collateral.CRLs = outer.crls("TDX CRLs")
	ev.readTCB(outer)
	qe := outer.within("QE identity", der.SEQUENCE)
	signers := qe.certificates("QE identity signing chain")
	body := qe.octets("QE identity", maxEvidence)
	qe.done(outer, "QE identity")
	if outer.err == nil {
		id, err := dcap.RememberQEIdentity(r.memo, body)
		if err != nil {
			outer.fail("QE identity: %w", err)
		} else {
			ev.Collateral.QEIdentities = []*dcap.QEIdentity{id}
		}
	}
	outer.done(r, "TDX evidence")
	for _, c := range signers {
		if !slices.ContainsFunc(ev.Collateral.Certificates, c.Equal) {
			ev.Collateral.Certificates = append(ev.Collateral.Certificates, c)
		}
	}
}

// readTCB reads {signingChain, tcbInfo}.
func (ev *Evidence) readTCB(r *reader) {
	tcb := r.within("TCB info", der.SEQUENCE)
	ev.Collateral.Certificates = tcb.certificates("TCB info signing chain")
	body := tcb.octets("TCB info", maxEvidence)
	tcb.done(r, "TCB info")
	if r.err != nil {
		return
	}
	info, err := dcap.RememberTCBInfo(r.memo, body)
	if err != nil {
		r.fail("TCB info: %w", err)
		return
	}
	ev.Collateral.TCBInfos = []*dcap.TCBInfo{info}
}

// Extension returns ev as it goes into a request.
func (ev *Evidence) Extension() (pkix.Extension, error) {
	value, err := ev.Marshal()
	return pkix.Extension{Id: ev.Technology.OID(), Value: value}, err
}

// Marshal writes ev in the newest shape of its technology, which wants a VCEK
// for SNP, a TCB info for SGX and a QE identity too for TDX.
func (ev *Evidence) Marshal() ([]byte, error) {
	b := cryptobyte.NewBuilder(nil)
	c := &ev.Collateral
	switch ev.Technology {
	case None:
		return []byte{}, nil
	case SNP:
		if len(c.Certificates) == 0 {
			return nil, fmt.Errorf("%w: no VCEK certificate", ErrShape)
		}
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(c.Certificates[0].Raw)
				addCRLList(b, entries(c.CRLs))
			})
			b.AddASN1OctetString(ev.Report)
		})
	case SGX, TDX:
		if len(c.TCBInfos) == 0 || ev.Technology == TDX && len(c.QEIdentities) == 0 {
			return nil, fmt.Errorf("%w: no TCB info or QE identity", ErrShape)
		}
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1OctetString(ev.Report)
			addCRLList(b, entries(c.CRLs))
			addSigned(b, c.Certificates, signedJSON("tcbInfo", c.TCBInfos[0].Body, c.TCBInfos[0].Signature))
			if ev.Technology == TDX {
				addSigned(b, c.Certificates, signedJSON("enclaveIdentity", c.QEIdentities[0].Body, c.QEIdentities[0].Signature))
			}
		})
	default:
		return nil, fmt.Errorf("%w: unknown technology %.16q", ErrShape, string(ev.Technology))
	}
	return b.Bytes()
}

// addSigned writes SEQUENCE { signingChain SEQUENCE OF Certificate, OCTET STRING }.
func addSigned(b *cryptobyte.Builder, chain []*x509.Certificate, body []byte) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, c := range chain {
				b.AddBytes(c.Raw)
			}
		})
		b.AddASN1OctetString(body)
	})
}

// signedJSON writes what Intel's service answers, to the byte.
func signedJSON(name string, body, signature []byte) []byte {
	return fmt.Appendf(nil, `{"%s":%s,"signature":"%x"}`, name, body, signature)
}

// entries names for each CRL the URL that upstream looks it up by.
func entries(crls []*pki.CRL) []CRLEntry {
	all := make([]CRLEntry, len(crls))
	for i, c := range crls {
		all[i] = CRLEntry{CRLURL(c.Issuer.CommonName), c.Raw}
	}
	return all
}

// CRLURL returns where the vendor publishes the CRL of the issuer with that
// common name, or "".
func CRLURL(issuer string) string {
	const (
		kds = "https://kdsintf.amd.com/vcek/v1/"
		pcs = "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca="
	)
	switch issuer {
	case "ARK-Milan", "ARK-Genoa", "ARK-Turin":
		return kds + issuer[len("ARK-"):] + "/crl"
	case "Intel SGX Root CA":
		return "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
	case "Intel SGX PCK Processor CA":
		return pcs + "processor&encoding=der"
	case "Intel SGX PCK Platform CA":
		return pcs + "platform&encoding=der"
	}
	return ""
}
