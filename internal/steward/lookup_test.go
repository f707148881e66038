// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"enarx.dev/enarx/attest"
)

// TestIssuedMeanwhile: Intel issues a TCB info when it is asked for one. What
// is younger than the request is not of the future.
func TestIssuedMeanwhile(t *testing.T) {
	published := collateral().TCBInfos[0].IssueDate
	var clock atomic.Pointer[time.Time]
	begin := published.Add(-time.Second)
	clock.Store(&begin)
	r := newRig(t, func(cfg *Config) {
		cfg.CA = validAt(t, published)
		cfg.Now = func() time.Time { return *clock.Load() }
		cfg.Collateral = func(context.Context, *attest.Evidence, *checkGroup) *attest.Collateral {
			answered := published.Add(time.Second)
			clock.Store(&answered)
			return collateral()
		}
	})
	leaf := r.issued(csr("sgx-v3"))
	if !leaf.NotBefore.After(published) {
		t.Errorf("the certificate is valid from %v, before the collateral that it relies on: %v", leaf.NotBefore, published)
	}
}

// TestBundleOfLookUps: what a bundle waits for vendors is bounded as a whole,
// or it would be answered after its client's connection has been closed.
func TestBundleOfLookUps(t *testing.T) {
	const patience = 50 * time.Millisecond
	var ends []time.Time // of the look-ups, which come one after the other
	r := newRig(t, func(cfg *Config) {
		cfg.Limits.Wait, cfg.Limits.LookUp = patience, patience
		cfg.Collateral = func(ctx context.Context, _ *attest.Evidence, _ *checkGroup) *attest.Collateral {
			end, _ := ctx.Deadline()
			ends = append(ends, end)
			<-ctx.Done()
			return nil
		}
	})
	const requests = 8
	resp := r.bundle(slices.Repeat([][]byte{csr("snp-v2")}, requests))
	if resp.StatusCode != http.StatusOK || len(ends) != requests {
		t.Fatalf("%s after %d look-ups", resp.Status, len(ends))
	}
	if took := ends[requests-1].Sub(ends[0]); took > patience {
		t.Errorf("the last look-up could end %v after the first: as long as each has the time of all", took)
	}
}

// TestGoneDuringLookUp: nothing is issued to a client that left meanwhile.
func TestGoneDuringLookUp(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	r := newRig(t, func(cfg *Config) {
		cfg.Collateral = func(lookUp context.Context, _ *attest.Evidence, _ *checkGroup) *attest.Collateral {
			leave()
			<-lookUp.Done()
			return collateral()
		}
	})
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", bytes.NewReader(csr("snp-v2")))
	req.Header.Set("Content-Type", typeRequest)
	r.server.Handler().ServeHTTP(httptest.NewRecorder(), req)
	if n := count(t, r.log, `"verdict":"request.gone"`); n != 1 || len(r.server.verifying) != 0 {
		t.Errorf("%d refusals, %d turns kept: %s", n, len(r.server.verifying), r.log)
	}
}
