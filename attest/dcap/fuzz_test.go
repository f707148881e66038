// SPDX-License-Identifier: Apache-2.0

package dcap_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/sgx"
	"enarx.dev/enarx/attest/tdx"
	"enarx.dev/enarx/internal/need"
)

// seed adds files from the vectors, where there are any.
func seed(f *testing.F, globs ...string) {
	f.Helper()
	folder := filepath.Join(need.Root(f), "..", "shared", "vectors")
	for _, glob := range globs {
		for _, name := range must(filepath.Glob(filepath.Join(folder, glob))) {
			f.Add(must(os.ReadFile(name)))
		}
	}
}

func FuzzTCBInfo(f *testing.F) {
	f.Add(signedInfo(infoJSON))
	f.Add([]byte(`{"signature":"","tcbInfo":{"a":[1,{"b":"\"}"}]}}`))
	seed(f, "extracted/*tcbinfo.json", "more/*/*tcbinfo.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := dcap.ParseTCBInfo(data)
		if err != nil {
			return
		}
		var outer map[string]json.RawMessage
		if err := json.Unmarshal(data, &outer); err != nil || !bytes.Equal(outer["tcbInfo"], info.Body) {
			t.Errorf("signed is %q, encoding/json says %q, %v", info.Body, outer["tcbInfo"], err)
		}
		if info.ID != dcap.IDSGX && info.ID != dcap.IDTDX || len(info.Signature) != 64 {
			t.Errorf("%+v", info.Document)
		}
		info.Match(&dcap.PCK{}, nil)
		info.Match(&dcap.PCK{}, &[16]uint8{1, 1})
	})
}

func FuzzQEIdentity(f *testing.F) {
	f.Add(signedIdentity(identityJSON))
	seed(f, "more/*/*identity*.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		id, err := dcap.ParseQEIdentity(data)
		if err != nil {
			return
		}
		var outer map[string]json.RawMessage
		if err := json.Unmarshal(data, &outer); err != nil || !bytes.Equal(outer["enclaveIdentity"], id.Body) {
			t.Errorf("signed is %q, encoding/json says %q, %v", id.Body, outer["enclaveIdentity"], err)
		}
	})
}

func FuzzPCKExtension(f *testing.F) {
	f.Add(newForge("sgx").sgxExtension())
	oid := asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}
	for _, name := range []string{"multi_pck.crt", "single_pck.crt"} {
		der, err := os.ReadFile(filepath.Join(need.Root(f), "..", "shared", "vectors", name))
		if err != nil {
			continue
		}
		for _, e := range must(x509.ParseCertificate(der)).Extensions {
			if e.Id.Equal(oid) {
				f.Add(e.Value)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := dcap.ParsePCK(&x509.Certificate{Extensions: []pkix.Extension{{Id: oid, Value: data}}})
		if err == nil && (len(p.FMSPCString()) != 12 || p.SGXType > dcap.ScalableWithIntegrity) {
			t.Errorf("%+v", p)
		}
	})
}

// FuzzVerify has quotes and documents that were tampered with: of one that is
// all right nothing may be changed that is signed.
func FuzzVerify(f *testing.F) {
	forges := []*forge{newForge("sgx"), newForge("tdx4"), newForge("tdx5")}
	type built struct {
		quote []byte
		in    func(quote []byte) *check.Group
		end   int // of header and body
	}
	var all []built
	for _, forge := range forges {
		quote, c, trusted := forge.build()
		now := forge.now
		verify := func(q []byte) *check.Group {
			g := check.New("quote")
			sgx.Verify(g, sgx.Input{Quote: q, Collateral: c, Roots: trusted, Now: now})
			return g
		}
		if forge.tdx {
			verify = func(q []byte) *check.Group {
				g := check.New("quote")
				tdx.Verify(g, tdx.Input{Quote: q, Collateral: c, Roots: trusted, Now: now})
				return g
			}
		}
		all = append(all, built{quote, verify, len(forge.signed)})
		if !verify(quote).OK() {
			f.Fatal("the quote to start with is refused")
		}
	}
	for i := range all {
		for _, at := range []uint16{0, 2, 12, 48, 100, 431, 440, 500, 600, 900, 1200} {
			f.Add(uint8(i), at, []byte{0xff}, false)
		}
		f.Add(uint8(i), uint16(0), []byte{}, true)
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint16, change []byte, cut bool) {
		b := all[int(which)%len(all)]
		q := bytes.Clone(b.quote)
		at = uint16(int(at) % len(q))
		n := copy(q[at:], change)
		if cut {
			q = q[:int(at)+n]
		}
		g := b.in(q)
		if err := g.Write(new(bytes.Buffer), check.Style{}); err != nil {
			t.Error(err)
		}
		if g.OK() && !bytes.Equal(q[:min(b.end, len(q))], b.quote[:b.end]) {
			t.Errorf("accepted with %x at %d", change, at)
		}
	})
}
