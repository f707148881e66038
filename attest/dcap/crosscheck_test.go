// SPDX-License-Identifier: Apache-2.0

package dcap_test

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tdx-guest/abi"
	"github.com/google/go-tdx-guest/pcs"
	pb "github.com/google/go-tdx-guest/proto/tdx"
	"github.com/google/go-tdx-guest/verify"
	"github.com/google/logger"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/attest/tdx"
	"enarx.dev/enarx/internal/need"
)

func TestMain(m *testing.M) {
	logger.Init("", false, false, io.Discard) // go-tdx-guest logs to stderr otherwise
	os.Exit(m.Run())
}

// offline answers go-tdx-guest from collateral.
type offline struct {
	info, identity  []byte // as the PCS gives them
	signers         string // PEM chain
	rootCRL, pckCRL []byte
}

func (o *offline) Get(address string) (map[string][]string, []byte, error) {
	chain := []string{url.QueryEscape(o.signers)}
	headers := map[string][]string{
		pcs.TcbInfoIssuerChainPhrase: chain, pcs.SgxQeIdentityIssuerChainPhrase: chain, pcs.SgxPckCrlIssuerChainPhrase: chain,
	}
	var body []byte
	switch {
	case strings.Contains(address, "/tcb?"):
		body = o.info
	case strings.Contains(address, "/qe/identity"):
		body = o.identity
	case strings.Contains(address, "/pckcrl"):
		// Its issuer chain is taken from the quote here.
		body = o.pckCRL
	default:
		body = o.rootCRL
	}
	if body == nil {
		return nil, nil, errors.New("there is none")
	}
	return headers, body, nil
}

// newOffline takes apart what a quote is verified with. Only the issuer of the
// PCK's CRL is missing, for which verification is done without revocation.
func newOffline(c dcap.Collateral) *offline {
	o := &offline{}
	for _, t := range c.TCBInfos {
		o.info = []byte(`{"tcbInfo":` + string(t.Body) + `,"signature":"` + hex.EncodeToString(t.Signature) + `"}`)
	}
	for _, q := range c.QEIdentities {
		o.identity = []byte(`{"enclaveIdentity":` + string(q.Body) + `,"signature":"` + hex.EncodeToString(q.Signature) + `"}`)
	}
	var chain []byte
	for _, name := range []string{"Intel SGX TCB Signing", "Intel SGX Root CA"} {
		for _, cert := range c.Certificates {
			if cert.Subject.CommonName == name {
				chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
				break
			}
		}
	}
	o.signers = string(chain)
	return o
}

func tdxGuest(quote []byte, c dcap.Collateral, trusted *roots.Set, now time.Time) error {
	pool := x509.NewCertPool()
	for _, r := range trusted.Intel {
		pool.AddCert(r)
	}
	return verify.RawTdxQuote(quote, &verify.Options{
		GetCollateral: true, Getter: newOffline(c), TrustedRoots: pool,
		Now: &verify.TimeSet{PckCertChain: now, TcbInfo: now, QeIdentity: now, PckCrl: now, RootCaCrl: now},
	})
}

// strictTDX is our verdict under the rules that go-tdx-guest has built in: TCB
// infos and QE identities have to be there and fresh, and UpToDate. CRLs are
// left out.
func strictTDX(quote []byte, c dcap.Collateral, trusted *roots.Set, now time.Time) error {
	g := check.New("quote")
	cl := tdx.Verify(g, tdx.Input{Quote: quote, Collateral: c, Roots: trusted, Now: now})
	for _, f := range g.Failures() {
		return errors.New(f.Code)
	}
	for i := range cl.Collateral {
		if d := &cl.Collateral[i]; d.Kind != "crl" && d.State(now) != "fresh" {
			return errors.New(d.Code + " " + d.State(now))
		}
	}
	if cl.TCB.Name != dcap.UpToDate {
		return errors.New(cl.TCB.Name)
	}
	return nil
}

