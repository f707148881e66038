// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/drawbridge"
)

// Reader is what the certificate of a Keep says, under a CA that is trusted.
type Reader struct {
	Authority string // name of the CA
	Serial    string // in hexadecimal
	Names     attest.Names
	Problem   string // why the certificate opens nothing, whatever a policy says

	NoHardware  bool // issued without any evidence
	Development bool // issued for evidence under roots that anybody can sign with
	Debug       bool // its host can look inside
	TEE         string
	Roots       string // of the evidence: vendor, development, none, unknown
	Status      string // tier of the appraisal, "" without an attestation result
}

// Marks in the subjects of our Steward's certificates. They are looked at
// besides the attestation result, as either alone is enough to be careful.
const (
	markNoHardware  = "INSECURE: no hardware"
	markDevelopment = "INSECURE: development roots"
)

// newReader reads the certificate of a connection, if there is one. A
// connection may outlive its certificate, and the CA's being trusted.
func newReader(state *tls.ConnectionState, trusted *Authorities, now time.Time) *Reader {
	if state == nil || trusted == nil || len(state.PeerCertificates) == 0 {
		return nil
	}
	leaf := state.PeerCertificates[0]
	name, ok := trusted.of(state.VerifiedChains)
	if !ok || now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return nil
	}
	return readLeaf(leaf, name)
}

func readLeaf(leaf *x509.Certificate, authority string) *Reader {
	r := &Reader{Authority: authority, Serial: fmt.Sprintf("%x", leaf.SerialNumber)}
	uris := make([]string, len(leaf.URIs))
	for i, u := range leaf.URIs {
		uris[i] = u.String()
	}
	var err error
	if r.Names, err = attest.ParseURIs(uris); err != nil {
		r.problem("the certificate's URIs: %v", err)
	}
	units := leaf.Subject.OrganizationalUnit
	r.NoHardware = slices.Contains(units, markNoHardware)
	r.Development = slices.Contains(units, markDevelopment)
	for _, e := range leaf.Extensions { // each is there once, crypto/x509 sees to that
		switch {
		case e.Id.Equal(attest.OIDNone):
			r.NoHardware = true
		case e.Id.Equal(attest.OIDCMW):
			kind, result, err := attest.ParseCMW(e)
			if err != nil {
				r.problem("%v", err)
				continue
			}
			r.result(kind, result)
		}
	}
	return r
}

func (r *Reader) problem(format string, args ...any) {
	if r.Problem == "" {
		r.Problem = fmt.Sprintf(format, args...)
	}
}

// result reads the attestation result, of draft-ietf-rats-ear as the attest
// package writes it. The CA's signature on the certificate is what protects it.
func (r *Reader) result(kind string, data []byte) {
	if kind != attest.EARType {
		r.problem("the certificate's attestation result is of the unknown type %.80q", kind)
		return
	}
	var ear struct {
		Status  string `json:"ear_status"`
		Submods map[string]struct {
			Status   string `json:"ear_status"`
			Attester struct {
				TEE   string `json:"tee"`
				Debug bool   `json:"debug"`
			} `json:"ear_attester_claims"`
			Verifier struct {
				Roots string `json:"roots"`
			} `json:"ear_verifier_claims"`
		} `json:"submods"`
	}
	if err := json.Unmarshal(data, &ear); err != nil {
		r.problem("the certificate's attestation result: %v", err)
		return
	}
	keep, ok := ear.Submods["keep"]
	if !ok || len(ear.Submods) != 1 || keep.Status != ear.Status || ear.Status == "" {
		r.problem("the certificate's attestation result is not about one Keep")
		return
	}
	r.Status, r.TEE, r.Roots = ear.Status, keep.Attester.TEE, keep.Verifier.Roots
	r.Debug = keep.Attester.Debug
	r.NoHardware = r.NoHardware || r.TEE == string(attest.None) || r.Roots == "none"
	r.Development = r.Development || r.Roots == "development"
}

// reads reports whether the certificate names r and the policy trusts it. The
// answer to others is the same whether r exists or not.
func (r *Reader) reads(a Action, res Resource) *Denied {
	why := r.names(a, res)
	if why == "" {
		why = res.Policy.trusts(r)
	}
	if why == "" {
		return nil
	}
	return denied("certificate", "The client certificate does not open this package").because("%s", why)
}

// names returns why res is not what the certificate is for, or "". All that the
// certificate says must be so, and it must say something.
func (r *Reader) names(a Action, res Resource) string {
	n := r.Names
	switch {
	case !res.Exists || res.Root == [32]byte{}:
		return "there is no such package"
	case res.Orphan:
		return "the node is not in the tree that the digest is of"
	case n.Workload == nil && n.Slug == "":
		return "the certificate names no package"
	case n.Workload != nil && [32]byte(n.Workload) != res.Root:
		return "the certificate names another digest"
	case n.Slug != "" && a == ReadDigest && n.Workload == nil:
		return "the certificate names no digest"
	}
	if n.Slug == "" {
		return ""
	}
	slug, err := drawbridge.ParseSlug(n.Slug)
	switch {
	case err != nil:
		return err.Error()
	case !slices.ContainsFunc(res.Hosts, func(host string) bool { return strings.EqualFold(host, slug.Host) }):
		return fmt.Sprintf("the certificate names the host %q", slug.Host)
	case slug.User != res.User || slug.Repository != res.Repo || a != ReadDigest && slug.Tag != res.Tag:
		return "the certificate names another package"
	}
	return ""
}
