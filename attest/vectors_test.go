// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/internal/need"
)

// indexed is one row of an INDEX.md.
type indexed struct {
	file string // relative to the folder of vectors
	size int
	hash string // the first 16 digits of its SHA-256
}

// readIndex returns the files that an INDEX.md lists, whose names are relative
// to its folder.
func readIndex(t *testing.T, root, folder string) []indexed {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, folder, "INDEX.md"))
	if err != nil {
		t.Fatal(err)
	}
	var all []indexed
	for line := range strings.SplitSeq(string(text), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 5 {
			continue
		}
		size, err := strconv.Atoi(strings.TrimSpace(cells[2]))
		if err != nil {
			continue // the heading of a table, or a table of something else
		}
		row := indexed{file: path.Join(folder, strings.TrimSpace(cells[1])), size: size}
		if hash := strings.TrimSpace(cells[3]); len(hash) == 16 && strings.Trim(hash, "0123456789abcdef") == "" {
			row.hash = hash
		}
		all = append(all, row)
	}
	return all
}

// The times that the INDEX files pin.
var pinned = map[string]string{
	"T0": "2023-01-27T00:00:00Z", "T2": "2023-01-12T00:00:00Z",
	"M1": "2026-03-01T00:00:00Z", "M2": "2025-10-01T00:00:00Z",
	"X1": "2025-07-01T00:00:00Z", "X2": "2026-02-24T00:00:00Z", "X3": "2024-09-25T00:00:00Z", "X4": "2023-07-01T00:00:00Z", "X5": "2022-12-20T00:50:04Z",
	"now": "2026-11-20T00:00:00Z",
}

