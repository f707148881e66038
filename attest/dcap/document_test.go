// SPDX-License-Identifier: Apache-2.0

package dcap_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/internal/need"
)

// signedInfo and signedIdentity are documents with a signature of the right form.
func signedInfo(body string) []byte {
	return []byte(`{"tcbInfo":` + body + `,"signature":"` + strings.Repeat("ab", 64) + `"}`)
}

func signedIdentity(body string) []byte {
	return []byte(`{"enclaveIdentity":` + body + `,"signature":"` + strings.Repeat("ab", 64) + `"}`)
}

// TestSignedBytes requires exactly the member's value to be what is signed,
// however the document is written.
func TestSignedBytes(t *testing.T) {
	sig := strings.Repeat("ab", 64)
	odd := strings.Replace(infoJSON, `"version":3`, "\n\t\"version\" :\r 3 ", 1)
	for _, doc := range []string{
		`{"tcbInfo":` + odd + `,"signature":"` + sig + `"}`,
		`{"signature":"` + sig + `","tcbInfo":` + odd + `}`,
		" {\n\"tcbInfo\" : " + odd + " ,\t\"signature\" : \"" + sig + "\"\n}\n",
	} {
		info, err := dcap.ParseTCBInfo([]byte(doc))
		if err != nil {
			t.Fatalf("%v in %s", err, doc)
		}
		if string(info.Body) != odd || len(info.Signature) != 64 || info.Signature[0] != 0xab {
			t.Errorf("signed are %d bytes, not %d: %s", len(info.Body), len(odd), info.Body)
		}
		if len(info.Levels) != 2 || info.Levels[1].Status != dcap.ConfigurationNeeded || info.Levels[1].SGX[0] != 4 || info.Levels[0].PCESVN != 13 {
			t.Errorf("%+v", info.Levels)
		}
	}
}

