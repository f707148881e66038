// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"

	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/internal/steward/authority"
)

// An answer is what goes out, and what is said about it here.
type answer struct {
	status      int
	contentType string // empty: no body
	body        []byte
	retry       int // seconds, for Retry-After

	code     string // the verdict: "accepted", or that of the check that failed
	reason   string // for the log
	issued   int
	insecure bool
}

// A refusal is a request that gets no certificate.
type refusal struct {
	status int
	code   string
	detail string
	retry  int
	index  int // of the request in its bundle

	checks *check.Group   // of a request that got no further than being read
	result *attest.Result // of evidence that was appraised
}

func (r *refusal) Error() string { return r.code + ": " + r.detail }

// problem is RFC 9457's object. Its type is about:blank, which says no more than
// the status; code is what programs should look at.
type problem struct {
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail"`
	Code    string `json:"code"`
	Fix     string `json:"fix,omitempty"`
	Request string `json:"request_id"`
	Index   *int   `json:"index,omitempty"`  // in a bundle
	Checks  any    `json:"checks,omitempty"` // the tree that attest explain prints
}

// refuse forms the answer to a request that gets nothing. The body is empty, as
// upstream's, unless the client asked for the reason.
func (x *exchange) refuse(r *refusal) answer {
	a := answer{status: r.status, retry: r.retry, code: r.code, reason: r.detail}
	switch x.accept.best("", typeProblem, typeEAT, typeText) {
	case typeText:
		a.contentType, a.body = typeText+"; charset=utf-8", x.plain(r)
		return a
	case typeEAT:
		if r.result == nil {
			break // nothing was appraised: there is no result to sign
		}
		token, err := x.ca.SignJWT(r.result.EAR(x.now, verifier))
		if err == nil {
			a.contentType, a.body = typeEAT, []byte(token)
			return a
		}
		x.s.log.Error("a result could not be signed", "request", x.id, "err", err)
	case typeProblem:
	default:
		return a
	}
	a.contentType, a.body = typeProblem, x.problem(r)
	return a
}

// plain is the explanation for people: what did not pass, as attest explain
// prints it.
func (x *exchange) plain(r *refusal) []byte {
	var text bytes.Buffer // takes everything: its writes do not fail
	switch {
	case r.result != nil:
		_ = r.result.Write(&text, check.Style{Brief: true})
	case r.checks != nil:
		fmt.Fprintf(&text, "refused: %s\n", r)
		_ = r.checks.Write(&text, check.Style{Brief: true})
	default:
		fmt.Fprintf(&text, "refused: %s\n", r)
	}
	if x.bundle {
		fmt.Fprintf(&text, "request %d of the bundle\n", r.index+1)
	}
	fmt.Fprintf(&text, "request id %s\n", x.id)
	return text.Bytes()
}

func (x *exchange) problem(r *refusal) []byte {
	p := problem{Title: http.StatusText(r.status), Status: r.status, Detail: r.detail, Code: r.code, Request: x.id}
	switch {
	case r.result != nil:
		p.Checks = r.result
		if refused, ok := asRefusal(r.result); ok {
			p.Fix = refused.Check.Fix
		}
	case r.checks != nil:
		p.Checks = r.checks
		if failed := r.checks.Failures(); len(failed) > 0 {
			p.Fix = failed[0].Fix
		}
	}
	if x.bundle {
		p.Index = &r.index
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		x.s.log.Error("bug: an explanation could not be encoded", "request", x.id, "err", err)
		return []byte("{}\n")
	}
	return append(text, '\n')
}

// pkiPath is the answer to a single request: SEQUENCE OF Certificate, the
// issued one last.
func pkiPath(ca *authority.CA, issued []byte) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 8+len(ca.Path())+len(issued)))
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(ca.Path())
		b.AddBytes(issued)
	})
	return b.Bytes()
}

// bundleForm is the answer to a bundle: SEQUENCE { chain SEQUENCE OF
// Certificate, issued SEQUENCE OF Certificate }.
func bundleForm(ca *authority.CA, issued [][]byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(ca.Path()) })
		b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, der := range issued {
				b.AddBytes(der)
			}
		})
	})
	return b.Bytes()
}

// pemChain is the form that most programs read: leaf first.
func pemChain(ca *authority.CA, issued []byte) []byte {
	var text bytes.Buffer
	_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: issued}) // a Buffer takes everything
	text.Write(ca.PEM())
	return text.Bytes()
}
