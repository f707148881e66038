// SPDX-License-Identifier: Apache-2.0

// Package roots holds the certificates of the silicon vendors, as they publish
// them: AMD's keys (ARK), their intermediates (ASK for chips' own keys, ASVK
// for keys lent to cloud providers) and Intel's SGX root, which also vouches
// for TDX. The files are AMD KDS's /vcek/v1/PRODUCT/cert_chain and
// /vlek/v1/PRODUCT/cert_chain, and Intel's IntelSGXRootCA in PEM.
package roots

import (
	"crypto/x509"
	"embed"
	"encoding/pem"
	"fmt"
	"io/fs"
	"sync"
)

//go:embed *.pem
var files embed.FS

// A Set is certificates that a verification starts from.
type Set struct {
	AMD           []*x509.Certificate // AMD root keys, one per product line
	Intel         []*x509.Certificate // Intel SGX root CAs
	Intermediates []*x509.Certificate // certificates that help to build paths; not trusted by themselves
}

// Vendors returns the vendors' certificates.
var Vendors = sync.OnceValue(func() *Set {
	s := &Set{}
	names, err := fs.Glob(files, "*.pem")
	if err != nil || len(names) == 0 {
		panic("roots: bug: no embedded certificates")
	}
	seen := map[string]bool{}
	for _, name := range names {
		data, err := files.ReadFile(name)
		if err != nil {
			panic(fmt.Sprintf("roots: bug: %v", err))
		}
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				panic(fmt.Sprintf("roots: bug: %s: %v", name, err))
			}
			if !seen[string(c.Raw)] {
				seen[string(c.Raw)] = true
				s.Add(c)
			}
		}
	}
	return s
})

// Add puts c where it belongs: self-issued certificates are roots, of AMD if
// they are named ARK-something and otherwise of Intel, the rest intermediates.
func (s *Set) Add(c *x509.Certificate) {
	switch {
	case string(c.RawIssuer) != string(c.RawSubject):
		s.Intermediates = append(s.Intermediates, c)
	case len(c.Subject.CommonName) > 4 && c.Subject.CommonName[:4] == "ARK-":
		s.AMD = append(s.AMD, c)
	default:
		s.Intel = append(s.Intel, c)
	}
}
