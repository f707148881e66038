// SPDX-License-Identifier: Apache-2.0

package dcap_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/attest/sgx"
	"enarx.dev/enarx/attest/tdx"
)

// A forge makes quotes with keys of its own, so that one thing at a time can be
// wrong under signatures that are right. Everything may be changed before build.
type forge struct {
	tdx    bool
	signed []byte // header and body
	qe     []byte // the quoting enclave's report; its report data is filled in
	auth   []byte
	outer  uint16 // type of certification data that nests the rest, for TDX
	inner  uint16 // type of certification data

	components                          [16]byte
	extension                           func() []byte
	root, ca, leaf, signer              *x509.Certificate // templates
	rootKey, caKey, leafKey, leafSigner *ecdsa.PrivateKey
	signerKey, attestationKey, qeKey    *ecdsa.PrivateKey

	info, identity string // what is signed
	revokedByRoot  []int64
	revokedByCA    []int64
	chain          func(pem []byte) []byte
	quote          func(quote []byte) []byte
	collateral     func(c *dcap.Collateral)
	now            time.Time
}

var (
	day   = 24 * time.Hour
	epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
)

func key() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func newForge(kind string) *forge {
	f := &forge{
		outer: 6, inner: 5, auth: []byte("authentication data"), now: epoch,
		rootKey: key(), caKey: key(), leafKey: key(), signerKey: key(), attestationKey: key(),
		chain: same, quote: same, collateral: func(*dcap.Collateral) {}, components: [16]byte{5, 5, 2, 2, 0, 1},
	}
	f.root = template(1, "Intel SGX Root CA", true)
	f.ca = template(2, "Intel SGX PCK Platform CA", true)
	f.leaf = template(3, "Intel SGX PCK Certificate", false)
	f.signer = template(4, "Intel SGX TCB Signing", false)
	f.leafSigner, f.qeKey = f.caKey, f.leafKey
	f.extension = f.sgxExtension

	header := make([]byte, 48)
	vendor, _ := hex.DecodeString("939a7233f79c4ca9940a0db3957f0607")
	copy(header[12:], vendor)
	header[2] = 2
	f.qe = make([]byte, 384)
	f.qe[48] = 0x11 // INIT, PROVISIONKEY
	copy(f.qe[128:], must(hex.DecodeString(qeSigner)))
	f.qe[256], f.qe[258] = 1, 6
	f.identity = identityJSON
	f.info = infoJSON
	if kind == "sgx" {
		header[0] = 3
		body := make([]byte, 384)
		body[48] = 5 // INIT, MODE64BIT
		f.signed = append(header, body...)
		return f
	}
	f.tdx = true
	header[0], header[4] = 4, 0x81
	body := make([]byte, 584)
	copy(body, []byte{5, 1, 7})
	body[123] = 0x10 // SEPT_VE_DISABLE
	if kind == "tdx5" {
		header[0] = 5
		header = append(header, 3, 0, 0x88, 2, 0, 0)
		body = append(body, make([]byte, 64)...)
		copy(body[584:], []byte{5, 1, 7})
	}
	f.signed = append(header, body...)
	copy(f.qe[128:], must(hex.DecodeString(tdqeSigner)))
	f.qe[256] = 2
	f.identity = strings.NewReplacer(`"QE"`, `"TD_QE"`, qeSigner, tdqeSigner, `"isvprodid":1`, `"isvprodid":2`).Replace(f.identity)
	f.info = strings.Replace(f.info, `"SGX"`, `"TDX"`, 1)
	return f
}

func same(b []byte) []byte { return b }

// Who signs Intel's quoting enclaves.
const (
	qeSigner   = "8C4F5775D796503E96137F77C68A829A0056AC8DED70140B081B094490C57BFF"
	tdqeSigner = "DC9E2A7C6F948F17474E34A7FC43ED030F7C1563F1BABDDF6340C82E0E54A8C5"
)

const identityJSON = `{"id":"QE","version":2,"issueDate":"2029-12-15T00:00:00Z","nextUpdate":"2030-01-15T00:00:00Z",` +
	`"tcbEvaluationDataNumber":17,"miscselect":"00000000","miscselectMask":"FFFFFFFF","attributes":"11000000000000000000000000000000",` +
	`"attributesMask":"FBFFFFFFFFFFFFFF0000000000000000","mrsigner":"` + qeSigner + `","isvprodid":1,` +
	`"tcbLevels":[{"tcb":{"isvsvn":6},"tcbDate":"2029-01-01T00:00:00Z","tcbStatus":"UpToDate"},` +
	`{"tcb":{"isvsvn":4},"tcbDate":"2028-01-01T00:00:00Z","tcbStatus":"OutOfDate","advisoryIDs":["INTEL-SA-00001"]}]}`

