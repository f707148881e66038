// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"fmt"
	"net/http"
	"slices"
)

// Resource is what an action is about, with what the store knows of it. Who
// asks Decide about what does not exist gets an answer that does not tell.
type Resource struct {
	User, Repo, Tag string

	Owner  string   // the subject in the user's record, "" if there is none. For CreateUser: in the record to be made
	Exists bool     // the repository does
	Public bool     // the repository is
	Policy *Policy  // of the repository; nil is the default one
	Root   [32]byte // SHA-256 of the root node of the tag, or of the package asked for by digest; zero: there is none
	Orphan bool     // the node is in no listing below Root
	Yanked bool     // the tag, or all tags of the digest
	Reason string   // of the yank
	Reveal bool     // the request asks for yanked content too
	Hosts  []string // by which clients know this server, filled in by Caller
}

// Decide returns nil if p may do a on r, and else what to answer. It depends
// on its arguments only.
func Decide(p Principal, a Action, r Resource) *Denied {
	rule, known := rules[a]
	switch {
	case !known:
		return denied("unknown", "Not authorized").because("action %q has no rule", a)
	case rule.anyone:
		return nil
	case rule.public && r.Exists && r.Public:
		return rule.yanked(p, r)
	}
	if d := rule.check(p, a, r); d != nil {
		return d
	}
	if rule.repo && !r.Exists && r.Repo != "" {
		return notFound(rule.missing)
	}
	return rule.yanked(p, r)
}

// check is about p alone: whether r exists makes no difference to who is
// refused, or how.
func (u rule) check(p Principal, a Action, r Resource) *Denied {
	switch u.needs[p.Kind] {
	case own:
		return u.owner(p, r)
	case self:
		return u.self(p, r)
	case granted, wide:
		return u.robots(p.Token, a, r)
	case bound:
		return p.Token.opens(r)
	case named:
		return p.Reader.reads(a, r)
	}
	switch p.Kind {
	case Robot, Deployment:
		return forbidden(string(p.Kind), "A %s token may not %s", p.Kind, a)
	}
	return missing()
}

// owner has upstream's texts and order, of the model that the token is of.
func (u rule) owner(p Principal, r Resource) *Denied {
	switch {
	case p.Subject != "" && p.Subject == r.Owner:
	case p.Kind == UserInfo && p.User == "":
		return denied("unknown_subject", "User with OpenID Connect subject `%s` not found", p.Subject)
	case p.Kind == UserInfo:
		return denied("other_user", "You are logged in as `%s`, please relogin as `%s` to access the resource", p.User, r.User)
	case r.Owner == "":
		return denied("unknown_user", "User `%s` not found", r.User)
	default:
		return denied("other_user", "You are logged in as `%s`, and not authorized for user `%s`", p.Subject, r.User)
	}
	return u.scope(p)
}

func (u rule) self(p Principal, r Resource) *Denied {
	if d := u.scope(p); d != nil {
		return d
	}
	if p.Subject == "" || p.Subject != r.Owner {
		return denied("other_subject", "OpenID Connect subject mismatch")
	}
	return nil
}

func (u rule) scope(p Principal) *Denied {
	if !p.has(u.level, u.context) {
		return denied("scope", "Token is missing a scope for level %s, context %s", u.level, u.context)
	}
	return nil
}

// robots needs a token for the user, the repository and the action.
func (u rule) robots(t *Token, a Action, r Resource) *Denied {
	ok := t.User == r.User && slices.Contains(t.Actions, u.robot) && u.robot != ""
	if u.needs[Robot] == wide {
		ok = ok && t.Repository == ""
	} else {
		ok = ok && r.Repo != "" && (t.Repository == "" || t.Repository == r.Repo)
	}
	if !ok {
		return forbidden("robot", "The robot token is not for %s of `%s/%s`", a, r.User, r.Repo)
	}
	return nil
}

// yanked withholds content from everybody but those who may yank and ask for
// it nevertheless.
func (u rule) yanked(p Principal, r Resource) *Denied {
	if !u.content || !r.Yanked || r.Reveal && rules[YankTag].check(p, YankTag, r) == nil {
		return nil
	}
	what := "the package"
	if r.Tag != "" {
		what = "tag " + r.Tag
	}
	text := what + " was yanked"
	if r.Reason != "" {
		text = fmt.Sprintf("%s: %s", text, r.Reason)
	}
	return &Denied{Status: http.StatusGone, Text: text, Kind: "yanked"}
}
