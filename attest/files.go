// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/sgx"
	"enarx.dev/enarx/attest/snp"
	"enarx.dev/enarx/attest/tdx"
)

// maxFile bounds a file of evidence or collateral.
const maxFile = 4 << 20

// maxBundle is how many requests a bundle that is recognised as one may have.
const maxBundle = 1 << 10

// ErrUnreadable is wrapped by the errors of [Recognise]: a file is nothing that
// evidence or collateral comes as.
var ErrUnreadable = errors.New("not evidence or collateral of a known kind")

// ErrTwoEvidences is returned for files that hold more than one piece of
// evidence.
var ErrTwoEvidences = errors.New("a second piece of evidence")

// File is a file by its name, which only messages use.
type File struct {
	Name string
	Data []byte
}

// Found says what a file was taken for.
type Found struct{ Name, What string }

// Bundle is what was found in files.
type Bundle struct {
	Evidence   *Evidence     // nil if there was none
	Request    *Request      // that Evidence came in; nil if it did not come in one
	Refused    *RequestError // a request that is refused before its evidence is looked at
	Issued     *Issued       // a certificate with an attestation result, if there was one
	Collateral Collateral
	Found      []Found

	memo *pki.Memo
}

// Issued is a certificate that carries an attestation result.
type Issued struct {
	Certificate *x509.Certificate
	Type        string // media type of Result
	Result      []byte
}