var infoJSON = strings.NewReplacer("ZERO48", strings.Repeat("0", 96),
	"COMPONENTS", `"sgxtcbcomponents":[`+svns(5, 5, 2, 2, 0, 1)+`],"tdxtcbcomponents":[`+svns(3, 0, 7)+`],"pcesvn":13`,
	"OLDER", `"sgxtcbcomponents":[`+svns(4, 5, 2, 2, 0, 1)+`],"tdxtcbcomponents":[`+svns(2, 0, 6)+`],"pcesvn":11`,
).Replace(`{"id":"SGX","version":3,"issueDate":"2029-12-15T00:00:00Z","nextUpdate":"2030-01-15T00:00:00Z","fmspc":"00606a000000",` +
	`"pceId":"0000","tcbType":0,"tcbEvaluationDataNumber":17,"tdxModule":{"mrsigner":"ZERO48","attributes":"0000000000000000",` +
	`"attributesMask":"FFFFFFFFFFFFFFFF"},"tdxModuleIdentities":[{"id":"TDX_01","mrsigner":"ZERO48","attributes":"0000000000000000",` +
	`"attributesMask":"FFFFFFFFFFFFFFFF","tcbLevels":[{"tcb":{"isvsvn":4},"tcbDate":"2029-01-01T00:00:00Z","tcbStatus":"UpToDate"},` +
	`{"tcb":{"isvsvn":2},"tcbDate":"2028-01-01T00:00:00Z","tcbStatus":"OutOfDate","advisoryIDs":["INTEL-SA-00002"]}]}],` +
	`"tcbLevels":[{"tcb":{COMPONENTS},"tcbDate":"2029-02-01T00:00:00Z","tcbStatus":"UpToDate"},` +
	`{"tcb":{OLDER},"tcbDate":"2028-02-01T00:00:00Z","tcbStatus":"ConfigurationNeeded","advisoryIDs":["INTEL-SA-00003"]}]}`)

// svns is 16 components, zero where nothing is given.
func svns(values ...byte) string {
	var list []string
	for i := range 16 {
		digit := "0"
		if i < len(values) {
			digit = string('0' + rune(values[i]))
		}
		list = append(list, `{"svn":`+digit+`}`)
	}
	return strings.Join(list, ",")
}

func template(serial int64, name string, ca bool) *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: epoch.Add(-day), NotAfter: epoch.Add(day),
		BasicConstraintsValid: true, IsCA: ca, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if ca {
		t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		t.SubjectKeyId = []byte(name)
	}
	return t
}

// sgxExtension is that of a platform with the FMSPC 00606A000000.
func (f *forge) sgxExtension() []byte {
	arc := asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}
	var tcb []byte
	for i, c := range f.components {
		tcb = append(tcb, member(append(arc[:7:7], 2, i+1), must(asn1.Marshal(int(c))))...)
	}
	tcb = append(tcb, member(append(arc[:7:7], 2, 17), must(asn1.Marshal(13)))...)
	tcb = append(tcb, member(append(arc[:7:7], 2, 18), must(asn1.Marshal(f.components[:])))...)
	flags := append(member(append(arc[:7:7], 7, 1), must(asn1.Marshal(true))), member(append(arc[:7:7], 7, 2), must(asn1.Marshal(false)))...)
	return sequence(
		member(append(arc[:7:7], 1), must(asn1.Marshal(bytes.Repeat([]byte{0xaa}, 16)))),
		member(append(arc[:7:7], 2), sequence(tcb)),
		member(append(arc[:7:7], 3), must(asn1.Marshal([]byte{0, 0}))),
		member(append(arc[:7:7], 4), must(asn1.Marshal([]byte{0, 0x60, 0x6a, 0, 0, 0}))),
		member(append(arc[:7:7], 5), must(asn1.Marshal(asn1.Enumerated(1)))),
		member(append(arc[:7:7], 6), must(asn1.Marshal(bytes.Repeat([]byte{0xbb}, 16)))),
		member(append(arc[:7:7], 7), sequence(flags)),
	)
}

func member(oid asn1.ObjectIdentifier, value []byte) []byte {
	return sequence(must(asn1.Marshal(oid)), value)
}

