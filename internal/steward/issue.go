// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/internal/steward/authority"
)

const (
	// upstreamName is the name that upstream puts into every certificate. It
	// has no meaning to anybody.
	upstreamName = "foo.bar.hub.profian.com"
	upstreamLife = 28 * 24 * time.Hour
)

// Subjects of issued certificates. They are not names: nothing about a Keep is
// looked up by them. They keep the subject from being empty, which RFC 5280
// would have made subjectAltName critical for, unlike upstream's, and show at a
// glance what vouches for the key.
const (
	subjectOrganization = "Enarx Keep"
	insecureUnit        = "INSECURE: no hardware"
	developmentUnit     = "INSECURE: development roots"
)

// prepare fills what follows and refuses names that no certificate can carry.
func (p *Profile) prepare() error {
	p.CompatSAN = p.CompatSAN || p.Compat
	p.CopySubject = p.CopySubject || p.Compat
	for _, name := range p.DNSNames {
		if !dnsName(name) {
			return fmt.Errorf("%q is not a DNS name", name)
		}
	}
	return nil
}

// dnsName reports whether a certificate can say name, which may start with "*.".
func dnsName(name string) bool {
	name = strings.TrimPrefix(name, "*.")
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		bad := func(r rune) bool {
			return r != '-' && r != '_' && !('0' <= r && r <= '9') && !('a' <= r && r <= 'z') && !('A' <= r && r <= 'Z')
		}
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, bad) {
			return false
		}
	}
	return true
}

// grant issues certificates for all requests, writes them into the issuance
// log, and only then hands them out. A client that asked for the result of the
// appraisal gets that instead.
func (x *exchange) grant(good []appraised) answer {
	form := typeDER
	if !x.bundle {
		form = x.accept.best(typeDER, typeDER, typePEM, typeEAT)
	}
	a := answer{status: http.StatusOK, contentType: form, code: "accepted"}
	if form == typeEAT {
		token, err := x.ca.SignJWT(good[0].result.EAR(x.now, verifier))
		if err != nil {
			return x.broken(err)
		}
		a.body = []byte(token)
		return a
	}
	var issued [][]byte
	var entries []Entry
	for _, one := range good {
		der, entry, err := x.issue(one)
		if err != nil {
			return x.broken(err)
		}
		issued, entries = append(issued, der), append(entries, entry)
		a.insecure = a.insecure || entry.Insecure
	}
	if x.s.cfg.Ledger != nil && len(entries) > 0 {
		if err := x.s.cfg.Ledger.Append(entries...); err != nil {
			return x.broken(fmt.Errorf("writing the issuance log: %w", err))
		}
	}
	var err error
	switch {
	case x.bundle:
		a.body, err = bundleForm(x.ca, issued)
	case form == typePEM:
		a.body = pemChain(x.ca, issued[0])
	default:
		a.body, err = pkiPath(x.ca, issued[0])
	}
	if err != nil {
		return x.broken(err)
	}
	a.issued = len(issued)
	x.s.metrics.issue(entries)
	return a
}

// broken is the answer when the fault is ours. The reason is for the log.
func (x *exchange) broken(err error) answer {
	a := x.refuse(&refusal{status: http.StatusInternalServerError, code: "internal", detail: "the server cannot issue certificates now"})
	a.reason = err.Error()
	return a
}

// issue signs the certificate of one request.
func (x *exchange) issue(one appraised) ([]byte, Entry, error) {
	t, err := x.template(one)
	if err != nil {
		return nil, Entry{}, err
	}
	der, err := x.ca.Issue(t)
	if err != nil {
		return nil, Entry{}, err
	}
	claims := one.result.Claims
	return der, Entry{
		Time: x.now.UTC().Truncate(time.Millisecond), Request: x.id,
		Serial: hex.EncodeToString(t.Serial), Certificate: sha256.Sum256(der),
		Technology: string(claims.Technology), Measurement: hex.EncodeToString(claims.Measurement()),
		Policy: x.policy.Digest(), URIs: claims.URIs, NotAfter: t.NotAfter.UTC(),
		Insecure: claims.Technology == attest.None,
	}, nil
}

var errNotNow = errors.New("a certificate of the CA's chain is not valid at this time")

// template is what the certificate will say.
func (x *exchange) template(one appraised) (*authority.Template, error) {
	p := &x.s.cfg.Profile
	life := x.policy.Certificate.Life
	if p.Compat {
		life = upstreamLife
	} else if limit := x.policy.Certificate.MaxLife; limit > 0 {
		life = min(life, limit)
	}
	from, to := x.ca.Window()
	begin := x.now.UTC().Truncate(time.Second)
	end := begin.Add(life)
	if end.After(to) {
		end = to
	}
	if x.now.Before(from) || !begin.Before(end) {
		return nil, errNotNow
	}
	t := &authority.Template{
		Serial: authority.NewSerial(), NotBefore: begin, NotAfter: end,
		Subject: one.request.RawSubject, PublicKey: one.request.RawSPKI,
	}
	var err error
	if !p.CopySubject {
		if t.Subject, err = x.subject(one.result.Claims); err != nil {
			return nil, err
		}
	}
	t.Extensions, err = x.extensions(one, t)
	return t, err
}

func (x *exchange) subject(c *attest.Claims) ([]byte, error) {
	unit := c.Technology.Title()
	switch {
	case c.Technology == attest.None:
		unit = insecureUnit
	case c.Development():
		unit = developmentUnit
	}
	name := pkix.Name{Organization: []string{subjectOrganization}, OrganizationalUnit: []string{unit}}
	return asn1.Marshal(name.ToRDNSequence())
}

// extensions are upstream's three in upstream's order, and then ours.
func (x *exchange) extensions(one appraised, t *authority.Template) ([]pkix.Extension, error) {
	p, claims := &x.s.cfg.Profile, one.result.Claims
	var all []pkix.Extension
	if claims.Technology == attest.None {
		all = append(all, pkix.Extension{Id: attest.OIDNone, Value: []byte{}})
	}
	names := p.DNSNames
	if p.CompatSAN {
		names = append([]string{upstreamName}, names...)
	}
	if len(names)+len(claims.URIs) > 0 {
		san, err := authority.SubjectAltName(names, claims.URIs)
		if err != nil {
			return nil, err
		}
		san.Critical = !p.Compat && slices.Equal(t.Subject, authority.EmptyName) // RFC 5280 section 4.2.1.6
		all = append(all, san)
	}
	all = append(all, authority.ExtKeyUsage)
	if p.Compat {
		return all, nil
	}
	ski, err := authority.SubjectKeyID(t.PublicKey)
	if err != nil {
		return nil, err
	}
	all = append(all, authority.KeyUsage, authority.NoCA, ski)
	if aki, ok := x.ca.AuthorityKeyID(); ok {
		all = append(all, aki)
	}
	return append(all, attest.CMW(attest.EARType, one.result.EAR(x.now, verifier))), nil
}
