// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"enarx.dev/enarx/internal/drawbridged"
	"enarx.dev/enarx/internal/version"
)

//go:embed templates/*.html
var templates embed.FS

//go:embed style.css
var style []byte

//go:embed mark.svg
var mark []byte

// styleURL changes with the style sheet, so that browsers may keep it for ever.
var styleURL = fmt.Sprintf("/-/style.%x.css", sha256.Sum256(style))

// pages are the templates, each with the layout around it.
type pages map[string]*template.Template

func parsePages() (pages, error) {
	layout := template.New("").Funcs(template.FuncMap{"userURL": userURL, "repoURL": repoURL, "copyable": copyable})
	layout, err := layout.ParseFS(templates, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	all := pages{}
	for _, name := range []string{"home", "search", "user", "repo", "tag", "tree", "register", "tokens", "error"} {
		page, err := layout.Clone()
		if err == nil {
			all[name], err = page.ParseFS(templates, "templates/"+name+".html")
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// copyable is a text that people copy, in parts, and the id of its field.
func copyable(id string, parts ...string) struct{ ID, Text string } {
	return struct{ ID, Text string }{id, strings.Join(parts, "")}
}

// asset serves the style sheet and the mark.
func (s *Site) asset(w http.ResponseWriter, r *http.Request) bool {
	var content []byte
	switch r.URL.Path {
	case styleURL:
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		content = style
	case "/-/mark.svg":
		w.Header().Set("Content-Type", "image/svg+xml")
		content = mark
	default:
		return false
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	_, _ = w.Write(content) // the browser may be gone
	return true
}

// A view is what the layout gets.
type view struct {
	Title     string
	Host      string
	Version   string
	Style     string
	Home      bool
	Query     string
	Who       *session
	CanSignIn bool
	SignInURL string
	Notice    *notice
	Body      any
}

// A notice is what came of the last form. It is shown once.
type notice struct {
	Text  string `json:"t"`
	Bad   bool   `json:"b,omitempty"`
	Token string `json:"s,omitempty"` // one that was just made
}

// show answers with a page. The title of a page names what it is about first,
// as that is what tabs and screen readers tell.
func (v *visit) show(status int, name, title string, body any) error {
	data := view{
		Title: title + " · Drawbridge", Host: v.cfg.Host, Version: version.Version, Style: styleURL, Home: name == "home",
		Who: v.who, CanSignIn: v.cfg.SignIn != nil, SignInURL: "/-/login?to=" + url.QueryEscape(v.to), Notice: v.notice, Body: body,
	}
	if name == "search" {
		data.Query = v.query()
	}
	var page bytes.Buffer
	if err := v.pages[name].ExecuteTemplate(&page, "layout", data); err != nil {
		return fmt.Errorf("the page %s: %w", name, err)
	}
	if v.notice != nil {
		dropCookie(v.w, cookieFlash)
	}
	out := visible(page.Bytes())
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(out)))
	if h.Set("Cache-Control", "no-cache"); v.who != nil || v.notice != nil {
		h.Set("Cache-Control", "no-store")
	}
	v.w.WriteHeader(status)
	_, _ = v.w.Write(out) // the browser may be gone
	return nil
}

// leave sends the browser to a page of ours, with a notice if there is one.
func (v *visit) leave(to string, n *notice) error {
	if n != nil {
		if err := setCookie(v.w, v.seal, cookieFlash, *n, v.now(), flashLife); err != nil {
			return err
		}
	}
	v.w.Header().Set("Cache-Control", "no-store")
	v.w.Header().Set("Location", to)
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// A problem is why there is no such page, for its reader.
type problem struct {
	status        int
	heading, text string
	link          *link
	cause         error // for the log
}

type link struct{ URL, Text string }

func (p *problem) Error() string { return p.heading }

func (p *problem) Unwrap() error { return p.cause }

// errMissing is for what does not exist and for what its reader may not see:
// they must not be told apart.
var errMissing = &problem{
	status: http.StatusNotFound, heading: "Nothing here",
	text: "There is no such page, or it is about a private repository that you may not read.",
}

// fail answers with a problem, or with 500 and the request's name in the log.
func (v *visit) fail(err error) {
	p, ok := errors.AsType[*problem](err)
	if !ok {
		p = &problem{
			status: http.StatusInternalServerError, heading: "Something is broken", cause: err,
			text: "The page could not be made. That is not your fault, and trying again may help.",
		}
	}
	request := drawbridged.RequestID(v.r.Context())
	if p.cause != nil {
		v.log.Error("a page could not be made", "request", request, "path", v.r.URL.Path, "err", p.cause)
	}
	body := struct {
		Heading, Text string
		Link          *link
		Request       string
	}{Heading: p.heading, Text: p.text, Link: p.link}
	if p.status >= 500 {
		body.Request = request
	}
	if p == errMissing && v.who == nil && v.cfg.SignIn != nil {
		body.Link = &link{"/-/login?to=" + url.QueryEscape(v.to), "Sign in"}
	}
	v.notice = nil
	if err := v.show(p.status, "error", p.heading, body); err != nil {
		v.log.Error("the page of an error could not be made", "request", request, "err", err)
		http.Error(v.w, strings.ToLower(http.StatusText(p.status)), p.status)
	}
}
