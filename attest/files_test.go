// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

// TestRecognise gives things in forms that no vector has. Real files are
// TestVectors' business.
func TestRecognise(t *testing.T) {
	csr, _ := silicon.CSR("sgx-v3")
	sgx, snp := evidenceOf(t, "sgx-v3"), evidenceOf(t, "snp-v2")
	tcb := sequence(sequence(sgx.TCBInfo.Chain...), octets(sgx.TCBInfo.JSON))
	crls := MarshalCRLList([]CRLEntry{{"u", sgx.CRLs[0].CRL}, {"v", sgx.CRLs[1].CRL}})
	asPEM := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	hexed := func(data []byte) []byte {
		return []byte("  " + hex.EncodeToString(data[:40]) + "\n" + strings.ToUpper(hex.EncodeToString(data[40:])) + "\n")
	}
	b64 := base64.URLEncoding.EncodeToString
	cert, _ := issued(t, pkix.Extension{Id: OIDSNP, Value: snp.DER()})
	result, _ := issued(t, CMW(EARType, []byte(`{"a":1}`)))
	object := func(fields map[string]string) []byte {
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for name, c := range map[string]struct {
		data []byte
		want string // what it is, or "unreadable: WHY"
	}{
		"request":                      {csr, "certificate request with evidence in the shape sgx-v3"},
		"request in PEM":               {asPEM("CERTIFICATE REQUEST", csr), "PEM: certificate request with evidence in the shape sgx-v3"},
		"request in hex":               {hexed(csr), "hexadecimal digits of certificate request with evidence in the shape sgx-v3"},
		"evidence snp-v2":              {snp.DER(), "evidence in the shape snp-v2"},
		"evidence sgx-v3":              {sgx.DER(), "evidence in the shape sgx-v3"},
		"evidence tdx-v1":              {evidenceOf(t, "tdx-v1").DER(), "evidence in the shape tdx-v1"},
		"report in hex":                {hexed(snp.Report), "hexadecimal digits of SNP report"},
		"certificate with evidence":    {cert, "certificate with evidence in the shape snp-v2"},
		"certificate with a result":    {result, "certificate with an attestation result"},
		"certificate in PEM":           {asPEM("CERTIFICATE", snp.Endorsement), "PEM: certificate"},
		"two kinds in PEM":             {append(asPEM("CERTIFICATE", snp.Endorsement), asPEM("X509 CRL", snp.CRLs[0].CRL)...), "PEM: certificate, CRL of ARK-Milan"},
		"PEM with NUL":                 {append(asPEM("CERTIFICATE", snp.Endorsement), 0), "PEM: certificate"},
		"upstream's cache of CRLs":     {crls, "list of 2 CRLs"},
		"upstream's cache of TCB info": {tcb, "TCB info with its signing chain"},
		"configfs-tsm":                 {object(map[string]string{"provider": "sev_guest", "outblob": b64(snp.Report)}), "configfs-tsm: SNP report"},
		"TDX configfs-tsm":             {object(map[string]string{"outblob": b64(evidenceOf(t, "tdx-v1").Report)}), "configfs-tsm: TDX quote"},

		"nothing":                      {nil, "unreadable: empty"},
		"bundle of requests":           {sequence(csr, csr), "unreadable: a bundle of 2 requests"},
		"white space":                  {[]byte(" \n"), "unreadable: empty"},
		"text":                         {[]byte("hello world, this is text"), "unreadable: 25 bytes beginning with"},
		"short hex":                    {[]byte("abcd"), "unreadable: 4 bytes"},
		"private key":                  {asPEM("EC PRIVATE KEY", []byte{1}), `unreadable: PEM of a "EC PRIVATE KEY"`},
		"cut PEM":                      {cut(asPEM("CERTIFICATE", snp.Endorsement), 10), "unreadable: PEM without a whole block"},
		"PEM and more":                 {append(asPEM("CERTIFICATE", snp.Endorsement), "garbage"...), "unreadable: 7 bytes after the last PEM block"},
		"certificate and more":         {append(bytes.Clone(snp.Endorsement), 0), "unreadable: certificate: "},
		"empty JSON":                   {[]byte("{}"), "unreadable: JSON without"},
		"bad JSON":                     {[]byte("{"), "unreadable: JSON: "},
		"TCB info that is not":         {[]byte(`{"tcbInfo":{}}`), "unreadable: "},
		"QE identity that is not":      {[]byte(`{"enclaveIdentity":1}`), "unreadable: "},
		"collateral without hex":       {object(map[string]string{"tcb_info": "{}", "tcb_info_signature": "x"}), "unreadable: JSON with a tcb_info_signature that is not hexadecimal"},
		"collateral with a bad CRL":    {object(map[string]string{"tcb_info": "", "pck_crl": "zz"}), "unreadable: JSON with a pck_crl"},
		"tsm without report":           {object(map[string]string{"outblob": ""}), "unreadable: a configfs-tsm report without outblob"},
		"tsm with a bad table":         {object(map[string]string{"outblob": b64(snp.Report), "auxblob": b64(bytes.Repeat([]byte{0xff}, 24))}), "unreadable: a configfs-tsm report with a bad table"},
		"tsm in tsm":                   {tsmInTSM(100000), "unreadable: a configfs-tsm report whose outblob is neither report nor quote"},
		"hcl_report in tsm in JSON":    {object(map[string]string{"hcl_report": b64(tsmInTSM(2))}), "unreadable: JSON with an hcl_report"},
		"hcl_report that is no base64": {object(map[string]string{"hcl_report": "!"}), "unreadable: JSON with an hcl_report"},
		"HCL without a report":         {[]byte("HCLA and nothing more than that"), "unreadable: an Azure HCL report"},
		"empty SEQUENCE":               {bytes.Repeat([]byte{0x30, 0}, 1), "unreadable: DER"},
		"CBOR":                         {[]byte{0xa1, 0x61, 'a', 0x01}, "unreadable: CBOR"},
		"huge CBOR string":             {[]byte{0xa1, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "unreadable: CBOR"},
		"4 MiB and more":               {make([]byte, maxFile+1), "unreadable: 4194305 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Recognise([]File{{"f", c.data}}, nil)
			if why, ok := strings.CutPrefix(c.want, "unreadable: "); ok {
				if !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), why) || !strings.HasPrefix(err.Error(), "f: ") {
					t.Errorf("got %v, want %s", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if b.Found[0] != (Found{"f", c.want}) {
				t.Errorf("found %v", b.Found)
			}
		})
	}
}

// tsmInTSM is a configfs-tsm report in a configfs-tsm report, and so on.
func tsmInTSM(depth int) []byte {
	const entry = "\xa1\x67outblob\x5a"
	var all []byte
	for left := (depth - 1) * (len(entry) + 4); left >= 0; left -= len(entry) + 4 {
		all = binary.BigEndian.AppendUint32(append(all, entry...), uint32(left))
	}
	return all
}

// issued returns a certificate with an extension, DER, and its key.
func issued(t *testing.T, ext pkix.Extension) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: testTime, NotAfter: testTime.Add(time.Hour), ExtraExtensions: []pkix.Extension{ext}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

// TestIssued: an issued certificate gives its result back.
func TestIssued(t *testing.T) {
	der, key := issued(t, CMW(EARType, []byte(`{"a":1}`)))
	b, err := Recognise([]File{{"f", der}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b.Issued == nil || b.Issued.Type != EARType || string(b.Issued.Result) != `{"a":1}` || !key.PublicKey.Equal(b.Issued.Certificate.PublicKey) || b.Evidence != nil {
		t.Errorf("%+v", b.Issued)
	}
}

// TestTwoEvidences: which of two is meant nobody can know.
func TestTwoEvidences(t *testing.T) {
	csr, _ := silicon.CSR("snp-v2")
	refused := bytes.Clone(csr)
	refused[len(refused)-1]++
	report := evidenceOf(t, "snp-v2").Report
	for name, files := range map[string][2][]byte{
		"request and report": {csr, report}, "two requests": {csr, csr}, "a refused one first": {refused, report}, "a refused one second": {report, refused},
	} {
		_, err := Recognise([]File{{"a", files[0]}, {"b", files[1]}}, nil)
		if !errors.Is(err, ErrTwoEvidences) || !strings.HasPrefix(err.Error(), "b: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRecogniseTogether: files in pieces give the same verdict as a request
// with everything in it.
func TestRecogniseTogether(t *testing.T) {
	ev := evidenceOf(t, "tdx-v1")
	files := []File{{"quote", ev.Report}, {"tcb", ev.TCBInfo.JSON}, {"qe", ev.QEIdentity.JSON}}
	for _, c := range ev.CRLs {
		files = append(files, File{"crl", c.CRL})
	}
	for _, c := range ev.TCBInfo.Chain {
		files = append(files, File{"chain", c})
	}
	b, err := Recognise(files, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.Evidence.Key = nil
	b.Evidence.Data = []byte("wrong")
	r := &Roots{Set: silicon.Roots()}
	if got := Appraise(Verify(b.Evidence, r, &b.Collateral, testTime), nil).Code(); got != "binding.data" {
		t.Errorf("for other data: %s", got)
	}
	p := DefaultPolicy()
	p.RequireBinding = false
	b.Evidence.Data = nil
	if got := Appraise(Verify(b.Evidence, r, &b.Collateral, testTime), p); !got.Accepted() {
		t.Error(got.Err())
	}
}