func sequence(parts ...[]byte) []byte {
	return must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: bytes.Join(parts, nil)}))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func issue(child, parent *x509.Certificate, childKey, parentKey *ecdsa.PrivateKey) *x509.Certificate {
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, child, parent, &childKey.PublicKey, parentKey))))
}

func sign(k *ecdsa.PrivateKey, message []byte) []byte {
	digest := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, k, digest[:])
	if err != nil {
		panic(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func crl(serials []int64, issuer *x509.Certificate, k *ecdsa.PrivateKey) *pki.CRL {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: epoch.Add(-day), NextUpdate: epoch.Add(day)}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: epoch})
	}
	return must(pki.ParseCRL(must(x509.CreateRevocationList(rand.Reader, list, issuer, k))))
}

// build makes the quote and what it is verified with.
func (f *forge) build() ([]byte, dcap.Collateral, *roots.Set) {
	root := issue(f.root, f.root, f.rootKey, f.rootKey)
	ca := issue(f.ca, root, f.caKey, f.rootKey)
	if ext := f.extension(); ext != nil {
		f.leaf.ExtraExtensions = append(f.leaf.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}, Value: ext})
	}
	leaf := issue(f.leaf, f.ca, f.leafKey, f.leafSigner)
	signer := issue(f.signer, root, f.signerKey, f.rootKey)
	var chain []byte
	for _, c := range []*x509.Certificate{leaf, ca, root} {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	c := dcap.Collateral{
		Certificates: []*x509.Certificate{root, ca, signer},
		CRLs:         []*pki.CRL{crl(f.revokedByRoot, root, f.rootKey), crl(f.revokedByCA, ca, f.caKey)},
		TCBInfos:     []*dcap.TCBInfo{must(dcap.ParseTCBInfo(f.document("tcbInfo", f.info)))},
		QEIdentities: []*dcap.QEIdentity{must(dcap.ParseQEIdentity(f.document("enclaveIdentity", f.identity)))},
	}
	f.collateral(&c)
	return f.quote(f.assemble(f.chain(chain))), c, &roots.Set{Intel: []*x509.Certificate{root}}
}

func (f *forge) document(name, body string) []byte {
	return []byte(`{"` + name + `":` + body + `,"signature":"` + hex.EncodeToString(sign(f.signerKey, []byte(body))) + `"}`)
}

func (f *forge) assemble(chain []byte) []byte {
	public := must(f.attestationKey.PublicKey.Bytes())[1:]
	about := sha256.Sum256(append(public[:64:64], f.auth...))
	copy(f.qe[320:], about[:])
	le := binary.LittleEndian
	rest := append(f.qe[:384:384], sign(f.qeKey, f.qe)...)
	rest = append(le.AppendUint16(rest, uint16(len(f.auth))), f.auth...)
	rest = append(le.AppendUint32(le.AppendUint16(rest, f.inner), uint32(len(chain))), chain...)
	data := append(sign(f.attestationKey, f.signed), public...)
	if f.tdx {
		data = le.AppendUint32(le.AppendUint16(data, f.outer), uint32(len(rest)))
	}
	data = append(data, rest...)
	return append(le.AppendUint32(bytes.Clone(f.signed), uint32(len(data))), data...)
}

// verify returns the tree and the status of what f makes.
func (f *forge) verify(t *testing.T) (*check.Group, outcome) {
	t.Helper()
	quote, c, trusted := f.build()
	g := check.New("forged")
	if f.tdx {
		if cl := tdx.Verify(g, tdx.Input{Quote: quote, Collateral: c, Roots: trusted, Now: f.now}); cl != nil {
			return g, outcome{true, cl.Collateral, cl.TCB, cl.QE, cl.Module}
		}
		return g, outcome{}
	}
	if cl := sgx.Verify(g, sgx.Input{Quote: quote, Collateral: c, Roots: trusted, Now: f.now}); cl != nil {
		return g, outcome{true, cl.Collateral, cl.TCB, cl.QE, dcap.Status{}}
	}
	return g, outcome{}
}

// realistic fills in what go-tdx-guest wants of certificates: names in full, and
// the extensions that Intel's have.
func (f *forge) realistic() {
	for _, c := range []*x509.Certificate{f.root, f.ca, f.leaf, f.signer} {
		c.Subject.Organization, c.Subject.Locality = []string{"Intel Corporation"}, []string{"Santa Clara"}
		c.Subject.Province, c.Subject.Country = []string{"CA"}, []string{"US"}
		c.CRLDistributionPoints = []string{"https://crl.invalid/"}
		c.SubjectKeyId = []byte(c.Subject.CommonName)
	}
}
