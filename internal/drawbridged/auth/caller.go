// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"net/http"
	"strings"
	"sync"
)

// maxToken limits the length of a bearer token.
const maxToken = 16 << 10

// AttemptHeader is a header in which a client may name its attempt at a
// deployment, by a random text. Who asks again under the same name soon after,
// because the answer got lost, uses a deployment token once.
const AttemptHeader = "Drawbridge-Attempt"

// Caller is what one request shows for itself. Its token is looked at when
// something depends on it, and then once: whoever reads what is public is not
// asked who they are.
type Caller struct {
	auth    *Authenticator
	reader  *Reader
	bearer  string
	present bool    // there is a bearer token
	broken  *Denied // there is one, and it is malformed
	attempt string  // hash of what the client calls its attempt at a deployment, "" if it does not

	once   sync.Once
	who    Principal
	refuse *Denied
	mu     sync.Mutex
	seen   bool // once is done
}

// Caller returns the caller of r. Nothing is verified yet but the certificate,
// by TLS.
func (a *Authenticator) Caller(r *http.Request) *Caller {
	c := &Caller{auth: a, reader: newReader(r.TLS, a.cfg.Authorities(), a.cfg.Now())}
	if name := r.Header.Get(AttemptHeader); name != "" {
		c.attempt = hashOf([]byte(name))
	}
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return c
	}
	c.present = true
	scheme, token, _ := strings.Cut(headers[0], " ")
	token = strings.TrimSpace(token)
	if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") || !token68(token) {
		c.broken = malformed()
	}
	c.bearer = token
	return c
}

// As returns a caller who has proved to be p by other means, as at the site.
func (a *Authenticator) As(p Principal) *Caller {
	c := &Caller{auth: a, present: true}
	c.once.Do(func() { c.who, c.seen = p, true })
	return c
}

// token68 is the syntax of tokens, RFC 7235 section 2.1.
func token68(s string) bool {
	body := strings.TrimRight(s, "=")
	if body == "" || len(s) > maxToken {
		return false
	}
	for i := range len(body) {
		c := body[i]
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.IndexByte("-._~+/", c) >= 0) {
			return false
		}
	}
	return true
}

// Authenticate returns who the caller is by the bearer token, which must be
// there: 401 if not, 400 if malformed, 401 if it is no good, 503 if the
// provider cannot be reached to tell. Errors are *Denied.
func (c *Caller) Authenticate(ctx context.Context) (Principal, error) {
	p, d := c.principal(ctx)
	if d == nil && p.Kind == Anonymous {
		d = missing()
	}
	if d != nil {
		return Principal{Kind: Anonymous}, d
	}
	return p, nil
}

func (c *Caller) principal(ctx context.Context) (Principal, *Denied) {
	c.once.Do(func() {
		switch {
		case !c.present:
			c.who.Kind = Anonymous
		case c.broken != nil:
			c.refuse = c.broken
		default:
			c.who, c.refuse = c.auth.verify(ctx, c.bearer)
		}
		if c.refuse != nil {
			c.who = Principal{Kind: Anonymous}
		}
		c.mu.Lock()
		c.seen = true
		c.mu.Unlock()
	})
	return c.who, c.refuse
}

// Seen returns who the caller is as far as anything has depended on it yet. It
// is for logs.
func (c *Caller) Seen() Principal {
	c.mu.Lock()
	seen := c.seen
	c.mu.Unlock()
	switch {
	case seen && c.who.Kind != Anonymous:
		return c.who
	case c.reader != nil:
		return Principal{Kind: Attested, Reader: c.reader}
	}
	return Principal{Kind: Anonymous}
}

// HasCertificate reports whether the caller shows a certificate of a Keep, so
// that Decide needs the policy of the repository, whatever else is shown.
func (c *Caller) HasCertificate() bool { return c.reader != nil }

// Decide returns nil if the caller may do a on r, and else a *Denied. First
// comes what everybody may, then what the certificate opens, then the token's
// turn: one that is no good does no harm to whoever does not need it.
func (c *Caller) Decide(ctx context.Context, a Action, r Resource) error {
	r.Hosts = c.auth.cfg.Hosts
	d := Decide(Principal{Kind: Anonymous}, a, r)
	if d == nil {
		return nil
	}
	if d.Kind == "yanked" && !(r.Reveal && c.present) {
		return d
	}
	if c.reader != nil {
		cd := Decide(Principal{Kind: Attested, Reader: c.reader}, a, r)
		if cd == nil {
			return nil
		}
		d = cd
	}
	if !c.present {
		return d
	}
	p, refused := c.principal(ctx)
	if refused != nil {
		return refused
	}
	if d = Decide(p, a, r); d != nil {
		return d
	}
	if p.Kind == Deployment {
		if d = c.auth.use(ctx, p.Token, c.attempt); d != nil {
			return d
		}
	}
	return nil
}

// Register gives the caller's subject to user, where there is the userinfo
// mode, in which a subject has one user. With a JWT it may have several, of
// which the userinfo mode knows the first. Register is called between Decide
// for CreateUser and writing the record.
func (c *Caller) Register(ctx context.Context, user string) error {
	p, d := c.principal(ctx)
	if d != nil {
		return d
	}
	if !c.auth.cfg.UserInfo || p.Kind != UserInfo && p.Kind != OIDC {
		return nil
	}
	owner, err := c.auth.cfg.Subjects.ClaimSubject(ctx, c.auth.cfg.Issuer, p.Subject, user)
	if err != nil {
		return broken(err)
	}
	if owner != user && p.Kind == UserInfo {
		return &Denied{
			Status: http.StatusConflict, Kind: "subject_taken",
			Text: "User already associated with OpenID Connect subject `" + p.Subject + "`",
		}
	}
	return nil
}
