// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"net/http"

	"enarx.dev/enarx/internal/drawbridged/auth"
)

// An event is what the audit log is told of a request. Requests without an
// action are not for it.
type event struct {
	action string
	digest string // "sha256:…" of what was written or released
	change bool   // something is written
	secret bool   // something is read that not everybody may read, by who is no user
}

// record tells the audit log of a request that is about to be answered with
// the status: changes, releases to Keeps, and who was refused. It returns a
// failure if what was done could not be recorded. Those whom nobody knows are
// in the request log alone: anybody could fill the disk.
func (x *exchange) record(status int) *failure {
	s, e := x.s, &x.event
	if s.cfg.Audit == nil || e.action == "" {
		return nil
	}
	who := x.caller.Seen()
	r := Record{
		Time: s.now().UTC(), Request: x.id, Principal: string(who.Kind), ID: oneLine(who.ID()), Address: clientName(x.client),
		Action: e.action, User: x.route.user, Repository: x.route.repo, Tag: x.route.tag, Path: x.route.path.String(),
		Digest: e.digest, Status: status,
	}
	switch {
	case status < 400 && (e.change || e.secret):
		r.Outcome = Done
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusGone:
		if who.Kind == auth.Anonymous {
			return nil
		}
		r.Outcome = Refused
	case status >= 500 && e.change:
		r.Outcome = Failed
	default:
		return nil
	}
	if x.refused != nil {
		r.Reason = oneLine(x.refused.text)
	}
	e.action = "" // an answer is recorded once
	if err := s.cfg.Audit.Append(r); err != nil {
		s.log.Error("the audit log could not be written", "request", x.id, "err", err)
		if r.Outcome == Done {
			return &failure{status: http.StatusInternalServerError, kind: "audit", text: "Audit log failure", err: err}
		}
	}
	return nil
}
