// SPDX-License-Identifier: Apache-2.0

package oidctest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"html"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Grant types of the token endpoint.
const (
	grantCode    = "authorization_code"
	grantRefresh = "refresh_token"
	grantClient  = "client_credentials"
	grantDevice  = "urn:ietf:params:oauth:grant-type:device_code"
)

// deviceLife is how long a device code may wait for somebody.
const deviceLife = 10 * time.Minute

type device struct {
	grant
	userCode string
	denied   bool
	until    time.Time
	polled   time.Time
	interval time.Duration
}

var errUserCode = errors.New("oidctest: no device shows this code")

func (p *Provider) decide(userCode, subject string, deny bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.devices {
		if d.userCode == userCode {
			d.subject, d.denied = subject, deny
			return nil
		}
	}
	return errUserCode
}

func (p *Provider) redirectAllowed(uri string) bool {
	if p.opts.Redirects != nil {
		return slices.Contains(p.opts.Redirects, uri)
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Fragment != "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// client checks who calls the token endpoint, by its body or HTTP Basic.
func (p *Provider) client(w http.ResponseWriter, r *http.Request) (id string, ok bool) {
	id, key := r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	if user, password, basic := r.BasicAuth(); basic {
		id, _ = url.QueryUnescape(user)
		key, _ = url.QueryUnescape(password)
	}
	if want, known := p.opts.Clients[id]; id == "" || p.opts.Clients != nil && (!known || key != want) {
		refuse(w, http.StatusUnauthorized, "invalid_client", "")
		return "", false
	}
	return id, true
}

// authorizePage asks who signs in, after the checks whose failures must not
// be sent to the redirect URI.
func (p *Provider) authorizePage(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	_, known := p.opts.Clients[q.Get("client_id")]
	switch {
	case p.opts.Clients != nil && !known:
		page(w, http.StatusBadRequest, "Unknown client", "")
	case !p.redirectAllowed(q.Get("redirect_uri")):
		page(w, http.StatusBadRequest, "Redirect URI not allowed", "")
	case q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43:
		back(w, r, q, url.Values{"error": {"invalid_request"}, "error_description": {"code flow with PKCE S256 only"}})
	default:
		page(w, http.StatusOK, "Sign in", p.form("authorize", q))
	}
}

// form asks for a subject. It sends on what is in q, unseen.
func (p *Provider) form(action string, q url.Values) string {
	var hidden strings.Builder
	for name := range q {
		hidden.WriteString(`<input type="hidden" name="` + html.EscapeString(name) + `" value="` + html.EscapeString(q.Get(name)) + `">`)
	}
	return `<form method="post" action="` + p.issuer + action + `">` + hidden.String() +
		`<label>Subject <input id="subject" name="subject" value="` + html.EscapeString(p.opts.Subject) + `"></label> ` +
		`<button id="allow" name="action" value="allow">Sign in</button> ` +
		`<button id="deny" name="action" value="deny">Refuse</button></form>`
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	r.ParseForm() //nolint:errcheck // a bad form lacks what is looked for
	q := r.PostForm
	if !p.redirectAllowed(q.Get("redirect_uri")) {
		page(w, http.StatusBadRequest, "Redirect URI not allowed", "")
		return
	}
	if q.Get("action") == "deny" || q.Get("subject") == "" {
		back(w, r, q, url.Values{"error": {"access_denied"}})
		return
	}
	code := secret()
	p.mu.Lock()
	p.codes[code] = &grant{
		client: q.Get("client_id"), subject: q.Get("subject"), audience: q.Get("audience"), nonce: q.Get("nonce"),
		scope: p.granted(q.Get("scope")), redirect: q.Get("redirect_uri"), challenge: q.Get("code_challenge"),
	}
	p.mu.Unlock()
	back(w, r, q, url.Values{"code": {code}})
}

// back sends the browser to the redirect URI, with the state, and the issuer
// of RFC 9207.
func back(w http.ResponseWriter, r *http.Request, q, answer url.Values) {
	to, err := url.Parse(q.Get("redirect_uri"))
	if err != nil {
		page(w, http.StatusBadRequest, "Redirect URI not allowed", "")
		return
	}
	all := to.Query()
	if state := q.Get("state"); state != "" {
		all.Set("state", state)
	}
	for name, values := range answer {
		all.Set(name, values[0])
	}
	to.RawQuery = all.Encode()
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
}

func (p *Provider) deviceCode(w http.ResponseWriter, r *http.Request) {
	id := r.PostFormValue("client_id")
	if _, known := p.opts.Clients[id]; id == "" || p.opts.Clients != nil && !known {
		refuse(w, http.StatusUnauthorized, "invalid_client", "")
		return
	}
	text := rand.Text()
	d := &device{
		grant:    grant{client: id, audience: r.PostFormValue("audience"), scope: p.granted(r.PostFormValue("scope"))},
		userCode: text[:4] + "-" + text[4:8],
		until:    p.opts.Now().Add(deviceLife), interval: time.Duration(p.opts.Interval) * time.Second,
	}
	if p.opts.Approve != nil {
		d.subject = p.opts.Approve(d.userCode)
	}
	code := secret()
	p.mu.Lock()
	p.devices[code] = d
	p.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{
		"device_code": code, "user_code": d.userCode, "verification_uri": p.issuer + "activate",
		"verification_uri_complete": p.issuer + "activate?user_code=" + d.userCode,
		"expires_in":                int64(deviceLife / time.Second), "interval": p.opts.Interval,
	})
}

func (p *Provider) activatePage(w http.ResponseWriter, r *http.Request) {
	code := `<label>Code <input id="user_code" name="user_code" value="` + html.EscapeString(r.FormValue("user_code")) + `"></label> `
	page(w, http.StatusOK, "Confirm the device", strings.Replace(p.form("activate", nil), "<label>", code+"<label>", 1))
}

func (p *Provider) activate(w http.ResponseWriter, r *http.Request) {
	err := p.decide(r.PostFormValue("user_code"), r.PostFormValue("subject"), r.PostFormValue("action") == "deny")
	if err != nil {
		page(w, http.StatusNotFound, "Unknown code", "")
		return
	}
	page(w, http.StatusOK, "Done", "<p>You may close this window.</p>")
}

func page(w http.ResponseWriter, status int, title, body string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write([]byte(`<!DOCTYPE html><html lang="en"><title>` + title + `</title><h1>` + title + `</h1>` + body)) //nolint:errcheck // the client has gone
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	id, ok := p.client(w, r)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var g *grant
	code := "invalid_grant"
	switch r.PostFormValue("grant_type") {
	case grantCode:
		g = p.redeem(r)
	case grantRefresh:
		g = p.refresh[r.PostFormValue("refresh_token")]
		delete(p.refresh, r.PostFormValue("refresh_token"))
	case grantDevice:
		g, code = p.poll(r.PostFormValue("device_code"))
	case grantClient:
		if p.opts.Clients != nil && p.opts.Clients[id] == "" {
			code = "unauthorized_client"
			break
		}
		scope := slices.DeleteFunc(p.granted(r.PostFormValue("scope")), func(s string) bool { return !strings.Contains(s, ":") })
		g = &grant{client: id, subject: id + "@clients", audience: r.PostFormValue("audience"), scope: scope}
	default:
		code = "unsupported_grant_type"
	}
	if g == nil || g.client != id {
		refuse(w, http.StatusBadRequest, code, "")
		return
	}
	reply(w, http.StatusOK, p.tokens(g))
}

// redeem takes an authorization code, once.
func (p *Provider) redeem(r *http.Request) *grant {
	code := r.PostFormValue("code")
	g := p.codes[code]
	delete(p.codes, code)
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if g == nil || g.redirect != r.PostFormValue("redirect_uri") || g.challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
		return nil
	}
	return g
}

// poll is RFC 8628 section 3.5. Clients' timers may be a fifth too fast.
func (p *Provider) poll(code string) (*grant, string) {
	d := p.devices[code]
	now := p.opts.Now()
	if d == nil {
		return nil, "invalid_grant"
	}
	early := now.Sub(d.polled) < d.interval*4/5
	d.polled = now
	switch {
	case now.After(d.until):
		return nil, "expired_token"
	case d.denied:
		return nil, "access_denied"
	case p.fault.SlowDown > 0 || early:
		p.fault.SlowDown = max(p.fault.SlowDown-1, 0)
		d.interval += 5 * time.Second
		return nil, "slow_down"
	case d.subject == "":
		return nil, "authorization_pending"
	}
	delete(p.devices, code)
	return &d.grant, ""
}
