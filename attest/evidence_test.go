// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"enarx.dev/enarx/attest/attesttest"
)

// evidenceOf returns the evidence of a synthetic request before it is encoded.
func evidenceOf(t testing.TB, shape string) *attesttest.Evidence {
	t.Helper()
	var e *attesttest.Evidence
	silicon.CSR(shape, func(r *attesttest.Request) { r.Evidence = func(made *attesttest.Evidence) { e = made } })
	return e
}

// technologyOfShape is the technology whose extension holds that shape.
func technologyOfShape(shape string) Technology {
	t, _, _ := strings.Cut(shape, "-")
	return Technology(t)
}

// TestShapes reads evidence in every shape that it has had, writes it in the
// newest and reads that.
func TestShapes(t *testing.T) {
	newest := map[Technology]string{SNP: ShapeSNPv2, SGX: ShapeSGXv3, TDX: ShapeTDXv1, None: ShapeNone}
	for _, shape := range attesttest.Shapes {
		t.Run(shape, func(t *testing.T) {
			e := evidenceOf(t, shape)
			ev, err := ParseEvidence(technologyOfShape(shape), e.DER(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if ev.Shape != shape || !bytes.Equal(ev.Report, e.Report) {
				t.Errorf("read as %q with a report of %d bytes", ev.Shape, len(ev.Report))
			}
			if ev.Technology == SGX && ev.Shape != ShapeSGXv3 {
				if _, err := ev.Marshal(); !errors.Is(err, ErrShape) {
					t.Errorf("without a TCB info the newest shape cannot be written: %v", err)
				}
				ev.Collateral = *ev.Collateral.Merge(serverCollateral(t, nil))
			}
			ext, err := ev.Extension()
			if err != nil {
				t.Fatal(err)
			}
			if !ext.Id.Equal(attesttest.OID(shape)) || ext.Critical {
				t.Errorf("extension %v, critical %v", ext.Id, ext.Critical)
			}
			again, err := ParseEvidence(ev.Technology, ext.Value, nil)
			if err != nil {
				t.Fatal(err)
			}
			if again.Shape != newest[ev.Technology] || !bytes.Equal(again.Report, ev.Report) || len(again.Collateral.CRLs) != len(ev.Collateral.CRLs) {
				t.Errorf("written as %q with %d CRLs, not %d", again.Shape, len(again.Collateral.CRLs), len(ev.Collateral.CRLs))
			}
			if shape == newest[ev.Technology] && !bytes.Equal(ext.Value, e.DER()) {
				t.Error("written otherwise than it was read")
			}
		})
	}
}

// sequence and octets encode as cryptobyte does.
func sequence(parts ...[]byte) []byte { return element(der.SEQUENCE, parts...) }
func octets(value []byte) []byte      { return element(der.OCTET_STRING, value) }
func element(tag der.Tag, parts ...[]byte) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(tag, func(b *cryptobyte.Builder) {
		for _, p := range parts {
			b.AddBytes(p)
		}
	})
	return b.BytesOrPanic()
}

// TestMalformedEvidence changes the encoding around a good report.
func TestMalformedEvidence(t *testing.T) {
	snp, sgx, tdx := evidenceOf(t, "snp-v2"), evidenceOf(t, "sgx-v3"), evidenceOf(t, "tdx-v1")
	crl := snp.CRLs[0].CRL
	entry := func(tag der.Tag, url string) []byte { return sequence(element(tag, []byte(url)), crl) }
	withCRLs := func(entries ...[]byte) []byte {
		return sequence(sequence(snp.Endorsement, sequence(sequence(entries...))), octets(snp.Report))
	}
	crls := sequence(sequence())
	tcb := sequence(sequence(sgx.TCBInfo.Chain...), octets(sgx.TCBInfo.JSON))
	long := strings.Repeat("u", maxURL+1)
	var many [][]byte
	for range maxCRLs + 1 {
		many = append(many, entry(der.UTF8String, "u"))
	}
	var chain [][]byte
	for range maxCertificates + 1 {
		chain = append(chain, sgx.TCBInfo.Chain[0])
	}
	for name, c := range map[string]struct {
		technology Technology
		der        []byte
		err        string // "" if it is to be accepted
	}{
		"snp: as it is":                  {SNP, snp.DER(), ""},
		"snp: no CRLs":                   {SNP, withCRLs(), ""},
		"snp: 64 CRLs":                   {SNP, withCRLs(many[1:]...), ""},
		"snp: 65 CRLs":                   {SNP, withCRLs(many...), "SNP CRLs: more than 64 CRLs"},
		"snp: PrintableString URL":       {SNP, withCRLs(entry(der.PrintableString, "u")), "SNP CRLs URL: expected UTF8String, found PrintableString"},
		"snp: URL not UTF-8":             {SNP, withCRLs(entry(der.UTF8String, "\xff")), "SNP CRLs URL: not UTF-8"},
		"snp: long URL":                  {SNP, withCRLs(entry(der.UTF8String, long)), "SNP CRLs URL: 1025 bytes"},
		"snp: entry with more":           {SNP, withCRLs(sequence(element(der.UTF8String), crl, octets(nil))), "SNP CRLs entry: 2 bytes too many"},
		"snp: entry without a CRL":       {SNP, withCRLs(sequence(element(der.UTF8String))), "SNP CRLs entry: missing"},
		"snp: entry that is no CRL":      {SNP, withCRLs(sequence(element(der.UTF8String), snp.Endorsement)), "SNP CRLs: entry 0: "},
		"snp: CRL list not wrapped":      {SNP, sequence(sequence(snp.Endorsement, sequence(entry(der.UTF8String, "u"))), octets(snp.Report)), "SNP CRLs: expected SEQUENCE, found UTF8String"},
		"snp: CRL list cut":              {SNP, cut(snp.DER(), 1), "bad or truncated DER"},
		"snp: a byte after it":           {SNP, append(snp.DER(), 0), "evidence: 1 bytes too many"},
		"snp: a third element":           {SNP, sequence(sequence(snp.Endorsement, crls), octets(snp.Report), octets(nil)), "SNP evidence: 2 bytes too many"},
		"snp: short report":              {SNP, sequence(sequence(snp.Endorsement, crls), octets(snp.Report[1:])), "SNP report: 1183 bytes, not 1184"},
		"snp: no report":                 {SNP, sequence(sequence(snp.Endorsement, crls)), "SNP report: missing"},
		"snp: VCEK twice":                {SNP, sequence(sequence(snp.Endorsement, snp.Endorsement, crls), octets(snp.Report)), "SNP CRLs: "},
		"snp: VCEK is a CRL":             {SNP, sequence(sequence(crl, crls), octets(snp.Report)), "VCEK certificate: "},
		"snp: empty":                     {SNP, nil, "SNP evidence: missing"},
		"snp: indefinite length":         {SNP, []byte{0x30, 0x80, 0, 0}, "bad or truncated DER"},
		"snp: huge length":               {SNP, []byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff}, "bad or truncated DER"},
		"sgx: as it is":                  {SGX, sgx.DER(), ""},
		"sgx: quote":                     {SGX, sgx.Report, ""},
		"sgx: quote of 64 KiB and more":  {SGX, append(append([]byte{}, sgx.Report...), make([]byte, maxReport)...), "SGX quote: "},
		"sgx: no CRLs":                   {SGX, sequence(octets(sgx.Report), crls), ""},
		"sgx: empty quote":               {SGX, sequence(octets(nil), crls, tcb), "SGX quote: empty"},
		"sgx: W14, empty signing chain":  {SGX, sequence(octets(sgx.Report), crls, sequence(sequence(), octets(sgx.TCBInfo.JSON))), "TCB info signing chain: empty"},
		"sgx: long signing chain":        {SGX, sequence(octets(sgx.Report), crls, sequence(sequence(chain...), octets(sgx.TCBInfo.JSON))), "more than 16 certificates"},
		"sgx: W14, short TCB info":       {SGX, sequence(octets(sgx.Report), crls, sequence(sequence(sgx.TCBInfo.Chain...), octets([]byte("{}")))), "TCB info: "},
		"sgx: W14, TCB info not UTF-8":   {SGX, sequence(octets(sgx.Report), crls, sequence(sequence(sgx.TCBInfo.Chain...), octets(bytes.Repeat([]byte{0xff}, 200)))), "TCB info: "},
		"sgx: a fourth element":          {SGX, sequence(octets(sgx.Report), crls, tcb, tcb), "SGX evidence: "},
		"tdx: as it is":                  {TDX, tdx.DER(), ""},
		"tdx: without QE identity":       {TDX, sequence(octets(tdx.Report), crls, tcb), "QE identity: missing"},
		"tdx: QE identity is a TCB info": {TDX, sequence(octets(tdx.Report), crls, tcb, tcb), "QE identity: "},
		"none: something":                {None, []byte{0}, "evidence: 1 bytes too many"},
		"unknown technology":             {"nitro", nil, `unknown technology "nitro"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseEvidence(c.technology, c.der, nil)
			switch {
			case c.err == "" && err != nil:
				t.Error(err)
			case c.err != "" && (!errors.Is(err, ErrShape) || !strings.Contains(err.Error(), c.err)):
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
}

func cut(b []byte, n int) []byte { return b[:len(b)-n] }

func TestCRLList(t *testing.T) {
	want := []CRLEntry{{"https://example.org/ü", []byte{0x30, 0}}, {"", []byte{0x30, 1, 5}}}
	got, err := ParseCRLList(MarshalCRLList(want))
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if got[i].URL != want[i].URL || !bytes.Equal(got[i].DER, want[i].DER) {
			t.Errorf("entry %d: %v", i, got[i])
		}
	}
	if _, err := ParseCRLList(append(MarshalCRLList(want), 0)); err == nil {
		t.Error("a byte too many was accepted")
	}
}

func TestMerge(t *testing.T) {
	all := serverCollateral(t, nil)
	var none *Collateral
	for _, a := range []*Collateral{nil, {}} {
		for _, b := range []*Collateral{nil, {}} {
			if got := a.Merge(b); got == nil || !got.Empty() {
				t.Error("nothing and nothing is not nothing")
			}
		}
	}
	if none.Merge(all) != all || all.Merge(none) != all {
		t.Error("nothing changes something")
	}
	a := &Collateral{CRLs: all.CRLs[:1]}
	b := a.Merge(&Collateral{CRLs: all.CRLs[2:3]})
	if len(b.CRLs) != 2 || b.CRLs[1] != all.CRLs[2] || all.CRLs[1] == all.CRLs[2] || len(a.CRLs) != 1 {
		t.Error("merging wrote into what it was given")
	}
}
