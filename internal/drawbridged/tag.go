// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
)

// maxReason is how much may be said about why a tag was yanked, in bytes.
const maxReason = 1000

// maxTag is how large a tag may be, in bytes: an entry, or one with some
// signatures. No quota counts them, and lists read them all.
const maxTag = 64 << 10

// listTags is GET of the tags that are there to be used, in their order.
func (x *exchange) listTags() error {
	if err := x.mayList(); err != nil {
		return err
	}
	names, err := x.s.store.TagNames(x.ctx, x.route.user, x.route.repo)
	if err != nil {
		return stored(err)
	}
	tags := make([]string, 0, len(names))
	for _, name := range names {
		if !name.Yanked {
			tags = append(tags, name.Name)
		}
	}
	return x.json(http.StatusOK, tags)
}

// mayList is the gate to what everybody who may see the repository may see.
func (x *exchange) mayList() error {
	about, err := x.owned(false)
	if err != nil {
		return err
	}
	return x.decide(auth.ListTags, about)
}

// getTag is GET and HEAD of a tag, as it was sent.
func (x *exchange) getTag() error {
	about, tag, err := x.tagged()
	if err != nil {
		return err
	}
	if err := x.decide(auth.ReadTag, about); err != nil {
		return err
	}
	if tag == nil {
		return errNoRepository
	}
	x.release(about, drawbridge.Pin(about.Root))
	return x.bytes(tag.Object.Meta, tag.Object.Body)
}

// putTag publishes a tag: at once if all of its nodes are there, else when they
// are.
func (x *exchange) putTag() error {
	if err := x.authenticate(); err != nil {
		return err
	}
	m, err := x.declared(true)
	if err != nil {
		return err
	}
	if err := x.mayWrite(auth.Publish); err != nil {
		return err
	}
	if m.Type != drawbridge.TypeEntry && m.Type != drawbridge.TypeJOSE {
		return badRequest("type", "Invalid content type")
	}
	if m.Length > maxTag {
		return badRequest("size", "The body has more than %d bytes", maxTag)
	}
	raw, err := x.receive(m.Length)
	if err != nil {
		return err
	}
	tag, err := drawbridge.ParseTag(m.Type, raw)
	if err != nil {
		return badRequest("json", "Failed to parse the request body: %v", err)
	}
	if sum, ok := tag.Entry.Digests.SHA256(); ok {
		x.event.digest = drawbridge.Pin(sum)
	}
	if err := x.s.vet(x.ctx, x.route.user, x.route.repo, x.route.tag, tag); err != nil {
		return err
	}
	result, err := x.s.store.PutTag(x.ctx, x.route.user, x.route.repo, x.route.tag, store.Object{Body: raw, Meta: m})
	if errors.Is(err, store.ErrNotFound) {
		return errNoRepository
	}
	if err != nil {
		return stored(err)
	}
	created, committed := x.progress(false, result)
	x.event.change = created || committed
	return x.put(created)
}

// vet returns a failure unless the policy of the repository takes a tag. It is
// asked when the tag is put, and by the store when the tag becomes visible: a
// pending one may be older than the policy.
func (s *Server) vet(ctx context.Context, user, repo, name string, tag drawbridge.Tag) error {
	policy, err := s.policy(ctx, user, repo)
	if err != nil {
		return err
	}
	if err := policy.CheckSigned(tag, fmt.Sprintf("%s/%s:%s", user, repo, name)); err != nil {
		return refuse(http.StatusForbidden, "signature", "The policy of the repository does not take this tag: %v", err)
	}
	return nil
}

// mayWrite is the gate to whatever changes something in a repository.
func (x *exchange) mayWrite(action auth.Action) error {
	x.event.change = true
	about, err := x.owned(true)
	if err != nil {
		return err
	}
	return x.decide(action, about)
}