func at(t *testing.T, name string) time.Time {
	t.Helper()
	text := name
	if s, ok := pinned[name]; ok {
		text = s
	}
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVectors gives every file that an INDEX lists to the verifier and
// requires the verdict that the INDEX asks for, in the table [verdicts].
func TestVectors(t *testing.T) {
	root := need.Vectors(t)
	listed := append(readIndex(t, root, ""), readIndex(t, root, "more")...)
	if len(listed) < 90 {
		t.Fatalf("the INDEX files list %d files: are they read right?", len(listed))
	}
	memo := pki.NewMemo(8 << 20)
	seen := map[string]bool{}
	for _, row := range listed {
		seen[row.file] = true
		data, err := os.ReadFile(filepath.Join(root, row.file))
		if err != nil {
			t.Error(err)
			continue
		}
		sum := sha256.Sum256(data)
		if len(data) != row.size || row.hash != "" && hex.EncodeToString(sum[:8]) != row.hash {
			t.Errorf("%s: not the file that the INDEX lists", row.file)
		}
		cases := verdicts[row.file]
		if len(cases) == 0 {
			t.Errorf("%s: listed in an INDEX, and there is no verdict for it", row.file)
		}
		for i, c := range cases {
			t.Run(fmt.Sprintf("%s/%d", row.file, i), func(t *testing.T) { c.run(t, root, row.file, memo) })
		}
	}
	for file := range verdicts {
		if !seen[file] {
			t.Errorf("%s: there is a verdict for it, and no INDEX lists it", file)
		}
	}
	walkVectors(t, root, seen)
}

// walkVectors requires every file to be in an INDEX.
func walkVectors(t *testing.T, root string, seen map[string]bool) {
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && path.Base(name) != "INDEX.md" && !seen[name] {
			t.Errorf("%s: in no INDEX", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// verdict is what is asked of one file.
type verdict struct {
	is     string   // what it is taken for; prefix of Found.What
	at     string   // verified then
	with   []string // with these files beside it
	policy string   // by this policy; data of this file if it begins with @
	data   string   // bound to these bytes
	alone  bool     // what it is bound to is not looked at
	code   string   // "accepted", the code of the first check that fails, or "unreadable: WHY"
	also   []string // codes of further checks that fail
}

func (v verdict) run(t *testing.T, root, file string, memo *pki.Memo) {
	var files []File
	for _, name := range append([]string{file}, v.with...) {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, File{name, data})
	}
	b, err := Recognise(files, memo)
	if why, ok := strings.CutPrefix(v.code, "unreadable: "); ok {
		if !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), why) || !strings.HasPrefix(err.Error(), file+": ") {
			t.Fatalf("got error %v, want %s", err, v.code)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if what := b.Found[0].What; !strings.HasPrefix(what, v.is) {
		t.Errorf("taken for %q, want %q", what, v.is)
	}
	if v.code == "" {
		return
	}
	r := v.appraise(t, b, memo)
	if got := r.Code(); got != v.code {
		var out bytes.Buffer
		r.Write(&out, check.Style{Brief: true})
		t.Fatalf("got %s, want %s\n%s", got, v.code, &out)
	}
	for _, code := range v.also {
		failed := append(r.Verification.Failures(), r.Appraisal.Failures()...)
		if !slices.ContainsFunc(failed, func(c *check.Check) bool { return c.Code == code }) {
			t.Errorf("%s did not fail", code)
		}
	}
}

func (v verdict) appraise(t *testing.T, b *Bundle, memo *pki.Memo) *Result {
	p, err := ParsePolicy("policy.toml", []byte(v.policy))
	if err != nil {
		t.Fatal(err)
	}
	if b.Refused != nil {
		return RefusedRequest(b.Refused, p)
	}
	if b.Evidence == nil {
		t.Fatal("no evidence in it")
	}
	p.RequireBinding = !v.alone
	if v.data != "" {
		b.Evidence.Data = []byte(v.data)
	}
	r := &Roots{Set: roots.Vendors(), Memo: memo}
	return Appraise(Verify(b.Evidence, r, &b.Collateral, at(t, v.at)), p)
}

// The policies that upstream accepts its own evidence with, spec/steward.md
// section 3.5, and variations of them.
const (
	refSNP = `
[snp]
signer = ["7dc22240a8344fce6ba5f22ffbedabc52d4123ae0ba1c59796e521b953916b503f223b15c4429e7d8c5489ad71f1e193"]
id_key_digest = ["d71a4d1da440d515cd69fbb1314acf4221726e82768a8bf6e4a4063ed542ac78349c8145b4666a4242a91a374387b473"]
id_key_digest_blacklist = []
hash = ["ff717ae719840c93c1fca3b7db96488454c3c21b43531488eecff51cfed3febcd91da8be87a4cbcbc52a3bae770987c3"]
abi = ">=1.51"
policy_flags = ["SMT"]
platform_info_flags = "SME"
`
	refSGX = `
[sgx]
signer = ["7a49a07df0f8e90a6e1d9a63e3c696d9c844f0e3f8739b21daa640f99facc48a"]
hash = ["4046ea255f0455131a024e1265ac1ebd131fdbd1240f1712a00381f6f04e8c15"]
hash_blacklist = []
features = ["ProvisioningKey", "EInitKey", "KSS"]
misc_select = ["EXINFO"]
enclave_security_version = 0
enclave_product_id = 0
allowed_advisories = ["INTEL-SA-00289", "INTEL-SA-00381", "INTEL-SA-00389", "INTEL-SA-00477", "INTEL-SA-00586", "INTEL-SA-00614", "INTEL-SA-00615", "INTEL-SA-00617", "INTEL-SA-00657"]
`
	outdated = `allowed_tcb_statuses = ["UpToDate", "OutOfDate", "SWHardeningNeeded"]` + "\n"
	noQE     = "[collateral]\nrequire_qe_identity = false\n"
	noCRL    = "[collateral]\nrequire_crl = false\n"
)

// swap changes one thing in a policy.
func swap(policy, old, new string) string {
	if !strings.Contains(policy, old) {
		panic("the policy has no " + old)
	}
	return strings.Replace(policy, old, new, 1)
}
