// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// An EnclaveReport is the body of an SGX report: about the enclave that a quote
// is for, or about the quoting enclave. Intel SDM, REPORT.
type EnclaveReport struct {
	CPUSVN       [16]byte
	MiscSelect   uint32
	CET          byte
	ISVExtProdID [16]byte
	Attributes   uint64
	XFRM         uint64
	MREnclave    [32]byte
	MRSigner     [32]byte
	ConfigID     [64]byte
	ISVProdID    uint16
	ISVSVN       uint16
	ConfigSVN    uint16
	ISVFamilyID  [16]byte
	ReportData   [64]byte
}

// Bits of an enclave's attributes.
const (
	AttributeInit         = 1 << 0
	AttributeDebug        = 1 << 1
	AttributeMode64       = 1 << 2
	AttributeProvisionKey = 1 << 4
	AttributeEINITToken   = 1 << 5
	AttributeKSS          = 1 << 7
)

const enclaveReportSize = 384

func (r *EnclaveReport) encode() []byte {
	raw := make([]byte, enclaveReportSize)
	le := binary.LittleEndian
	copy(raw, r.CPUSVN[:])
	le.PutUint32(raw[16:], r.MiscSelect)
	raw[20] = r.CET
	copy(raw[32:], r.ISVExtProdID[:])
	le.PutUint64(raw[48:], r.Attributes)
	le.PutUint64(raw[56:], r.XFRM)
	copy(raw[64:], r.MREnclave[:])
	copy(raw[128:], r.MRSigner[:])
	copy(raw[192:], r.ConfigID[:])
	le.PutUint16(raw[256:], r.ISVProdID)
	le.PutUint16(raw[258:], r.ISVSVN)
	le.PutUint16(raw[260:], r.ConfigSVN)
	copy(raw[304:], r.ISVFamilyID[:])
	copy(raw[320:], r.ReportData[:])
	return raw
}

// A Quote is what SGX and TDX quotes have in common, before it is encoded.
type Quote struct {
	Version uint16
	KeyType uint16 // 2: ECDSA P-256
	TEEType uint32 // from version 4: 0x81 for TDX
	QESVN   uint16 // version 3
	PCESVN  uint16 // version 3
	Vendor  [16]byte
	User    [20]byte
	QE      EnclaveReport
	Auth    []byte // authentication data of the QE

	CertificationType uint16            // 5: Chain
	Chain             []byte            // PEM, as in the quote
	PCKKey            *ecdsa.PrivateKey // signs the QE's report
	Key               *ecdsa.PrivateKey // signs the quote; nil: the attestation key

	// PatchHeader, PatchBody and PatchQE change encoded parts before they are
	// signed; PatchQE runs after the QE's report data was set.
	PatchHeader, PatchBody, PatchQE func(raw []byte)
	// BoundData, if set, is the QE's report data in place of the right one.
	BoundData *[64]byte
	// Trailer follows the quote.
	Trailer []byte
}

var intelQE = [16]byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}

// An SGXQuote is an SGX quote of version 3, before it is encoded.
type SGXQuote struct {
	Quote
	Body EnclaveReport
}

// newQuote fills in what the machine's quoting enclave does.
func (m *Machine) newQuote(version uint16) Quote {
	q := Quote{
		Version: version, KeyType: 2, Vendor: intelQE, CertificationType: 5,
		Chain:  append(PEM(m.Chain()...), 0), // Intel's library ends it with a NUL
		QE:     EnclaveReport{CPUSVN: m.SVN, Attributes: AttributeInit | AttributeMode64 | AttributeProvisionKey, XFRM: 0xe7, ISVSVN: m.QESVN, ISVProdID: 1},
		PCKKey: m.Key(),
	}
	signer := qeSigner
	if version == 3 {
		q.QESVN, q.PCESVN = m.QESVN, m.PCESVN
	} else {
		signer, q.TEEType, q.QE.ISVSVN, q.QE.ISVProdID = tdqeSigner, 0x81, m.TDQESVN, 2
	}
	copy(q.QE.MRSigner[:], unhex(signer))
	m.world.bytes("qe/mrenclave/"+signer, q.QE.MREnclave[:])
	m.world.bytes("machine/"+m.Name+"/user", q.User[:16])
	for i := range byte(32) {
		q.Auth = append(q.Auth, i)
	}
	return q
}

// NewSGXQuote returns the quote that the machine makes of an ordinary enclave:
// not for debugging, 64 bits.
func (m *Machine) NewSGXQuote() *SGXQuote {
	q := &SGXQuote{Quote: m.newQuote(3)}
	q.Body = EnclaveReport{CPUSVN: m.SVN, Attributes: AttributeInit | AttributeMode64 | AttributeKSS, XFRM: 3}
	m.world.bytes("mrenclave", q.Body.MREnclave[:])
	m.world.bytes("mrsigner", q.Body.MRSigner[:])
	return q
}

// QuoteSGX returns a quote of an enclave on the machine.
func (m *Machine) QuoteSGX(edits ...func(*SGXQuote)) []byte {
	q := m.NewSGXQuote()
	for _, edit := range edits {
		edit(q)
	}
	return m.assemble(&q.Quote, q.Body.encode())
}

