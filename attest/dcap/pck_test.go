// SPDX-License-Identifier: Apache-2.0

package dcap_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/internal/need"
)

func TestPCK(t *testing.T) {
	folder := need.Vectors(t)
	for _, c := range []struct {
		name       string
		fmspc      string
		pcesvn     uint16
		components [16]uint8
		kind       dcap.SGXType
		platform   bool
	}{
		{"multi_pck.crt", "00606A000000", 11, [16]uint8{4, 4, 3, 3, 255, 255}, dcap.Scalable, true},
		{"single_pck.crt", "00706E470000", 10, [16]uint8{6, 6, 2, 2, 2, 1, 4}, dcap.Standard, false},
	} {
		p, err := dcap.ParsePCK(must(x509.ParseCertificate(read(t, folder, c.name))))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if p.FMSPCString() != c.fmspc || p.PCESVN != c.pcesvn || p.Components != c.components || p.SGXType != c.kind || (p.Platform != nil) != c.platform {
			t.Errorf("%s: %+v", c.name, p)
		}
		if p.Platform != nil && (p.Platform.InstanceID == [16]byte{} || p.Platform.DynamicPlatform == dcap.Undefined || p.Platform.SMTEnabled == dcap.Undefined) {
			t.Errorf("%s: %+v", c.name, p.Platform)
		}
	}
}

// TestStrictPCK changes one thing at a time in a good extension.
func TestStrictPCK(t *testing.T) {
	f := newForge("sgx")
	parse := func(ext []byte) (*dcap.PCK, error) {
		return dcap.ParsePCK(&x509.Certificate{Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}, Value: ext}}})
	}
	good := f.sgxExtension()
	p, err := parse(good)
	if err != nil {
		t.Fatal(err)
	}
	if p.Platform == nil || p.Platform.DynamicPlatform != dcap.True || p.Platform.CachedKeys != dcap.False || p.Platform.SMTEnabled != dcap.Undefined ||
		p.PPID[0] != 0xaa || p.Platform.InstanceID[15] != 0xbb || p.CPUSVN != f.components || p.SGXType != dcap.Scalable {
		t.Errorf("%+v, %+v", p, p.Platform)
	}
	for name, change := range map[string][2][]byte{
		"FMSPC twice":           {{0x4d, 1, 13, 1, 3, 4}, {0x4d, 1, 13, 1, 4, 4}},
		"no PPID":               {{0x4d, 1, 13, 1, 1, 4}, {0x4d, 1, 13, 1, 9, 4}},
		"no SGX type":           {{0x4d, 1, 13, 1, 5, 10}, {0x4d, 1, 13, 1, 8, 10}},
		"SGX type 3":            {{10, 1, 1}, {10, 1, 3}},
		"SGX type as a number":  {{10, 1, 1}, {2, 1, 1}},
		"component 1 twice":     {{13, 1, 2, 2, 2, 1, 5}, {13, 1, 2, 1, 2, 1, 5}},
		"component 19":          {{13, 1, 2, 2, 2, 1, 5}, {13, 1, 2, 19, 2, 1, 5}},
		"negative component":    {{13, 1, 2, 2, 2, 1, 5}, {13, 1, 2, 2, 2, 1, 0x85}},
		"PCESVN as octets":      {{13, 1, 2, 17, 2, 1, 13}, {13, 1, 2, 17, 4, 1, 13}},
		"CPUSVN of another tag": {{13, 1, 2, 18, 4, 16}, {13, 1, 2, 18, 3, 16}},
		"BOOLEAN that is BER":   {{13, 1, 7, 1, 1, 1, 255}, {13, 1, 7, 1, 1, 1, 1}},
		"FMSPC as a SEQUENCE":   {{4, 6, 0, 0x60}, {48, 6, 0, 0x60}},
	} {
		if bytes.Count(good, change[0]) != 1 {
			t.Fatalf("%s: %x is there %d times", name, change[0], bytes.Count(good, change[0]))
		}
		if _, err := parse(bytes.Replace(good, change[0], change[1], 1)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for i := range good {
		if _, err := parse(good[:i]); err == nil {
			t.Errorf("cut at %d: accepted", i)
		}
	}
	if _, err := parse(append(good, 0)); err == nil {
		t.Error("trailing byte: accepted")
	}
	if _, err := dcap.ParsePCK(&x509.Certificate{}); err == nil {
		t.Error("no extension: accepted")
	}
	// Members that are not known are passed over: Intel may add some.
	if _, err := parse(bytes.Replace(good, []byte{13, 1, 7, 1, 1}, []byte{13, 1, 7, 30, 1}, 1)); err != nil {
		t.Errorf("unknown setting: %v", err)
	}
}

func TestNames(t *testing.T) {
	a := dcap.Init | dcap.KSS | 1<<40
	if got := a.String(); got != "0x10000000081 (INIT, KSS, bit-40)" || a.Unknown() != 1<<40 {
		t.Errorf("%s, unknown %x", got, a.Unknown())
	}
	if dcap.Attributes(0).String() != "0x0" {
		t.Error(dcap.Attributes(0).String())
	}
	if dcap.Scalable.String() != "Scalable" || dcap.SGXType(9).String() != "SGXType(9)" || dcap.True.String() != "true" || dcap.Setting(9).String() != "true" {
		t.Error("names")
	}
}