// TestTDXGuestVectors compares verdicts with go-tdx-guest's on every TDX quote.
// It reads version 4 only.
func TestTDXGuestVectors(t *testing.T) {
	folder := need.Vectors(t)
	for _, v := range []struct {
		quote, at    string
		with         []string
		ours, theirs string // the beginning of an error; empty: accepted
		why          string // they differ
	}{
		{quote: "v4-uptodate-c080", at: "X3", with: x3},
		{quote: "v4-uptodate-c080-zeropad", at: "X3", with: x3},
		{quote: "v4-uptodate-b0c0", at: "X1", with: x1},
		{quote: "v4-debug-5080", at: "X4", with: x4},
		{quote: "v4-nolevel-5080", at: "X4", with: x4, ours: "tdx.tcb-info.level", theirs: "TDX TCB info reported by Intel PCS failed TCB status check: no matching TCB level found"},
		{quote: "v4-garbage-trailer", at: "X4", with: x4, ours: "tdx.quote.trailing", theirs: "TDX TCB info reported by Intel PCS failed TCB status check: no matching TCB level found",
			why: "they keep what follows a quote and go on; the level is what they find then"},
		{quote: "v4-uptodate-b0c0", at: "X2", with: x1, ours: "tdx.qe-identity stale", theirs: "could not verify collaterals obtained: tcbInfo has expired"},
		{quote: "v4-uptodate-b0c0", at: "X3", with: x1, ours: "tdx.pck.validity", theirs: "error verifying PCK Certificate: x509: certificate has expired or is not yet valid"},
		{quote: "v4-uptodate-b0c0", at: "X1", with: x3, ours: "tdx.tcb-signing.validity", theirs: "could not verify collaterals obtained: tcbInfo has expired"},
		{quote: "v4-uptodate-c080", at: "X1", with: x3, ours: "tdx.tcb-signing.validity", theirs: "could not verify collaterals obtained: tcbInfo has expired"},
		{quote: "v4-gce-zeropad", at: "X2", with: x2, ours: "tdx.tcb-info.fmspc missing", theirs: "FMSPC from PCK Certificate"},
		{quote: "v4-gce-zeropad", at: "X2", ours: "tdx.qe-identity missing", theirs: "unable to receive tcbInfo"},
		{quote: "v5-uptodate-90c0", at: "X2", with: x2, theirs: "could not convert raw bytes to QuoteV4: quote format not supported",
			why: "they do not read version 5"},
		{quote: "v5-servicetd-90c0", at: "X2", with: x2, ours: "tdx.tcb-info.level", theirs: "could not convert raw bytes to QuoteV4: quote format not supported"},
	} {
		name := v.quote + "@" + v.at
		quote := read(t, folder, "more/tdx/"+v.quote+".quote.bin")
		c := collateral(t, nil, folder, v.with...)
		ours, theirs := strictTDX(quote, c, roots.Vendors(), at(t, v.at)), tdxGuest(quote, c, roots.Vendors(), at(t, v.at))
		if !errorIs(ours, v.ours) || !errorIs(theirs, v.theirs) {
			t.Errorf("%s: ours %v, want %q; go-tdx-guest %v, want %q", name, ours, v.ours, theirs, v.theirs)
		}
		if (ours == nil) != (theirs == nil) && v.why == "" {
			t.Errorf("%s: the verdicts differ and nobody knows why", name)
		}
	}
}

func errorIs(err error, prefix string) bool {
	return err == nil && prefix == "" || err != nil && prefix != "" && strings.HasPrefix(err.Error(), prefix)
}

// disagreements is what go-tdx-guest says otherwise of mutants, and why.
var disagreements = map[string]string{
	"reserved header bytes":              "it reads these bytes as QE SVN and PCE SVN, as in version 3",
	"QE vendor":                          "it compares the QE vendor in validation, not in verification",
	"something behind":                   "it accepts anything behind a quote",
	"too long":                           "it has no limit, and these are zeros",
	"TD attribute":                       "it checks attributes in validation, not in verification",
	"QE report bytes":                    "it does not look at reserved bytes",
	"PCK that is a CA":                   "it does not look at basic constraints of the PCK",
	"PCK that may not sign":              "it does not look at the key usage of the PCK",
	"NULs and space behind certificates": "it takes off one NUL, and nothing behind space",
	"no line's end between certificates": "encoding/pem needs it; real quotes (quote.icelake) have none",
	"text between certificates":          "encoding/pem passes over text",
	"text before certificates":           "encoding/pem passes over text",
	"PCK revoked":                        "revocation is not compared here",
	"PCK CA revoked":                     "revocation is not compared here",
	"signer revoked":                     "revocation is not compared here",
	"signer that is a CA":                "it does not look at basic constraints of the signer",
	"older platform under a module of version TDX_01": "it takes the module's status for that of the whole",
}

