// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path"
	"strings"
	"time"
)

// CorpusSeed and CorpusTime are what the published conformance corpus is made of.
const CorpusSeed = "enarx conformance corpus 1"

// CorpusTime is when most of the corpus's cases are to be judged.
var CorpusTime = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// A Case is a Mutant as the corpus's index has it: file names in the place of
// bytes. testdata/conformance/README.md says what each member means.
type Case struct {
	Name       string   `json:"name"`
	Base       string   `json:"base,omitempty"`
	Change     string   `json:"change"`
	Kind       string   `json:"kind"`
	Input      string   `json:"input"`
	ReportData string   `json:"report_data,omitempty"`
	Collateral []string `json:"collateral,omitempty"`
	Roots      string   `json:"roots"`
	Time       string   `json:"time"`
	Policy     string   `json:"policy,omitempty"`
	Verdict    string   `json:"verdict"`
	Code       string   `json:"code,omitempty"`
	Also       []string `json:"also,omitempty"`
	More       bool     `json:"more,omitempty"`
}

// Corpus returns the files of the conformance corpus by name: index.json, and
// below files/ what it refers to, each named by its contents.
func Corpus() map[string][]byte {
	all := corpus{}
	var index bytes.Buffer
	index.WriteString("{\n\"version\": 1,\n\"cases\": [\n")
	first := true
	for m := range Mutants(New(CorpusSeed, CorpusTime)) {
		if !first {
			index.WriteString(",\n")
		}
		first = false
		line, err := json.Marshal(all.add(m))
		if err != nil {
			panic("attesttest: bug: " + err.Error())
		}
		index.Write(line)
	}
	index.WriteString("\n]\n}\n")
	all["index.json"] = index.Bytes()
	return all
}

// corpus is the files so far.
type corpus map[string][]byte

func (c corpus) add(m Mutant) Case {
	kinds := map[string]string{KindRequest: ".csr", KindSNP: ".report", KindSGX: ".quote", KindTDX: ".quote"}
	k := Case{
		Name: m.Name, Base: m.Base, Change: m.Change, Kind: m.Kind, Input: c.file(m.Input, kinds[m.Kind]),
		ReportData: hex.EncodeToString(m.ReportData), Time: m.Time.UTC().Format(time.RFC3339),
		Verdict: "refuse", Code: m.Code, Also: m.Also, More: m.Loose,
	}
	if m.Accepted {
		k.Verdict = "accept"
	}
	if m.Policy != "" {
		k.Policy = c.file([]byte(m.Policy), ".toml")
	}
	for _, p := range m.Collateral {
		k.Collateral = append(k.Collateral, c.file(p.Data, path.Ext(p.Name)))
	}
	var roots [][]byte
	for _, p := range m.Roots {
		roots = append(roots, p.Data)
	}
	k.Roots = c.file(PEM(roots...), ".pem")
	return k
}

// file adds a file, unless it is there, and returns its name.
func (c corpus) file(data []byte, extension string) string {
	sum := sha256.Sum256(data)
	name := "files/" + strings.ToLower(hex.EncodeToString(sum[:8])) + extension
	c[name] = data
	return name
}
