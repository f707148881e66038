// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"errors"
	"log/slog"
	"time"

	"enarx.dev/enarx/internal/ledger"
)

// A Record is one line of the audit log: who did what, or was not allowed to.
// It never holds a token, a header or a body. It is on the disk before the
// answer that it is about leaves.
type Record struct {
	Time    time.Time `json:"time"`
	Request string    `json:"request"` // the id that the client was told

	Principal string `json:"principal"`      // the kind: anonymous, oidc, userinfo, robot, deployment, attested, operator
	ID        string `json:"id,omitempty"`   // who it was: issuer and subject, the id of a token, a certificate's serial and names
	Address   string `json:"addr,omitempty"` // of the client, without its port

	Action     string `json:"action"` // in the words of the authorisation table
	User       string `json:"user,omitempty"`
	Repository string `json:"repo,omitempty"`
	Tag        string `json:"tag,omitempty"`
	Path       string `json:"path,omitempty"`   // of a node
	Digest     string `json:"digest,omitempty"` // "sha256:" and hexadecimal, of what was written or released

	Outcome string `json:"outcome"`          // one of Done, Refused and Failed
	Reason  string `json:"reason,omitempty"` // what a refused client was told
	Status  int    `json:"status"`           // of the answer
}

// What came of what a Record is about.
const (
	Done    = "done"
	Refused = "refused" // the client's fault
	Failed  = "failed"  // ours
)

// When is when it happened.
func (r Record) When() time.Time { return r.Time }

// Check returns what no record lacks and r does.
func (r Record) Check() error {
	if r.Time.IsZero() || r.Principal == "" || r.Action == "" || r.Outcome == "" {
		return errors.New("a time, principal, action or outcome is missing")
	}
	return nil
}

// OpenAudit opens or makes the audit log at path.
func OpenAudit(path string, log *slog.Logger) (*ledger.Log[Record], error) {
	return ledger.Open[Record](path, "the audit log", log)
}
