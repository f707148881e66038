// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/internal/need"
)

// fields are where AMD 56860 puts them.
var fields = []struct {
	name     string
	at, size int
	version  uint32 // the first that has it
}{
	{"Version", 0x00, 4, 2}, {"GuestSVN", 0x04, 4, 2}, {"Policy", 0x08, 8, 2}, {"FamilyID", 0x10, 16, 2}, {"ImageID", 0x20, 16, 2},
	{"VMPL", 0x30, 4, 2}, {"SignatureAlgo", 0x34, 4, 2}, {"CurrentTCB", 0x38, 8, 2}, {"PlatformInfo", 0x40, 8, 2}, {"KeyInfo", 0x48, 4, 2},
	{"ReportData", 0x50, 64, 2}, {"Measurement", 0x90, 48, 2}, {"HostData", 0xc0, 32, 2}, {"IDKeyDigest", 0xe0, 48, 2},
	{"AuthorKeyDigest", 0x110, 48, 2}, {"ReportID", 0x140, 32, 2}, {"ReportIDMA", 0x160, 32, 2}, {"ReportedTCB", 0x180, 8, 2},
	{"Family", 0x188, 1, 3}, {"Model", 0x189, 1, 3}, {"Stepping", 0x18a, 1, 3}, {"ChipID", 0x1a0, 64, 2}, {"CommittedTCB", 0x1e0, 8, 2},
	{"Current", 0x1e8, 3, 2}, {"Committed", 0x1ec, 3, 2}, {"LaunchTCB", 0x1f0, 8, 2},
	{"LaunchMitigations", 0x1f8, 8, 5}, {"CurrentMitigations", 0x200, 8, 5},
}

// Every field is read from its bytes and from no others; bytes of no field are
// reserved or the signature.
func TestFields(t *testing.T) {
	for version := uint32(MinVersion); version <= MaxVersion; version++ {
		owner := map[int]string{}
		for _, f := range fields {
			for i := range f.size {
				if version >= f.version {
					owner[f.at+i] = f.name
				}
			}
		}
		for _, s := range reserved(version) {
			for i := s.from; i < s.to; i++ {
				if owner[i] != "" {
					t.Errorf("version %d: byte 0x%x is of %s and reserved", version, i, owner[i])
				}
				owner[i] = "reserved"
			}
		}
		base := make([]byte, ReportSize)
		binary.LittleEndian.PutUint32(base, version)
		was, err := ParseReport(base)
		if err != nil {
			t.Fatal(err)
		}
		for i := 4; i < signedSize; i++ {
			data := bytes.Clone(base)
			data[i] = 0xa5
			is, err := ParseReport(data)
			if err != nil {
				t.Fatal(err)
			}
			if got := changed(was, is); got != owner[i] && (got != "" || owner[i] != "reserved") {
				t.Errorf("version %d: byte 0x%x is of %q, want %q", version, i, got, owner[i])
			}
		}
	}
}

// changed names the field that differs, Raw excepted.
func changed(a, b *Report) (name string) {
	x, y := reflect.ValueOf(*a), reflect.ValueOf(*b)
	for i := range x.NumField() {
		if f := x.Type().Field(i).Name; f != "Raw" && x.Field(i).Interface() != y.Field(i).Interface() {
			name += f
		}
	}
	return name
}

