// SPDX-License-Identifier: Apache-2.0

package attesttest_test

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	spb "github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/validate"
	"github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"enarx.dev/enarx/attest/attesttest"
)

// published answers requests for what vendors publish, from memory.
type published map[string][]byte

func (p published) Get(url string) ([]byte, error) {
	if b, ok := p[url]; ok {
		return b, nil
	}
	return nil, fmt.Errorf("nothing at %s", url)
}

// An amdCase is SNP evidence as go-sev-guest takes it.
type amdCase struct {
	report, endorsement []byte
	ark, ask, asvk      []byte
	crl                 []byte
	lent                bool
	data                []byte // report data
	now                 time.Time
}

// sevGuest verifies and validates SNP evidence with Google's library.
func sevGuest(c amdCase) error {
	report, err := abi.ReportToProto(c.report)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	chain := &spb.CertificateChain{VcekCert: c.endorsement}
	if c.lent {
		chain = &spb.CertificateChain{VlekCert: c.endorsement}
	}
	attestation := &spb.Attestation{Report: report, CertificateChain: chain}
	var certs [3]*x509.Certificate
	for i, der := range [][]byte{c.ark, c.ask, c.asvk} {
		if der == nil {
			continue
		}
		if certs[i], err = x509.ParseCertificate(der); err != nil {
			return err
		}
	}
	roots := map[string][]*trust.AMDRootCerts{}
	urls := published{}
	for _, line := range []string{"Milan", "Genoa", "Turin"} {
		roots[line] = []*trust.AMDRootCerts{{ProductLine: line, ProductCerts: &trust.ProductCerts{Ark: certs[0], Ask: certs[1], Asvk: certs[2]}}}
		for _, kind := range []string{"vcek", "vlek"} {
			if c.crl != nil {
				urls["https://kdsintf.amd.com/"+kind+"/v1/"+line+"/crl"] = c.crl
			}
		}
	}
	options := &verify.Options{Now: c.now, TrustedRoots: roots, CheckRevocations: true, DisableCertFetching: true, Getter: urls}
	if err := verify.SnpAttestation(attestation, options); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	vmpl := 0
	err = validate.SnpAttestation(attestation, &validate.Options{
		GuestPolicy:               abi.SnpPolicy{SMT: true},
		PermitProvisionalFirmware: true, VMPL: &vmpl, ReportData: c.data,
	})
	if err != nil {
		return fmt.Errorf("validate: %w", err)
	}
	return nil
}

// synthetic is a chip's report as a case for go-sev-guest.
func synthetic(c *attesttest.Chip, now time.Time, edits ...func(*attesttest.Report)) amdCase {
	e := c.Evidence("snp-v2", [64]byte{1}, [32]byte{2}, func(r *attesttest.Report) {
		for _, edit := range edits {
			edit(r)
		}
	})
	return amdCase{e.Report, e.Endorsement, c.ARK(), c.ASK(), c.ASVK(), c.CRL(), c.CSP != "", e.Report[0x50:0x90], now}
}

// TestSEVGuestAccepts has Google's library accept what every kind of chip makes.
func TestSEVGuestAccepts(t *testing.T) {
	w := attesttest.New("cross-check", now)
	for _, p := range w.AMD.Products() {
		for _, chip := range []*attesttest.Chip{p.Chip("a"), p.Chip("b").Lent("cloud")} {
			for version := uint32(2); version <= 5; version++ {
				err := sevGuest(synthetic(chip, now, func(r *attesttest.Report) { r.Version = version }))
				// "Genoa" without a stepping is what AMD's certificates say; the library
				// wants one where there is no CPUID in the report.
				cannot := p.Name == "Turin" || p.Name == "Genoa" && version == 2 && chip.CSP == ""
				if (err != nil) != cannot {
					t.Errorf("%s version %d, CSP %q: %v", p.Name, version, chip.CSP, err)
				}
			}
		}
	}
}

