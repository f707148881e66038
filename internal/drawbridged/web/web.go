// SPDX-License-Identifier: Apache-2.0

// Package web is the Drawbridge's site for people: pages made on the server,
// one style sheet, no script. It shows what there is, and lets who signs in
// with the OpenID Connect provider make repositories and tokens, and yank.
//
// Everything shown is from strangers. Names, files and reasons go through
// html/template and then visible; a policy in every answer (CSP) keeps what
// would still get through from doing anything; packages' files leave only as
// downloads. Who may see something is the auth package's to decide, and every
// change is a request to the API on behalf of who signed in, so that its
// checks, limits and audit hold here too.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
)

// Config is what a Site is made from. Store, Catalog, API and Host must be set.
type Config struct {
	Store   *store.Store
	Catalog *drawbridged.Catalog
	API     http.Handler // the *drawbridged.Server
	Host    string       // "host" or "host:port", as in slugs
	SignIn  *SignIn      // nil: nobody can sign in
	// Key is 32 secret bytes that seal what browsers keep. Replicas need the
	// same; nil is a random one, which ends all sessions at a restart.
	Key  []byte
	Life time.Duration    // of a session: 1 h
	Log  *slog.Logger     // nil: discarded
	Now  func() time.Time // nil: time.Now
}

// SignIn says which provider knows the users. Its redirect URI is
// https://HOST/-/callback.
type SignIn struct {
	Issuer       string
	ClientID     string
	ClientSecret string       // "" for a public client; PKCE is used either way
	Client       *http.Client // to reach the provider; nil: http.DefaultClient
}

// A Site serves the pages.
type Site struct {
	cfg   Config
	log   *slog.Logger
	now   func() time.Time
	seal  seal
	pages pages
	idp   provider
}

// pageTime bounds the making of one page. Downloads have the API's time limits.
const pageTime = 15 * time.Second

// New returns a site. It does not speak to the provider yet.
func New(cfg Config) (*Site, error) {
	if cfg.Store == nil || cfg.Catalog == nil || cfg.API == nil {
		return nil, errors.New("web: bug: a site needs a store, a catalog and the API")
	}
	if cfg.Host == "" || strings.ContainsAny(cfg.Host, "/@?# ") {
		return nil, fmt.Errorf("the site needs the host that clients know it by, not %q", cfg.Host)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Life == 0 {
		cfg.Life = time.Hour
	}
	sealing, err := newSeal(cfg.Key)
	if err != nil {
		return nil, err
	}
	all, err := parsePages()
	if err != nil {
		return nil, err
	}
	return &Site{cfg: cfg, log: cfg.Log, now: cfg.Now, seal: sealing, pages: all, idp: provider{cfg: cfg.SignIn, host: cfg.Host, now: cfg.Now}}, nil
}

// policy is the Content-Security-Policy of every page. Signing in follows a
// link, so that not even forms lead anywhere else.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// ServeHTTP answers one request.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	// Not no-referrer: browsers would then send forms with "Origin: null".
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if s.asset(w, r) {
		return
	}
	h.Add("Vary", "Cookie")
	ctx, cancel := context.WithTimeout(r.Context(), pageTime)
	defer cancel()
	v := &visit{Site: s, w: w, r: r, ctx: ctx, as: auth.Principal{Kind: auth.Anonymous}, to: "/"}
	if r.Method == http.MethodGet {
		v.to = r.URL.RequestURI()
	}
	v.open()
	if err := v.serve(); err != nil {
		v.fail(err)
	}
}

// A visit is one request for a page.
type visit struct {
	*Site
	w      http.ResponseWriter
	r      *http.Request
	ctx    context.Context
	who    *session       // nil: not signed in
	as     auth.Principal // the same for the auth package
	to     string         // where to go after signing in
	notice *notice
}

// open finds out who comes.
func (v *visit) open() {
	if who, err := readCookie[session](v.r, v.seal, cookieSession, v.now()); err == nil && v.cfg.SignIn != nil {
		v.who, v.as = &who, auth.Session(who.Issuer, who.Subject)
	}
}

// serve finds the page. It reads the path as it was sent: names have nothing
// that would have to be escaped.
func (v *visit) serve() error {
	raw := v.r.URL.EscapedPath()
	if rest, ok := strings.CutPrefix(raw, "/-/"); ok {
		if user, ok := strings.CutPrefix(rest, "u/"); ok {
			return v.packages(user)
		}
		return v.own(rest)
	}
	if raw == "/" {
		return v.get(v.home)
	}
	return v.packages(strings.TrimPrefix(raw, "/"))
}

// own are the pages that are about no package.
func (v *visit) own(name string) error {
	switch name {
	case "search":
		return v.get(v.search)
	case "login":
		return v.get(v.login)
	case "callback":
		return v.get(v.callback)
	case "logout":
		return v.form(nil, v.logout)
	case "register":
		return v.form(v.registering, v.register)
	case "new":
		return v.form(nil, v.create)
	case "tokens":
		return v.form(v.tokens, v.createToken)
	case "revoke":
		return v.form(nil, v.revoke)
	}
	return errMissing
}

// packages are the pages of users, repositories and packages.
func (v *visit) packages(rest string) error {
	parts := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	at := place{User: parts[0]}
	if drawbridge.CheckUser(at.User) != nil {
		return errMissing
	}
	if len(parts) == 1 {
		return v.get(func() error { return v.user(at.User, form{}) })
	}
	if at.Repo = parts[1]; drawbridge.CheckRepository(at.Repo) != nil {
		return errMissing
	}
	if len(parts) == 2 {
		return v.get(func() error { return v.repository(at) })
	}
	if at.Tag = parts[2]; drawbridge.CheckTag(at.Tag) != nil {
		return errMissing
	}
	if len(parts) == 3 {
		return v.get(func() error { return v.tag(at) })
	}
	var err error
	if at.Path, err = drawbridge.ParsePath(strings.Join(parts[4:], "/")); err != nil {
		return errMissing
	}
	switch parts[3] {
	case "tree":
		return v.get(func() error { return v.tree(at) })
	case "file":
		return v.get(func() error { return v.download(at) })
	case "yank":
		if len(at.Path) == 0 {
			return v.form(nil, func() error { return v.yank(at) })
		}
	}
	return errMissing
}

// get serves a page that changes nothing.
func (v *visit) get(page func() error) error {
	if v.r.Method != http.MethodGet && v.r.Method != http.MethodHead {
		v.w.Header().Set("Allow", "GET, HEAD")
		return &problem{status: http.StatusMethodNotAllowed, heading: "Not like that", text: "This page can only be read."}
	}
	if f, err := readCookie[notice](v.r, v.seal, cookieFlash, v.now()); err == nil && v.r.Method == http.MethodGet {
		v.notice = &f
	}
	return page()
}
