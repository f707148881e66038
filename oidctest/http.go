// SPDX-License-Identifier: Apache-2.0

package oidctest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// maxForm limits the bodies that are read.
const maxForm = 64 << 10

func (p *Provider) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /.well-known/jwks.json", p.keySet)
	mux.HandleFunc("GET /authorize", p.authorizePage)
	mux.HandleFunc("POST /authorize", p.authorize)
	mux.HandleFunc("POST /oauth/token", p.token)
	mux.HandleFunc("POST /oauth/device/code", p.deviceCode)
	mux.HandleFunc("GET /activate", p.activatePage)
	mux.HandleFunc("POST /activate", p.activate)
	mux.HandleFunc("/userinfo", p.userinfo)
	mux.HandleFunc("POST /oauth/revoke", p.revoke)
	mux.HandleFunc("GET /oidc/logout", p.logout)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if !p.faulty(w, r) {
			mux.ServeHTTP(w, r)
		}
	})
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	issuer := p.issuer
	if p.fault.Issuer != "" {
		issuer = p.fault.Issuer
	}
	p.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{
		"issuer":                                issuer,
		"authorization_endpoint":                p.issuer + "authorize",
		"token_endpoint":                        p.issuer + "oauth/token",
		"device_authorization_endpoint":         p.issuer + "oauth/device/code",
		"userinfo_endpoint":                     p.issuer + "userinfo",
		"revocation_endpoint":                   p.issuer + "oauth/revoke",
		"end_session_endpoint":                  p.issuer + "oidc/logout",
		"jwks_uri":                              p.issuer + ".well-known/jwks.json",
		"response_types_supported":              []string{"code"},
		"grant_types_supported":                 []string{grantCode, grantRefresh, grantClient, grantDevice},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{p.opts.Algorithm},
		"code_challenge_methods_supported":      []string{"S256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "client_secret_basic", "none"},
		"scopes_supported":                      strings.Fields(p.opts.Scope),
	})
}

func (p *Provider) keySet(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	set := jose.JSONWebKeySet{}
	for _, key := range p.keys {
		set.Keys = append(set.Keys, key.Public())
	}
	f := p.fault
	p.mu.Unlock()
	body, err := json.Marshal(set)
	if f.JWKS != nil {
		body = f.JWKS
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	write(w, http.StatusOK, append(body, bytes.Repeat([]byte{' '}, f.Padding)...))
}

func (p *Provider) userinfo(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	p.mu.Lock()
	s, known := p.access[token]
	p.mu.Unlock()
	if !ok || !known || p.opts.Now().After(s.until) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		refuse(w, http.StatusUnauthorized, "invalid_token", "")
		return
	}
	reply(w, http.StatusOK, map[string]any{"sub": s.subject, "name": s.subject})
}

func (p *Provider) revoke(_ http.ResponseWriter, r *http.Request) { p.Revoke(r.PostFormValue("token")) }

func (p *Provider) logout(w http.ResponseWriter, r *http.Request) {
	if back := r.FormValue("post_logout_redirect_uri"); back != "" && p.redirectAllowed(back) {
		http.Redirect(w, r, back, http.StatusFound)
		return
	}
	page(w, http.StatusOK, "Signed out", "")
}

func reply(w http.ResponseWriter, status int, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	write(w, status, body)
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body) //nolint:errcheck // the client has gone
}

// refuse answers with an error of RFC 6749 section 5.2.
func refuse(w http.ResponseWriter, status int, code, why string) {
	reply(w, status, map[string]string{"error": code, "error_description": why})
}
