// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
)

// ear is an EAR as its draft has it, every member named.
type ear struct {
	Profile  string `json:"eat_profile"`
	Issued   int64  `json:"iat"`
	Status   string `json:"ear_status"`
	Verifier struct {
		Developer string `json:"developer"`
		Build     string `json:"build"`
	} `json:"ear_verifier_id"`
	Submods map[string]struct {
		Status   string         `json:"ear_status"`
		Vector   map[string]int `json:"ear_trustworthiness_vector"`
		Policies []string       `json:"ear_appraisal_policy_ids"`
		Attester map[string]any `json:"ear_attester_claims"`
		Verifier map[string]any `json:"ear_verifier_claims"`
	} `json:"submods"`
}

func parseEAR(t *testing.T, text []byte) ear {
	t.Helper()
	var e ear
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return e
}

// TestEAR reads the results of what there is, as draft-ietf-rats-ear-04 wants
// them.
func TestEAR(t *testing.T) {
	measured := func(p *Policy, r *Result) {
		p.Measurements = map[string]Measurement{"app": {SNP: [][]byte{r.Claims.Measurement()}, SGX: [][]byte{r.Claims.Measurement()}, TDX: [][]byte{r.Claims.Measurement()}}}
	}
	for shape, want := range map[string]struct {
		attester, verifier map[string]any
	}{
		"snp-v2": {map[string]any{"tee": "snp", "product": "Milan", "vmpl": 0.0, "debug": false, "log": "none", "workload": WorkloadURI(wdig)},
			map[string]any{"verdict": "accepted", "roots": "development", "program": "app", "workload_bound": true}},
		"sgx-v3": {map[string]any{"tee": "sgx", "debug": false, "log": "none"}, map[string]any{"verdict": "accepted", "tcb_status": "UpToDate", "program": "app"}},
		"tdx-v1": {map[string]any{"tee": "tdx", "debug": false, "slug": "h/u/r:1.0.0"}, map[string]any{"verdict": "accepted", "tcb_status": "UpToDate", "program": "app"}},
	} {
		t.Run(shape, func(t *testing.T) {
			edit := uris(WorkloadURI(wdig), LogURI("none"), SlugURI("h/u/r:1.0.0"))
			r := judge(t, nil, shape, edit)
			p := DefaultPolicy()
			measured(p, r)
			r = Appraise(r.Claims, p)
			if !r.Accepted() {
				t.Fatal(r.Err())
			}
			text := r.EAR(testTime, Verifier{"dev", "1.2"})
			e := parseEAR(t, text)
			if e.Profile != EARProfile || e.Issued != testTime.Unix() || e.Verifier.Developer != "dev" || e.Verifier.Build != "1.2" || e.Status != e.Submods["keep"].Status {
				t.Errorf("%s", text)
			}
			keep := e.Submods["keep"]
			if v := keep.Vector; v["instance-identity"] != 2 || v["configuration"] != 2 || v["executables"] != 3 || v["hardware"] != 32 || v["runtime-opaque"] != 2 {
				t.Errorf("vector %v", keep.Vector)
			}
			digest := p.Digest()
			if len(keep.Policies) != 1 || keep.Policies[0] != WorkloadURI(digest) {
				t.Errorf("policies %v", keep.Policies)
			}
			if keep.Attester["measurement"] != fmt.Sprintf("%x", r.Claims.Measurement()) {
				t.Errorf("measurement %v", keep.Attester["measurement"])
			}
			for _, m := range []struct{ got, want map[string]any }{{keep.Attester, want.attester}, {keep.Verifier, want.verifier}} {
				for name, v := range m.want {
					if m.got[name] != v {
						t.Errorf("%s is %v, not %v", name, m.got[name], v)
					}
				}
			}
		})
	}
}

