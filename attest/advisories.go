// SPDX-License-Identifier: Apache-2.0

package attest

import (
	_ "embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/snp"
)

//go:embed advisories.toml
var advisoriesFile []byte

// An Advisory is something known to be wrong with silicon. The comments in
// advisories.toml say what its fields mean.
type Advisory struct {
	ID           string                      `toml:"id"`
	Date         string                      `toml:"date"`
	Title        string                      `toml:"title"`
	URL          string                      `toml:"url"`
	Kind         string                      `toml:"kind"` // "broken" or "advice"
	Technologies []Technology                `toml:"technologies"`
	Products     []string                    `toml:"products"` // product lines of SNP; nil: all
	FMSPCs       []string                    `toml:"fmspcs"`   // of SGX and TDX; nil: all
	Without      []string                    `toml:"without"`
	Below        map[string]map[string]uint8 `toml:"below"`
	Words        string                      `toml:"words"`

	code    string
	without snp.PlatformInfo
	what    string
}

// table is the advisories of this release.
type table struct {
	Updated    string     `toml:"updated"`
	Advisories []Advisory `toml:"advisory"`
	source     string
}

var advisories = sync.OnceValue(func() *table {
	t := &table{}
	if err := toml.NewDecoder(strings.NewReader(string(advisoriesFile))).DisallowUnknownFields().Decode(t); err != nil {
		panic(fmt.Sprintf("attest: bug: advisories.toml: %v", err))
	}
	t.source = "advisories.toml of " + t.Updated
	for i := range t.Advisories {
		a := &t.Advisories[i]
		a.code = "advisory." + strings.ToLower(a.ID)
		a.what = "does not apply: " + a.Title
		if a.Kind == "advice" {
			a.what = a.Title
		}
		for _, name := range a.Without {
			a.without |= platformBits[name]
		}
	}
	return t
})

// Advisories returns the table of this release and its date, like "2026-11-20".
func Advisories() ([]Advisory, string) {
	t := advisories()
	return slices.Clone(t.Advisories), t.Updated
}

// applies reports whether the platform of cl is one that a is about.
func (a *Advisory) applies(cl *Claims) bool {
	if !slices.Contains(a.Technologies, cl.Technology) {
		return false
	}
	switch {
	case cl.SNP != nil:
		return a.appliesSNP(cl.SNP)
	case cl.SGX != nil:
		return a.FMSPCs == nil || cl.SGX.PCK != nil && a.hasFMSPC(cl.SGX.PCK.FMSPC[:])
	case cl.TDX != nil:
		return a.FMSPCs == nil || cl.TDX.PCK != nil && a.hasFMSPC(cl.TDX.PCK.FMSPC[:])
	}
	return false
}

func (a *Advisory) hasFMSPC(fmspc []byte) bool {
	return slices.ContainsFunc(a.FMSPCs, func(s string) bool { return strings.EqualFold(s, hex.EncodeToString(fmspc)) })
}

func (a *Advisory) appliesSNP(cl *snp.Claims) bool {
	if a.Products != nil && !slices.Contains(a.Products, cl.Product) {
		return false
	}
	if a.without != 0 && cl.Report.PlatformInfo&a.without != a.without {
		return true
	}
	for name, level := range a.Below[cl.Product] {
		if found, ok := cl.ReportedTCB().Component(name); ok && found < level {
			return true
		}
	}
	return a.without == 0 && a.Below == nil
}

// advisories records those that apply, and refuses the platform if the policy
// wants that.
func (a *appraisal) advisories() {
	t := advisories()
	refuse := a.p.RefuseKnownBroken
	for i := range t.Advisories {
		adv := &t.Advisories[i]
		if !adv.applies(a.cl) {
			continue
		}
		c := check.Check{Code: adv.code, What: adv.what, Found: check.Text(adv.Title), Source: t.source, Fix: adv.Words}
		switch {
		case adv.Kind != "broken":
			c.Found = nil
			a.g.Note(c)
		case refuse:
			a.r.Broken = append(a.r.Broken, adv.ID)
			c.Source += ", " + adv.URL + ", by " + a.p.source("refuse_known_broken")
			a.g.Fail(c)
		default:
			a.r.Broken = append(a.r.Broken, adv.ID)
			c.What, c.Found = adv.Title, nil
			a.g.Note(c)
		}
	}
	if refuse && a.r.Broken == nil && a.cl.Technology != None {
		a.g.Require(true, check.Check{Code: "advisory.broken", What: "no advisory says that this silicon is broken", Source: t.source})
	}
}
