// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// The URIs that a certificate may say about a Keep.
const (
	workloadURI = "ni:///sha-256;" // + the workload digest, base64url: RFC 6920
	slugURI     = "enarx:"         // + host[:port]/user/repo:tag: where the host said the workload is
	logURI      = "urn:enarx:log:" // + none, host or encrypted: who can read the workload's output
	maxURIs     = 8
)

// Names is what the URIs of a certificate say.
type Names struct {
	Workload []byte // the SHA-256 of the package's root, nil if not said
	Slug     string // host[:port]/user/repo:tag
	Log      string // "none", "host" or "encrypted"
}

// WorkloadURI returns the URI for a workload digest.
func WorkloadURI(digest [32]byte) string {
	return workloadURI + base64.RawURLEncoding.EncodeToString(digest[:])
}

// SlugURI returns the URI for a slug with a host, host[:port]/user/repo:tag.
func SlugURI(slug string) string { return slugURI + slug }

// LogURI returns the URI for a log policy: "none", "host" or "encrypted".
func LogURI(policy string) string { return logURI + policy }

// ParseURIs reads the URIs of a request or certificate. Each kind may be there
// once, in the one form that is the same for everybody; others are refused, so
// that a certificate never says what nobody checked.
func ParseURIs(uris []string) (Names, error) {
	var n Names
	if len(uris) > maxURIs {
		return n, fmt.Errorf("%d URIs, more than %d", len(uris), maxURIs)
	}
	for _, uri := range uris {
		if err := n.add(uri); err != nil {
			return Names{}, fmt.Errorf("%.128q: %w", uri, err)
		}
	}
	return n, nil
}

func (n *Names) add(uri string) error {
	if rest, ok := strings.CutPrefix(uri, workloadURI); ok {
		digest, err := base64.RawURLEncoding.Strict().DecodeString(rest)
		switch {
		case err != nil || len(digest) != 32 || strings.ContainsAny(rest, "\r\n"):
			return errors.New("not the base64url of a SHA-256 digest without padding")
		case n.Workload != nil:
			return errors.New("a second workload digest")
		}
		n.Workload = digest
		return nil
	}
	if slug, ok := strings.CutPrefix(uri, slugURI); ok {
		if n.Slug != "" {
			return errors.New("a second slug")
		}
		n.Slug = slug
		return checkSlug(slug)
	}
	if policy, ok := strings.CutPrefix(uri, logURI); ok {
		if n.Log != "" {
			return errors.New("a second log policy")
		}
		if policy != "none" && policy != "host" && policy != "encrypted" {
			return errors.New("a log policy is none, host or encrypted")
		}
		n.Log = policy
		return nil
	}
	return errors.New("not a URI that a Steward vouches for: ni:///sha-256;…, enarx:… or urn:enarx:log:…")
}

const maxSlug = 512

// checkSlug requires host[:port]/user/repo:tag, spec/drawbridge.md section 1.
func checkSlug(slug string) error {
	const form = "a slug is host[:port]/user/repo:tag"
	host, rest, ok := strings.Cut(slug, "/")
	user, rest, ok2 := strings.Cut(rest, "/")
	repo, tag, ok3 := strings.Cut(rest, ":")
	if !ok || !ok2 || !ok3 || len(slug) > maxSlug {
		return errors.New(form)
	}
	name, port, hasPort := strings.Cut(host, ":")
	switch {
	case !each(name, hostRune), strings.HasPrefix(name, "."), strings.HasSuffix(name, "."), strings.Contains(name, ".."):
		return errors.New(form + ": bad host")
	case hasPort && (len(port) > 5 || !each(port, digit)):
		return errors.New(form + ": bad port")
	case !each(user, alphanumeric), !each(repo, func(r rune) bool { return alphanumeric(r) || r == '-' }):
		return errors.New(form + ": bad user or repository")
	}
	return checkTag(tag)
}

// checkTag requires a version as semver.org 2.0.0 has it.
func checkTag(tag string) error {
	bad := errors.New("a tag is a version like 1.2.3 or 1.2.3-rc.1+build")
	rest, build, hasBuild := strings.Cut(tag, "+")
	core, pre, hasPre := strings.Cut(rest, "-")
	numbers := strings.Split(core, ".")
	if len(numbers) != 3 {
		return bad
	}
	for _, n := range numbers {
		if !each(n, digit) || len(n) > 1 && n[0] == '0' || len(n) > 20 {
			return bad
		}
	}
	identifiers := func(s string, numbersPlain bool) bool {
		for id := range strings.SplitSeq(s, ".") {
			if !each(id, func(r rune) bool { return alphanumeric(r) || r == '-' }) ||
				numbersPlain && len(id) > 1 && id[0] == '0' && each(id, digit) {
				return false
			}
		}
		return true
	}
	if hasPre && !identifiers(pre, true) || hasBuild && !identifiers(build, false) {
		return bad
	}
	return nil
}

// each reports whether s is not empty and of such runes only.
func each(s string, ok func(rune) bool) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0
}

func digit(r rune) bool        { return '0' <= r && r <= '9' }
func alphanumeric(r rune) bool { return digit(r) || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }
func hostRune(r rune) bool     { return digit(r) || 'a' <= r && r <= 'z' || r == '-' || r == '.' }
