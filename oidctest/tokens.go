// SPDX-License-Identifier: Apache-2.0

package oidctest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Claims are the claims of a token. Mint removes what is nil.
type Claims map[string]any

// A grant is what somebody agreed to.
type grant struct {
	client, subject, audience, nonce string
	scope                            []string
	redirect, challenge              string // code flow
}

// A session is what an access token stands for at userinfo.
type session struct {
	subject string
	until   time.Time
}

// Mint returns a signed access token with the claims that the options say,
// after claims replaced some. It obeys the Fault that is on.
func (p *Provider) Mint(claims Claims) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mint(p.fault, claims)
}

// Forge is Mint with a fault of its own.
func (p *Provider) Forge(f Fault, claims Claims) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mint(f, claims)
}

// Opaque makes userinfo know a token that is no JWT.
func (p *Provider) Opaque(token, subject string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.access[token] = session{subject, p.opts.Now().Add(p.opts.Life)}
}

// Revoke makes userinfo and the token endpoint forget a token. A JWT goes on
// being valid for those who only look at its signature.
func (p *Provider) Revoke(token string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.access, token)
	delete(p.refresh, token)
}

func (p *Provider) mint(f Fault, claims Claims) string {
	all := p.claims(f, claims)
	token := p.sign(f, all)
	sub, _ := all["sub"].(string)
	until, timed := seconds(all["exp"])
	if good := f.Algorithm == "" && f.KeyID == "" && !f.NoKeyID; good && sub != "" && timed {
		p.access[token] = session{sub, until}
	}
	return token
}

func (p *Provider) claims(f Fault, over Claims) Claims {
	now := p.opts.Now()
	all := Claims{
		"iss": p.issuer, "sub": p.opts.Subject, "aud": p.opts.Audience, "scope": p.opts.Scope,
		"iat": now.Unix(), "exp": now.Add(p.opts.Life).Unix(), "jti": secret(),
	}
	if f.Expired {
		all["iat"], all["exp"] = now.Add(-2*time.Hour).Unix(), now.Add(-time.Hour).Unix()
	}
	for name, value := range over {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	if f.NoAudience {
		delete(all, "aud")
	}
	return all
}

func seconds(claim any) (time.Time, bool) {
	switch n := claim.(type) {
	case int:
		return time.Unix(int64(n), 0), true
	case int64:
		return time.Unix(n, 0), true
	case float64:
		return time.Unix(int64(n), 0), true
	}
	return time.Time{}, false
}

// sign fails only on claims that are no JSON, which is the test's bug.
func (p *Provider) sign(f Fault, claims Claims) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(fmt.Sprintf("oidctest: bug: %v", err))
	}
	key := p.keys[len(p.keys)-1]
	id := key.KeyID
	if f.KeyID != "" {
		id = f.KeyID
	}
	if f.Algorithm == "none" {
		encode := base64.RawURLEncoding.EncodeToString
		return encode(fmt.Appendf(nil, `{"alg":"none","typ":"JWT","kid":%q}`, id)) + "." + encode(payload) + "."
	}
	with := jose.SigningKey{Algorithm: jose.SignatureAlgorithm(p.opts.Algorithm), Key: key.Key}
	if f.Algorithm == "HS256" {
		public := key.Public()
		hmac, err := publicPEM(public.Key)
		if err != nil {
			panic(fmt.Sprintf("oidctest: bug: %v", err))
		}
		with = jose.SigningKey{Algorithm: jose.HS256, Key: hmac}
	}
	opts := (&jose.SignerOptions{}).WithType("JWT")
	if !f.NoKeyID {
		opts = opts.WithHeader("kid", id)
	}
	signer, err := jose.NewSigner(with, opts)
	if err != nil {
		panic(fmt.Sprintf("oidctest: bug: %v", err))
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		panic(fmt.Sprintf("oidctest: bug: %v", err))
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		panic(fmt.Sprintf("oidctest: bug: %v", err))
	}
	return token
}

// tokens is the answer of the token endpoint to what g agreed to.
func (p *Provider) tokens(g *grant) map[string]any {
	now := p.opts.Now()
	answer := map[string]any{
		"token_type": "Bearer", "expires_in": int64(p.opts.Life / time.Second), "scope": strings.Join(g.scope, " "),
	}
	if g.audience == "" {
		token := secret()
		p.access[token] = session{g.subject, now.Add(p.opts.Life)}
		answer["access_token"] = token
	} else {
		aud := []string{g.audience}
		if slices.Contains(g.scope, "openid") {
			aud = append(aud, p.issuer+"userinfo")
		}
		answer["access_token"] = p.mint(p.fault, Claims{
			"sub": g.subject, "aud": aud, "scope": strings.Join(g.scope, " "), "azp": g.client,
		})
	}
	if slices.Contains(g.scope, "openid") {
		id := Claims{"sub": g.subject, "aud": g.client, "name": g.subject, "scope": nil, "nonce": nil}
		if g.nonce != "" {
			id["nonce"] = g.nonce
		}
		answer["id_token"] = p.sign(p.fault, p.claims(p.fault, id))
	}
	if slices.Contains(g.scope, "offline_access") {
		token := secret()
		p.refresh[token] = g
		answer["refresh_token"] = token
	}
	return answer
}

// granted returns what is granted of the scopes that were asked for: like
// Auth0, everything to whoever asks for nothing.
func (p *Provider) granted(asked string) []string {
	all := strings.Fields(p.opts.Scope)
	if asked == "" {
		return slices.DeleteFunc(all, func(s string) bool { return !strings.Contains(s, ":") })
	}
	return slices.DeleteFunc(strings.Fields(asked), func(s string) bool { return !slices.Contains(all, s) })
}
