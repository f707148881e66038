// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"bytes"
	"context"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/internal/need"
)

// The times at which the collateral of the real requests is current.
var (
	t0 = time.Date(2023, 1, 27, 0, 0, 0, 0, time.UTC)
	t2 = time.Date(2023, 1, 12, 0, 0, 0, 0, time.UTC)
)

// Policies for silicon that was out of date when it spoke.
const (
	tolerant = `
[sgx]
allowed_tcb_statuses = ["UpToDate", "OutOfDate"]
`
	withoutIdentity = tolerant + `
[collateral]
require_qe_identity = false
`
	advisories = `
[sgx]
allowed_tcb_statuses = ["UpToDate", "OutOfDate"]
allowed_advisories = ["bogus-1234"]
[collateral]
require_qe_identity = false
`
)

// xeon is the collateral of Intel for the Xeon quotes at t2.
var xeon = []string{
	"more/sgx/v3-xeon-swhardening.tcbinfo.json", "more/sgx/v3-xeon-swhardening.qeidentity.json", "more/sgx/tcb-signing-2018.pem",
	"extracted/i5-crl.crl-intel-root.der", "extracted/i5-crl.crl-intel-pck-platform.der",
}

// generation is one real request of a released Enarx, with what a Steward has
// of its own, and the answer.
type generation struct {
	file   string
	at     time.Time
	policy string
	with   []string
	status int
	code   string
}

// generations go by spec/steward.md sections 0, 2 and 8: every shape is read,
// and what its age makes it lack has to come from the Steward's own collateral.
var generations = map[string]generation{
	"0.6 on Milan, the Steward has the CRL": {"milan.signed.csr", t0, "", []string{"extracted/milan-crl.crl-amd-milan.der"}, 200, "accepted"},
	"0.6 on Milan, nobody has a CRL":        {"milan.signed.csr", t0, "", nil, 400, "snp.ark.crl"},
	"0.7 on Milan":                          {"milan.signed.crl.csr", t0, "", nil, 200, "accepted"},
	"0.7 on Milan, in another year":         {"milan.signed.crl.csr", now, "", nil, 400, "snp.ark.crl"},
	"0.7 on Milan, another signer":          {"milan.signed.crl.csr", t0, "[snp]\nabi = \">254.0\"\n", nil, 400, "snp.policy.abi_range"},
	"0.6 on a Xeon":                         {"icelake.signed.csr", t2, tolerant, xeon, 200, "accepted"},
	"0.6 on a Xeon that is out of date":     {"icelake.signed.csr", t2, "", xeon, 400, "sgx.tcb.status"},
	"0.6 on a Xeon, nobody has collateral":  {"icelake.signed.csr", t2, tolerant, nil, 400, "sgx.pck-ca.crl"},
	"0.7 on an i5, no TCB info":             {"icelake.signed.crl.csr", t0, withoutIdentity, nil, 400, "sgx.tcb-info"},
	"0.7 on an i5":                          {"icelake.signed.crl.csr", t0, withoutIdentity, []string{"extracted/i5-tcb.tcbinfo.json", "extracted/i5-tcb.tcb-issuer-chain.pem"}, 200, "accepted"},
	"main on an i5":                         {"icelake.signed.tcb.crl.single.i5.csr", t0, withoutIdentity, nil, 200, "accepted"},
	"main on an i5, strictly":               {"icelake.signed.tcb.crl.single.i5.csr", t0, "", nil, 400, "sgx.tcb.status"},
	"main on an i5, other advisories":       {"icelake.signed.tcb.crl.single.i5.csr", t0, advisories, nil, 400, "sgx.tcb.advisories"},
	"without evidence":                      {"testca/test.csr", t0, "", nil, 401, "csr.evidence"},
	"asking for other extensions":           {"testca/server.csr", t0, "", nil, 400, "csr.extensions"},
	"cut in half":                           {"negative/milan_signed.csr", t0, "", nil, 400, "csr.encoding"},
	"cut in half, SGX":                      {"negative/icelake_signed.csr", t0, "", nil, 400, "csr.encoding"},
}

func TestReleasedGenerations(t *testing.T) {
	root := need.Vectors(t)
	for name, g := range generations {
		data := readVector(t, root, g.file)
		r := newRig(t, policy(t, g.policy), func(cfg *Config) {
			cfg.Roots, cfg.Development = nil, false
			cfg.Now = func() time.Time { return g.at }
			if g.with != nil {
				extra := recognise(t, root, g.with)
				cfg.Collateral = func(context.Context, *attest.Evidence, *check.Group) *attest.Collateral { return extra }
			}
			cfg.CA = validAt(t, g.at)
		})
		resp := r.post(data, "Accept", typeProblem)
		if g.status == http.StatusOK {
			if resp.StatusCode != 200 {
				t.Errorf("%s: %s %s", name, resp.Status, resp.body)
				continue
			}
			path := certificates(t, resp.body)
			if leaf := path[1]; leaf.Subject.OrganizationalUnit[0] == developmentUnit || !leaf.NotBefore.Equal(g.at) || !bytes.Contains(data, leaf.RawSubjectPublicKeyInfo) {
				t.Errorf("%s: %v", name, leaf.Subject)
			}
			continue
		}
		if resp.StatusCode == 500 {
			t.Errorf("%s: %s", name, r.log)
			continue
		}
		if p := r.refused(data, g.status); p.Code != g.code {
			t.Errorf("%s: %s (%s), want %s", name, p.Code, p.Detail, g.code)
		}
	}
}

// readVector returns the DER of a request, which may be there as PEM.
func readVector(t *testing.T, root, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(data); block != nil && bytes.HasPrefix(data, []byte("-----BEGIN")) {
		return block.Bytes
	}
	return data
}

func recognise(t *testing.T, root string, names []string) *attest.Collateral {
	t.Helper()
	var files []attest.File
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, attest.File{Name: name, Data: data})
	}
	b, err := attest.Recognise(files, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &b.Collateral
}
