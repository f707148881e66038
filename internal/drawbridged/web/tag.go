// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"slices"
	"strings"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/auth"
)

// A key is one that a tag is signed with.
type key struct{ Thumbprint, Text string }

// tag is the page of a package.
func (v *visit) tag(at place) error {
	about, tag, err := v.contents(at)
	if err != nil {
		return err
	}
	rules, err := v.policy(at)
	if err != nil {
		return err
	}
	b := newBudget(pageDirectories)
	row, err := v.row(at, tag, rules, b)
	if err != nil {
		return err
	}
	body := struct {
		User, Repo string
		Tag        tagRow
		Count      string
		Keys       []key
		Files      *fileTable
		File       *file
		Config     *configuration
		MayYank    bool
		YankURL    string
	}{
		User: at.User, Repo: at.Repo, Tag: row, Keys: keys(tag.Tag, rules),
		MayYank: auth.Decide(v.as, auth.YankTag, about) == nil, YankURL: at.below("yank"),
	}
	if auth.Decide(v.as, auth.ReadTree, about) == nil {
		if s := v.total(at, tag, b); !s.part {
			body.Count = count(s.files, "file", "files")
		}
		node, dir, err := v.directory(at)
		if err != nil {
			return err
		}
		if dir == nil {
			body.File = describeFile(at, node.Meta)
		} else if body.Files, err = v.table(at, dir); err != nil {
			return err
		}
		if body.Config, err = v.config(at); err != nil {
			return err
		}
	}
	return v.show(http.StatusOK, "tag", at.User+"/"+at.Repo+":"+at.Tag, body)
}

// keys are those whose signatures on the tag hold.
func keys(tag drawbridge.Tag, rules *auth.Policy) []key {
	known := thumbprints(rules)
	var all []key
	for _, k := range tag.SelfSigned() {
		text := ""
		switch {
		case slices.Contains(known, k.Thumbprint()):
			text = "(a key of this repository)"
		case len(known) > 0:
			text = "(not a key of this repository)"
		}
		all = append(all, key{k.Thumbprint(), text})
	}
	return all
}

// yank takes a tag back, or gives it back.
func (v *visit) yank(at place) error {
	at.Path = nil
	if _, _, err := v.contents(at); err != nil {
		return err
	}
	method, done := http.MethodDelete, "The tag is served again."
	var document any
	if v.field("action") == "yank" {
		reason := v.field("reason")
		if reason == "" {
			return v.leave(at.tagURL(), &notice{Bad: true, Text: "Not yanked: say why, for those who look for the tag."})
		}
		method, document, done = http.MethodPut, drawbridge.Yank{Reason: reason}, "The tag is yanked."
	}
	answer, err := v.call(method, at.apiURL("yank"), document)
	if err != nil {
		return err
	}
	if answer.status >= 400 {
		return v.leave(at.tagURL(), answer.refused())
	}
	return v.leave(at.tagURL(), &notice{Text: done})
}

// download sends a file of a package to be saved. It is the API's answer, but
// for a name to save it under: never something that a browser shows here.
func (v *visit) download(at place) error {
	if _, err := v.readable(at); err != nil {
		return err
	}
	v.ctx = v.r.Context() // large files take longer than pages
	path := at.apiURL("tree")
	name := at.Repo + "-" + at.Tag + ".wasm"
	if len(at.Path) > 0 {
		path += "/" + at.Path.String()
		name = at.Path[len(at.Path)-1]
	}
	r, err := v.inner(v.r.Method, path)
	if err != nil {
		return err
	}
	r.Header.Set("Drawbridge-Yanked", "show")
	for _, h := range []string{"Range", "If-Range", "If-None-Match"} {
		if value := v.r.Header.Get(h); value != "" {
			r.Header.Set(h, value)
		}
	}
	w := &saving{ResponseWriter: v.w, name: name}
	v.cfg.API.ServeHTTP(w, r)
	switch {
	case w.status == http.StatusGone:
		return &problem{status: http.StatusGone, heading: "Withdrawn", text: "This tag was yanked by its publisher, and is not served any more.", link: &link{at.tagURL(), "The tag"}}
	case w.status == http.StatusNotFound, w.status == http.StatusUnauthorized, w.status == http.StatusForbidden:
		return errMissing
	case w.status >= 400:
		return &problem{status: w.status, heading: "No file", text: "The file cannot be sent now. Trying again may help."}
	}
	return nil
}

// saving is a response that a browser saves. Of failures only the status is
// kept, for a page that says what it means.
type saving struct {
	http.ResponseWriter
	name   string
	status int
}

// WriteHeader sends the header of a success.
func (s *saving) WriteHeader(status int) {
	if s.status != 0 || status < 200 {
		return
	}
	s.status = status
	h := s.Header()
	if status >= 400 {
		h.Set("Content-Security-Policy", policy)
		for _, name := range []string{"Content-Length", "Content-Type", "Content-Digest", "Content-Range", "Content-Disposition", "Accept-Ranges", "ETag"} {
			h.Del(name)
		}
		return
	}
	h.Set("Content-Type", drawbridge.TypeBinary)
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Disposition", `attachment; filename="`+strings.ReplaceAll(s.name, ":", "_")+`"`)
	h.Set("Cache-Control", "private, no-cache")
	s.ResponseWriter.WriteHeader(status)
}

// Write sends content, and drops the text of a failure.
func (s *saving) Write(p []byte) (int, error) {
	s.WriteHeader(http.StatusOK)
	if s.status >= 400 {
		return len(p), nil
	}
	return s.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (s *saving) Unwrap() http.ResponseWriter { return s.ResponseWriter }
