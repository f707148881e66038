// SPDX-License-Identifier: Apache-2.0

// Package attesttest is synthetic silicon. From a seed it makes the certificate
// hierarchies of AMD and Intel, chips and machines, their endorsement
// certificates, revocation lists, TCB infos and QE identities, and then reports,
// quotes and certification requests that are cryptographically valid, with any
// field set to anything. A verifier needs no test mode for it: it is the
// production one, given other roots.
//
// Everything follows from the seed and the time that a [World] is made with; no
// clock is read and nothing is random, so two worlds of one seed are equal byte
// for byte. Keys depend on the seed alone. Whoever knows the seed can make any
// evidence of its world: never trust such roots for anything that matters.
//
// The encoders here were written from the vendors' formats and from real
// evidence, not from the parsers in attest/snp, attest/sgx and attest/tdx, so that
// each side checks the other. [Mutants] derives the conformance corpus from them.
package attesttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"sync"
	"time"

	"enarx.dev/enarx/attest/roots"
)

// A World is the silicon that one seed stands for. Its parts are made when they
// are first used. It is safe for concurrent use, as far as its fields are left alone.
type World struct {
	Now     time.Time // collateral is made so that it is fresh then
	RSABits int       // size of AMD's keys, before the first is made: AMD has 4096, which take seconds to make
	AMD     *AMD
	Intel   *Intel

	seed string
	mu   sync.Mutex
	made map[string]*part
}

type part struct {
	once  sync.Once
	value any
}

// New returns the world of a seed, with collateral that is fresh at now.
func New(seed string, now time.Time) *World {
	w := &World{Now: now.UTC().Truncate(time.Second), RSABits: 2048, seed: seed, made: map[string]*part{}}
	w.AMD = &AMD{
		Milan: &Product{Name: "Milan", Line: 1, Report: 3, CPU: [3]byte{0x19, 0x01, 0x01}, Step: "Milan-B0", TCB: TCB{Bootloader: 4, SNP: 24, Microcode: 219}},
		Genoa: &Product{Name: "Genoa", Line: 2, Report: 3, CPU: [3]byte{0x19, 0x11, 0x01}, Step: "Genoa", TCB: TCB{Bootloader: 10, SNP: 23, Microcode: 84}},
		Turin: &Product{Name: "Turin", Line: 3, Report: 5, CPU: [3]byte{0x1a, 0x02, 0x01}, Step: "Turin", TCB: TCB{FMC: 1, Bootloader: 1, TEE: 1, SNP: 4, Microcode: 81}},
	}
	for _, p := range w.AMD.Products() {
		p.world = w
	}
	w.Intel = &Intel{world: w}
	return w
}

// remember makes something once.
func remember[T any](w *World, name string, make func() T) T {
	w.mu.Lock()
	p := w.made[name]
	if p == nil {
		p = &part{}
		w.made[name] = p
	}
	w.mu.Unlock()
	p.once.Do(func() { p.value = make() })
	return p.value.(T)
}

// Certificates and keys last as long as the hierarchies of real vendors, so that
// a world stays the same while its clock goes on. Leaves begin later than their
// issuers.
var (
	rootsFrom  = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	leavesFrom = time.Date(2020, 7, 1, 0, 0, 0, 0, time.UTC)
	rootsTo    = time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)
	leavesTo   = time.Date(2049, 6, 30, 23, 59, 59, 0, time.UTC)
)

// How far collateral reaches around a world's Now.
const (
	day        = 24 * time.Hour
	issued     = -2 * day  // since when
	shortLived = 28 * day  // Intel's CRLs of PCKs, TCB infos and QE identities
	longLived  = 363 * day // AMD's CRLs, Intel's CRL of its root
)

// Key returns the elliptic-curve key of that label.
func (w *World) Key(label string, curve elliptic.Curve) *ecdsa.PrivateKey {
	name := "key/" + curve.Params().Name + "/" + label
	return remember(w, name, func() *ecdsa.PrivateKey { return ecKey(w.seed, name, curve) })
}

// RSAKey returns the RSA key of that label.
func (w *World) RSAKey(label string) *rsa.PrivateKey {
	name := "key/RSA/" + label
	return remember(w, name, func() *rsa.PrivateKey { return rsaKey(w.seed, name, w.RSABits) })
}

// bytes fills out with what the label stands for.
func (w *World) bytes(label string, out []byte) { fill(stream(w.seed, "bytes/"+label), out) }

// Roots returns the trust anchors of the world, and the intermediates that come
// with a verifier (AMD's ASK and ASVK).
func (w *World) Roots() *roots.Set {
	return remember(w, "roots", func() *roots.Set {
		s := &roots.Set{}
		var wg sync.WaitGroup // RSA keys take time to make
		for _, p := range w.AMD.Products() {
			wg.Go(func() { p.ASK() })
			wg.Go(func() { p.ASVK() })
		}
		wg.Wait()
		for _, p := range w.AMD.Products() {
			for _, der := range [][]byte{p.ARK(), p.ASK(), p.ASVK()} {
				s.Add(parsed(der))
			}
		}
		s.Add(parsed(w.Intel.Root()))
		return s
	})
}

// Collateral is what surrounds evidence, each piece as its vendor publishes it.
type Collateral struct {
	Certificates [][]byte // DER
	CRLs         [][]byte // DER
	TCBInfos     [][]byte // JSON, as Intel PCS answers
	QEIdentities [][]byte // JSON, as Intel PCS answers
}

// Collateral returns all that a verifier needs besides evidence that carries its
// own endorsement certificate: every CRL, and the TCB infos and QE identities of
// the world's default machine.
func (w *World) Collateral() *Collateral {
	return remember(w, "collateral", func() *Collateral {
		c := &Collateral{}
		for _, p := range w.AMD.Products() {
			c.CRLs = append(c.CRLs, p.CRL())
		}
		c.Append(w.Intel.Collateral(w.Machine()))
		return c
	})
}

// Append adds what is in more.
func (c *Collateral) Append(more *Collateral) {
	c.Certificates = append(c.Certificates, more.Certificates...)
	c.CRLs = append(c.CRLs, more.CRLs...)
	c.TCBInfos = append(c.TCBInfos, more.TCBInfos...)
	c.QEIdentities = append(c.QEIdentities, more.QEIdentities...)
}

// Chip returns the world's default chip: a Milan.
func (w *World) Chip() *Chip { return w.AMD.Milan.Chip("chip") }

// Machine returns the world's default SGX and TDX machine.
func (w *World) Machine() *Machine { return w.Intel.Machine("machine") }

// usages that certificates here have.
const (
	certSign = x509.KeyUsageCertSign
	crlSign  = x509.KeyUsageCRLSign
	dataSign = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment
)