// sevGuestDiffers are the cases in which Google's library and we say different
// things, and why.
var sevGuestDiffers = map[string]string{
	"snp-turin-v5":                              turinExtension,
	"snp-milan-v2/reserved_1f8":                 laterFields,
	"snp-milan-v2/reserved_207":                 laterFields,
	"snp-milan-v3/reserved_1f8":                 laterFields,
	"snp-milan-v3/reserved_207":                 laterFields,
	"snp-milan-v4/reserved_1f8":                 laterFields,
	"snp-milan-v4/reserved_207":                 laterFields,
	"snp-milan-v3/size/long":                    "it passes over what follows the report",
	"snp-milan-v3/policy/abi":                   "it leaves the guest policy's minimum ABI version to its caller",
	"snp-milan-v3/platform_info/bit8":           "it passes over unknown bits of the platform information",
	"snp-milan-v3/key_info/masked":              "it does not look at MASK_CHIP_KEY",
	"snp-milan-v3/current_tcb/reserved":         "it compares TCBs component by component and passes over the rest",
	"snp-milan-v3/launch_tcb/reserved":          "it compares TCBs component by component and passes over the rest",
	"snp-milan-v3/chip_id/masked":               "it takes a report of a masked chip for any chip's",
	"snp-genoa-v3/cpuid_10":                     genoaModels,
	"snp-genoa-v3/cpuid_1f":                     genoaModels,
	"snp-genoa-v3/cpuid_a0":                     genoaModels,
	"snp-genoa-v3/cpuid_af":                     genoaModels,
	"snp-endorsement/vcek/struct_version/9":     "it does not look at the structure's version",
	"snp-endorsement/vcek/product_name/unknown": productName,
	"snp-endorsement/vcek/product_name/genoa":   productName,
	"snp-vlek/policy/no_vlek":                   "it takes VLEKs wherever it takes VCEKs; we only where a policy says so",
	"snp-vlek/vlek/issuer/key":                  keyNames,
	"snp-vlek/asvk/issuer/key":                  keyNames,
	"snp-endorsement/vcek/issuer/key":           keyNames,
	"snp-vlek/vlek/product_name/genoa":          productName,
	"snp-vlek/vlek/csp_id/other":                "it has no rule on cloud providers",
	"snp-vlek/policy/csp":                       "it has no rule on cloud providers",
	"snp-vlek/policy/chip_denied":               "it has no rule on chips",
	"snp-vlek/policy/chip_none":                 "it has no rule on chips",
	"snp-vlek/asvk/revoked":                     "it looks in CRLs for the ASK only",
	"snp-endorsement/time/crl/before":           crlDates,
	"snp-endorsement/time/crl/after":            crlDates,
	"snp-collateral/crl/stale":                  crlDates,
	"snp-collateral/crl/future":                 crlDates,
	"snp-collateral/crl/endless":                crlDates,
	"snp-collateral/crl/issuer":                 "it checks a CRL's signature and not whose name it is in",
	"snp-collateral/crl/authority_key":          "it checks a CRL's signature and not which key it names",
	"snp-collateral/crl/older_beside":           "it takes one CRL; this test gives it the first, we take the latest",
}

const (
	turinExtension = "go-sev-guest 0.15.0 does not know the extension 1.3.6.1.4.1.3704.1.3.9 of Turin's certificates"
	laterFields    = "it reads the mitigation vectors, which came with version 5, in every version"
	genoaModels    = "it knows Genoa by the one model 0x11, not by the family's ranges"
	productName    = "from version 3 on it goes by the report's CPUID and passes over the certificate's product name"
	keyNames       = "it checks a certificate's signature and not which key of its issuer it names"
	crlDates       = "it does not look at a CRL's dates"
)

// TestSEVGuestAgrees has Google's library judge the corpus's reports.
func TestSEVGuestAgrees(t *testing.T) {
	c := openConformance(t)
	for _, k := range c.Cases {
		if k.Kind != attesttest.KindSNP || k.Policy != "" && !strings.HasPrefix(k.Name, "snp-vlek") {
			continue
		}
		theirs := sevGuest(c.amdCase(t, k))
		ours := c.verdict(t, k)
		why, explained := sevGuestDiffers[k.Name]
		if differ := (theirs == nil) != (len(ours) == 0); differ != explained {
			t.Errorf("%s (%s): we say %v, go-sev-guest says %v (%s)", k.Name, k.Change, ours, theirs, why)
		}
	}
}

func (c *conformance) amdCase(t *testing.T, k attesttest.Case) amdCase {
	t.Helper()
	at, err := time.Parse(time.RFC3339, k.Time)
	if err != nil {
		t.Fatal(err)
	}
	data, err := hex.DecodeString(k.ReportData)
	if err != nil {
		t.Fatal(err)
	}
	a := amdCase{report: c.read(t, k.Input), data: data, now: at}
	for _, name := range k.Collateral {
		switch path.Ext(name) {
		case ".crl":
			if a.crl == nil {
				a.crl = c.read(t, name)
			}
		case ".crt":
			if a.endorsement == nil {
				a.endorsement = c.read(t, name)
			}
		}
	}
	line := "Milan"
	if a.endorsement != nil {
		cert := parse(t, a.endorsement)
		a.lent = cert.Subject.CommonName == "SEV-VLEK"
		if name := cert.Issuer.CommonName; strings.HasSuffix(name, "Genoa") || strings.HasSuffix(name, "Turin") {
			line = name[len(name)-5:]
		}
	}
	for _, der := range c.certificates(t, k.Roots) {
		switch parse(t, der).Subject.CommonName {
		case "ARK-" + line:
			a.ark = der
		case "SEV-" + line:
			a.ask = der
		case "SEV-VLEK-" + line:
			a.asvk = der
		}
	}
	return a
}
