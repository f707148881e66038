// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const maxAuthorityFile = 1 << 20

// Authorities are the CAs of Stewards whose certificates are taken from
// clients, each under the name by which policies and logs speak of it.
type Authorities struct {
	names    map[string]string // of raw certificates
	pool     *x509.CertPool
	warnings []string
}

// LoadAuthorities reads PEM files of CA certificates, name=path or just path,
// whose name is then the file's without its extension. A file may hold several,
// under the one name.
func LoadAuthorities(files []string) (*Authorities, error) {
	a := &Authorities{names: map[string]string{}, pool: x509.NewCertPool()}
	for _, file := range files {
		name, path, named := strings.Cut(file, "=")
		if !named {
			path = file
			name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		}
		data, err := readCapped(path)
		if err != nil {
			return nil, err
		}
		if err := a.Add(name, data); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return a, nil
}

func readCapped(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxAuthorityFile {
		return nil, fmt.Errorf("%s: %d bytes, more than %d", path, info.Size(), maxAuthorityFile)
	}
	return os.ReadFile(path)
}

// Add adds the CA certificates of a PEM file under name. Other PEM blocks than
// certificates are errors: a private key is not to be in there.
func (a *Authorities) Add(name string, data []byte) error {
	if name == "" {
		return fmt.Errorf("a CA needs a name")
	}
	if a.names == nil {
		a.names, a.pool = map[string]string{}, x509.NewCertPool()
	}
	found := 0
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("a PEM block of type %.32q among the CA certificates", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("certificate %d: %w", found, err)
		}
		if other, known := a.names[string(c.Raw)]; known && other != name {
			return fmt.Errorf("the CA %s is also called %s", name, other)
		}
		a.names[string(c.Raw)] = name
		a.pool.AddCert(c)
		a.warn(name, c)
		found++
	}
	if found == 0 || len(bytes.TrimSpace(data)) > 0 {
		return fmt.Errorf("not a PEM file of CA certificates")
	}
	return nil
}

// warn is about what an operator should know: a Steward of upstream whose
// certificate is self-signed is in debug mode and certifies Keeps without any
// TEE; its other certificates say nothing about the TEE at all.
func (a *Authorities) warn(name string, c *x509.Certificate) {
	if bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(c) == nil {
		a.warnings = append(a.warnings, fmt.Sprintf(
			"the CA %s (%s) is self-signed: a Steward of upstream with such a certificate vouches for Keeps without hardware too", name, c.Subject))
	}
	if !c.IsCA {
		a.warnings = append(a.warnings, fmt.Sprintf("the certificate %s (%s) is not a CA's: only itself can be presented", name, c.Subject))
	}
}

// Pool returns the certificates for tls.Config.ClientCAs, with ClientAuth
// tls.VerifyClientCertIfGiven.
func (a *Authorities) Pool() *x509.CertPool {
	if a == nil || a.pool == nil {
		return x509.NewCertPool() // nil would be the system's
	}
	return a.pool
}

// Warnings returns sentences for the operator about the CAs.
func (a *Authorities) Warnings() []string { return a.warnings }

// Names returns the CAs' names, for policies to choose from, each once.
func (a *Authorities) Names() []string {
	var names []string
	seen := map[string]bool{}
	for _, name := range a.names {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

// of returns the name of a CA that one of the chains is under.
func (a *Authorities) of(chains [][]*x509.Certificate) (string, bool) {
	for _, chain := range chains {
		if len(chain) == 0 {
			continue
		}
		if name, ok := a.names[string(chain[len(chain)-1].Raw)]; ok {
			return name, true
		}
	}
	return "", false
}