// Recognise reads files by their contents: requests, reports, quotes and
// certificates with results; certificates, CRLs, TCB infos, QE identities and
// bundles of these; DER, PEM, JSON, CBOR, or hexadecimal digits of any of them.
func Recognise(files []File, memo *pki.Memo) (*Bundle, error) {
	b := &Bundle{memo: memo}
	for _, f := range files {
		if err := b.Add(f); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// NewBundle returns an empty bundle for [Bundle.Add].
func NewBundle(memo *pki.Memo) *Bundle { return &Bundle{memo: memo} }

// Add reads one more file.
func (b *Bundle) Add(f File) error {
	if len(f.Data) > maxFile {
		return fmt.Errorf("%s: %w: %d bytes, more than %d", f.Name, ErrUnreadable, len(f.Data), maxFile)
	}
	what, err := b.read(f.Data)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	b.Found = append(b.Found, Found{f.Name, what})
	return nil
}

func unreadable(format string, args ...any) (string, error) {
	return "", fmt.Errorf("%w: %s", ErrUnreadable, fmt.Sprintf(format, args...))
}

// read reads text, or what the text spells, or else binary.
func (b *Bundle) read(data []byte) (what string, err error) {
	text := bytes.TrimSpace(data)
	switch {
	case len(text) == 0:
		return unreadable("empty")
	case bytes.HasPrefix(text, []byte("-----BEGIN ")):
		return b.readPEM(text)
	case text[0] == '{':
		return b.readJSON(text)
	}
	if raw, ok := fromHex(text); ok {
		what, err = b.readBinary(raw)
		return "hexadecimal digits of " + what, err
	}
	return b.readBinary(data)
}

// fromHex decodes text of nothing but hexadecimal digits and white space.
func fromHex(text []byte) ([]byte, bool) {
	digits := bytes.Join(bytes.Fields(text), nil)
	digits = bytes.TrimPrefix(digits, []byte("0x"))
	if len(digits) < 32 {
		return nil, false
	}
	raw := make([]byte, hex.DecodedLen(len(digits)))
	_, err := hex.Decode(raw, digits)
	return raw, err == nil
}

func (b *Bundle) readPEM(text []byte) (string, error) {
	var kinds []string
	rest := text
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		var what string
		var err error
		switch block.Type {
		case "CERTIFICATE", "X509 CRL", "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
			what, err = b.readDER(block.Bytes)
		default:
			return unreadable("PEM of a %.40q", block.Type)
		}
		if err != nil {
			return "", err
		}
		kinds = append(kinds, what)
	}
	if len(kinds) == 0 {
		return unreadable("PEM without a whole block")
	}
	if left := bytes.Trim(rest, "\x00 \t\r\n"); len(left) > 0 {
		return unreadable("%d bytes after the last PEM block", len(left))
	}
	return "PEM: " + count(kinds), nil
}

// count joins what was found: "3 × certificate, CRL".
func count(kinds []string) string {
	var parts []string
	for i := 0; i < len(kinds); {
		n := i
		for n < len(kinds) && kinds[n] == kinds[i] {
			n++
		}
		part := kinds[i]
		if n-i > 1 {
			part = fmt.Sprintf("%d × %s", n-i, part)
		}
		parts = append(parts, part)
		i = n
	}
	return strings.Join(parts, ", ")
}

// evidence takes a piece of evidence, of which there may be one.
func (b *Bundle) evidence(ev *Evidence, what string) (string, error) {
	if b.Evidence != nil || b.Refused != nil {
		return "", fmt.Errorf("%w: %s", ErrTwoEvidences, what)
	}
	b.Evidence = ev
	return what, nil
}

func (b *Bundle) bare(t Technology, raw []byte, what string) (string, error) {
	return b.evidence(&Evidence{Technology: t, Report: raw}, what)
}

// headerHCL is what Azure's paravisor puts before a report, AttestationReport
// of the host compatibility layer.
const headerHCL = 32

// report takes a report or quote with nothing around it. It is known if raw
// begins like one.
func (b *Bundle) report(raw []byte) (what string, known bool, err error) {
	switch {
	case isReport(raw):
		what, err = b.bare(SNP, raw, "SNP report")
	case sgx.IsQuote(raw):
		what, err = b.bare(SGX, raw, "SGX quote")
	case tdx.IsQuote(raw):
		what, err = b.bare(TDX, raw, "TDX quote")
	case bytes.HasPrefix(raw, []byte("HCLA")):
		if len(raw) < headerHCL+snp.ReportSize || !isReport(raw[headerHCL:][:snp.ReportSize]) {
			what, err = unreadable("an Azure HCL report without an SNP report in it")
		} else {
			what, err = b.bare(SNP, raw[headerHCL:][:snp.ReportSize], "Azure HCL report with an SNP report")
		}
	default:
		return "", false, nil
	}
	return what, true, err
}

func (b *Bundle) readBinary(raw []byte) (string, error) {
	if what, known, err := b.report(raw); known {
		return what, err
	}
	switch {
	case raw[0] == 0x30:
		return b.readDER(raw)
	case raw[0]>>5 == 5:
		return b.readCBOR(raw)
	case bytes.HasPrefix(raw, []byte{0xd9, 0x01, 0x8f}):
		return unreadable("an Arm CCA token: there is no verifier for it here")
	}
	return unreadable("%d bytes beginning with %x", len(raw), raw[:min(len(raw), 8)])
}

// isReport reports whether raw has the size of an SNP report and a version
// number where that has it.
func isReport(raw []byte) bool {
	if len(raw) != snp.ReportSize {
		return false
	}
	version := binary.LittleEndian.Uint32(raw)
	return version >= 1 && version < 0x100
}

// readDER reads one of the many things that are a SEQUENCE.
func (b *Bundle) readDER(raw []byte) (string, error) {
	if isRequest(raw) {
		return b.request(raw)
	}
	if isCertificate(raw) { // or a CRL
		if crl, err := b.memo.CRL(raw); err == nil {
			b.Collateral.CRLs = append(b.Collateral.CRLs, crl)
			return "CRL of " + crl.Issuer.CommonName, nil
		}
		return b.certificate(raw)
	}
	if all, err := ParseCRLList(raw); err == nil && len(all) > 0 {
		for i, e := range all {
			crl, err := b.memo.CRL(e.DER)
			if err != nil {
				return unreadable("entry %d of a list of CRLs: %v", i, err)
			}
			b.Collateral.CRLs = append(b.Collateral.CRLs, crl)
		}
		return fmt.Sprintf("list of %d CRLs", len(all)), nil
	}
	if all, err := ParseRequests(raw, maxBundle); err == nil && len(all) > 0 && isRequest(all[0]) {
		return unreadable("a bundle of %d requests: give them one by one", len(all))
	}
	if all, ok := b.path(raw); ok {
		for _, c := range all {
			if _, err := b.certificate(c); err != nil {
				return "", err
			}
		}
		return fmt.Sprintf("path of %d certificates", len(all)), nil
	}
	var tcb Evidence // of upstream's cache of an SGX host
	r := &reader{String: raw, memo: b.memo}
	tcb.readTCB(r)
	if r.done(r, "TCB info"); r.err == nil {
		b.Collateral = *b.Collateral.Merge(&tcb.Collateral)
		return "TCB info with its signing chain", nil
	}
	for _, t := range []Technology{SNP, TDX, SGX} {
		if ev, err := ParseEvidence(t, raw, b.memo); err == nil {
			return b.evidence(ev, "evidence in the shape "+ev.Shape)
		}
	}
	return unreadable("DER that is no request, certificate, CRL, list of these or evidence")
}

// path splits a SEQUENCE OF Certificate.
func (b *Bundle) path(raw []byte) (all [][]byte, ok bool) {
	r := &reader{String: raw}
	list := r.within("PkiPath", der.SEQUENCE)
	for list.err == nil && !list.String.Empty() && len(all) < maxCertificates {
		c := list.element("Certificate", der.SEQUENCE)
		if !isCertificate(c) {
			return nil, false
		}
		all = append(all, c)
	}
	list.done(r, "PkiPath")
	r.done(r, "PkiPath")
	return all, r.err == nil && len(all) > 0
}

// isRequest reports whether raw has the form of a PKCS#10 request: an integer,
// a name and a key, and perhaps attributes.
func isRequest(raw []byte) bool {
	s := cryptobyte.String(raw)
	var outer, info cryptobyte.String
	attributes := der.Tag(0).Constructed().ContextSpecific()
	return s.ReadASN1(&outer, der.SEQUENCE) && outer.ReadASN1(&info, der.SEQUENCE) && info.SkipASN1(der.INTEGER) &&
		info.SkipASN1(der.SEQUENCE) && info.SkipASN1(der.SEQUENCE) && (info.Empty() || info.PeekASN1Tag(attributes))
}

func (b *Bundle) request(raw []byte) (string, error) {
	req, err := ParseRequest(raw, b.memo)
	if refused, ok := errors.AsType[*RequestError](err); ok {
		if b.Evidence != nil || b.Refused != nil {
			return "", fmt.Errorf("%w: certificate request", ErrTwoEvidences)
		}
		b.Refused = refused
		return "certificate request that is refused", nil
	}
	b.Request = req
	return b.evidence(req.Evidence, "certificate request with evidence in the shape "+req.Evidence.Shape)
}

// certificate takes a certificate: an issued one if it carries evidence or a
// result, else collateral.
func (b *Bundle) certificate(raw []byte) (string, error) {
	c, err := b.memo.Certificate(raw)
	if err != nil {
		return unreadable("certificate: %v", err)
	}
	for _, e := range c.Extensions {
		if e.Id.Equal(OIDCMW) && b.Issued == nil {
			kind, result, err := ParseCMW(e)
			if err != nil {
				return unreadable("certificate of %s: %v", c.Subject, err)
			}
			b.Issued = &Issued{c, kind, result}
			return "certificate with an attestation result", nil
		}
		if t, ok := technologyOf(e.Id); ok {
			ev, err := ParseEvidence(t, e.Value, b.memo)
			if err != nil {
				return unreadable("certificate of %s: %v", c.Subject, err)
			}
			ev.Key = c.RawSubjectPublicKeyInfo
			return b.evidence(ev, "certificate with evidence in the shape "+ev.Shape)
		}
	}
	b.Collateral.Certificates = append(b.Collateral.Certificates, c)
	return "certificate", nil
}

// signed takes a TCB info or a QE identity.
func (b *Bundle) signed(raw []byte, isTCB bool) (string, error) {
	if isTCB {
		info, err := dcap.RememberTCBInfo(b.memo, raw)
		if err != nil {
			return unreadable("%v", err)
		}
		b.Collateral.TCBInfos = append(b.Collateral.TCBInfos, info)
		return info.ID + " TCB info for " + hex.EncodeToString(info.FMSPC[:]), nil
	}
	id, err := dcap.RememberQEIdentity(b.memo, raw)
	if err != nil {
		return unreadable("%v", err)
	}
	b.Collateral.QEIdentities = append(b.Collateral.QEIdentities, id)
	return id.ID + " identity", nil
}
