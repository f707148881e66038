// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Slug is how people name what is in a Drawbridge: a user, a repository or a
// package, on a host or on the default one.
type Slug struct {
	Host       string // host[:port] in lower case, "" if not said
	User       string
	Repository string   // "" for a user
	Tag        string   // "" for a user or repository, and for a package named by its digest alone
	Pinned     bool     // Digest is set
	Digest     [32]byte // SHA-256 of the package's root node
}

// ParseUserSlug reads [host[:port]/]user.
func ParseUserSlug(s string) (Slug, error) {
	var slug Slug
	if err := slug.parseUser(s); err != nil {
		return Slug{}, fmt.Errorf("%q is not [host/]user: %w", s, err)
	}
	return slug, nil
}

// ParseRepositorySlug reads [host[:port]/]user/repository.
func ParseRepositorySlug(s string) (Slug, error) {
	var slug Slug
	if err := slug.parseRepository(s); err != nil {
		return Slug{}, fmt.Errorf("%q is not [host/]user/repository: %w", s, err)
	}
	return slug, nil
}

// ParseSlug reads a package, [host[:port]/]user/repository[:tag][@sha256:hex].
// The tag or the digest is needed, and both may be there: the digest says what
// the root of the package must be.
func ParseSlug(s string) (Slug, error) {
	slug, err := parsePackage(s)
	if err != nil {
		return Slug{}, fmt.Errorf("%.80q is not [host/]user/repository:tag[@sha256:digest]: %w", s, err)
	}
	return slug, nil
}

func parsePackage(s string) (Slug, error) {
	var slug Slug
	rest, pin, pinned := strings.Cut(s, "@")
	if pinned {
		digest, err := ParsePin(pin)
		if err != nil {
			return slug, err
		}
		slug.Pinned, slug.Digest = true, digest
	}
	// The host may have a colon too, so the tag's is looked for behind the
	// last slash.
	slash := strings.LastIndexByte(rest, '/')
	if slash < 0 {
		return slug, errors.New("no repository")
	}
	name, tag, tagged := strings.Cut(rest[slash:], ":")
	if tagged {
		if err := CheckTag(tag); err != nil {
			return slug, err
		}
		slug.Tag = tag
	} else if !pinned {
		return slug, errors.New("neither a tag nor a digest")
	}
	return slug, slug.parseRepository(rest[:slash] + name)
}

func (s *Slug) parseRepository(text string) error {
	slash := strings.LastIndexByte(text, '/')
	if slash < 0 {
		return errors.New("no repository")
	}
	s.Repository = text[slash+1:]
	if err := CheckRepository(s.Repository); err != nil {
		return err
	}
	return s.parseUser(text[:slash])
}

func (s *Slug) parseUser(text string) error {
	if len(text) > MaxSlug {
		return fmt.Errorf("more than %d bytes", MaxSlug)
	}
	s.User = text
	if slash := strings.LastIndexByte(text, '/'); slash >= 0 {
		host, err := ParseHost(text[:slash])
		if err != nil {
			return err
		}
		s.Host, s.User = host, text[slash+1:]
	}
	return CheckUser(s.User)
}

// ParseHost reads host[:port], a DNS name or an IPv4 address, and returns it in
// lower case: the form that the certificate of a Keep can say.
func ParseHost(s string) (string, error) {
	s = strings.ToLower(s)
	name, port, hasPort := strings.Cut(s, ":")
	hostByte := func(c byte) bool { return digit(c) || 'a' <= c && c <= 'z' || c == '-' || c == '.' }
	switch {
	case strings.Contains(s, "://"):
		return "", fmt.Errorf("bad host %q: it is no URL, leave out %s", s, s[:strings.Index(s, "://")+3])
	case !each(name, hostByte), len(name) > MaxName, strings.HasPrefix(name, "."),
		strings.HasSuffix(name, "."), strings.Contains(name, ".."):
		return "", fmt.Errorf("bad host %q", s)
	case hasPort && (len(port) > 5 || !each(port, digit)):
		return "", fmt.Errorf("bad port in host %q", s)
	}
	return s, nil
}

// ParsePin reads sha256: and 64 hexadecimal digits in lower case.
func ParsePin(s string) (digest [32]byte, err error) {
	text, ok := strings.CutPrefix(s, "sha256:")
	b, err := hex.DecodeString(text)
	if !ok || err != nil || len(b) != len(digest) || strings.ToLower(text) != text {
		return digest, fmt.Errorf("digest %.80q is not sha256: and 64 hexadecimal digits", s)
	}
	return [32]byte(b), nil
}

// Pin returns the text that ParsePin reads.
func Pin(digest [32]byte) string { return "sha256:" + hex.EncodeToString(digest[:]) }

// String returns the slug as it is parsed.
func (s Slug) String() string {
	text := s.Name()
	if s.Host != "" {
		text = s.Host + "/" + text
	}
	if s.Pinned {
		text += "@" + Pin(s.Digest)
	}
	return text
}

// Name returns user[/repository[:tag]], without the host and the digest. It is
// what a signature on a tag is about.
func (s Slug) Name() string {
	text := s.User
	if s.Repository != "" {
		text += "/" + s.Repository
	}
	if s.Tag != "" {
		text += ":" + s.Tag
	}
	return text
}

// URLPath returns the path of the slug's resource below a host, with Prefix: of
// the tag if there is one, else of the digest, the repository or the user.
// The names need no escaping.
func (s Slug) URLPath() string {
	path := Prefix + "/" + s.User
	if s.Repository != "" {
		path += "/" + s.Repository
	}
	switch {
	case s.Tag != "":
		path += "/_tag/" + s.Tag
	case s.Pinned:
		path += "/_digest/" + hex.EncodeToString(s.Digest[:])
	}
	return path
}

// NodePath returns the path of a node of the package below a host. With a tag
// it is tree or tree/path, else, by an extension of ours, the path below the
// digest of the root.
func (s Slug) NodePath(p Path) string {
	path := s.URLPath()
	if s.Tag != "" {
		path += "/tree"
	}
	if len(p) > 0 {
		path += "/" + p.String()
	}
	return path
}