// progress tells clients of ours, and the metrics, whether the tag is visible.
func (x *exchange) progress(node bool, result store.PutResult) (created, committed bool) {
	if x.route.tag == "" {
		return result.Created, false
	}
	state := "pending"
	if result.Committed {
		state = "committed"
	}
	x.w.Header().Set("Drawbridge-Tag", state)
	created, committed = x.s.fresh.put(x.route, node, result)
	if committed {
		x.s.metrics.commits.Inc()
	}
	return created, committed
}

// getYank is GET of why a tag was yanked.
func (x *exchange) getYank() error {
	if err := x.mayList(); err != nil {
		return err
	}
	tag, err := x.s.store.GetTag(x.ctx, x.route.user, x.route.repo, x.route.tag)
	switch {
	case err != nil:
		return stored(err)
	case tag.Yank == nil:
		return refuse(http.StatusNotFound, "missing", "Tag %s is not yanked", x.route.tag)
	}
	yank := *tag.Yank
	// Who did it has a subject at the provider, which is nobody else's business.
	if about, err := x.owned(true); err != nil || x.caller.Decide(x.ctx, auth.YankTag, about) != nil {
		yank.By = ""
	}
	return x.json(http.StatusOK, yank)
}

// putYank takes a tag back. Its name stays taken.
func (x *exchange) putYank() error {
	if err := x.authenticate(); err != nil {
		return err
	}
	if err := x.mayWrite(auth.YankTag); err != nil {
		return err
	}
	ask, err := document[drawbridge.Yank](x)
	if err != nil {
		return err
	}
	if len(ask.Reason) > maxReason {
		return refuse(http.StatusUnprocessableEntity, "json-shape", "The reason has more than %d bytes", maxReason)
	}
	ask.Reason, ask.By, ask.Time = oneLine(ask.Reason), x.caller.Seen().ID(), x.s.now().UTC()
	if err := x.s.store.Yank(x.ctx, x.route.user, x.route.repo, x.route.tag, ask); err != nil {
		return stored(err)
	}
	return x.empty(http.StatusOK)
}

// deleteYank gives a tag back.
func (x *exchange) deleteYank() error {
	if err := x.authenticate(); err != nil {
		return err
	}
	if err := x.mayWrite(auth.YankTag); err != nil {
		return err
	}
	if err := x.s.store.Unyank(x.ctx, x.route.user, x.route.repo, x.route.tag); err != nil {
		return stored(err)
	}
	return x.empty(http.StatusOK)
}

// getDeployment is what a host needs before it starts a Keep, spec/drawbridge.md
// 7.2.
func (x *exchange) getDeployment() error {
	about, tag, err := x.tagged()
	if err != nil {
		return err
	}
	if err := x.decide(auth.ReadDeployment, about); err != nil {
		return err
	}
	if tag == nil {
		return errNoRepository
	}
	entry := tag.Tag.Entry
	d := drawbridge.Deployment{
		User: about.User, Repository: about.Repo, Tag: about.Tag,
		Digest: drawbridge.Pin(about.Root), Digests: entry.Digests, Length: entry.Length, Type: entry.Type,
		Steward: x.s.cfg.Steward, CertificateLife: int64(x.s.cfg.CertificateLife.Seconds()), Signed: tag.Tag.Signed(),
	}
	for _, key := range tag.Tag.SelfSigned() {
		d.Signers = append(d.Signers, key.Thumbprint())
	}
	if tag.Yank != nil {
		d.Yanked = tag.Yank.Reason
		if d.Yanked == "" {
			d.Yanked = "no reason given"
		}
	}
	policy, err := x.policy()
	if err != nil {
		return err
	}
	if policy != nil && policy.Steward != "" {
		d.Steward = policy.Steward
	}
	if policy != nil && policy.CertificateLife > 0 {
		d.CertificateLife = policy.CertificateLife
	}
	x.release(about, d.Digest)
	return x.json(http.StatusOK, d)
}
