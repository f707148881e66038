// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/internal/live"
)

// FuzzPost sends anything at all as a request. Whatever it is, it is answered
// with one of the statuses of the interface, and never by a panic.
func FuzzPost(f *testing.F) {
	for _, shape := range []string{"snp-v1", "snp-v2", "sgx-v1", "sgx-v2", "sgx-v3", "tdx-v1", "none"} {
		f.Add(typeRequest, "", csr(shape))
		f.Add(typeBundle, typeProblem, sequence(csr(shape), csr("none")))
	}
	f.Add(typeRequest, typeEAT, nested(1000))
	f.Add(typeBundle, typeEAT, sequence())
	f.Add("text/plain;;", "a/b;q=0.5, */*", []byte{})
	ca, err := testCA()
	if err != nil {
		f.Fatal(err)
	}
	p := attest.DefaultPolicy()
	p.Insecure = true
	log := &syncBuffer{}
	cfg := Config{
		CA: live.Fixed(ca), Policy: live.Fixed(p), Roots: &attest.Roots{Set: world().Roots(), Memo: pki.NewMemo(1 << 20)},
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelError})), Limits: Limits{Rate: -1},
		Now: func() time.Time { return now },
	}
	withCollateral(&cfg)
	s, err := New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, contentType, accept string, body []byte) {
		w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Accept", accept)
		s.Handler().ServeHTTP(w, r)
		if !slices.Contains([]int{200, 400, 401, 413}, w.Code) {
			t.Errorf("status %d: %s", w.Code, log)
		}
		if w.Code == 200 && w.Body.Len() == 0 || strings.Contains(log.String(), "bug") {
			t.Errorf("status %d with %d bytes: %s", w.Code, w.Body.Len(), log)
		}
	})
}

// FuzzAccept: what a client prefers is one of the offers, or nothing.
func FuzzAccept(f *testing.F) {
	f.Add("application/problem+json;q=0.3, application/eat+jwt")
	f.Add(";q=,,*/*;q=2")
	f.Fuzz(func(t *testing.T, header string) {
		offers := []string{typeProblem, typeEAT}
		if best := parseAccept([]string{header}).best("", offers...); best != "" && !slices.Contains(offers, best) {
			t.Errorf("%q", best)
		}
	})
}
