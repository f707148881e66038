// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"gocloud.dev/gcerrors"
)

// A failure is a request that is not done: what the client is told, and what
// is only logged.
type failure struct {
	status int
	text   string // for the client: the CLI prints it to its user
	kind   string // a word of ours, for metrics
	retry  int    // seconds, for Retry-After
	err    error  // the cause, for the log alone
}

func (f *failure) Error() string {
	if f.err != nil {
		return fmt.Sprintf("%d %s: %v", f.status, f.text, f.err)
	}
	return fmt.Sprintf("%d %s", f.status, f.text)
}

func (f *failure) Unwrap() error { return f.err }

func refuse(status int, kind, format string, args ...any) *failure {
	return &failure{status: status, kind: kind, text: fmt.Sprintf(format, args...)}
}

func badRequest(kind, format string, args ...any) *failure {
	return refuse(http.StatusBadRequest, kind, format, args...)
}

// busy is for what may well succeed in a moment.
func busy(text string) *failure {
	return &failure{status: http.StatusServiceUnavailable, kind: "busy", text: text, retry: 2}
}

// errGone is a client that left before the end of its request.
var errGone = &failure{status: http.StatusBadRequest, kind: "gone", text: "The body ended before its end"}

// errSlow is a client that sends less than the minimum rate.
var errSlow = &failure{status: http.StatusRequestTimeout, kind: "slow", text: "The body came too slowly"}

// kindStorage is the store's fault, or the network's to it.
const kindStorage = "storage"

// asFailure turns what a handler returned into what the client is told. Text
// of errors that are not ours to show stays in the log.
func asFailure(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &failure{status: http.StatusServiceUnavailable, kind: "canceled", text: "The request was canceled", retry: 2, err: err}
	}
	if gcerrors.Code(err) == gcerrors.ResourceExhausted {
		return &failure{status: http.StatusInsufficientStorage, kind: kindStorage, text: "The store is full", err: err}
	}
	return &failure{status: http.StatusInternalServerError, kind: kindStorage, text: "Storage backend failure", err: err}
}

// oneLine makes text that names what clients sent fit for a header or a line
// of plain text.
func oneLine(s string) string {
	const limit = 400
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// sentence is an error's text as upstream's texts begin, with a capital.
func sentence(err error) string {
	text := err.Error()
	if text != "" && 'a' <= text[0] && text[0] <= 'z' {
		text = string(text[0]-'a'+'A') + text[1:]
	}
	return text
}
