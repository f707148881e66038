// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/sha256"
	"fmt"
	"time"

	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/snp"
)

// Policy is what evidence has to satisfy beyond being genuine. The zero value
// of a rule asks for nothing, except where its comment says otherwise; start
// from [DefaultPolicy] or [ParsePolicy], whose rules are documented key by key
// in docs/evidence.md.
type Policy struct {
	Technologies      []Technology           // nil: all of them
	Measurements      map[string]Measurement // by name
	Expected          []string               // names, one of which the evidence must have; nil: any measurement
	RefuseKnownBroken bool                   // refuse what an advisory of kind "broken" applies to
	SNP               SNPPolicy
	SGX               SGXPolicy
	TDX               TDXPolicy
	Collateral        CollateralPolicy
	Certificate       CertificatePolicy

	// No file sets these two.
	RequireBinding bool // the evidence must be bound to a key or to data; DefaultPolicy and ParsePolicy set it
	Insecure       bool // accept evidence without hardware

	Warnings []Warning // what the author of the file should look at

	name    string            // of the file
	sources map[string]string // key → "policy.toml:12"
	digest  [32]byte
}

// Measurement is what one program measures to on each technology.
type Measurement struct {
	SNP, SGX, TDX [][]byte // MEASUREMENT, MRENCLAVE, MRTD
}

// SNPPolicy is the table [snp].
type SNPPolicy struct {
	Signer           [][]byte         // AUTHOR_KEY_DIGEST is one of them
	Hash, HashDenied [][]byte         // MEASUREMENT is one, is none
	IDKey, IDDenied  [][]byte         // ID_KEY_DIGEST is one, is none
	ABI              *VersionRange    // of the guest policy's minimum ABI version
	PolicyFlags      *[]string        // Debug and SMT may be allowed only if listed, SingleSocket must be asked for if listed; nil: any, but no debug
	PlatformInfo     snp.PlatformInfo // bits that must be set
	PlatformDenied   snp.PlatformInfo // bits that must not be set

	// By product line, or "" for all; component names as snp.Components.
	MinimumTCB map[string]map[string]uint8

	ChipIDs, ChipIDsDenied [][]byte
	CSPIDs                 []string // of VLEKs
	VMPL                   []uint32 // levels accepted; nil: 0
	Products               []string // nil: all
	HostData               [][]byte
	MinimumGuestSVN        uint32
	MinimumFirmware        [3]uint8 // major, minor, build
	AllowDebug             bool
	AllowMigration         bool // by a migration agent
	AllowVLEK              bool
}

// DCAPPolicy are the rules that SGX and TDX share.
type DCAPPolicy struct {
	Statuses           []string // TCB statuses accepted; nil: UpToDate. Revoked never is
	Advisories         []string // that may be open; nil: those that come with an accepted status
	PPIDs, PPIDsDenied [][]byte
	Platforms          [][]byte // platform instance IDs
	MinimumQESVN       uint16
	MinimumPCESVN      uint16
	MinimumEvaluation  uint32 // of the TCB info's tcbEvaluationDataNumber
	AllowDebug         bool
}

// SGXPolicy is the table [sgx].
type SGXPolicy struct {
	DCAPPolicy
	Signer           [][]byte         // MRSIGNER is one of them
	Hash, HashDenied [][]byte         // MRENCLAVE is one, is none
	Features         *dcap.Attributes // attributes beside INIT and MODE64BIT that may be set; nil: any, but no debug
	MiscSelect       *uint32          // bits that may be set; nil: any
	MinimumSVN       uint16           // of the enclave
	ProductID        *uint16
	ConfigID         [][]byte
	RequireKSS       bool
}

// TDXPolicy is the table [tdx].
type TDXPolicy struct {
	DCAPPolicy
	MRTD, MRTDDenied       [][]byte
	RTMR                   [4][][]byte
	MRConfigID             [][]byte
	MROwner, MROwnerConfig [][]byte
	MRSEAM                 [][]byte
	MRServiceTD            [][]byte // zero, or one of these
	AllowMigration         bool
}

// CollateralPolicy is the table [collateral].
type CollateralPolicy struct {
	MaxAge                                        time.Duration // since it was issued; 0: until it says there is a successor
	RequireCRL, RequireTCBInfo, RequireQEIdentity bool          // refuse when missing or stale; DefaultPolicy sets them
}

// CertificatePolicy is the table [certificate].
type CertificatePolicy struct {
	Life    time.Duration // of an issued certificate; DefaultPolicy: a day
	MaxLife time.Duration // that may be asked for; DefaultPolicy: 28 days, upstream's fixed one
}

// A Warning is something in a policy that is accepted but probably not meant.
type Warning struct {
	Source string // "policy.toml:12"
	Msg    string
}

// String is the position and the message.
func (w Warning) String() string { return w.Source + ": " + w.Msg }

const (
	defaultLife    = 24 * time.Hour
	defaultMaxLife = 28 * 24 * time.Hour
)

// DefaultPolicy accepts genuine, current, production hardware, and any program
// on it.
func DefaultPolicy() *Policy {
	return &Policy{
		RequireBinding: true,
		Collateral:     CollateralPolicy{RequireCRL: true, RequireTCBInfo: true, RequireQEIdentity: true},
		Certificate:    CertificatePolicy{Life: defaultLife, MaxLife: defaultMaxLife},
		digest:         sha256.Sum256(nil),
	}
}

// Digest is the SHA-256 of the policy file; of nothing, for DefaultPolicy.
func (p *Policy) Digest() [32]byte { return p.digest }

// Name is the name that the policy was parsed with.
func (p *Policy) Name() string { return p.name }

// source says who asks for the rule of that key.
func (p *Policy) source(key string) string {
	if s, ok := p.sources[key]; ok {
		return s
	}
	return "built-in rule, " + key
}

// fixIn is where the rule of that key is changed.
func (p *Policy) fixIn(key string) string {
	if s, ok := p.sources[key]; ok {
		return key + " (" + s + ")"
	}
	return key + " of the policy"
}

// statuses are the TCB statuses accepted.
func (p *DCAPPolicy) statuses() []string {
	if p.Statuses == nil {
		return []string{dcap.UpToDate}
	}
	return p.Statuses
}

// PolicyError is one thing wrong in a policy file. Hint, when not empty, is
// what to do about it and is not part of Error().
type PolicyError struct {
	Name         string // of the file
	Line, Column int    // from 1; 0: the file as a whole
	Msg          string
	Hint         string
}

// Error returns the position and the message: "policy.toml:2:9: …".
func (e *PolicyError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.Name, e.Msg)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.Name, e.Line, e.Column, e.Msg)
}
