// SPDX-License-Identifier: Apache-2.0

package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

var quiet = log.New(io.Discard, "", 0)

// rsaKey is shared by all providers of a process as their first key: making
// one takes a tenth of a second or more.
var rsaKey = sync.OnceValues(func() (jose.JSONWebKey, error) { return makeKey("RS256") })

func firstKey(algorithm string) (jose.JSONWebKey, error) {
	if algorithm == "RS256" {
		return rsaKey()
	}
	return newKey(algorithm)
}

func newKey(algorithm string) (jose.JSONWebKey, error) { return makeKey(algorithm) }

func makeKey(algorithm string) (jose.JSONWebKey, error) {
	var key crypto.Signer
	var err error
	switch algorithm {
	case "RS256":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("unknown algorithm %q", algorithm)
	}
	return jose.JSONWebKey{Key: key, KeyID: secret(), Algorithm: algorithm, Use: "sig"}, err
}

// publicPEM is what careless verifiers take for the secret of an HMAC.
func publicPEM(key any) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err
}

// selfMade returns a configuration for loopback under a new CA, and the CA.
func selfMade() (*tls.Config, []byte, error) {
	now := time.Now()
	make := func(serial int64, issuer *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		t := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprintf("oidctest %d", serial)},
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), BasicConstraintsValid: true,
		}
		if issuer == nil {
			issuer, signer, t.IsCA = t, key, true
		} else {
			t.DNSNames = []string{"localhost"}
			t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
		}
		der, err := x509.CreateCertificate(rand.Reader, t, issuer, key.Public(), signer)
		if err != nil {
			return nil, nil, err
		}
		c, err := x509.ParseCertificate(der)
		return c, key, err
	}
	ca, caKey, err := make(1, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	leaf, key, err := make(2, ca, caKey)
	if err != nil {
		return nil, nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}}
	return config, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}), nil
}
