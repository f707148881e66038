// SPDX-License-Identifier: Apache-2.0

package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/auth"
)

// A tokenRow is a token as its owner sees it.
type tokenRow struct {
	ID, User, Name string
	Kind           string // robot or deployment
	For            string // which repositories, or which package
	May            string // what it may do, or how often it was used
	Created        stamp
	Expires        stamp
	Expired        bool
}

// tokenForm is what somebody filled in.
type tokenForm struct {
	Kind, Name, For, Package, Days, Uses string
	Actions                              []string
	Problem                              string
}

// Has reports whether an action is ticked.
func (f tokenForm) Has(action string) bool { return slices.Contains(f.Actions, action) }

// Robot returns the form as the one for robots gets it: empty, if it was the
// other one that was filled in.
func (f tokenForm) Robot() tokenForm { return f.only("robot") }

// Deployment is Robot for the other one.
func (f tokenForm) Deployment() tokenForm { return f.only("deployment") }

func (f tokenForm) only(kind string) tokenForm {
	if f.Kind != kind {
		return tokenForm{Kind: kind, Days: "90", Actions: []string{"publish"}}
	}
	return f
}

type choice struct{ Value, Text string }

// lives are the lives of tokens to choose from, in days.
var lives = []choice{{"1", "a day"}, {"7", "a week"}, {"30", "30 days"}, {"90", "90 days"}, {"365", "a year"}}

var actions = []choice{{"read", "Read private repositories"}, {"publish", "Publish tags"}, {"yank", "Yank tags"}}

// tokens is the page of the visitor's tokens.
func (v *visit) tokens() error {
	if v.who == nil {
		return v.signInFirst()
	}
	return v.showTokens(http.StatusOK, tokenForm{})
}

func (v *visit) showTokens(status int, f tokenForm) error {
	var rows []tokenRow
	var robot, deployment []choice
	for _, user := range v.who.Names {
		of, err := v.tokensOf(user)
		if err != nil {
			return err
		}
		rows = append(rows, of...)
		repos, err := v.cfg.Store.Repos(v.ctx, user)
		if err != nil {
			return err
		}
		robot = append(robot, choice{user + "/", "All of " + user})
		for _, repo := range repos {
			robot = append(robot, choice{user + "/" + repo, user + "/" + repo})
			deployment = append(deployment, choice{user + "/" + repo, user + "/" + repo})
		}
	}
	return v.show(status, "tokens", titled("Tokens", f.Problem), struct {
		Rows              []tokenRow
		Robot, Deployment []choice
		Lives, Actions    []choice
		Form              tokenForm
	}{rows, robot, deployment, lives, actions, f})
}

// tokensOf asks the API for the tokens of a user, newest first.
func (v *visit) tokensOf(user string) ([]tokenRow, error) {
	answer, err := v.call(http.MethodGet, drawbridge.Prefix+"/"+user+"/_token", nil)
	if err != nil {
		return nil, err
	}
	var all []drawbridge.Token
	if answer.status != http.StatusOK {
		return nil, fmt.Errorf("listing the tokens of %s: %d %s", user, answer.status, answer.text())
	}
	if err := json.Unmarshal(answer.body.Bytes(), &all); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b drawbridge.Token) int { return b.Created.Compare(a.Created) })
	var rows []tokenRow
	for _, t := range all {
		row := tokenRow{
			ID: t.ID, User: user, Name: t.Name, Kind: t.Kind, Created: stamp{t.Created}, Expires: stamp{t.Expires},
			Expired: !t.Expires.After(v.now()), For: user + "/" + t.Repository, May: strings.Join(t.Actions, ", "),
		}
		switch {
		case t.Kind == string(auth.Deployment):
			row.For, row.May = (&drawbridge.Slug{User: user, Repository: t.Repository, Tag: t.Tag}).Name(), uses(t)
			if t.Digest != "" {
				row.For += "@" + t.Digest
			}
		case t.Repository == "":
			row.For = "all of " + user
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func uses(t drawbridge.Token) string {
	if t.Uses == 0 {
		return "deploy, any number of times"
	}
	return fmt.Sprintf("deploy, used %s of %s times", thousands(t.Used), thousands(t.Uses))
}

// createToken makes a token and shows it once.
func (v *visit) createToken() error {
	f := tokenForm{
		Kind: v.field("kind"), Name: v.field("name"), For: v.field("for"), Package: v.field("package"), Days: v.field("days"),
		Uses: v.field("uses"), Actions: v.r.PostForm["action"],
	}
	ask, err := f.token(v.now())
	if err != nil {
		f.Problem = sentence(err.Error())
		return v.showTokens(http.StatusUnprocessableEntity, f)
	}
	user, repo, _ := strings.Cut(f.For, "/")
	if drawbridge.CheckUser(user) != nil || repo != "" && drawbridge.CheckRepository(repo) != nil {
		return errMissing
	}
	at := drawbridge.Prefix + "/" + user
	if repo != "" {
		at += "/" + repo
	}
	answer, err := v.call(http.MethodPost, at+"/_token", ask)
	if err != nil {
		return err
	}
	if answer.status >= 400 {
		f.Problem = sentence(answer.text())
		return v.showTokens(answer.status, f)
	}
	var made drawbridge.Token
	if err := json.Unmarshal(answer.body.Bytes(), &made); err != nil {
		return err
	}
	return v.leave("/-/tokens", &notice{Text: "The token is made. Copy it now.", Token: made.Secret})
}

// token is what is asked of the API.
func (f tokenForm) token(now time.Time) (drawbridge.Token, error) {
	t := drawbridge.Token{Kind: f.Kind, Name: f.Name}
	days, err := strconv.Atoi(f.Days)
	if err != nil || days < 1 || days > 3650 {
		return t, errors.New("the token needs a life, in days")
	}
	t.Expires = now.UTC().Add(time.Duration(days) * 24 * time.Hour).Truncate(time.Second)
	if f.Kind == string(auth.Robot) {
		t.Actions = f.Actions
		return t, nil
	}
	if t.Tag = f.Package; strings.HasPrefix(f.Package, "sha256:") {
		t.Tag, t.Digest = "", f.Package
	}
	if f.Uses != "" {
		if t.Uses, err = strconv.Atoi(f.Uses); err != nil || t.Uses < 1 {
			return t, errors.New("the number of uses is 1 or more, or empty for any number")
		}
	}
	return t, nil
}

// revoke ends a token.
func (v *visit) revoke() error {
	user, id := v.field("user"), v.field("id")
	if drawbridge.CheckUser(user) != nil || drawbridge.CheckUser(id) != nil {
		return errMissing
	}
	answer, err := v.call(http.MethodDelete, drawbridge.Prefix+"/"+user+"/_token/"+id, nil)
	if err != nil {
		return err
	}
	if answer.status >= 400 {
		return v.leave("/-/tokens", answer.refused())
	}
	return v.leave("/-/tokens", &notice{Text: "The token is revoked. It opens nothing any more."})
}
