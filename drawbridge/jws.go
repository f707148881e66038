// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// jws is a signed message in the JSON serialisation of RFC 7515, general or
// flattened.
type jws struct {
	encoded    string // the payload as it was signed, base64url
	payload    []byte
	signatures []Signature
}

// Signature is one signature of a tag, as it says of itself. Nothing of it is
// true before it was verified.
type Signature struct {
	Algorithm string     // alg
	KeyID     string     // kid
	Key       *PublicKey // jwk, nil if there is none or it is of another kind
	Subject   string     // sub: user/repository:tag that was signed for
	Type      string     // cty: media type of what was signed

	protected string // the header as it was signed, base64url
	signature []byte
	critical  bool // it has crit: extensions that we would have to understand
}

var errDetached = errors.New("JWS: the payload is detached, and a tag must hold its entry")

// parseJWS reads either serialisation.
func parseJWS(data []byte) (*jws, error) {
	if err := checkJSON(data, MaxJSON); err != nil {
		return nil, fmt.Errorf("JWS: %w", err)
	}
	found, err := members(data)
	if err != nil {
		return nil, fmt.Errorf("JWS: %w", err)
	}
	var j jws
	payload, ok, err := text(found, "payload")
	if err != nil {
		return nil, fmt.Errorf("JWS: %w", err)
	}
	if !ok {
		return nil, errDetached
	}
	j.encoded = payload
	if j.payload, err = decodeBase64(base64.RawURLEncoding, payload); err != nil {
		return nil, fmt.Errorf("JWS payload: %w", err)
	}
	list, err := signatureList(found)
	if err != nil {
		return nil, err
	}
	for i, one := range list {
		s, err := parseSignature(one)
		if err != nil {
			return nil, fmt.Errorf("JWS signature %d: %w", i, err)
		}
		j.signatures = append(j.signatures, s)
	}
	return &j, nil
}

// signatureList returns the objects with protected, header and signature: of
// the general form, or the outer one of the flattened form. Both at once is
// forbidden (RFC 7515 section 7.2.2).
func signatureList(found map[string]json.RawMessage) ([]map[string]json.RawMessage, error) {
	raw, general := found["signatures"]
	_, flattened := found["signature"]
	if general == flattened {
		return nil, errors.New("JWS: neither signature nor signatures, or both")
	}
	if flattened {
		return []map[string]json.RawMessage{found}, nil
	}
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 {
		return nil, errors.New("JWS: signatures is not a list of signatures")
	}
	if len(list) > MaxSignatures {
		return nil, fmt.Errorf("JWS: %d signatures, more than %d", len(list), MaxSignatures)
	}
	for _, name := range []string{"protected", "header"} {
		if raw, ok := found[name]; ok && string(raw) != "null" {
			return nil, fmt.Errorf("JWS: %s beside signatures", name)
		}
	}
	return list, nil
}

func parseSignature(found map[string]json.RawMessage) (Signature, error) {
	var s Signature
	encoded, _, err := text(found, "signature")
	if err != nil {
		return s, err
	}
	if s.signature, err = decodeBase64(base64.RawURLEncoding, encoded); err != nil || encoded == "" {
		return s, errors.New("signature is not base64url")
	}
	var protected map[string]json.RawMessage
	if s.protected, _, err = text(found, "protected"); err != nil {
		return s, err
	}
	if s.protected != "" {
		raw, err := decodeBase64(base64.RawURLEncoding, s.protected)
		if err != nil {
			return s, errors.New("protected is not base64url")
		}
		if err := checkJSON(raw, maxEntry); err != nil {
			return s, fmt.Errorf("protected: %w", err)
		}
		if protected, err = members(raw); err != nil {
			return s, fmt.Errorf("protected: %w", err)
		}
	}
	header := map[string]json.RawMessage{}
	if raw, ok := found["header"]; ok && string(raw) != "null" {
		if header, err = members(raw); err != nil {
			return s, fmt.Errorf("header: %w", err)
		}
	}
	return s, s.read(protected, header)
}

// read takes from the headers what concerns us. What decides anything must be
// protected: alg, jwk, sub and cty. kid only helps to find the key.
func (s *Signature) read(protected, header map[string]json.RawMessage) error {
	for name := range header {
		if _, both := protected[name]; both {
			return fmt.Errorf("%.40q is in both headers", name)
		}
	}
	var errs [5]error
	s.Algorithm, _, errs[0] = text(protected, "alg")
	s.Subject, _, errs[1] = text(protected, "sub")
	s.Type, _, errs[2] = text(protected, "cty")
	s.KeyID, _, errs[3] = text(protected, "kid")
	if s.KeyID == "" {
		s.KeyID, _, errs[4] = text(header, "kid")
	}
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	switch s.Algorithm {
	case "":
		return errors.New("alg is missing from the protected header")
	case "none":
		return errors.New("alg none signs nothing")
	}
	_, inProtected := protected["crit"]
	_, inHeader := header["crit"]
	s.critical = inProtected || inHeader
	if raw, ok := protected["jwk"]; ok && string(raw) != "null" {
		return s.readKey(raw)
	}
	return nil
}

func (s *Signature) readKey(raw json.RawMessage) error {
	found, err := members(raw)
	if err != nil {
		return fmt.Errorf("jwk: %w", err)
	}
	if _, private := found["d"]; private {
		return errors.New("jwk is a private key")
	}
	if key, err := jwkPublic(found); err == nil {
		s.Key = &key
	}
	return nil
}

// holds reports whether key made the signature over the encoded payload.
func (s *Signature) holds(key PublicKey, encoded string) bool {
	return !s.critical && s.Algorithm == key.Algorithm() &&
		key.verify([]byte(s.protected+"."+encoded), s.signature)
}
