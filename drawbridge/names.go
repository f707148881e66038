// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"errors"
	"fmt"
	"strings"
)

func digit(c byte) bool        { return '0' <= c && c <= '9' }
func alphanumeric(c byte) bool { return digit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func repositoryByte(c byte) bool {
	return alphanumeric(c) || c == '-'
}

func entryByte(c byte) bool {
	return alphanumeric(c) || c == '-' || c == '_' || c == '.' || c == ':'
}

// each reports whether s is not empty and of such bytes only.
func each(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return s != ""
}

func checkName(kind, s, allowed string, ok func(byte) bool) error {
	switch {
	case s == "":
		return fmt.Errorf("empty %s name", kind)
	case len(s) > MaxName:
		return fmt.Errorf("%s name of %d bytes, more than %d", kind, len(s), MaxName)
	case !each(s, ok):
		return fmt.Errorf("%s name %q: only %s may be used", kind, s, allowed)
	}
	return nil
}

// CheckUser returns an error unless s can be a user's name: digits and ASCII
// letters, at most MaxName.
func CheckUser(s string) error {
	return checkName("user", s, "letters and digits", alphanumeric)
}

// CheckRepository returns an error unless s can be a repository's name:
// digits, ASCII letters and dashes, at most MaxName.
func CheckRepository(s string) error {
	return checkName("repository", s, "letters, digits and -", repositoryByte)
}

// CheckName returns an error unless s can be the name of an entry in a
// directory. Upstream takes "." and ".." too, which mean something else as
// soon as anybody writes the tree to a disk.
func CheckName(s string) error {
	if s == "." || s == ".." {
		return fmt.Errorf("entry name %q is not a name", s)
	}
	return checkName("entry", s, "letters, digits and - _ . :", entryByte)
}

// Path is the place of a node below the root of a tree: checked names, none
// for the root itself.
type Path []string

// ParsePath reads names joined by slashes. Slashes in front are dropped, all
// of them: a Keep that was given a URL with a slash at its end asks for
// tree//main.wasm. One at the end is dropped too.
func ParsePath(s string) (Path, error) {
	s = strings.TrimLeft(s, "/")
	s = strings.TrimSuffix(s, "/")
	if s == "" {
		return nil, nil
	}
	if strings.Count(s, "/") >= MaxDepth {
		return nil, fmt.Errorf("path of more than %d names", MaxDepth)
	}
	names := strings.Split(s, "/")
	for _, name := range names {
		if name == "" {
			return nil, errors.New("path with an empty name")
		}
		if err := CheckName(name); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// String returns the names joined by slashes, "" for the root.
func (p Path) String() string { return strings.Join(p, "/") }

// Child returns the path of name below p, in memory of its own.
func (p Path) Child(name string) Path {
	return append(append(make(Path, 0, len(p)+1), p...), name)
}

// ParseType reads a media type, type/subtype with or without parameters. Type
// and subtype come back in lower case, as upstream has them; parameters as
// they were written.
func ParseType(s string) (string, error) {
	s = strings.Trim(s, " \t")
	if len(s) > maxType {
		return "", fmt.Errorf("media type of %d bytes, more than %d", len(s), maxType)
	}
	essence, parameters, _ := strings.Cut(s, ";")
	main, sub, ok := strings.Cut(strings.TrimRight(essence, " \t"), "/")
	visible := func(c byte) bool { return ' ' <= c && c <= '~' }
	if !ok || !each(main, token) || !each(sub, token) || parameters != "" && !each(parameters, visible) {
		return "", fmt.Errorf("media type %q is not type/subtype", s)
	}
	return strings.ToLower(essence) + s[len(essence):], nil
}

// token is a byte of a token, RFC 9110 section 5.6.2.
func token(c byte) bool {
	return alphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