// A TDXQuote is a TDX quote of version 4 or 5, before it is encoded.
// Intel TDX DCAP Quoting Library API, appendix A.3 and A.4.
type TDXQuote struct {
	Quote
	BodyType       uint16 // version 5: 2 for TD 1.0, 3 for TD 1.5
	TEETCBSVN      [16]byte
	MRSEAM         [48]byte
	MRSignerSEAM   [48]byte
	SEAMAttributes uint64
	TDAttributes   uint64
	XFAM           uint64
	MRTD           [48]byte
	MRConfigID     [48]byte
	MROwner        [48]byte
	MROwnerConfig  [48]byte
	RTMR           [4][48]byte
	ReportData     [64]byte
	TEETCBSVN2     [16]byte // TD 1.5
	MRServiceTD    [48]byte // TD 1.5
}

// Bits of a TD's attributes.
const (
	TDDebug         = 1 << 0
	TDSEPTVEDisable = 1 << 28
	TDMigratable    = 1 << 29
)

// NewTDXQuote returns the quote that the machine makes of an ordinary TD, not
// for debugging: version 4, or version 5 of a TD 1.5.
func (m *Machine) NewTDXQuote(version uint16) *TDXQuote {
	q := &TDXQuote{Quote: m.newQuote(version), BodyType: 3, TEETCBSVN: m.TDXSVN, TEETCBSVN2: m.TDXSVN, TDAttributes: TDSEPTVEDisable, XFAM: 0x602e7}
	m.world.bytes("mrseam", q.MRSEAM[:])
	m.world.bytes("mrtd", q.MRTD[:])
	for i := range 3 {
		m.world.bytes("rtmr"+string(rune('0'+i)), q.RTMR[i][:])
	}
	return q
}

// QuoteTDX returns a quote of a TD on the machine.
func (m *Machine) QuoteTDX(version uint16, edits ...func(*TDXQuote)) []byte {
	q := m.NewTDXQuote(version)
	for _, edit := range edits {
		edit(q)
	}
	return m.assemble(&q.Quote, q.encode())
}

func (q *TDXQuote) encode() []byte {
	le := binary.LittleEndian
	body := slices.Concat(
		q.TEETCBSVN[:], q.MRSEAM[:], q.MRSignerSEAM[:], le.AppendUint64(nil, q.SEAMAttributes), le.AppendUint64(nil, q.TDAttributes),
		le.AppendUint64(nil, q.XFAM), q.MRTD[:], q.MRConfigID[:], q.MROwner[:], q.MROwnerConfig[:],
		q.RTMR[0][:], q.RTMR[1][:], q.RTMR[2][:], q.RTMR[3][:], q.ReportData[:],
	)
	if q.Version < 5 {
		return body
	}
	if q.BodyType == 3 {
		body = slices.Concat(body, q.TEETCBSVN2[:], q.MRServiceTD[:])
	}
	return slices.Concat(le.AppendUint16(nil, q.BodyType), le.AppendUint32(nil, uint32(len(body))), body)
}

func (q *Quote) header() []byte {
	raw := make([]byte, 48)
	le := binary.LittleEndian
	le.PutUint16(raw, q.Version)
	le.PutUint16(raw[2:], q.KeyType)
	le.PutUint32(raw[4:], q.TEEType)
	le.PutUint16(raw[8:], q.QESVN)
	le.PutUint16(raw[10:], q.PCESVN)
	copy(raw[12:], q.Vendor[:])
	copy(raw[28:], q.User[:])
	return raw
}

// AttestationKey returns the key that the machine's quoting enclave signs quotes with.
func (m *Machine) AttestationKey() *ecdsa.PrivateKey {
	return m.world.Key("attestation/"+m.Name, elliptic.P256())
}

// assemble signs header and body with the attestation key, and the QE's report
// on that key with the PCK, and puts all together.
func (m *Machine) assemble(q *Quote, body []byte) []byte {
	header := q.header()
	patch(q.PatchHeader, header)
	patch(q.PatchBody, body)
	signed := slices.Concat(header, body)
	key := m.AttestationKey()
	public := attestationPoint(key)
	if sum := sha256.Sum256(slices.Concat(public, q.Auth)); q.BoundData != nil {
		q.QE.ReportData = *q.BoundData
	} else {
		q.QE.ReportData = [64]byte(append(sum[:], make([]byte, 32)...))
	}
	qe := q.QE.encode()
	patch(q.PatchQE, qe)

	le := binary.LittleEndian
	certification := le.AppendUint32(le.AppendUint16(nil, q.CertificationType), uint32(len(q.Chain)))
	certified := slices.Concat(qe, signature(q.PCKKey, qe), le.AppendUint16(nil, uint16(len(q.Auth))), q.Auth, certification, q.Chain)
	if q.Version >= 4 { // wrapped once more
		certified = slices.Concat(le.AppendUint32(le.AppendUint16(nil, 6), uint32(len(certified))), certified)
	}
	signer := key
	if q.Key != nil {
		signer = q.Key
	}
	tail := slices.Concat(signature(signer, signed), public, certified)
	return slices.Concat(signed, le.AppendUint32(nil, uint32(len(tail))), tail, q.Trailer)
}

func patch(f func([]byte), raw []byte) {
	if f != nil {
		f(raw)
	}
}

// attestationPoint is the public key as quotes have it: x and y.
func attestationPoint(key *ecdsa.PrivateKey) []byte {
	raw, err := key.PublicKey.Bytes()
	if err != nil {
		panic("attesttest: bug: " + err.Error())
	}
	return raw[1:]
}

func signature(key *ecdsa.PrivateKey, message []byte) []byte {
	r, s := rawSign(key, message)
	return append(r, s...)
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic("attesttest: bug: " + err.Error())
	}
	return b
}
