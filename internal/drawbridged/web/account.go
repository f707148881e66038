// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"net/url"
	"slices"

	"enarx.dev/enarx/drawbridge"
)

// registering is the page on which somebody new chooses a name. Who has one by
// now, from the command line say, is let through.
func (v *visit) registering() error {
	if v.who == nil {
		return v.signInFirst()
	}
	to := here(v.r.URL.Query().Get("to"))
	names, err := v.names(v.who.Subject)
	if err != nil {
		return err
	}
	if len(names) > 0 && !slices.Equal(names, v.who.Names) {
		if err := v.renew(names); err != nil {
			return err
		}
		return v.leave(to, nil)
	}
	return v.showRegister(http.StatusOK, to, form{})
}

func (v *visit) showRegister(status int, to string, f form) error {
	return v.show(status, "register", titled("Choose your user name", f.Problem), struct {
		To   string
		Form form
	}{to, f})
}

// titled is the title of a page with a form: what went wrong comes first.
func titled(title, problem string) string {
	if problem != "" {
		return "Not done: " + title
	}
	return title
}

// register takes a name.
func (v *visit) register() error {
	name, to := v.field("name"), here(v.r.PostForm.Get("to"))
	if err := drawbridge.CheckUser(name); err != nil {
		return v.showRegister(http.StatusUnprocessableEntity, to, form{Name: name, Problem: "A name has letters a to z and A to Z and digits only, and at least one."})
	}
	answer, err := v.call(http.MethodPut, drawbridge.Prefix+"/"+name, drawbridge.User{Subject: v.who.Subject})
	switch {
	case err != nil:
		return err
	case answer.status == http.StatusConflict:
		return v.showRegister(http.StatusConflict, to, form{Name: name, Problem: "This name is taken. " + sentence(answer.text())})
	case answer.status >= 400:
		return v.showRegister(answer.status, to, form{Name: name, Problem: sentence(answer.text())})
	}
	names, err := v.names(v.who.Subject)
	if err != nil {
		return err
	}
	if !slices.Contains(names, name) { // the catalog may be behind by a moment
		names = append(names, name)
	}
	if err := v.renew(names); err != nil {
		return err
	}
	if to == "/" {
		to = userURL(name)
	}
	return v.leave(to, &notice{Text: "You are " + name + " here."})
}

// create makes a repository.
func (v *visit) create() error {
	f := form{Name: v.field("name"), Private: v.r.PostForm.Get("public") == "false"}
	at := place{User: v.field("user"), Repo: f.Name}
	if drawbridge.CheckUser(at.User) != nil {
		return errMissing
	}
	about, err := v.about(place{User: at.User})
	if err != nil {
		return err
	}
	if !v.owns(about) {
		return errMissing
	}
	if err := drawbridge.CheckRepository(at.Repo); err != nil {
		f.Problem = "A name has letters a to z and A to Z, digits and dashes only, and at least one."
		return v.user(at.User, f)
	}
	if _, err := v.cfg.Store.GetRepo(v.ctx, at.User, at.Repo); err == nil {
		f.Problem = "There is a repository of this name."
		return v.user(at.User, f)
	}
	answer, err := v.call(http.MethodPut, drawbridge.Prefix+"/"+at.User+"/"+at.Repo, drawbridge.Repository{Public: !f.Private})
	if err != nil {
		return err
	}
	if answer.status >= 400 {
		f.Problem = sentence(answer.text())
		return v.user(at.User, f)
	}
	return v.leave(at.repoURL(), &notice{Text: "The repository is there. It has no tags yet."})
}

// signInFirst is for pages that are about who is signed in.
func (v *visit) signInFirst() error {
	if v.cfg.SignIn == nil {
		return errMissing
	}
	return &problem{
		status: http.StatusUnauthorized, heading: "Sign in first", text: "This page is about your own account.",
		link: &link{"/-/login?to=" + url.QueryEscape(v.to), "Sign in"},
	}
}