func TestStrictTCBInfo(t *testing.T) {
	replace := func(old, new string) []byte {
		if !strings.Contains(infoJSON, old) {
			t.Fatalf("%s is not there to be replaced", old)
		}
		return signedInfo(strings.Replace(infoJSON, old, new, 1))
	}
	if _, err := dcap.ParseTCBInfo(replace(`"tcbType":0`, `"tcbType":0,"somethingNew":[{"a":"\u0041"}]`)); err != nil {
		t.Errorf("a member that is not known: %v", err)
	}
	for name, doc := range map[string][]byte{
		"empty":                     nil,
		"not JSON":                  []byte("TCB info"),
		"array":                     []byte("[1]"),
		"number":                    []byte("1"),
		"trailing":                  append(signedInfo(infoJSON), '1'),
		"cut":                       signedInfo(infoJSON)[:500],
		"no signature":              []byte(`{"tcbInfo":` + infoJSON + `}`),
		"no body":                   []byte(`{"signature":"` + strings.Repeat("ab", 64) + `"}`),
		"short signature":           bytes.Replace(signedInfo(infoJSON), []byte("abab"), nil, 1),
		"signature not hexadecimal": bytes.Replace(signedInfo(infoJSON), []byte("abab"), []byte("abxb"), 1),
		"two bodies":                []byte(`{"tcbInfo":` + infoJSON + `,"tcbInfo":` + infoJSON + `,"signature":"` + strings.Repeat("ab", 64) + `"}`),
		"something beside the body": []byte(`{"tcbInfo":` + infoJSON + `,"more":1,"signature":"` + strings.Repeat("ab", 64) + `"}`),
		"another case":              []byte(`{"TcbInfo":` + infoJSON + `,"signature":"` + strings.Repeat("ab", 64) + `"}`),
		"name with an escape":       []byte(`{"tcb\u0049nfo":` + infoJSON + `,"signature":"` + strings.Repeat("ab", 64) + `"}`),
		"long":                      append(signedInfo(infoJSON), bytes.Repeat([]byte(" "), dcap.MaxDocument)...),
		"version 2":                 replace(`"version":3`, `"version":2`),
		"id":                        replace(`"id":"SGX"`, `"id":"QE"`),
		"id twice":                  replace(`"id":"SGX"`, `"id":"SGX","id":"SGX"`),
		"no id":                     replace(`"id":"SGX",`, ``),
		"id in another case":        replace(`"id":"SGX"`, `"ID":"SGX"`),
		"FMSPC too short":           replace(`00606a000000`, `00606a0000`),
		"FMSPC not a string":        replace(`"00606a000000"`, `606`),
		"FMSPC not hexadecimal":     replace(`00606a000000`, `00606g000000`),
		"no date":                   replace(`"2029-12-15T00:00:00Z"`, `"2029-12-15"`),
		"tcbType":                   replace(`"tcbType":0`, `"tcbType":1`),
		"evaluation not a number":   replace(`"tcbEvaluationDataNumber":17`, `"tcbEvaluationDataNumber":1.5`),
		"evaluation too high":       replace(`"tcbEvaluationDataNumber":17`, `"tcbEvaluationDataNumber":4294967296`),
		"negative PCESVN":           replace(`"pcesvn":13`, `"pcesvn":-1`),
		"PCESVN of 17 bits":         replace(`"pcesvn":13`, `"pcesvn":65536`),
		"no PCESVN":                 replace(`,"pcesvn":13`, ``),
		"component of 9 bits":       replace(`{"svn":5}`, `{"svn":256}`),
		"component without SVN":     replace(`{"svn":5}`, `{"category":"BIOS"}`),
		"15 components":             replace(`{"svn":5},`, ``),
		"17 components":             replace(`{"svn":5},`, `{"svn":5},{"svn":5},`),
		"status":                    replace(`"tcbStatus":"UpToDate"`, `"tcbStatus":"Fine"`),
		"no status":                 replace(`"tcbStatus":"ConfigurationNeeded",`, ``),
		"advisory not a string":     replace(`["INTEL-SA-00003"]`, `[3]`),
		"advisory with an escape":   replace(`["INTEL-SA-00003"]`, `["INTEL\u002dSA-00003"]`),
		"advisory not ASCII":        replace(`["INTEL-SA-00003"]`, `["INTEL–SA-00003"]`),
		"levels not an array":       replace(`"tcbLevels":[{"tcb":{"sgx`, `"tcbLevels":{},"other":[{"tcb":{"sgx`),
		"TDX without a module":      bytes.Replace(replace(`"id":"SGX"`, `"id":"TDX"`), []byte(`"tdxModule"`), []byte(`"noModule"`), 1),
		"TDX without components":    bytes.Replace(replace(`"id":"SGX"`, `"id":"TDX"`), []byte(`"tdxtcbcomponents"`), []byte(`"noComponents"`), 1),
		"too many members":          replace(`"tcbType":0`, `"tcbType":0`+members(40)),
	} {
		if info, err := dcap.ParseTCBInfo(doc); err == nil || info != nil {
			t.Errorf("%s: accepted", name)
		} else if !strings.HasPrefix(err.Error(), "dcap: TCB info: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func members(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"m` + strings.Repeat("m", i) + `":0`)
	}
	return b.String()
}

func TestStrictQEIdentity(t *testing.T) {
	if _, err := dcap.ParseQEIdentity(signedIdentity(identityJSON)); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{
		{`"version":2`, `"version":1`}, {`"id":"QE"`, `"id":"QVE"`}, {`"id":"QE"`, `"id":"SGX"`},
		{`"miscselect":"00000000"`, `"miscselect":"000000"`}, {`"attributesMask":"FB`, `"attributesMask":"`},
		{`"mrsigner":"8C`, `"mrsigner":"`}, {`"isvprodid":1`, `"isvprodid":65536`}, {`"isvprodid":1,`, ``},
		{`{"isvsvn":6}`, `{}`}, {`{"isvsvn":6}`, `6`}, {`"tcbStatus":"UpToDate"`, `"tcbStatus":null`},
	} {
		if _, err := dcap.ParseQEIdentity(signedIdentity(strings.Replace(identityJSON, c[0], c[1], 1))); err == nil {
			t.Errorf("%s instead of %s: accepted", c[1], c[0])
		}
	}
}

// TestRealDocuments reads every TCB info and QE identity there is, and compares
// with encoding/json.
func TestRealDocuments(t *testing.T) {
	folder := need.Vectors(t)
	for _, glob := range []string{"extracted/*tcbinfo.json", "more/*/*tcbinfo.json"} {
		for _, name := range must(filepath.Glob(filepath.Join(folder, glob))) {
			data := read(t, folder, must(filepath.Rel(folder, name)))
			info, err := dcap.ParseTCBInfo(data)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			var outer struct{ TCBInfo json.RawMessage }
			var inner struct {
				FMSPC, ID             string
				IssueDate, NextUpdate time.Time
				TCBLevels             []struct {
					TCB         struct{ SGXTCBComponents, TDXTCBComponents []struct{ SVN uint8 } }
					TCBStatus   string
					AdvisoryIDs []string
				}
			}
			if err := json.Unmarshal(data, &outer); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(outer.TCBInfo, &inner); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(info.Body, outer.TCBInfo) || info.ID != inner.ID || !info.IssueDate.Equal(inner.IssueDate) ||
				!info.NextUpdate.Equal(inner.NextUpdate) || len(info.Levels) != len(inner.TCBLevels) || len(info.Levels) == 0 {
				t.Errorf("%s: %+v", name, info.Document)
			}
			for i, l := range inner.TCBLevels {
				have := info.Levels[i]
				for j, c := range l.TCB.SGXTCBComponents {
					if have.SGX[j] != c.SVN || info.ID == dcap.IDTDX && have.TDX[j] != l.TCB.TDXTCBComponents[j].SVN {
						t.Errorf("%s: level %d component %d", name, i, j)
					}
				}
				if have.Status != l.TCBStatus || strings.Join(have.Advisories, " ") != strings.Join(l.AdvisoryIDs, " ") {
					t.Errorf("%s: level %d", name, i)
				}
			}
		}
	}
}

func TestRemember(t *testing.T) {
	m := pki.NewMemo(1 << 20)
	a, b := must(dcap.RememberTCBInfo(m, signedInfo(infoJSON))), must(dcap.RememberTCBInfo(m, signedInfo(infoJSON)))
	if a != b {
		t.Error("the same TCB info was parsed twice")
	}
	c, d := must(dcap.RememberQEIdentity(m, signedIdentity(identityJSON))), must(dcap.RememberQEIdentity(m, signedIdentity(identityJSON)))
	if c != d {
		t.Error("the same QE identity was parsed twice")
	}
}

func BenchmarkParseTCBInfo(b *testing.B) {
	data := read(b, need.Vectors(b), "extracted/i5-tcb.tcbinfo.json")
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := dcap.ParseTCBInfo(data); err != nil {
			b.Fatal(err)
		}
	}
}
