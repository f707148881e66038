// SPDX-License-Identifier: Apache-2.0

package sgx

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/internal/need"
)

// TestFields reads what more/INDEX.md says of quotes. Verdicts are in package
// dcap.
func TestFields(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(need.Vectors(t), "more/sgx/v3-debug-occlum.quote.bin"))
	if err != nil {
		t.Fatal(err)
	}
	q, err := ParseQuote(data)
	if err != nil || !IsQuote(data) {
		t.Fatal(err, IsQuote(data))
	}
	b := &q.Body
	if b.Attributes != dcap.Init|dcap.Debug|dcap.Mode64Bit || b.XFRM != 0xe7 || b.MiscSelect != 1 || string(b.ReportData[:5]) != "test\x00" ||
		q.Header.Version != 3 || q.Header.QESVN != 8 || q.Header.PCESVN != 13 || q.Signature.QE.ISVSVN != 8 || q.Signature.CertificationType != 5 {
		t.Errorf("%+v\n%+v", q.Header, b)
	}
	data, err = os.ReadFile(filepath.Join(need.Vectors(t), "more/sgx/v3-xeon-swhardening.quote.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if q, err = ParseQuote(data); err != nil {
		t.Fatal(err)
	}
	if q.Body.Attributes != dcap.Init|dcap.Mode64Bit || hex.EncodeToString(q.Body.MRSigner[:4]) != "9affcfae" || q.Signature.QE.ISVSVN != 9 {
		t.Errorf("%+v", q.Body)
	}
}

// TestLayout gives every byte of the body a different place.
func TestLayout(t *testing.T) {
	raw := make([]byte, signed+4+64+64+dcap.ReportSize+64+2+6)
	for i := range dcap.ReportSize {
		raw[dcap.HeaderSize+i] = byte(i%251 + 1)
	}
	raw[0], raw[2] = 3, 2
	n := len(raw) - signed - 4
	raw[signed], raw[signed+1] = byte(n), byte(n>>8)
	q, err := ParseQuote(raw)
	if err != nil {
		t.Fatal(err)
	}
	b := &q.Body
	at := func(i int) byte { return raw[dcap.HeaderSize+i] }
	if b.CPUSVN[15] != at(15) || byte(b.MiscSelect) != at(16) || b.CETAttributes != at(20) || b.ISVExtProdID[0] != at(32) ||
		byte(b.Attributes) != at(48) || byte(b.XFRM) != at(56) || b.MREnclave[31] != at(95) || b.MRSigner[0] != at(128) ||
		b.ConfigID[0] != at(192) || b.ConfigID[63] != at(255) || byte(b.ISVProdID) != at(256) || byte(b.ISVSVN) != at(258) ||
		byte(b.ConfigSVN) != at(260) || b.ISVFamilyID[0] != at(304) || b.ReportData[0] != at(320) || b.ReportData[63] != at(383) {
		t.Errorf("%+v", b)
	}
}

func FuzzParseQuote(f *testing.F) {
	f.Add([]byte{3, 0, 2, 0})
	folder := filepath.Join(need.Root(f), "..", "shared", "vectors")
	for _, glob := range []string{"quote.*", "extracted/*.quote.bin", "more/sgx/*.quote.bin"} {
		names, err := filepath.Glob(filepath.Join(folder, glob))
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		q, err := ParseQuote(data)
		if err != nil {
			if format, ok := errors.AsType[*dcap.FormatError](err); !ok || format.Check.Code == "" || format.Error() == "" {
				t.Errorf("not a FormatError with a code: %v", err)
			}
			if Verify(check.New("quote"), Input{Quote: data}) != nil {
				t.Error("claims of something that cannot be read")
			}
			return
		}
		s := q.Signature
		if n := signed + 4 + 64 + 64 + dcap.ReportSize + 64 + 2 + len(s.AuthData) + 6 + len(s.Certification); n > len(data) || !dcap.Zero(data[n:]) {
			t.Errorf("%d bytes of %d are accounted for", n, len(data))
		}
		g := check.New("quote")
		Verify(g, Input{Quote: data})
		if g.OK() {
			t.Error("accepted without roots")
		}
	})
}
