// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

const codePatience = 5 * time.Minute

// Code signs a user in by a browser on this machine: it has open show the
// provider's page, and waits for the browser to come back to a loopback
// address (RFC 8252 section 7.3) with a code that only this process can use
// (PKCE, RFC 7636).
func (p *Provider) Code(ctx context.Context, r Request, open func(address string)) (*Session, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	back := &callback{issuer: p.Issuer, state: rand.Text(), got: make(chan callbackResult, 1)}
	defer back.serve(l)()
	redirect, verifier := "http://"+l.Addr().String()+"/callback", rand.Text()+rand.Text()
	address, err := p.authorize(&r, redirect, back.state, verifier)
	if err != nil {
		return nil, err
	}
	open(address)
	ctx, cancel := context.WithTimeoutCause(ctx, codePatience, errTooLate)
	defer cancel()
	var got callbackResult
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case got = <-back.got:
	}
	if got.err != nil {
		return nil, got.err
	}
	form := r.form("authorization_code")
	form.Set("code", got.code)
	form.Set("redirect_uri", redirect)
	form.Set("code_verifier", verifier)
	return p.exchange(ctx, &r, FlowCode, form)
}

// authorize returns the address of the provider's page.
func (p *Provider) authorize(r *Request, redirect, state, verifier string) (string, error) {
	address, err := url.Parse(p.authorization)
	if err != nil {
		return "", err
	}
	challenge := sha256.Sum256([]byte(verifier))
	query := address.Query()
	for k, v := range map[string]string{
		"response_type": "code", "client_id": r.ClientID, "redirect_uri": redirect, "scope": userScopes, "audience": r.Audience,
		"state": state, "code_challenge": base64.RawURLEncoding.EncodeToString(challenge[:]), "code_challenge_method": "S256",
	} {
		query.Set(k, v)
	}
	address.RawQuery = query.Encode()
	return address.String(), nil
}

type callbackResult struct {
	code string
	err  error
}

// callback is where the browser comes back to. Any web page can send a browser
// here: only a request that knows the state counts, and only the first.
type callback struct {
	issuer, state string
	got           chan callbackResult
}

// serve answers on l until stop is called, which lets the page that says "done"
// get out.
func (c *callback) serve(l net.Listener) (stop func()) {
	server := &http.Server{Handler: c, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // ends by stop
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
		<-served
	}
}

func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	q := r.URL.Query()
	if r.Method != http.MethodGet || r.URL.Path != "/callback" || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(c.state)) != 1 {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, page("This is not a page of enarx."))
		return
	}
	result := callbackResult{code: q.Get("code")}
	switch code := q.Get("error"); {
	case code != "":
		result.err = &Error{brief([]byte(code)), brief([]byte(q.Get("error_description")))}
	case q.Has("iss") && q.Get("iss") != c.issuer: // RFC 9207: another provider's answer
		result.err = fmt.Errorf("the browser came back from the identity provider %q", q.Get("iss"))
	case result.code == "":
		result.err = errors.New("the browser came back without a code")
	}
	text := "You are signed in to enarx. You can close this page."
	if result.err != nil {
		text = "You are not signed in: enarx says why."
	}
	select {
	case c.got <- result:
	default:
		text = "This was done already."
	}
	fmt.Fprint(w, page(text))
}

func page(text string) string {
	return "<!doctype html><html lang=en><meta charset=utf-8><meta name=color-scheme content=\"light dark\"><title>enarx</title><p>" + text + "</p></html>\n"
}
