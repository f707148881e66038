// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	loginLife    = 10 * time.Minute // between leaving for the provider and coming back
	flashLife    = time.Minute
	providerTime = 10 * time.Second // for what the provider is asked
	maxTo        = 1024             // bytes of where to go after signing in
	maxNames     = 16               // of one subject, in the session
)

// A session is who is signed in. The provider's tokens are not part of it:
// nothing asks for them after the subject is known.
type session struct {
	Issuer  string   `json:"i"`
	Subject string   `json:"s"`
	CSRF    string   `json:"c"` // proves that a form is from a page of this session
	Names   []string `json:"n"` // the users whose subject it is
}

// pendingLogin is what must come back from the provider, RFC 6749 10.12, RFC
// 7636, OpenID Connect Core 3.1.2.1.
type pendingLogin struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	To       string `json:"t"`
}

// provider is the OpenID Connect provider, once it has been reached.
type provider struct {
	cfg  *SignIn
	host string
	now  func() time.Time

	mu     sync.Mutex
	found  *oidc.Provider
	failed error     // of the last time that it was asked
	asked  time.Time // when that was
}

const (
	providerAge   = time.Hour       // after which it is asked about itself again
	providerRetry = 5 * time.Second // during which a failure is the answer to everybody
)

// get returns the provider. One visitor asks it about itself, the others wait.
func (p *provider) get(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	age := p.now().Sub(p.asked)
	switch {
	case p.found != nil && age < providerAge:
		return p.found, nil
	case p.found == nil && p.failed != nil && age < providerRetry:
		return nil, p.failed
	}
	found, err := oidc.NewProvider(p.client(ctx), p.cfg.Issuer)
	p.asked, p.failed = p.now(), err
	if err == nil {
		p.found = found
	}
	if p.found == nil {
		return nil, err
	}
	return p.found, nil // what was known before may still do
}

// client makes requests under ctx use the configured client. The key set that
// go-oidc keeps takes the client from it and not its end.
func (p *provider) client(ctx context.Context) context.Context {
	client := p.cfg.Client
	if client == nil {
		client = http.DefaultClient
	}
	return oidc.ClientContext(ctx, client)
}

func (p *provider) oauth(found *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: found.Endpoint(),
		RedirectURL: "https://" + p.host + "/-/callback", Scopes: []string{oidc.ScopeOpenID},
	}
}

func (v *visit) unreachable(err error) error {
	return &problem{
		status: http.StatusServiceUnavailable, heading: "Signing in does not work now", cause: err,
		text: "The identity provider does not answer as it should. Everything public can be read without signing in.",
	}
}

// login sends the browser to the provider.
func (v *visit) login() error {
	if v.cfg.SignIn == nil {
		return errMissing
	}
	ctx, cancel := context.WithTimeout(v.ctx, providerTime)
	defer cancel()
	found, err := v.idp.get(ctx)
	if err != nil {
		return v.unreachable(err)
	}
	pending := pendingLogin{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), To: here(v.r.URL.Query().Get("to"))}
	if err := setCookie(v.w, v.seal, cookieLogin, pending, v.now(), loginLife); err != nil {
		return err
	}
	return v.leave(v.idp.oauth(found).AuthCodeURL(pending.State, oidc.Nonce(pending.Nonce), oauth2.S256ChallengeOption(pending.Verifier)), nil)
}

// here returns to if it is a page of this site, and else the first one. What
// browsers take for another host's is none: "//host", "/\host", and either with
// the tabs and newlines in it that they drop.
func here(to string) string {
	if !strings.HasPrefix(to, "/") || len(to) > maxTo || strings.ContainsAny(to, "\\") || strings.HasPrefix(to, "//") {
		return "/"
	}
	for _, r := range to {
		if r <= ' ' || r >= 0x7f {
			return "/"
		}
	}
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") {
		return "/"
	}
	if u.Path == "/-/login" || u.Path == "/-/callback" { // round and round
		return "/"
	}
	return u.RequestURI()
}

var errLogin = &problem{
	status: http.StatusBadRequest, heading: "Not signed in",
	text: "This sign-in was not begun in this browser, took too long, or was refused by the identity provider.",
	link: &link{"/-/login", "Sign in again"},
}

// callback is where the provider sends the browser back to.
func (v *visit) callback() error {
	if v.cfg.SignIn == nil {
		return errMissing
	}
	pending, err := readCookie[pendingLogin](v.r, v.seal, cookieLogin, v.now())
	if err != nil {
		return errLogin
	}
	query := v.r.URL.Query()
	if subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(pending.State)) != 1 {
		return errLogin // and the cookie stays: whoever forges this must not end a sign-in
	}
	dropCookie(v.w, cookieLogin)
	if iss := query.Get("iss"); iss != "" && iss != v.cfg.SignIn.Issuer { // RFC 9207
		return errLogin
	}
	if code := query.Get("error"); code != "" {
		v.log.Info("the provider refused to sign somebody in", "error", code)
		return errLogin
	}
	who, err := v.redeem(query.Get("code"), pending)
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.Response.StatusCode < 500 {
		v.log.Info("the provider did not take a code", "error", refused.ErrorCode)
		return errLogin
	}
	if err != nil {
		return v.unreachable(err)
	}
	if who.Names, err = v.names(who.Subject); err != nil {
		return err
	}
	if err := setCookie(v.w, v.seal, cookieSession, *who, v.now(), v.cfg.Life); err != nil {
		return err
	}
	if len(who.Names) == 0 {
		return v.leave("/-/register?to="+url.QueryEscape(pending.To), nil)
	}
	return v.leave(pending.To, nil)
}

// redeem turns the code into who signed in.
func (v *visit) redeem(code string, pending pendingLogin) (*session, error) {
	ctx, cancel := context.WithTimeout(v.idp.client(v.ctx), providerTime)
	defer cancel()
	found, err := v.idp.get(ctx)
	if err != nil {
		return nil, err
	}
	tokens, err := v.idp.oauth(found).Exchange(ctx, code, oauth2.VerifierOption(pending.Verifier))
	if err != nil {
		return nil, fmt.Errorf("the code was not taken: %w", err)
	}
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return nil, errors.New("the provider sent no ID token")
	}
	id, err := found.Verifier(&oidc.Config{ClientID: v.cfg.SignIn.ClientID, Now: v.now}).Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if id.Nonce == "" || subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(pending.Nonce)) != 1 {
		return nil, errors.New("the ID token is not the one that was asked for: another nonce")
	}
	if id.Subject == "" {
		return nil, errors.New("the ID token names nobody")
	}
	return &session{Issuer: id.Issuer, Subject: id.Subject, CSRF: rand.Text()}, nil
}

// names are the users whose subject it is.
func (v *visit) names(subject string) ([]string, error) {
	names, err := v.cfg.Catalog.UsersOf(v.ctx, subject)
	return names[:min(len(names), maxNames)], err
}

// renew gives the browser the session anew, after its names changed.
func (v *visit) renew(names []string) error {
	v.who.Names = names[:min(len(names), maxNames)]
	return setCookie(v.w, v.seal, cookieSession, *v.who, v.now(), v.cfg.Life)
}

// logout ends the session in this browser. The provider's own goes on.
func (v *visit) logout() error {
	dropCookie(v.w, cookieSession)
	return v.leave("/", &notice{Text: "You are signed out of this Drawbridge. Your identity provider may still know you in this browser."})
}
