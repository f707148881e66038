// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"strings"

	"enarx.dev/enarx/internal/diag"
)

// agentPrefix marks a key that an ssh-agent holds.
const agentPrefix = "ssh-agent:"

// KeyFile returns the file that Load reads for key, or "" when there is none
// to read.
func KeyFile(key string) string {
	if strings.HasPrefix(key, agentPrefix) {
		return ""
	}
	return key
}

// Load returns the CA whose certificates are in the PEM file crt, the CA's own
// first. key names a PEM file, PKCS#8 or SEC1, or as "ssh-agent:SOCKET" an
// agent that holds the key of that certificate.
func Load(key, crt string) (*CA, error) {
	text, err := readFile(crt)
	if err != nil {
		return nil, err
	}
	chain, err := ParseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", crt, err)
	}
	signer, err := openSigner(key, chain[0].PublicKey)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	ca, err := New(signer, chain)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", crt, key, err)
	}
	return ca, nil
}

// openSigner is the seam for keys that are not in a file: whatever else can
// hold one becomes a case here.
func openSigner(key string, public crypto.PublicKey) (crypto.Signer, error) {
	if socket, ok := strings.CutPrefix(key, agentPrefix); ok {
		return openAgent(socket, public)
	}
	text, err := readFile(key)
	if err != nil {
		return nil, err
	}
	return ParseKey(text)
}

// readFile reads a small file.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(text) > maxPEM {
		err = fmt.Errorf("%s: more than %d bytes", name, maxPEM)
	}
	return text, err
}

// ParseKey reads the first private key of a PEM text.
func ParseKey(text []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case "EC PARAMETERS":
			continue // openssl writes it before a SEC1 key
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			if block.Headers["DEK-Info"] != "" {
				return nil, encrypted()
			}
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, encrypted()
		default:
			return nil, fmt.Errorf("%w: the file starts with %q, not with a private key", ErrKey, block.Type)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
		ec, ok := key.(*ecdsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("%w: %T: an elliptic-curve key on P-256 or P-384 can be used", ErrKey, key)
		}
		return ec, nil
	}
	return nil, fmt.Errorf("%w: there is no PEM private key in it", ErrKey)
}

func encrypted() error {
	return diag.Hint(fmt.Errorf("%w: it is encrypted, and a server has nobody to ask for the passphrase", ErrKey),
		"decrypt it (`openssl pkey -in KEY -out PLAIN`), or let an ssh-agent hold it (--key ssh-agent:SOCKET)")
}

// ParseCertificates reads a PEM text of at least one certificate and nothing
// else.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	rest := text
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%w: the file holds %q", ErrCertificate, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%w: there is no PEM certificate in it", ErrCertificate)
	}
	if bytes.Contains(rest, []byte("-----BEGIN")) {
		return nil, fmt.Errorf("%w: certificate %d of the file is damaged", ErrCertificate, len(chain)+1)
	}
	return chain, nil
}
