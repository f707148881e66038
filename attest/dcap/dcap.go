// SPDX-License-Identifier: Apache-2.0

// Package dcap holds what Intel's SGX and TDX quotes have in common: the part
// of a quote that carries its signatures, the quoting enclave's report, the PCK
// certificate with the platform's identity and security versions, and Intel's
// statements about those: TCB info and QE identity.
//
// It trusts Intel's root certificate, given by the caller, and nothing else: no
// clock, no network. The layouts and rules are those of
//
//   - Intel SGX DCAP, ECDSA Quote Library API, appendix A (quote version 3);
//   - Intel TDX DCAP, Quote Generation Library and Quote Verification Library,
//     appendix A (quote versions 4 and 5);
//   - Intel SGX PCK Certificate and Certificate Revocation List Profile
//     Specification;
//   - Intel Provisioning Certification Service API, version 4 (TCB info version
//     3, enclave identity version 2, and how a TCB status is determined);
//   - Intel SDM volume 3D, "Enclave Access Control and Data Structures" (REPORT
//     and ATTRIBUTES).
package dcap

import (
	"crypto/x509"
	"slices"
	"time"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
)

// Sources of expectations, as checks cite them.
const (
	pcsTCBInfo    = "Intel PCS API v4, TCB info"
	pcsIdentity   = "Intel PCS API v4, enclave identity"
	profileSource = "Intel SGX PCK Certificate and CRL Profile Specification"
	quoteSource   = "Intel SGX DCAP ECDSA Quote Library API, appendix A"
)

// Collateral is what a quote is judged by. More than needed may be given: the
// right pieces are found by what they say and who signed them.
type Collateral struct {
	Certificates []*x509.Certificate // the issuer of TCB infos and QE identities
	CRLs         []*pki.CRL
	TCBInfos     []*TCBInfo
	QEIdentities []*QEIdentity
}

// The names of TCB statuses, from best to worst in each of their three
// dimensions.
const (
	UpToDate                          = "UpToDate"
	SWHardeningNeeded                 = "SWHardeningNeeded"
	ConfigurationNeeded               = "ConfigurationNeeded"
	ConfigurationAndSWHardeningNeeded = "ConfigurationAndSWHardeningNeeded"
	OutOfDate                         = "OutOfDate"
	OutOfDateConfigurationNeeded      = "OutOfDateConfigurationNeeded"
	Revoked                           = "Revoked"
)

// Names is every TCB status that Intel defines.
var Names = []string{
	UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded,
	OutOfDate, OutOfDateConfigurationNeeded, Revoked,
}

// Status is what Intel says about a level of security versions.
type Status struct {
	Name             string    // one of [Names]
	Advisories       []string  // security advisories that apply, like "INTEL-SA-00615"
	Date             time.Time // since when there has been something newer; tcbDate
	EvaluationNumber uint32    // of the document that says so; tcbEvaluationDataNumber
	Known            bool      // there is a document, and it has a matching level
}

// What a status says, as bits: only Revoked swallows all others.
const (
	needsSoftware = 1 << iota
	needsConfiguration
	isOutOfDate
	isRevoked
)

var meanings = map[string]uint8{
	UpToDate:                          0,
	SWHardeningNeeded:                 needsSoftware,
	ConfigurationNeeded:               needsConfiguration,
	ConfigurationAndSWHardeningNeeded: needsConfiguration | needsSoftware,
	OutOfDate:                         isOutOfDate,
	OutOfDateConfigurationNeeded:      isOutOfDate | needsConfiguration,
	Revoked:                           isRevoked,
}

// Converge returns the status of something made of parts with statuses a and b.
// It is the table of Intel's quote verification library (an outdated quoting
// enclave or TDX module makes the platform out of date and leaves the need to
// configure it), made total and symmetric.
func Converge(a, b string) string {
	if a == b {
		return a
	}
	both := meanings[a] | meanings[b]
	switch {
	case both&isRevoked != 0:
		return Revoked
	case both&isOutOfDate != 0 && both&needsConfiguration != 0:
		return OutOfDateConfigurationNeeded
	case both&isOutOfDate != 0:
		return OutOfDate
	case both == needsConfiguration|needsSoftware:
		return ConfigurationAndSWHardeningNeeded
	case both == needsConfiguration:
		return ConfigurationNeeded
	case both == needsSoftware:
		return SWHardeningNeeded
	}
	return UpToDate
}

// And returns the status of the whole that s and the parts make up. It is known
// when s is; parts that are not known say nothing.
func (s Status) And(parts ...Status) Status {
	if !s.Known {
		return s
	}
	for _, p := range parts {
		if !p.Known {
			continue
		}
		s.Name = Converge(s.Name, p.Name)
		if p.Date.Before(s.Date) {
			s.Date = p.Date
		}
		for i, id := range p.Advisories {
			if !slices.Contains(s.Advisories, id) {
				s.Advisories = append(slices.Clip(s.Advisories), p.Advisories[i])
			}
		}
	}
	return s
}

// A FormatError says why bytes are not a quote that this package can read. It
// is the check that failed.
type FormatError struct{ Check check.Check }

func (e *FormatError) Error() string { return e.Check.String() }
