// SPDX-License-Identifier: Apache-2.0

// Package login signs users in with an OpenID Connect provider, keeps them
// signed in, and signs them out: the device flow (RFC 8628), the authorization
// code flow with PKCE and a loopback redirect (RFC 7636, RFC 8252), client
// credentials, refresh tokens and revocation (RFC 7009).
//
// The provider is believed about who somebody is, because a user named it or
// a store did; its answers are capped and checked like any other bytes. Access
// tokens are for stores, so nothing here verifies one. No token is ever part
// of an error, an argument or a log line.
package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"enarx.dev/enarx/internal/version"
)

const (
	maxAnswer      = 1 << 20 // bytes of any answer of a provider
	requestTimeout = 30 * time.Second
	userAgent      = "enarx-cli/" + version.Version
)

// A Provider is an OpenID Connect provider with the addresses of what it
// offers. Those it has not are empty.
type Provider struct {
	Issuer string // its URL, which names it; it ends in a slash if it was given with one

	authorization, token, device, userinfo, revocation string

	client *http.Client
	clock  clock
}

// clock is the time, or a test's.
type clock struct {
	now  func() time.Time
	wait func(ctx context.Context, d time.Duration) error
}

var realClock = clock{time.Now, func(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}}

// Domain returns the URL of a provider as users may name it: with or without
// https:// and a final slash. Plain http is for this machine alone: tokens
// would be there for all to read.
func Domain(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the address of an identity provider: it is like https://auth.example.com/", s)
	}
	if err := secure(u); err != nil {
		return nil, err
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u, nil
}

// secure refuses what would send tokens over a network in clear.
func secure(u *url.URL) error {
	local := u.Hostname() == "localhost"
	if ip := net.ParseIP(u.Hostname()); ip != nil {
		local = ip.IsLoopback()
	}
	if u.Scheme == "https" || u.Scheme == "http" && local {
		return nil
	}
	return fmt.Errorf("%s is not https", u.Redacted())
}

// Discover asks the provider at domain, a URL as of [Domain], what it offers
// (OpenID Connect Discovery 1.0 section 4). What the provider does not say is
// looked for where Auth0 has it: upstream knew no other place.
func Discover(ctx context.Context, transport http.RoundTripper, domain string) (*Provider, error) {
	base, err := Domain(domain)
	if err != nil {
		return nil, err
	}
	p := &Provider{Issuer: base.String(), clock: realClock, client: &http.Client{
		Transport: transport, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	var doc struct {
		Issuer        string `json:"issuer"`
		Authorization string `json:"authorization_endpoint"`
		Token         string `json:"token_endpoint"`
		Device        string `json:"device_authorization_endpoint"`
		UserInfo      string `json:"userinfo_endpoint"`
		Revocation    string `json:"revocation_endpoint"`
	}
	err = p.get(ctx, p.join(".well-known/openid-configuration"), "", &doc)
	if status, ok := errors.AsType[*statusError](err); ok && status.code == http.StatusNotFound {
		err = nil // no discovery at all
	} else if err == nil && strings.TrimSuffix(doc.Issuer, "/") != strings.TrimSuffix(p.Issuer, "/") {
		err = fmt.Errorf("it calls itself %q", doc.Issuer)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to discover the identity provider %s: %w", p.Issuer, err)
	}
	for _, e := range []struct {
		to        *string
		told, old string
	}{
		{&p.authorization, doc.Authorization, "authorize"},
		{&p.token, doc.Token, "oauth/token"},
		{&p.device, doc.Device, "oauth/device/code"},
		{&p.userinfo, doc.UserInfo, "userinfo"},
		{&p.revocation, doc.Revocation, "oauth/revoke"},
	} {
		*e.to = e.told
		if e.told == "" {
			*e.to = p.join(e.old)
		}
		u, err := url.Parse(*e.to)
		if err == nil {
			err = secure(u)
		}
		if err != nil {
			return nil, fmt.Errorf("the identity provider %s names an address that is of no use: %w", p.Issuer, err)
		}
	}
	return p, nil
}

func (p *Provider) join(path string) string { return strings.TrimSuffix(p.Issuer, "/") + "/" + path }

// A statusError is an answer that is neither good nor an error as OAuth has them.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("request failed with status code `%d`", e.code)
	if e.text != "" {
		s += ": " + e.text
	}
	return s
}

// get fetches a JSON document, with a token if there is one.
func (p *Provider) get(ctx context.Context, address, token string, to any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Accept", "application/json")
	status, body, err := p.do(req)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return &statusError{status, brief(body)}
	}
	if err := json.Unmarshal(body, to); err != nil {
		return fmt.Errorf("the answer of %s: %w", address, err)
	}
	return nil
}

func (p *Provider) do(req *http.Request) (status int, body []byte, err error) {
	req.Header.Set("User-Agent", userAgent)
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("the answer of %s is over %d bytes", req.URL.Redacted(), maxAnswer)
	}
	return resp.StatusCode, body, err
}

// brief is the text of an answer as an error may hold it.
func brief(body []byte) string {
	s := strings.ToValidUTF8(strings.TrimSpace(string(body[:min(len(body), 500)])), "?")
	if strings.HasPrefix(s, "<") { // a page for people
		return ""
	}
	return strings.Join(strings.Fields(s), " ")
}

// UserInfo asks the provider whose token this is (OpenID Connect Core 1.0
// section 5.3), and returns the subject.
func (p *Provider) UserInfo(ctx context.Context, token string) (subject string, err error) {
	var info struct {
		Subject string `json:"sub"`
	}
	err = p.get(ctx, p.userinfo, token, &info)
	if err == nil && info.Subject == "" {
		err = errors.New("the answer has no sub")
	}
	if err != nil {
		return "", fmt.Errorf("failed to make user info request: %w", err)
	}
	return info.Subject, nil
}
