// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/internal/version"
)

// description is what a Steward says about itself, before anything is sent to
// it.
type description struct {
	Version      string    `json:"version"`
	Chain        [][]byte  `json:"chain"` // DER, the CA first
	ChainPEM     string    `json:"chain_pem"`
	KeyID        string    `json:"key_id"` // kid of the results it signs
	NotAfter     time.Time `json:"ca_not_after"`
	PolicyDigest string    `json:"policy_digest"` // SHA-256 of the policy file
	Technologies []string  `json:"technologies"`
	Life         int64     `json:"certificate_seconds"`

	// What a client should not overlook.
	Insecure    bool `json:"insecure_accepts_no_tee"`
	Development bool `json:"development_roots"`
	Compat      bool `json:"compat_profile"`

	Challenge       string `json:"challenge"` // where to get one
	ChallengeNeeded bool   `json:"challenge_required"`

	Requests  []string `json:"request_types"`
	Answers   []string `json:"answer_types"`
	MaxBody   int      `json:"max_body_bytes"`
	MaxBundle int      `json:"max_bundle"`
}

func (s *Server) describe(w http.ResponseWriter) {
	ca, policy := s.cfg.CA.Get(), s.cfg.Policy.Get()
	_, until := ca.Window()
	digest := policy.Digest()
	d := description{
		Version: version.Version, ChainPEM: string(ca.PEM()), KeyID: ca.KeyID(), NotAfter: until.UTC(),
		PolicyDigest: hex.EncodeToString(digest[:]), Technologies: technologies(policy), Life: int64(policy.Certificate.Life / time.Second),
		Insecure: policy.Insecure, Development: s.cfg.Development, Compat: s.cfg.Profile.Compat,
		Challenge: challengePath, ChallengeNeeded: s.cfg.Challenges.Required,
		Requests: []string{typeRequest, typeBundle}, Answers: []string{typeDER, typePEM, typeEAT, typeProblem, typeText},
		MaxBody: s.cfg.Limits.Body, MaxBundle: s.cfg.Limits.Bundle,
	}
	for _, c := range ca.Chain() {
		d.Chain = append(d.Chain, c.Raw)
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		s.log.Error("bug: the description could not be encoded", "err", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	send(w, http.StatusOK, typeJSON, append(text, '\n'))
}

// technologies are those that the policy accepts.
func technologies(p *attest.Policy) []string {
	accepted := p.Technologies
	if accepted == nil {
		accepted = []attest.Technology{attest.SNP, attest.SGX, attest.TDX}
	}
	var names []string
	for _, t := range accepted {
		if t != attest.None {
			names = append(names, string(t))
		}
	}
	if p.Insecure {
		names = append(names, string(attest.None))
	}
	return names
}
