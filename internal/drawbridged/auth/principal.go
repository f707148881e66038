// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"slices"

	"enarx.dev/enarx/drawbridge"
)

// Kind is how a principal proved who it is. It is a word for logs and metrics.
type Kind string

// The kinds of principals.
const (
	Anonymous  Kind = "anonymous"  // proved nothing
	OIDC       Kind = "oidc"       // a JWT, or a session of the site
	UserInfo   Kind = "userinfo"   // an opaque token that the provider vouched for: 0.1 to 0.2 of upstream
	Robot      Kind = "robot"      // a token that a user made, for programs
	Deployment Kind = "deployment" // a token that a user made, for Keeps to fetch one package
	Attested   Kind = "attested"   // the certificate that a Steward issued to a Keep
)

// Kinds are all kinds of principals.
func Kinds() []Kind { return []Kind{Anonymous, OIDC, UserInfo, Robot, Deployment, Attested} }

// Principal is who asks. Which fields say anything depends on the kind.
type Principal struct {
	Kind    Kind
	Issuer  string   // OIDC, UserInfo
	Subject string   // OIDC, UserInfo
	Scopes  []string // OIDC
	All     bool     // OIDC: every scope, for sessions of the site
	User    string   // UserInfo: who registered the subject, "" if nobody
	Token   *Token   // Robot, Deployment
	Reader  *Reader  // Attested
}

// Session returns who signed in at the site. No scopes were asked for there:
// the site asks for every change itself.
func Session(issuer, subject string) Principal {
	return Principal{Kind: OIDC, Issuer: issuer, Subject: subject, All: true}
}

// ID returns a name for logs and limits: no secret, and no two principals
// share one.
func (p Principal) ID() string {
	switch p.Kind {
	case OIDC, UserInfo:
		return "oidc:" + p.Subject
	case Robot, Deployment:
		return string(p.Kind) + ":" + p.Token.ID
	case Attested:
		return "certificate:" + p.Reader.Authority + ":" + p.Reader.Serial
	}
	return string(Anonymous)
}

// Whoami returns what people may be told about themselves. Users is left out.
func (p Principal) Whoami() drawbridge.Whoami {
	w := drawbridge.Whoami{Kind: string(p.Kind), Issuer: p.Issuer, Subject: p.Subject, Scopes: p.Scopes}
	switch p.Kind {
	case UserInfo:
		if p.User != "" {
			w.Users = []string{p.User}
		}
	case Robot, Deployment:
		w.Subject, w.Users, w.Scopes = p.ID(), []string{p.Token.User}, p.Token.Actions
	case Attested:
		w.Subject = p.ID()
	}
	return w
}

// has reports whether p has a scope for level, or for everything, in context.
func (p Principal) has(level, context string) bool {
	return p.Kind == UserInfo || p.All ||
		slices.Contains(p.Scopes, level+":"+context) || slices.Contains(p.Scopes, "manage:"+context)
}
