// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/drawbridge"
)

// Tiers of an appraisal that a policy can ask for, of EAR's ear_status. The
// others, none and contraindicated, vouch for nothing.
const (
	Affirming = "affirming"
	Warning   = "warning"
)

// Limits on what a policy may say.
const (
	MaxPolicy          = 64 << 10 // bytes
	maxPolicyList      = 32       // signers, authorities
	minCertificateLife = 60       // seconds
	maxCertificateLife = 366 * 24 * 60 * 60
)

// Policy is what a repository's owner decides about it: which Keeps may read
// it, and who signs its tags. The nil Policy is the default: Keeps with any TEE
// and an affirming appraisal, and anybody's tags.
type Policy struct {
	drawbridge.Policy
	signers drawbridge.Signers
}

var technologies = []string{string(attest.SNP), string(attest.SGX), string(attest.TDX)}

// ParsePolicy reads a policy in JSON. Unknown names are errors, so that nobody
// believes in a rule that is not there.
func ParsePolicy(data []byte) (*Policy, error) {
	if len(data) > MaxPolicy {
		return nil, fmt.Errorf("policy of %d bytes, more than %d", len(data), MaxPolicy)
	}
	p := new(Policy)
	if err := strict(data, &p.Policy); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return p, nil
}

// strict decodes one JSON object whose names are exactly those of into's
// fields, each at most once. encoding/json would take TEE for tee, and the last
// of two.
func strict(data []byte, into any) error {
	known := map[string]bool{}
	for f := range reflect.TypeOf(into).Elem().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		known[name] = true
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.New("not a JSON object")
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return errors.New("not a JSON object")
		}
		if !known[name] {
			return fmt.Errorf("unknown name %.80q", name)
		}
		if seen[name] {
			return fmt.Errorf("%s is there twice", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("data after the JSON object")
	}
	return json.Unmarshal(data, into)
}

func (p *Policy) check() error {
	for _, tee := range p.TEE {
		if !slices.Contains(technologies, tee) {
			return fmt.Errorf("tee: %.32q is not snp, sgx or tdx (a Keep without a TEE needs allow_no_hardware)", tee)
		}
	}
	switch p.MinimumTier {
	case "", Affirming, Warning:
	default:
		return fmt.Errorf("minimum_tier: %.32q is neither affirming nor warning", p.MinimumTier)
	}
	if len(p.TEE) > len(technologies) || len(p.CAs) > maxPolicyList || len(p.Signers) > maxPolicyList {
		return fmt.Errorf("more than %d entries in a list", maxPolicyList)
	}
	if slices.Contains(p.CAs, "") {
		return errors.New("cas: an empty name")
	}
	if p.CertificateLife != 0 && (p.CertificateLife < minCertificateLife || p.CertificateLife > maxCertificateLife) {
		return fmt.Errorf("certificate_life_seconds: %d is not between a minute and a year", p.CertificateLife)
	}
	if err := checkSteward(p.Steward); err != nil {
		return err
	}
	keys := make([]drawbridge.PublicKey, len(p.Signers))
	for i, text := range p.Signers {
		key, err := drawbridge.ParsePublicKey([]byte(text))
		if err != nil {
			return fmt.Errorf("signers: entry %d: %w", i, err)
		}
		keys[i] = key
	}
	if len(keys) > 0 {
		p.signers = drawbridge.NewSigners(keys...)
	}
	return nil
}

// checkSteward requires what a Keep takes for steward in its Enarx.toml.
func checkSteward(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" || len(text) > 1024 {
		return fmt.Errorf("steward: %.128q is not an https URL", text)
	}
	return nil
}

// Life returns the life that the certificates of Keeps should have, or 0.
func (p *Policy) Life() time.Duration {
	if p == nil {
		return 0
	}
	return time.Duration(p.CertificateLife) * time.Second
}

// CheckSigned returns an error unless the policy takes tag as the tag name,
// user/repository:tag.
func (p *Policy) CheckSigned(tag drawbridge.Tag, name string) error {
	if p == nil || p.signers == nil {
		return nil
	}
	_, err := p.signers.Verify(tag, name)
	return err
}

// trusts returns why a Keep may not read what its certificate names, or "".
func (p *Policy) trusts(r *Reader) string {
	if p == nil {
		p = &Policy{}
	}
	switch {
	case r.Problem != "":
		return r.Problem
	case len(p.CAs) > 0 && !slices.Contains(p.CAs, r.Authority):
		return fmt.Sprintf("the policy does not trust the Steward %q", r.Authority)
	case r.NoHardware && !p.AllowNoHardware:
		return "the certificate is of a Keep without hardware, and the policy has no allow_no_hardware"
	case r.NoHardware:
		return ""
	case r.Debug:
		return "the Keep can be debugged by its host"
	case r.Status == "":
		return "the certificate has no attestation result"
	case len(p.TEE) > 0 && !slices.Contains(p.TEE, r.TEE):
		return fmt.Sprintf("the policy does not allow the TEE %q", r.TEE)
	case r.Development && !p.AllowDevelopment:
		return "the certificate is of development roots, and the policy has no allow_development"
	case r.Development && (r.Status == Affirming || r.Status == Warning): // a Steward has no better word for it
		return ""
	case r.Roots != "vendor":
		return fmt.Sprintf("the attestation result is of %q roots", r.Roots)
	case r.Status == Affirming, r.Status == Warning && p.MinimumTier == Warning:
		return ""
	}
	return fmt.Sprintf("the appraisal is %q", r.Status)
}