// TestBlame: a refusal is contraindicated in the category that it is about.
func TestBlame(t *testing.T) {
	for name, c := range map[string]struct {
		edit     func(*attesttest.Request)
		category string
	}{
		"debug":       {snpReport(func(r *attesttest.Report) { r.Policy |= attesttest.PolicyDebug }), "configuration"},
		"vmpl":        {snpReport(func(r *attesttest.Report) { r.VMPL = 3 }), "configuration"},
		"another key": {snpReport(func(r *attesttest.Report) { r.ReportData[0]++ }), "instance-identity"},
		"signature":   {snpReport(func(r *attesttest.Report) { r.Key = silicon.Chip().Key(attesttest.TCB{}) }), "hardware"},
	} {
		r := judge(t, nil, "snp-v2", c.edit)
		e := parseEAR(t, r.EAR(testTime, Verifier{}))
		if e.Status != "contraindicated" || e.Submods["keep"].Vector[c.category] < trustContra {
			t.Errorf("%s: %s %v", name, e.Status, e.Submods["keep"].Vector)
		}
	}
	p, err := ParsePolicy("p.toml", []byte("[snp]\nhash = [\""+other(48)+"\"]"))
	if err != nil {
		t.Fatal(err)
	}
	r := judge(t, p, "snp-v2", nil)
	if e := parseEAR(t, r.EAR(testTime, Verifier{})); e.Submods["keep"].Vector["executables"] < trustContra {
		t.Errorf("measurement: %v", e.Submods["keep"].Vector)
	}
}

// TestEARQuoting: whatever the evidence's strings are, the EAR is JSON.
func TestEARQuoting(t *testing.T) {
	for _, s := range []string{"plain", "\"\\", "a\x00\x1f\n\x7f", "ü€", "😀", "\xff\xfe", "\u2028"} {
		w := &object{}
		w.open("")
		w.text("s", s)
		w.texts("l", []string{s, s})
		w.close()
		var got struct {
			S string
			L []string
		}
		if err := json.Unmarshal(w.buf, &got); err != nil || got.S != strings.ToValidUTF8(s, "\ufffd") && utf8.ValidString(s) || len(got.L) != 2 {
			t.Errorf("%q: %s, %v", s, w.buf, err)
		}
	}
}

// TestCMW takes a result out of a certificate's extension again.
func TestCMW(t *testing.T) {
	value := judge(t, nil, "snp-v2", nil).EAR(testTime, Verifier{})
	ext := CMW(EARType, value)
	if ext.Id.String() != "1.3.6.1.5.5.7.1.35" || ext.Critical {
		t.Errorf("extension %v, critical %v", ext.Id, ext.Critical)
	}
	kind, got, err := ParseCMW(ext)
	if err != nil || kind != EARType || !bytes.Equal(got, value) {
		t.Errorf("%q, %v", kind, err)
	}
	for name, record := range map[string]string{
		"not JSON":          `[`,
		"an object":         `{"a":["x","eA"]}`,
		"one element":       `["x"]`,
		"four elements":     `["x","eA",8,8]`,
		"a number for type": `[1,"eA",8]`,
		"padding":           `["x","eA==",8]`,
		"evidence":          `["x","eA",4]`,
		"a bad indicator":   `["x","eA",-1]`,
	} {
		if _, _, err := ParseCMW(pkixCMW(element(0x0c, []byte(record)))); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, _, err := ParseCMW(pkixCMW(element(0x0c, []byte(`["x","eA"]`)))); err != nil {
		t.Errorf("without indicator: %v", err)
	}
	if _, _, err := ParseCMW(pkixCMW(element(4, []byte(`["x","eA"]`)))); err == nil {
		t.Error("CBOR is accepted as JSON")
	}
}

// TestRefusedRequestForms: a request that is refused before its evidence is
// looked at has a result like any other.
func TestRefusedRequestForms(t *testing.T) {
	_, err := ParseRequest([]byte("garbage"), pki.NewMemo(1<<20))
	refused := err.(*RequestError)
	r := RefusedRequest(refused, DefaultPolicy())
	text, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(text), `"code":"csr.encoding"`) || !strings.Contains(string(text), `"verdict":"refused"`) {
		t.Errorf("%s, %v", text, err)
	}
	var out bytes.Buffer
	if err := r.Write(&out, check.Style{}); err != nil || !strings.Contains(out.String(), "refused: csr.encoding") {
		t.Errorf("%s, %v", &out, err)
	}
	if e := parseEAR(t, r.EAR(testTime, Verifier{})); e.Status != "contraindicated" {
		t.Errorf("%+v", e)
	}
}

func pkixCMW(value []byte) pkix.Extension { return pkix.Extension{Id: OIDCMW, Value: value} }
