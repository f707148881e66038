// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"context"
	"errors"
	"net/http"

	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
)

// authenticate is upstream's first check of whatever changes something: is
// there a token, and is it good at all? What it may do is decided later.
func (x *exchange) authenticate() error {
	_, err := x.caller.Authenticate(x.ctx)
	if err != nil {
		return denied(err)
	}
	return x.rate()
}

// rate bounds how often a principal comes, from wherever. It counts a request
// once.
func (x *exchange) rate() error {
	who := x.caller.Seen()
	if x.inner || x.counted || who.Kind == auth.Anonymous {
		return nil
	}
	x.counted = true
	if !x.s.clients.AllowName(who.ID(), 1) {
		return tooMany("Too many requests of this user")
	}
	return nil
}

// decide asks whether the caller may do that.
func (x *exchange) decide(action auth.Action, about auth.Resource) error {
	x.event.action = string(action)
	err := x.caller.Decide(x.ctx, action, about)
	if no := x.rate(); no != nil {
		return no
	}
	return denied(err)
}

// kindNoToken is auth's word for a request without a token.
const kindNoToken = "missing_token"

// denied is what clients are told of a decision.
func denied(err error) error {
	if err == nil {
		return nil
	}
	no, ok := errors.AsType[*auth.Denied](err)
	if !ok {
		return err
	}
	f := &failure{status: no.Status, text: no.Text, kind: no.Kind}
	if no.Reason != "" {
		f.err = errors.New(no.Reason)
	}
	if no.Status == http.StatusServiceUnavailable {
		f.retry = 5
	}
	return f
}

// owned is what there is to know of the route's user and repository: what does
// not exist is left empty, and decided about all the same. The user's record
// is not needed for what is public and not withheld.
func (x *exchange) owned(write bool) (auth.Resource, error) {
	r := auth.Resource{User: x.route.user, Repo: x.route.repo, Tag: x.route.tag, Reveal: x.r.Header.Get("Drawbridge-Yanked") == "show"}
	if r.Repo != "" {
		repo, err := x.s.store.GetRepo(x.ctx, r.User, r.Repo)
		switch {
		case err == nil:
			r.Exists, r.Public = true, repo.Public
		case !errors.Is(err, store.ErrNotFound):
			return r, stored(err)
		}
	}
	if r.Public && !write && !r.Reveal {
		return r, nil
	}
	user, err := x.s.store.GetUser(x.ctx, r.User)
	switch {
	case err == nil:
		r.Owner = user.Subject
	case !errors.Is(err, store.ErrNotFound):
		return r, stored(err)
	}
	return r, nil
}

// policy is the repository's, nil if it has none.
func (x *exchange) policy() (*auth.Policy, error) {
	return x.s.policy(x.ctx, x.route.user, x.route.repo)
}

func (s *Server) policy(ctx context.Context, user, repo string) (*auth.Policy, error) {
	raw, err := s.store.Policy(ctx, user, repo)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, stored(err)
	}
	return auth.ParsePolicy(raw)
}

// withPolicy adds what decisions about a Keep's certificate need.
func (x *exchange) withPolicy(r *auth.Resource) (err error) {
	if r.Exists && !r.Public && x.caller.HasCertificate() {
		r.Policy, err = x.policy()
	}
	return err
}

// tagged is owned for what is below a committed tag, and the tag, nil if it is
// not there.
func (x *exchange) tagged() (auth.Resource, *store.TagInfo, error) {
	r, err := x.owned(false)
	if err != nil || !r.Exists {
		return r, nil, err
	}
	if err := x.withPolicy(&r); err != nil {
		return r, nil, err
	}
	tag, err := x.s.store.GetTag(x.ctx, r.User, r.Repo, r.Tag)
	if errors.Is(err, store.ErrNotFound) {
		return r, nil, nil
	}
	if err != nil {
		return r, nil, stored(err)
	}
	if tag.Yank != nil {
		r.Yanked, r.Reason = true, tag.Yank.Reason
	}
	r.Root, err = x.root(tag)
	return r, &tag, err
}

// root is the SHA-256 of a tag's root. A publisher need not have declared it.
func (x *exchange) root(tag store.TagInfo) ([32]byte, error) {
	if sum, ok := tag.Tag.Entry.Digests.SHA256(); ok {
		return sum, nil
	}
	node, err := x.s.store.Node(x.ctx, x.route.user, x.route.repo, tag.Name, nil)
	return node.Blob, stored(err)
}

// release notes that what is sent is not for everybody, and who gets it is a
// Keep or a deployment.
func (x *exchange) release(r auth.Resource, digest string) {
	kind := x.caller.Seen().Kind
	x.event.secret = !r.Public && (kind == auth.Attested || kind == auth.Deployment)
	x.event.digest = digest
}

// errNoRepository is upstream's text for a missing repository, and also for a
// missing tag.
var errNoRepository = refuse(http.StatusNotFound, "missing", "Repository does not exist")

var errNotFound = refuse(http.StatusNotFound, "missing", "Not found")

// stored turns an error of the store into what clients are told.
func stored(err error) error {
	mismatch, isMismatch := errors.AsType[*store.MismatchError](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errSlow):
		return errSlow // of the body that the store was reading
	case errors.Is(err, errGone), errors.Is(err, store.ErrBody):
		return errGone
	case isMismatch:
		return badRequest("mismatch", "%v", mismatch)
	case errors.Is(err, store.ErrConflict):
		return refuse(http.StatusConflict, "exists", "Already exists")
	case errors.Is(err, store.ErrNotListed):
		return refuse(http.StatusConflict, "listing", "%s", sentence(err))
	case errors.Is(err, store.ErrNoParent):
		return refuse(http.StatusNotFound, "parent", "Parent node does not exist")
	case errors.Is(err, store.ErrInvalid):
		return badRequest("content", "%s", sentence(err))
	case errors.Is(err, store.ErrNotFound):
		return errNotFound
	case errors.Is(err, store.ErrTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "size", "%s", sentence(err))
	case errors.Is(err, store.ErrQuota):
		return refuse(http.StatusForbidden, "quota", "%s", sentence(err))
	case errors.Is(err, store.ErrBusy):
		return &failure{status: http.StatusServiceUnavailable, kind: "collecting", text: "The store is being cleaned up, try again", retry: 5}
	}
	return err
}