// TestTDXGuestMutants compares verdicts on the mutants of version 4, and on
// statuses.
func TestTDXGuestMutants(t *testing.T) {
	list := append([]mutant{
		{name: "good"},
		{name: "older module", mutate: flip(48, 5^3)},
		{name: "older quoting enclave", mutate: flipQE(258, 6^5)},
		{name: "older platform under a module of version TDX_01", mutate: func(f *forge) { f.components[0] = 4 }},
		{name: "module of major version 0", mutate: flip(48+1, 1)},
		{name: "older module of major version 0", mutate: func(f *forge) { flip(48+1, 1)(f); flip(48, 5^2)(f) }},
	}, mutants...)
	differ := map[string]bool{}
	for _, m := range list {
		if m.kinds != "" && !strings.Contains(m.kinds, "tdx4") {
			continue
		}
		f := newForge("tdx4")
		f.realistic()
		if m.mutate != nil {
			m.mutate(f)
		}
		quote, c, trusted := f.build()
		ours, theirs := strictTDX(quote, c, trusted, f.now), tdxGuest(quote, c, trusted, f.now)
		if (ours == nil) != (theirs == nil) {
			differ[m.name] = true
			if disagreements[m.name] == "" {
				t.Errorf("%s: ours %v, go-tdx-guest %v", m.name, ours, theirs)
			}
		}
	}
	for name := range disagreements {
		if !differ[name] {
			t.Errorf("%s: no disagreement any more", name)
		}
	}
}

