// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"fmt"
	"net/http"
)

// Denied is the error for whoever may not do what they asked for.
type Denied struct {
	Status int    // of HTTP
	Text   string // for the client: upstream's texts, where upstream has one
	Kind   string // a word for metrics
	Reason string // for the log only: it may say more than the client may know
}

// Error returns the text for the client.
func (d *Denied) Error() string { return d.Text }

// denied returns upstream's status for everything about credentials.
func denied(kind, format string, args ...any) *Denied {
	return &Denied{Status: http.StatusUnauthorized, Text: fmt.Sprintf(format, args...), Kind: kind}
}

// forbidden is for tokens that upstream did not have: good ones, which stay
// good, so that nobody is sent to sign in again.
func forbidden(kind, format string, args ...any) *Denied {
	return &Denied{Status: http.StatusForbidden, Text: fmt.Sprintf(format, args...), Kind: kind}
}

func (d *Denied) because(format string, args ...any) *Denied {
	d.Reason = fmt.Sprintf(format, args...)
	return d
}

func missing() *Denied { return denied("missing_token", "Bearer token header missing") }

func malformed() *Denied {
	return &Denied{Status: http.StatusBadRequest, Text: "Malformed bearer token header", Kind: "malformed_token"}
}

func invalid(format string, args ...any) *Denied {
	return denied("invalid_token", "Invalid token provided").because(format, args...)
}

func notFound(text string) *Denied {
	return &Denied{Status: http.StatusNotFound, Text: text, Kind: "not_found"}
}

func unavailable(err error) *Denied {
	return (&Denied{
		Status: http.StatusServiceUnavailable, Text: "The identity provider cannot be reached now", Kind: "unavailable",
	}).because("%v", err)
}

func broken(err error) *Denied {
	return (&Denied{Status: http.StatusInternalServerError, Text: "Storage backend failure", Kind: "storage"}).because("%v", err)
}
