// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"errors"
	"log/slog"
	"time"

	"enarx.dev/enarx/internal/ledger"
)

// An Entry is one certificate in the issuance log. A certificate leaves only
// after its line is on the disk, so what is not in the log has not been handed
// out.
type Entry struct {
	Time        time.Time   `json:"time"`
	Request     string      `json:"request,omitempty"` // the id that the client was told
	Serial      string      `json:"serial"`            // of the certificate, hexadecimal
	Certificate ledger.Hash `json:"sha256"`            // of the certificate's DER
	Technology  string      `json:"technology"`
	Measurement string      `json:"measurement,omitempty"` // hexadecimal
	Policy      ledger.Hash `json:"policy"`                // digest of the policy that it met
	URIs        []string    `json:"uris,omitempty"`
	NotAfter    time.Time   `json:"not_after"`
	Insecure    bool        `json:"insecure,omitempty"` // no hardware vouches for the key
}

// When is when the certificate was issued.
func (e Entry) When() time.Time { return e.Time }

// Check returns what no entry lacks and e does.
func (e Entry) Check() error {
	if e.Serial == "" || e.Technology == "" || e.Time.IsZero() {
		return errors.New("a time, serial or technology is missing")
	}
	return nil
}

// OpenLog opens or makes the issuance log at path.
func OpenLog(path string, log *slog.Logger) (*ledger.Log[Entry], error) {
	return ledger.Open[Entry](path, "the issuance log", log)
}
