// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/check"
)

// ear is what is shown of an attestation result; the rest is printed as it is.
type ear struct {
	Status  string `json:"ear_status"`
	Submods map[string]struct {
		Attester map[string]any `json:"ear_attester_claims"`
		Verifier map[string]any `json:"ear_verifier_claims"`
	} `json:"submods"`
}

// issued says what a certificate of a Steward says. Whether the Steward is to
// be believed is for whoever has its certificate.
func (w *explainer) issued(o *explainOptions, e *explanation) error {
	i := e.files.Issued
	var result ear
	if err := json.Unmarshal(i.Result, &result); err != nil {
		return unreadable(fmt.Errorf("the certificate's attestation result (%s) is not JSON: %w", i.Type, err))
	}
	g := issuedChecks(e, result.Status)
	var err error
	switch {
	case o.asEAR:
		_, err = fmt.Fprintf(w.out, "%s\n", i.Result)
	case o.asJSON:
		err = w.issuedJSON(i, g)
	default:
		err = w.issuedText(i, &result, g)
	}
	if err == nil && !g.OK() {
		err = exitCode(1)
	}
	return err
}

// issuedChecks are about the certificate, not about what it is a result of.
func issuedChecks(e *explanation, status string) *check.Group {
	g, c := check.New("Certificate of a Steward"), e.files.Issued.Certificate
	g.Require(!e.now.Before(c.NotBefore) && !e.now.After(c.NotAfter), check.Check{
		Code: "issued.validity", What: "the certificate is valid at this time", Found: check.Time(e.now),
		Expected: check.Text(check.Time(c.NotBefore).String() + " to " + check.Time(c.NotAfter).String()),
		Source:   "RFC 5280 section 6.1.3 (a)(2)", Fix: "have a new one issued: certificates of Stewards live for hours",
	})
	signature := check.Check{Code: "issued.signature", What: "the Steward's key has signed the certificate", Source: "RFC 5280 section 6.1.3 (a)(1)"}
	if found, err := issuedBy(c, e.files.Collateral.Certificates); !found {
		g.Skip(signature, "no certificate of "+c.Issuer.String()+" among the files")
	} else {
		if err != nil {
			signature.Found, signature.Fix = check.Text(err.Error()), "none: the certificate was altered, or is another Steward's"
		}
		g.Require(err == nil, signature)
	}
	g.Require(status == "affirming" || status == "warning", check.Check{
		Code: "issued.status", What: "the Steward vouches for a TEE", Found: check.Text(status), Expected: check.List{"affirming", "warning"},
		Source: "draft-ietf-rats-ear, ear_status", Fix: "have it issued for evidence of real hardware",
	})
	return g
}

// issuedBy reports whether there is a certificate of the issuer's name, and what
// is wrong with c's signature under each of them: a renewed CA has a name twice.
func issuedBy(c *x509.Certificate, all []*x509.Certificate) (found bool, err error) {
	for _, issuer := range all {
		if string(issuer.RawSubject) != string(c.RawIssuer) {
			continue
		}
		found = true
		if err = issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err == nil {
			break
		}
	}
	return found, err
}

func (w *explainer) issuedText(i *attest.Issued, result *ear, g *check.Group) error {
	var out strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&out, "  %-13s %s\n", name, oneLine(value))
		}
	}
	verdict := w.paint("32", "a certificate of a Steward, which says")
	if failed := g.Failures(); len(failed) > 0 {
		verdict = w.paint("31", "refused") + ": " + failed[0].Code + ": not so: " + failed[0].What
	}
	fmt.Fprintf(&out, "%s\n\n", verdict)
	c := i.Certificate
	line("Issuer", c.Issuer.String())
	line("Subject", c.Subject.String())
	line("Valid", check.Time(c.NotBefore).String()+" to "+check.Time(c.NotAfter).String())
	names := append([]string{}, c.DNSNames...)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	line("Names", strings.Join(names, ", "))
	line("Status", result.Status)
	for _, name := range slices.Sorted(maps.Keys(result.Submods)) {
		sub := result.Submods[name]
		if len(result.Submods) > 1 {
			line("Part", name)
		}
		for _, key := range []string{"tee", "product", "measurement", "mr_signer", "debug", "workload", "slug", "log"} {
			if v, ok := sub.Attester[key]; ok {
				line(key, fmt.Sprint(v))
			}
		}
		for _, key := range []string{"verdict", "roots", "program", "tcb_status", "tcb_date", "tcb_advisories", "silicon_advisories"} {
			if v, ok := sub.Verifier[key]; ok {
				line(key, fmt.Sprint(v))
			}
		}
	}
	out.WriteString("\n")
	if err := g.Write(&out, check.Style{Color: w.color}); err != nil {
		return err
	}
	_, err := fmt.Fprint(w.out, out.String())
	return err
}

func (w *explainer) issuedJSON(i *attest.Issued, g *check.Group) error {
	doc, err := json.Marshal(struct {
		Subject string          `json:"subject"`
		Issuer  string          `json:"issuer"`
		From    string          `json:"not_before"`
		To      string          `json:"not_after"`
		Type    string          `json:"type"`
		Result  json.RawMessage `json:"result"`
		Checks  *check.Group    `json:"checks"`
	}{i.Certificate.Subject.String(), i.Certificate.Issuer.String(), check.Time(i.Certificate.NotBefore).String(),
		check.Time(i.Certificate.NotAfter).String(), i.Type, i.Result, g})
	if err != nil {
		return err
	}
	return w.indented(doc)
}
