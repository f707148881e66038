// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged"
)

// maxForm is the most bytes of a form.
const maxForm = 64 << 10

// form is what somebody filled in, to be shown again with what is wrong in it.
type form struct {
	Name    string
	Private bool
	Problem string
}

// form serves a page that changes something: show for GET, or nil, and change
// for POST, from a page of this site in a session.
func (v *visit) form(show, change func() error) error {
	if show != nil && v.r.Method != http.MethodPost {
		return v.get(show)
	}
	if v.r.Method != http.MethodPost {
		v.w.Header().Set("Allow", "POST")
		return &problem{status: http.StatusMethodNotAllowed, heading: "Not like that", text: "This address takes forms only."}
	}
	if err := v.checkForm(); err != nil {
		return err
	}
	return change()
}

// checkForm reads a form and makes sure that its sender meant it: the browser
// says that a page of ours sent it, and it has the session's token.
func (v *visit) checkForm() error {
	foreign := &problem{
		status: http.StatusForbidden, heading: "Nothing was changed",
		text: "The form did not come from a page of this site, or you were signed out meanwhile.",
		link: &link{"/", "To the start"},
	}
	if site := v.r.Header.Get("Sec-Fetch-Site"); site != "" {
		if site != "same-origin" {
			return foreign
		}
	} else if origin := v.r.Header.Get("Origin"); origin != "https://"+v.r.Host || v.r.Host == "" {
		return foreign
	}
	if kind, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return &problem{status: http.StatusUnsupportedMediaType, heading: "Nothing was changed", text: "This is not how browsers send a form."}
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return &problem{status: http.StatusRequestEntityTooLarge, heading: "Nothing was changed", text: "The form is too large."}
		}
		return &problem{status: http.StatusBadRequest, heading: "Nothing was changed", text: "The form did not arrive whole."}
	}
	if v.who == nil {
		return foreign
	}
	if subtle.ConstantTimeCompare([]byte(v.r.PostForm.Get("csrf")), []byte(v.who.CSRF)) != 1 {
		return foreign
	}
	return nil
}

// field returns what was typed, without the white space around it.
func (v *visit) field(name string) string { return strings.TrimSpace(v.r.PostForm.Get(name)) }

// memo is an answer of the API, kept in memory.
type memo struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (m *memo) Header() http.Header { return m.header }

func (m *memo) WriteHeader(status int) {
	if m.status == 0 && status >= 200 {
		m.status = status
	}
}

func (m *memo) Write(p []byte) (int, error) {
	m.WriteHeader(http.StatusOK)
	if m.body.Len()+len(p) > drawbridge.MaxJSON {
		return 0, errors.New("the API's answer is too long")
	}
	return m.body.Write(p)
}

// text is the API's word to the user: its errors are sentences.
func (m *memo) text() string {
	text := strings.TrimSpace(m.body.String())
	if len(text) > 500 {
		text = text[:500]
	}
	if text == "" {
		text = strings.ToLower(http.StatusText(m.status))
	}
	return text
}

// refused says what the API said, as a notice.
func (m *memo) refused() *notice { return &notice{Bad: true, Text: sentence("Not done: " + m.text())} }

// call asks the API on behalf of who signed in. document, unless nil, is sent
// as JSON.
func (v *visit) call(method, path string, document any) (*memo, error) {
	var body []byte
	if document != nil {
		var err error
		if body, err = json.Marshal(document); err != nil {
			return nil, err
		}
	}
	r, err := v.inner(method, path)
	if err != nil {
		return nil, err
	}
	if document != nil {
		r.Body, r.ContentLength = http.NoBody, int64(len(body))
		if len(body) > 0 {
			r.Body = readCloser{bytes.NewReader(body)}
		}
		r.Header.Set("Content-Type", drawbridge.TypeJSON)
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	m := &memo{header: http.Header{}}
	v.cfg.API.ServeHTTP(m, r)
	if m.status == 0 {
		m.status = http.StatusOK
	}
	if m.status >= 500 && m.status != http.StatusServiceUnavailable && m.status != http.StatusInsufficientStorage {
		return nil, fmt.Errorf("the API answered %s %s with %d", method, path, m.status)
	}
	return m, nil
}

// inner is a request to the API, from where the visit comes.
func (v *visit) inner(method, path string) (*http.Request, error) {
	ctx := drawbridged.WithPrincipal(v.ctx, v.as)
	r, err := http.NewRequestWithContext(ctx, method, "https://"+v.cfg.Host+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	r.RequestURI, r.RemoteAddr = path, v.r.RemoteAddr
	if via := v.r.Header.Values("X-Forwarded-For"); len(via) > 0 {
		r.Header["X-Forwarded-For"] = via
	}
	return r, nil
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }
