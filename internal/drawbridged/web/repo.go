// SPDX-License-Identifier: Apache-2.0

package web

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
)

const (
	pageTags      = 50
	maxCandidates = 50 // for what is newest
	parallel      = 8  // things of one page that the store is asked for at once
)

// A tagRow is a tag as pages show it.
type tagRow struct {
	Tag     string
	URL     string
	Slug    string
	Digest  string // sha-256 of the root, hex
	Short   string
	Size    string
	Created stamp
	State   string // signed, unsigned, yanked, …
	Class   string // of the state, for its colour
	Yanked  bool
	Reason  string // why it was yanked
}

// readable is about for what the visitor may see; for all else, whether it is
// there or not, it returns errMissing.
func (v *visit) readable(at place) (auth.Resource, error) {
	about, err := v.about(at)
	if err != nil {
		return about, err
	}
	if !about.Exists || auth.Decide(v.as, auth.ListTags, about) != nil {
		return about, errMissing
	}
	return about, nil
}

// repository is the page of a repository.
func (v *visit) repository(at place) error {
	about, err := v.readable(at)
	if err != nil {
		return err
	}
	rules, err := v.policy(at)
	if err != nil {
		return err
	}
	names, err := v.cfg.Store.TagNames(v.ctx, at.User, at.Repo)
	if err != nil {
		return err
	}
	slices.Reverse(names) // newest version first
	page, pages := v.paged(len(names), pageTags, at.repoURL(), "Pages of tags")
	budget := newBudget(pageDirectories)
	rows, err := v.rows(at, names[page*pageTags:min(len(names), (page+1)*pageTags)], rules, budget)
	if err != nil {
		return err
	}
	body := struct {
		User, Repo, Slug string
		Public, Own      bool
		Total            int
		TotalText        string
		Newest           *tagRow
		Tags             []tagRow
		Pages            pager
		Config           *configuration
		Signers          []string
		Policy           []string
	}{
		User: at.User, Repo: at.Repo, Slug: v.cfg.Host + "/" + at.User + "/" + at.Repo, Public: about.Public, Own: v.owns(about),
		Total: len(names), TotalText: count(len(names), "tag", "tags"), Tags: rows, Pages: pages,
		Signers: thumbprints(rules), Policy: describePolicy(rules, about.Public),
	}
	if body.Newest, err = v.newest(at, names, rules, budget); err != nil {
		return err
	}
	if body.Newest != nil {
		at.Tag = body.Newest.Tag
		if body.Config, err = v.config(at); err != nil {
			return err
		}
	}
	return v.show(http.StatusOK, "repo", at.User+"/"+at.Repo, body)
}

// rows describes tags, several at a time: a store may be far away. A tag that
// is not there any more is left out.
func (v *visit) rows(at place, names []store.TagName, rules *auth.Policy, b *budget) ([]tagRow, error) {
	rows := make([]tagRow, len(names))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, name := range names {
		group.Go(func() error {
			at := at
			at.Tag = name.Name
			tag, err := v.cfg.Store.GetTag(v.ctx, at.User, at.Repo, at.Tag)
			if err == nil {
				rows[i], err = v.row(at, tag, rules, b)
			}
			return unless(err, store.ErrNotFound)
		})
	}
	err := group.Wait()
	return slices.DeleteFunc(rows, func(r tagRow) bool { return r.Tag == "" }), err
}

// newest returns the tag that people mean when they name none: the greatest
// that is not yanked and whose signature is as the policy wants it, and not a
// pre-release if there is any other. names are in descending order. nil is none.
func (v *visit) newest(at place, names []store.TagName, rules *auth.Policy, b *budget) (*tagRow, error) {
	var releases, others []string
	for _, n := range names {
		core, _, _ := strings.Cut(n.Name, "+")
		switch {
		case n.Yanked:
		case strings.Contains(core, "-"):
			others = append(others, n.Name)
		default:
			releases = append(releases, n.Name)
		}
	}
	all := append(releases, others...)
	for _, at.Tag = range all[:min(len(all), maxCandidates)] {
		tag, err := v.cfg.Store.GetTag(v.ctx, at.User, at.Repo, at.Tag)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if row, err := v.row(at, tag, rules, b); err != nil || row.Class != "bad" {
			return &row, err
		}
	}
	return nil, nil
}

// policy returns the policy of a repository, nil for the default.
func (v *visit) policy(at place) (*auth.Policy, error) {
	raw, err := v.cfg.Store.Policy(v.ctx, at.User, at.Repo)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return auth.ParsePolicy(raw)
}

// row describes a tag.
func (v *visit) row(at place, tag store.TagInfo, rules *auth.Policy, b *budget) (tagRow, error) {
	root, err := v.root(at, tag)
	if err != nil {
		return tagRow{}, err
	}
	row := tagRow{
		Tag: at.Tag, URL: at.tagURL(), Slug: at.slug(v.cfg.Host), Digest: fmt.Sprintf("%x", root), Short: short(root),
		Size: v.total(at, tag, b).String(), Created: stamp{tag.Created},
	}
	row.State, row.Class = signature(tag.Tag, at, rules)
	if tag.Yank != nil {
		row.Yanked, row.Reason, row.State, row.Class = true, tag.Yank.Reason, "yanked", "bad"
	}
	return row, nil
}

// root is the digest that a tag is known by, whatever it declares itself.
func (v *visit) root(at place, tag store.TagInfo) ([32]byte, error) {
	if sum, ok := tag.Tag.Entry.Digests.SHA256(); ok {
		return sum, nil
	}
	node, err := v.cfg.Store.Node(v.ctx, at.User, at.Repo, at.Tag, nil)
	return node.Blob, err
}

// signature puts into words what the signature on a tag is worth.
func signature(tag drawbridge.Tag, at place, rules *auth.Policy) (words, class string) {
	name := at.User + "/" + at.Repo + ":" + at.Tag
	if !tag.Signed() {
		if len(thumbprints(rules)) > 0 {
			return "unsigned, against the policy", "bad"
		}
		return "unsigned", ""
	}
	if _, err := drawbridge.NewSigners(tag.SelfSigned()...).Verify(tag, name); err != nil {
		return "signature does not hold", "bad"
	}
	if rules.CheckSigned(tag, name) != nil {
		return "signed by a foreign key", "bad"
	}
	return "signed", "good"
}

// thumbprints are those of the keys that a policy wants tags signed with.
func thumbprints(rules *auth.Policy) []string {
	if rules == nil {
		return nil
	}
	var all []string
	for _, text := range rules.Signers {
		if key, err := drawbridge.ParsePublicKey([]byte(text)); err == nil {
			all = append(all, key.Thumbprint())
		}
	}
	return all
}

var teeNames = map[string]string{"snp": "AMD SEV-SNP", "sgx": "Intel SGX", "tdx": "Intel TDX"}

// describePolicy puts into words which Keeps may read the repository.
func describePolicy(rules *auth.Policy, public bool) []string {
	if public {
		return []string{"The repository is public: whoever asks may read it, attested or not."}
	}
	if rules == nil {
		rules = &auth.Policy{}
	}
	tees := "any hardware TEE"
	if len(rules.TEE) > 0 {
		var names []string
		for _, tee := range rules.TEE {
			names = append(names, teeNames[tee])
		}
		tees = strings.Join(names, " or ")
	}
	all := []string{"A Keep in " + tees + " may read the package that its certificate names, and nothing else."}
	if rules.MinimumTier == auth.Warning {
		all = append(all, "An appraisal with warnings is enough.")
	} else {
		all = append(all, "Its appraisal must be affirming.")
	}
	if len(rules.CAs) > 0 {
		all = append(all, "Its certificate must be from "+strings.Join(rules.CAs, " or ")+".")
	} else {
		all = append(all, "Its certificate may be from any Steward that this Drawbridge trusts.")
	}
	if rules.AllowNoHardware {
		all = append(all, "Keeps without hardware protection are let in too.")
	}
	if rules.AllowDevelopment {
		all = append(all, "Certificates rooted in development keys are accepted.")
	}
	if life := rules.Life(); life > 0 {
		all = append(all, "Certificates should live for "+lifetime(life)+".")
	}
	if rules.Steward != "" {
		all = append(all, "Keeps are to attest to "+rules.Steward+".")
	}
	return all
}

// lifetime writes a duration in the largest unit that divides it.
func lifetime(d time.Duration) string {
	units := []struct {
		of        time.Duration
		one, many string
	}{{24 * time.Hour, "day", "days"}, {time.Hour, "hour", "hours"}, {time.Minute, "minute", "minutes"}}
	for _, u := range units {
		if d >= u.of && d%u.of == 0 {
			return count(int(d/u.of), u.one, u.many)
		}
	}
	return count(int(d/time.Second), "second", "seconds")
}
