// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// leeway is how far the provider's clock may be off, upstream's 60 seconds.
const leeway = 60 * time.Second

// maxSubject is OpenID Connect's limit on sub, in bytes.
const maxSubject = 255

// signs reports whether key can sign tokens by one of the algorithms.
func signs(key jose.JSONWebKey, algorithms []string) bool {
	algorithm := ""
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		if k.Size() >= minRSA {
			algorithm = "RS256"
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			algorithm = "ES256"
		}
	case ed25519.PublicKey:
		algorithm = "EdDSA"
	}
	return key.KeyID != "" && key.Valid() && slices.Contains(algorithms, algorithm) &&
		(key.Use == "" || key.Use == "sig") && (key.Algorithm == "" || key.Algorithm == algorithm)
}

// jwt is what a token of the compact form says, before anything is verified.
type jwt struct {
	signed *jose.JSONWebSignature
	kid    string
}

// parseJWT takes only tokens that are signed by one of the algorithms, each of
// which is of public keys.
func parseJWT(text string, algorithms []string) (*jwt, error) {
	allowed := make([]jose.SignatureAlgorithm, len(algorithms))
	for i, algorithm := range algorithms {
		allowed[i] = jose.SignatureAlgorithm(algorithm)
	}
	signed, err := jose.ParseSignedCompact(text, allowed)
	if err != nil {
		return nil, err
	}
	if len(signed.Signatures) != 1 {
		return nil, errors.New("not one signature")
	}
	kid := signed.Signatures[0].Protected.KeyID
	if kid == "" {
		return nil, errors.New("no kid in the header")
	}
	return &jwt{signed, kid}, nil
}

// claims of an access token, spec/drawbridge.md section 4.2. Pointers tell what
// is absent.
type claims struct {
	Issuer    *string  `json:"iss"`
	Subject   *string  `json:"sub"`
	Audience  audience `json:"aud"`
	Expires   *float64 `json:"exp"`
	NotBefore *float64 `json:"nbf"`
	Scope     *string  `json:"scope"`
}

// audience is a string or an array of them.
type audience []string

// UnmarshalJSON reads either form.
func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if err := json.Unmarshal(data, &one); err == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// check holds the claims against the configuration.
func (c *claims) check(cfg *Config, now time.Time) error {
	at := float64(now.UnixMilli()) / 1000
	off := leeway.Seconds()
	switch {
	case c.Issuer == nil || *c.Issuer != cfg.Issuer:
		return errors.New("not issued by the configured issuer")
	case !c.forUs(cfg):
		return fmt.Errorf("for the audience %.200q", c.Audience)
	case c.Expires == nil:
		return errors.New("never expires")
	case !(at < *c.Expires+off):
		return errors.New("expired")
	case c.NotBefore != nil && !(at >= *c.NotBefore-off):
		return errors.New("not valid yet")
	case c.Subject == nil || *c.Subject == "" || len(*c.Subject) > maxSubject:
		return errors.New("no subject")
	case c.Scope == nil:
		return errors.New("no scope")
	}
	return nil
}

func (c *claims) forUs(cfg *Config) bool {
	return slices.ContainsFunc(c.Audience, func(aud string) bool { return slices.Contains(cfg.Audiences, aud) })
}

// claimed returns the audience that a JWT claims, with or without a good
// signature. One for us must not become an opaque token by being broken a bit,
// in a way that the userinfo endpoint does not mind.
func claimed(text string) *claims {
	c := new(claims)
	_, rest, _ := strings.Cut(text, ".")
	payload, _, _ := strings.Cut(rest, ".")
	var aud struct {
		Audience audience `json:"aud"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err == nil && json.Unmarshal(raw, &aud) == nil {
		c.Audience = aud.Audience
	}
	return c
}

// verifyJWT returns the claims of a token with a good signature. They are not
// checked yet. The error wraps errNoProvider if there are no keys to tell by.
func (a *Authenticator) verifyJWT(ctx context.Context, text string) (*claims, error) {
	token, err := parseJWT(text, a.cfg.Algorithms)
	if err != nil {
		return nil, err
	}
	key, err := a.provider.key(ctx, token.kid)
	if err != nil {
		return nil, err
	}
	// go-jose refuses an algorithm that is not of the key's type.
	payload, err := token.signed.Verify(key.Key)
	if err != nil {
		return nil, err
	}
	c := new(claims)
	if err := json.Unmarshal(payload, c); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	return c, nil
}

func (c *claims) principal() Principal {
	return Principal{Kind: OIDC, Issuer: *c.Issuer, Subject: *c.Subject, Scopes: strings.Fields(*c.Scope)}
}
