// SPDX-License-Identifier: Apache-2.0

// Package identity holds the key of a Keep and the certificate chain that
// vouches for it, and makes from them the TLS configurations of the Keep's
// listeners and connections.
//
// The private key is made inside the Keep and exists only in its memory. Today
// the certificate is self-signed; an attested chain from a Steward enters
// through New and Replace, and nothing else needs to change then.
//
// Trust anchors are always named: the `ca` of Enarx.toml, or else the Mozilla
// roots compiled into this program. The trust store of the machine belongs to
// the host, which is the attacker, and is never read.
package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"sync/atomic"
	"time"
)

// ErrKeyMismatch is returned for a certificate chain whose first certificate
// is not for the private key that came with it.
var ErrKeyMismatch = errors.New("identity: the certificate is not for this key")

const selfSignedLifetime = 365 * 24 * time.Hour

// Identity is a private key and its certificate chain. It is safe for
// concurrent use.
type Identity struct {
	// Handshakes load it once each, so that Replace needs no lock and never
	// disturbs a connection that already stands.
	current atomic.Pointer[tls.Certificate]
}

// New returns the identity of key with chain, DER, leaf first.
func New(key crypto.Signer, chain [][]byte) (*Identity, error) {
	id := new(Identity)
	if err := id.Replace(key, chain); err != nil {
		return nil, err
	}
	return id, nil
}

// Replace makes later handshakes use key and chain, as after a renewal.
func (id *Identity) Replace(key crypto.Signer, chain [][]byte) error {
	if len(chain) == 0 {
		return fmt.Errorf("%w: the chain is empty", ErrKeyMismatch)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return fmt.Errorf("parsing the certificate of the Keep: %w", err)
	}
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key.Public()) {
		return ErrKeyMismatch
	}
	id.current.Store(&tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf})
	return nil
}

// Leaf returns the certificate that handshakes present now.
func (id *Identity) Leaf() *x509.Certificate { return id.current.Load().Leaf }

// SelfSigned makes a P-256 key and the certificate of spec/enarx.md 3.4. It has
// no subject alternative name, as upstream's: it says that nobody vouches for
// this Keep, so there is no name for a client to verify.
func SelfSigned() (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating the key of the Keep: %w", err)
	}
	serial := make([]byte, 16)
	if _, err := rand.Read(serial); err != nil {
		return nil, fmt.Errorf("choosing a serial number: %w", err)
	}
	now := time.Now()
	name := pkix.Name{CommonName: "localhost"}
	template := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial),
		Subject:               name,
		Issuer:                name,
		NotBefore:             now,
		NotAfter:              now.Add(selfSignedLifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate of the Keep: %w", err)
	}
	return New(key, [][]byte{der})
}
