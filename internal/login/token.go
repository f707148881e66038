// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Request is what to sign in for.
type Request struct {
	ClientID string
	Secret   string // of the client; "": it has none
	Audience string // the store, as its URL
}

// Scopes that are asked for: upstream's, and a refresh token where a user is
// there to sign in.
const (
	storeScopes = "manage:drawbridge_repositories manage:drawbridge_tags manage:drawbridge_users"
	userScopes  = "openid profile offline_access " + storeScopes
)

// An Error is what the provider answered instead of a token (RFC 6749 section
// 5.2, RFC 8628 section 3.5).
type Error struct {
	Code        string // like "access_denied"
	Description string // the provider's own words, or ""
}

func (e *Error) Error() string {
	s := "the identity provider said " + strconv.Quote(e.Code)
	if e.Description != "" {
		s += ": " + e.Description
	}
	return s
}

// answer is what a token endpoint says (RFC 6749 section 5.1).
type answer struct {
	Access      string  `json:"access_token"`
	Type        string  `json:"token_type"`
	Refresh     string  `json:"refresh_token"`
	ExpiresIn   seconds `json:"expires_in"`
	Error       string  `json:"error"`
	Description string  `json:"error_description"`
}

// seconds is a number, which some providers write as a string.
type seconds int64

func (s *seconds) UnmarshalJSON(data []byte) error {
	n, err := strconv.ParseFloat(strings.Trim(string(data), `"`), 64)
	if err != nil || n < 0 || n > 1<<31 {
		return nil // as if it was not said
	}
	*s = seconds(n)
	return nil
}

// form starts the parameters of a request to the provider.
func (r *Request) form(grant string) url.Values {
	v := url.Values{"client_id": {r.ClientID}}
	if grant != "" {
		v.Set("grant_type", grant)
	}
	if r.Secret != "" {
		v.Set("client_secret", r.Secret)
	}
	return v
}

// post sends a form and decodes the JSON that comes back. An answer that says
// "error" is an *[Error].
func (p *Provider) post(ctx context.Context, address string, form url.Values, to any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	status, body, err := p.do(req)
	if err != nil {
		return err
	}
	var said answer
	if err := json.Unmarshal(body, &said); err == nil && said.Error != "" {
		return &Error{brief([]byte(said.Error)), brief([]byte(said.Description))}
	}
	if status != http.StatusOK {
		// Not with the body: what is in it when things go wrong is not known.
		return &statusError{code: status}
	}
	if to == nil {
		return nil
	}
	if err := json.Unmarshal(body, to); err != nil {
		// Nor with the decoder's error, which may quote it.
		return fmt.Errorf("the answer of %s is not JSON of the expected kind", address)
	}
	return nil
}

// exchange asks the token endpoint for a session.
func (p *Provider) exchange(ctx context.Context, r *Request, flow string, form url.Values) (*Session, error) {
	var a answer
	if err := p.post(ctx, p.token, form, &a); err != nil {
		return nil, err
	}
	if err := checkToken(a.Access); err != nil {
		return nil, err
	}
	if a.Type != "" && !strings.EqualFold(a.Type, "bearer") {
		return nil, fmt.Errorf("the identity provider gave a token of the type %q, which is of no use", a.Type)
	}
	s := &Session{Access: a.Access, Refresh: a.Refresh, Issuer: p.Issuer, ClientID: r.ClientID, Audience: r.Audience, Flow: flow}
	if a.ExpiresIn > 0 {
		s.Expiry = p.clock.now().Add(time.Duration(a.ExpiresIn) * time.Second).UTC().Truncate(time.Second)
	} else {
		s.Expiry = expiry(a.Access)
	}
	return s, nil
}

// ErrNotToken is returned for what no header could hold as a token.
var ErrNotToken = errors.New("not a token: it is made of printable characters without spaces")

// checkToken follows RFC 6750 section 2.1, which leaves out all that could
// end a header, but takes any printable character.
func checkToken(s string) error {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return ErrNotToken
	}
	return nil
}

// CheckToken returns a token without the white space around it, or
// [ErrNotToken].
func CheckToken(s string) (string, error) {
	s = strings.TrimSpace(s)
	return s, checkToken(s)
}

// expiry returns when a token ends, if it is a JWT that says so; the zero time
// otherwise. Nothing is verified: it only tells when to ask for a new one.
func expiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expiry float64 `json:"exp"`
	}
	if json.Unmarshal(text, &claims) != nil || claims.Expiry <= 0 || claims.Expiry > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(claims.Expiry), 0).UTC()
}

// ClientCredentials signs a program in by its own secret (RFC 6749 section 4.4).
func (p *Provider) ClientCredentials(ctx context.Context, r Request) (*Session, error) {
	form := r.form("client_credentials")
	form.Set("scope", storeScopes)
	form.Set("audience", r.Audience)
	return p.exchange(ctx, &r, FlowClient, form)
}

// refresh exchanges a refresh token for a new session. A provider that does
// not rotate them leaves the old one in force.
func (p *Provider) refresh(ctx context.Context, old *Session, secret string) (*Session, error) {
	r := Request{ClientID: old.ClientID, Secret: secret, Audience: old.Audience}
	form := r.form("refresh_token")
	form.Set("refresh_token", old.Refresh)
	s, err := p.exchange(ctx, &r, old.Flow, form)
	if err == nil && s.Refresh == "" {
		s.Refresh = old.Refresh
	}
	return s, err
}

// Revoke gives the session's tokens back (RFC 7009). A provider takes an
// unknown token for one that is revoked already.
func (p *Provider) Revoke(ctx context.Context, s *Session) error {
	r := Request{ClientID: s.ClientID}
	var errs []error
	for _, t := range []struct{ token, kind string }{{s.Refresh, "refresh_token"}, {s.Access, "access_token"}} {
		if t.token == "" {
			continue
		}
		form := r.form("")
		form.Set("token", t.token)
		form.Set("token_type_hint", t.kind)
		if err := p.post(ctx, p.revocation, form, nil); err != nil {
			errs = append(errs, fmt.Errorf("revoking the %s: %w", strings.ReplaceAll(t.kind, "_", " "), err))
		}
	}
	return errors.Join(errs...)
}
