// SPDX-License-Identifier: Apache-2.0

package tdx

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/internal/need"
)

// TestFields reads what more/INDEX.md says of quotes. Verdicts are in package
// dcap.
func TestFields(t *testing.T) {
	folder := need.Vectors(t)
	for _, c := range []struct {
		name       string
		version    uint16
		svn, svn2  string // the first three components
		attributes string
		serviceTD  string // the first bytes
	}{
		{"v4-uptodate-c080", 4, "050107", "", "0x10000000 (SEPT_VE_DISABLE)", ""},
		{"v4-debug-5080", 4, "030005", "", "0x10000001 (DEBUG, SEPT_VE_DISABLE)", ""},
		{"v4-gce-zeropad", 4, "040107", "", "0x10000000 (SEPT_VE_DISABLE)", ""},
		{"v5-uptodate-90c0", 5, "0b0104", "0d0104", "0x10000000 (SEPT_VE_DISABLE)", "00000000"},
		{"v5-servicetd-90c0", 5, "050102", "050102", "0x10000000 (SEPT_VE_DISABLE)", "383c87d3"},
	} {
		data, err := os.ReadFile(filepath.Join(folder, "more/tdx", c.name+".quote.bin"))
		if err != nil {
			t.Fatal(err)
		}
		q, err := ParseQuote(data)
		if err != nil || !IsQuote(data) {
			t.Errorf("%s: %v, %v", c.name, err, IsQuote(data))
			continue
		}
		b := &q.Body
		if q.Header.Version != c.version || hex.EncodeToString(b.TEETCBSVN[:3]) != c.svn || b.Attributes.String() != c.attributes {
			t.Errorf("%s: version %d, %x, %s", c.name, q.Header.Version, b.TEETCBSVN, b.Attributes)
		}
		if b.V15 != (c.svn2 != "") || b.V15 && (hex.EncodeToString(b.TEETCBSVN2[:3]) != c.svn2 || hex.EncodeToString(b.MRServiceTD[:4]) != c.serviceTD) {
			t.Errorf("%s: %x, %x", c.name, b.TEETCBSVN2, b.MRServiceTD)
		}
	}
	data, err := os.ReadFile(filepath.Join(folder, "more/tdx/v4-gce-zeropad.quote.bin"))
	if err != nil {
		t.Fatal(err)
	}
	nonce, err := os.ReadFile(filepath.Join(folder, "more/tdx/v4-gce-zeropad.nonce.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if q, err := ParseQuote(data); err != nil || string(q.Body.ReportData[:]) != string(nonce) {
		t.Errorf("report data, %v", err)
	}
}

// TestLayout gives every byte of the body a different place.
func TestLayout(t *testing.T) {
	raw := make([]byte, sizeTD15)
	for i := range raw {
		raw[i] = byte(i%251 + 1)
	}
	var b Body
	b.decode(raw)
	if b.TEETCBSVN[15] != raw[15] || b.MRSEAM[0] != raw[16] || b.MRSignerSEAM[0] != raw[64] || byte(b.SEAMAttributes) != raw[112] ||
		byte(b.Attributes) != raw[120] || byte(b.XFAM) != raw[128] || b.MRTD[0] != raw[136] || b.MRConfigID[0] != raw[184] ||
		b.MROwner[0] != raw[232] || b.MROwnerConfig[0] != raw[280] || b.RTMR[0][0] != raw[328] || b.RTMR[3][47] != raw[519] ||
		b.ReportData[0] != raw[520] || b.ReportData[63] != raw[583] || b.TEETCBSVN2[0] != raw[584] || b.MRServiceTD[47] != raw[647] || !b.V15 {
		t.Errorf("%+v", b)
	}
	b = Body{}
	b.decode(raw[:sizeTD10])
	if b.V15 || b.MRServiceTD != [48]byte{} {
		t.Error("a body of TDX 1.0 has what only TDX 1.5 has")
	}
}

func TestAttributes(t *testing.T) {
	a := SEPTVEDisable | PerfMon | Migratable | 2 | 1<<40
	if got := strings.Join(a.Names(), " "); got != "bit-1 SEPT_VE_DISABLE MIGRATABLE bit-40 PERFMON" || a.Unknown() != 2|1<<40 || a&UnderDebug == 0 {
		t.Error(got, a.Unknown())
	}
}

func FuzzParseQuote(f *testing.F) {
	f.Add([]byte{4, 0, 2, 0, 0x81})
	names, err := filepath.Glob(filepath.Join(need.Root(f), "..", "shared", "vectors", "more/tdx/*.quote.bin"))
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
		if n := len(q.Signed) + 4 + 64 + 64 + 6 + dcap.ReportSize + 64 + 2 + len(s.AuthData) + 6 + len(s.Certification); n > len(data) || !dcap.Zero(data[n:]) {
			t.Errorf("%d bytes of %d are accounted for", n, len(data))
		}
		g := check.New("quote")
		Verify(g, Input{Quote: data})
		if g.OK() {
			t.Error("accepted without roots")
		}
	})
}
