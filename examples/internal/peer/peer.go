// SPDX-License-Identifier: Apache-2.0

// Package peer is the other end of the networked examples: what the demo and the
// tests use to reach a server in a Keep, and to be the server a Keep connects to.
package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

var (
	portLine = regexp.MustCompile(`(?m)^port = \d+$`)
	caLines  = regexp.MustCompile(`(?s)-----BEGIN CERTIFICATE-----.*-----END CERTIFICATE-----\n`)
)

// Edit says what CopyPackage changes in Enarx.toml; zero fields change nothing.
type Edit struct {
	Port int
	CA   []byte // PEM
}

// CopyPackage copies the package directory src to dst, which must not exist,
// with a changed Enarx.toml. Each change must have something to replace.
func CopyPackage(dst, src string, edit Edit) error {
	if err := os.CopyFS(dst, os.DirFS(src)); err != nil {
		return fmt.Errorf("copying the package %s: %w", src, err)
	}
	path := filepath.Join(dst, "Enarx.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("copying the package %s: %w", src, err)
	}
	replace := func(line *regexp.Regexp, with string) {
		if err == nil && !line.Match(text) {
			err = fmt.Errorf("%s has no line %s", path, line)
		}
		text = line.ReplaceAllLiteral(text, []byte(with))
	}
	if edit.Port != 0 {
		replace(portLine, "port = "+strconv.Itoa(edit.Port))
	}
	if edit.CA != nil {
		replace(caLines, string(edit.CA))
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// Authority is a certificate authority made for one demonstration or test.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes an authority with a fresh key.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "Enarx example peer CA"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{certificate, key}, nil
}

// PEM returns the authority's certificate as Enarx.toml's `ca` wants it.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// Server issues a certificate with which a TLS server is name.
func (a *Authority) Server(name string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		NotBefore:    a.certificate.NotBefore,
		NotAfter:     a.certificate.NotAfter,
		DNSNames:     []string{name},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// Dial connects to addr, waiting up to patience for something to listen there:
// a Keep compiles its program before it opens its listeners.
func Dial(addr string, patience time.Duration) (net.Conn, error) {
	end := time.Now().Add(patience)
	for {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil || time.Now().After(end) {
			return conn, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}
