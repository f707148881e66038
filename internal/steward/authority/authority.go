// SPDX-License-Identifier: Apache-2.0

// Package authority is the certification authority (CA) of a Steward: its key
// behind a crypto.Signer, its certificate with those above it, where the two
// come from, and what it signs. It decides nothing about who gets a
// certificate.
package authority

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	_ "crypto/sha256" // linked for crypto.Hash
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"enarx.dev/enarx/internal/diag"
)

var (
	// ErrKey is returned for a private key that cannot be used.
	ErrKey = errors.New("bad CA key")
	// ErrCertificate is returned for a certificate that cannot be a CA's, or
	// is not for the key that came with it.
	ErrCertificate = errors.New("bad CA certificate")
)

// maxPEM bounds a key or certificate file.
const maxPEM = 1 << 20

// A CA is a key and the certificates that vouch for it. It does not change, and
// is safe for concurrent use.
type CA struct {
	Certificate *x509.Certificate
	Issuers     []*x509.Certificate // the CA's issuer first; a root need not be there

	signer crypto.Signer
	hash   crypto.Hash
	path   []byte // all certificates in PkiPath order, the outermost SEQUENCE missing
	jws    jwsSigner
}

// New returns the CA of signer with its certificate and those above it, each
// the issuer of the one before.
func New(signer crypto.Signer, chain []*x509.Certificate) (*CA, error) {
	if len(chain) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrCertificate)
	}
	public, ok := signer.Public().(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: %T is not an elliptic-curve key: P-256 and P-384 can be used", ErrKey, signer.Public())
	}
	ca := &CA{Certificate: chain[0], Issuers: chain[1:], signer: signer}
	switch public.Curve {
	case elliptic.P256():
		ca.hash = crypto.SHA256
	case elliptic.P384():
		ca.hash = crypto.SHA384
	default:
		return nil, fmt.Errorf("%w: curve %s: P-256 and P-384 can be used", ErrKey, public.Params().Name)
	}
	if !public.Equal(ca.Certificate.PublicKey) {
		return nil, diag.Hint(fmt.Errorf("%w: it is not for this key", ErrCertificate),
			"the first certificate of the file must be the CA's own")
	}
	if err := ca.checkChain(); err != nil {
		return nil, err
	}
	for i := len(chain) - 1; i >= 0; i-- {
		ca.path = append(ca.path, chain[i].Raw...)
	}
	if err := ca.prepareJWS(); err != nil {
		return nil, err
	}
	return ca, ca.selfCheck()
}

// checkChain requires every certificate to be one of a CA, and the issuer of
// the one before it.
func (ca *CA) checkChain() error {
	for i, c := range ca.Chain() {
		switch {
		case !c.BasicConstraintsValid || !c.IsCA:
			return fmt.Errorf("%w: %s is not a CA's: it has no basicConstraints that say so", ErrCertificate, describe(c))
		case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
			return fmt.Errorf("%w: the key usage of %s does not allow signing certificates", ErrCertificate, describe(c))
		case i == 0:
			continue
		}
		below := ca.Chain()[i-1]
		if !bytes.Equal(below.RawIssuer, c.RawSubject) {
			return diag.Hint(fmt.Errorf("%w: %s does not issue %s", ErrCertificate, describe(c), describe(below)),
				"order the file so that each certificate is followed by its issuer")
		}
		if err := below.CheckSignatureFrom(c); err != nil {
			return fmt.Errorf("%w: %s is not signed by %s: %w", ErrCertificate, describe(below), describe(c), err)
		}
	}
	return nil
}

func describe(c *x509.Certificate) string { return fmt.Sprintf("%q", c.Subject) }

// Chain returns the CA's certificate followed by those above it.
func (ca *CA) Chain() []*x509.Certificate {
	return append([]*x509.Certificate{ca.Certificate}, ca.Issuers...)
}

// Path returns the certificates one after the other in DER, the CA's last and
// each before what it issued: a PkiPath without its outermost SEQUENCE. The
// caller does not write to it.
func (ca *CA) Path() []byte { return ca.path }

// PEM returns the chain as text, the CA's certificate first.
func (ca *CA) PEM() []byte {
	var text bytes.Buffer
	for _, c := range ca.Chain() {
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a Buffer takes everything
	}
	return text.Bytes()
}

// KeyID names the CA's key in what it signs.
func (ca *CA) KeyID() string { return hex.EncodeToString(keyID(ca.Certificate)) }

// Window returns when every certificate of the chain is valid.
func (ca *CA) Window() (from, to time.Time) {
	for i, c := range ca.Chain() {
		if i == 0 || c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if i == 0 || c.NotAfter.Before(to) {
			to = c.NotAfter
		}
	}
	return from, to
}

// Check returns why the CA cannot issue at now: a certificate of its chain is
// not valid, or its key does not sign any more.
func (ca *CA) Check(now time.Time) error {
	from, to := ca.Window()
	if now.Before(from) {
		return fmt.Errorf("%w: it is not valid before %s", ErrCertificate, from.UTC().Format(time.RFC3339))
	}
	if !now.Before(to) {
		return diag.Hint(fmt.Errorf("%w: it or one above it expired at %s", ErrCertificate, to.UTC().Format(time.RFC3339)),
			"renew the CA; a running Steward takes the new files by itself")
	}
	return ca.selfCheck()
}

// selfCheck signs something and verifies it: a token that is gone, or a key
// that is not the one it says it is, is found before a client finds it.
func (ca *CA) selfCheck() error {
	// Not a certificate, nor anything else that somebody would take for one.
	message := []byte("enarx-steward: a test of the CA key")
	sig, err := ca.sign(message)
	if err != nil {
		return fmt.Errorf("%w: it does not sign: %w", ErrKey, err)
	}
	digest := ca.hash.New()
	digest.Write(message)
	if !ecdsa.VerifyASN1(ca.Certificate.PublicKey.(*ecdsa.PublicKey), digest.Sum(nil), sig) {
		return fmt.Errorf("%w: what it signs does not verify under the CA certificate", ErrKey)
	}
	return nil
}

// sign returns the DER signature of message by the CA's key.
func (ca *CA) sign(message []byte) ([]byte, error) {
	return crypto.SignMessage(ca.signer, rand.Reader, message, ca.hash)
}