// TestTDXGuestFields compares every field of the quotes that go-tdx-guest reads.
func TestTDXGuestFields(t *testing.T) {
	folder := need.Vectors(t)
	n := 0
	for _, name := range must(filepath.Glob(filepath.Join(folder, "more/tdx/v4-*.quote.bin"))) {
		data := must(os.ReadFile(name))
		if strings.Contains(name, "garbage") {
			data = data[:len(data)-39]
		}
		any, err := abi.QuoteToProto(data)
		if err != nil {
			t.Errorf("%s: go-tdx-guest: %v", name, err)
			continue
		}
		theirs := any.(*pb.QuoteV4)
		ours, err := tdx.ParseQuote(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		n++
		qe := theirs.SignedData.CertificationData.QeReportCertificationData
		body, b := &ours.Body, theirs.TdQuoteBody
		le := binary.LittleEndian
		for what, pair := range map[string][2][]byte{
			"user data": {ours.Header.UserData[:], theirs.Header.UserData}, "vendor": {ours.Header.QEVendor[:], theirs.Header.QeVendorId},
			"TEE_TCB_SVN": {body.TEETCBSVN[:], b.TeeTcbSvn}, "MRSEAM": {body.MRSEAM[:], b.MrSeam}, "MRSIGNERSEAM": {body.MRSignerSEAM[:], b.MrSignerSeam},
			"SEAMATTRIBUTES": {le.AppendUint64(nil, body.SEAMAttributes), b.SeamAttributes},
			"TDATTRIBUTES":   {le.AppendUint64(nil, uint64(body.Attributes)), b.TdAttributes}, "XFAM": {le.AppendUint64(nil, body.XFAM), b.Xfam},
			"MRTD": {body.MRTD[:], b.MrTd}, "MRCONFIGID": {body.MRConfigID[:], b.MrConfigId}, "MROWNER": {body.MROwner[:], b.MrOwner},
			"MROWNERCONFIG": {body.MROwnerConfig[:], b.MrOwnerConfig}, "RTMR0": {body.RTMR[0][:], b.Rtmrs[0]}, "RTMR3": {body.RTMR[3][:], b.Rtmrs[3]},
			"REPORTDATA": {body.ReportData[:], b.ReportData},
			"signature":  {ours.Signature.Signature, theirs.SignedData.Signature}, "key": {ours.Signature.Key, theirs.SignedData.EcdsaAttestationKey},
			"QE signature": {ours.Signature.QESignature, qe.QeReportSignature}, "authentication data": {ours.Signature.AuthData, qe.QeAuthData.Data},
			"chain":       {ours.Signature.Certification, qe.PckCertificateChainData.PckCertChain},
			"QE MRSIGNER": {ours.Signature.QE.MRSigner[:], qe.QeReport.MrSigner}, "QE MRENCLAVE": {ours.Signature.QE.MREnclave[:], qe.QeReport.MrEnclave},
			"QE CPUSVN": {ours.Signature.QE.CPUSVN[:], qe.QeReport.CpuSvn}, "QE REPORTDATA": {ours.Signature.QE.ReportData[:], qe.QeReport.ReportData},
			"QE ATTRIBUTES": {le.AppendUint64(le.AppendUint64(nil, uint64(ours.Signature.QE.Attributes)), ours.Signature.QE.XFRM), qe.QeReport.Attributes},
			"QE numbers": {[]byte(fmt.Sprint(ours.Signature.QE.ISVProdID, ours.Signature.QE.ISVSVN, ours.Signature.QE.MiscSelect)),
				[]byte(fmt.Sprint(qe.QeReport.IsvProdId, qe.QeReport.IsvSvn, qe.QeReport.MiscSelect))},
		} {
			if !bytes.Equal(pair[0], pair[1]) {
				t.Errorf("%s: %s: %x, go-tdx-guest %x", name, what, pair[0], pair[1])
			}
		}
	}
	if n < 7 {
		t.Errorf("only %d quotes", n)
	}
}

// pcks is every PCK certificate there is: alone, or within a quote.
func pcks(t *testing.T, folder string) map[string]*x509.Certificate {
	t.Helper()
	found := map[string]*x509.Certificate{}
	for _, glob := range []string{"*_pck.crt", "quote.*", "extracted/*.quote.bin", "more/*/*.quote.bin"} {
		for _, name := range must(filepath.Glob(filepath.Join(folder, glob))) {
			data := must(os.ReadFile(name))
			if i := bytes.Index(data, []byte("-----BEGIN")); i >= 0 {
				// Some chains have nothing between END and the next BEGIN, which pem.Decode cannot read.
				data = data[i:]
				block, _ := pem.Decode(data[:bytes.Index(data, []byte("-----END CERTIFICATE-----"))+25])
				data = block.Bytes
			}
			if cert, err := x509.ParseCertificate(data); err == nil {
				found[filepath.Base(name)] = cert
			}
		}
	}
	return found
}

// TestTDXGuestPCK compares what is read from PCK certificates.
func TestTDXGuestPCK(t *testing.T) {
	all := pcks(t, need.Vectors(t))
	if len(all) < 15 {
		t.Errorf("only %d certificates", len(all))
	}
	for name, cert := range all {
		ours, err := dcap.ParsePCK(cert)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		theirs, err := pcs.PckCertificateExtensions(cert)
		if err != nil {
			t.Errorf("%s: go-tdx-guest: %v", name, err)
			continue
		}
		if hex.EncodeToString(ours.PPID[:]) != theirs.PPID || hex.EncodeToString(ours.PCEID[:]) != theirs.PCEID ||
			hex.EncodeToString(ours.FMSPC[:]) != theirs.FMSPC || !strings.EqualFold(ours.FMSPCString(), theirs.FMSPC) ||
			ours.PCESVN != theirs.TCB.PCESvn || !bytes.Equal(ours.CPUSVN[:], theirs.TCB.CPUSvn) || !bytes.Equal(ours.Components[:], theirs.TCB.CPUSvnComponents) {
			t.Errorf("%s: %+v, go-tdx-guest %+v", name, ours, theirs)
		}
	}
}

// TestTDXGuestTCBInfo compares what is read from TCB infos and QE identities.
func TestTDXGuestTCBInfo(t *testing.T) {
	folder := need.Vectors(t)
	for _, name := range must(filepath.Glob(filepath.Join(folder, "more/tdx/*tcbinfo.json"))) {
		data := must(os.ReadFile(name))
		var theirs pcs.TdxTcbInfo
		if err := json.Unmarshal(data, &theirs); err != nil {
			t.Fatal(err)
		}
		ours, err := dcap.ParseTCBInfo(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		b := theirs.TcbInfo
		if !bytes.Equal(ours.Module.MRSigner[:], b.TdxModule.Mrsigner.Bytes) || len(ours.Modules) != len(b.TdxModuleIdentities) || len(ours.Levels) != len(b.TcbLevels) {
			t.Errorf("%s: %+v, go-tdx-guest %+v", name, ours, b)
			continue
		}
		for i, m := range b.TdxModuleIdentities {
			have := ours.Modules[i]
			if have.ID != m.ID || !bytes.Equal(binary.LittleEndian.AppendUint64(nil, have.AttributesMask), m.AttributesMask.Bytes) || len(have.Levels) != len(m.TcbLevels) {
				t.Errorf("%s: module %d: %+v, go-tdx-guest %+v", name, i, have, m)
				continue
			}
			for j, l := range m.TcbLevels {
				if uint32(have.Levels[j].ISVSVN) != l.Tcb.Isvsvn || have.Levels[j].Status != string(l.TcbStatus) {
					t.Errorf("%s: module %d level %d: %+v, go-tdx-guest %+v", name, i, j, have.Levels[j], l)
				}
			}
		}
	}
}