func TestValues(t *testing.T) {
	data := make([]byte, ReportSize)
	for i := range data {
		data[i] = byte(i)
	}
	copy(data, []byte{5, 0, 0, 0})
	r, err := ParseReport(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data) // the report keeps its own copy
	major, minor := r.Policy.ABI()
	if r.Version != 5 || r.GuestSVN != 0x07060504 || r.Policy != 0x0f0e0d0c0b0a0908 || major != 9 || minor != 8 ||
		r.Current != (Firmware{0xea, 0xe9, 0xe8}) || r.Committed.String() != "238.237.236" || r.LaunchMitigations != 0xfffefdfcfbfaf9f8 ||
		r.CurrentMitigations != 0x0706050403020100 || r.Stepping != 0x8a || r.ReportData[63] != 0x8f || r.Raw[ReportSize-1] != 0x9f {
		t.Errorf("got %+v", r)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{strings.Join(Policy(1<<16|1<<19|1<<40).Names(), " "), "SMT Debug"},
		{strings.Join(Policy(1<<26-1).Names(), " "), "SMT MigrateMA Debug SingleSocket CXL MemAES256XTS RAPLDisable CiphertextHiding PageSwapDisable"},
		{strings.Join(PlatformInfo(0xffff).Names(), " "), "SMT TSME ECC RAPLDisabled CiphertextHiding AliasCheck IOMMUWriteSafe TIO"},
		{strings.Join(PlatformInfo(0x65).Names(), " "), "SMT ECC AliasCheck IOMMUWriteSafe"},
		{SigningKey(0).String(), "VCEK"}, {SigningKey(1).String(), "VLEK"}, {SigningKey(7).String(), "none"}, {SigningKey(3).String(), "reserved (3)"},
		{KeyInfo(0x1c).SigningKey().String(), "none"},
		{ProductLine(0x19, 0x00), Milan}, {ProductLine(0x19, 0x0f), Milan}, {ProductLine(0x19, 0x10), Genoa}, {ProductLine(0x19, 0x1f), Genoa},
		{ProductLine(0x19, 0x20), ""}, {ProductLine(0x19, 0x9f), ""}, {ProductLine(0x19, 0xa0), Genoa}, {ProductLine(0x19, 0xaf), Genoa}, {ProductLine(0x19, 0xb0), ""},
		{ProductLine(0x1a, 0x00), Turin}, {ProductLine(0x1a, 0x11), Turin}, {ProductLine(0x1a, 0x12), ""}, {ProductLine(0x17, 0x31), ""},
		{lineOf("Milan-B0"), Milan}, {lineOf("Turin"), Turin}, {lineOf("Turinx"), ""}, {lineOf(""), ""},
		{TCBVersion{1, 2, 3, 4, 5, 6, 7, 8}.Decode(Genoa).String(), "bootloader 1, tee 2, snp 7, microcode 8"},
		{TCBVersion{1, 2, 3, 4, 5, 6, 7, 8}.Decode(Turin).String(), "fmc 1, bootloader 2, tee 3, snp 4, microcode 8"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	if _, ok := (TCB{}).Component("TEE"); ok {
		t.Error("there is a TEE in capitals")
	}
}

func TestURLs(t *testing.T) {
	id := bytes.Repeat([]byte{0xab}, 64)
	hexID := hex.EncodeToString(id)
	for _, c := range []struct{ got, want string }{
		{VCEKURLPath(Milan, id, TCB{Bootloader: 2, SNP: 6, Microcode: 93}), "/vcek/v1/Milan/" + hexID + "?blSPL=02&teeSPL=00&snpSPL=06&ucodeSPL=93"},
		{VCEKURLPath(Turin, id, TCB{FMC: 1, Bootloader: 10, TEE: 1, SNP: 4, Microcode: 255, HasFMC: true}),
			"/vcek/v1/Turin/abababababababab?fmcSPL=01&blSPL=10&teeSPL=01&snpSPL=04&ucodeSPL=255"},
		{VCEKURLPath(Turin, nil, TCB{}), "/vcek/v1/Turin/?blSPL=00&teeSPL=00&snpSPL=00&ucodeSPL=00"},
		{ChainURLPath(Genoa, "vcek"), "/vcek/v1/Genoa/cert_chain"},
		{CRLURLPath(Genoa, "vlek"), "/vlek/v1/Genoa/crl"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	for version := uint32(0); version < 7; version++ {
		f.Add(newPlatform(f, Turin, version, SignedByVLEK).report)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseReport(data)
		if (err == nil) != (len(data) == ReportSize) {
			t.Fatalf("%d bytes: %v", len(data), err)
		}
		if err != nil {
			return
		}
		if !bytes.Equal(r.Raw, data) {
			t.Error("bytes changed")
		}
		for _, product := range append(r.ProductLines(), "") {
			_ = VCEKURLPath(product, r.ChipID[:], r.ReportedTCB.Decode(product))
		}
		_, _, _ = r.Policy.Names(), r.PlatformInfo.Names(), r.KeyInfo.SigningKey().String()
	})
}

func FuzzEndorsement(f *testing.F) {
	for _, kind := range []SigningKey{SignedByVCEK, SignedByVLEK} {
		for _, product := range []string{Milan, Genoa, Turin} {
			p := newPlatform(f, product, 3, kind)
			for _, x := range p.exts {
				f.Add(p.certificate(f).Raw, x.id, x.value)
			}
		}
	}
	f.Fuzz(func(t *testing.T, der []byte, id int, value []byte) {
		if err := new(Endorsement).extension(id, value); err == nil && id == extHWID && len(value) > hwidSize+2 {
			t.Errorf("a hardware id of %d bytes", len(value))
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		e, err := ParseEndorsement(c)
		if err != nil {
			return
		}
		if e.Key == nil || e.Product == "" || (e.Kind == SignedByVCEK) != (len(e.HWID) > 0) || (e.Kind == SignedByVLEK) != (e.CSPID != "") ||
			e.TCB.HasFMC != (e.Product == Turin) {
			t.Errorf("incomplete: %+v", e)
		}
	})
}

// FuzzVerify changes good evidence. Nothing is accepted that was not signed.
func FuzzVerify(f *testing.F) {
	set := &roots.Set{AMD: roots.Vendors().AMD, Intermediates: roots.Vendors().Intermediates}
	var crls []*pki.CRL
	for _, product := range []string{Milan, Genoa, Turin} {
		for _, kind := range []SigningKey{SignedByVCEK, SignedByVLEK} {
			p := newPlatform(f, product, 5, kind)
			set.AMD, set.Intermediates = append(set.AMD, p.ark.cert), append(set.Intermediates, p.ask.cert)
			crls = append(crls, p.ark.list(f, 7))
			f.Add(p.signed(f), p.certificate(f).Raw, []byte(nil))
			f.Add(p.signed(f), p.certificate(f).Raw, p.ask.cert.Raw)
		}
	}
	f.Fuzz(func(t *testing.T, report, leaf, other []byte) {
		in := Input{Report: report, CRLs: crls, Roots: set, Now: m1}
		signed := map[string]bool{}
		for _, der := range [][]byte{leaf, other} {
			if c, err := x509.ParseCertificate(der); err == nil {
				in.Certificates = append(in.Certificates, c)
				if e, err := ParseEndorsement(c); err == nil && len(report) == ReportSize {
					signed[string(c.Raw)] = verifies(e.Key, report)
				}
			}
		}
		g := check.New("SEV-SNP")
		claims := Verify(g, in)
		if g.OK() {
			if !signed[string(claims.Endorsement.Raw)] || claims.Root == nil {
				t.Error("accepted without a signature")
			}
			untouched(t, claims)
		}
		if err := g.Write(&strings.Builder{}, check.Style{}); err != nil {
			t.Error(err)
		}
	})
}

// untouched requires the claims to be those of newPlatform.
func untouched(t *testing.T, c *Claims) {
	p := newPlatform(t, c.Product, 5, c.Report.KeyInfo.SigningKey())
	if !bytes.Equal(c.Report.Raw[:signedSize], p.report[:signedSize]) || !p.key.PublicKey.Equal(c.Endorsement.PublicKey) {
		t.Errorf("accepted a report that nobody signed: %x", c.Report.Raw)
	}
}

// Real evidence changed at random is refused by something.
func TestMutatedVectors(t *testing.T) {
	dir := need.Vectors(t)
	leaf := certificates(t, dir, "more/snp/turin-v5-caci.vcek.pem")[0]
	in := Input{Report: load(t, dir, "more/snp/turin-v5-caci.report.bin"), Roots: roots.Vendors(), Now: m1, Memo: pki.NewMemo(1 << 20)}
	refused(t, with(in, leaf), "")
	for i := 0; i < len(leaf.Raw); i++ {
		der := bytes.Clone(leaf.Raw)
		der[i] ^= 1
		c, err := x509.ParseCertificate(der)
		if err != nil {
			continue
		}
		g := check.New("")
		if Verify(g, with(in, c)); g.OK() {
			t.Errorf("byte %d of the VCEK may change", i)
		}
	}
}

func with(in Input, certs ...*x509.Certificate) Input {
	in.Certificates = certs
	return in
}
