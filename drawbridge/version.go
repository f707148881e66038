// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Version is a version of semver.org 2.0.0, without a v. Tags are versions, and
// the HTTP interface has one.
type Version struct {
	Major, Minor, Patch uint64
	Pre, Build          string // what follows - and +, "" if nothing does
}

// ParseVersion reads major.minor.patch[-pre][+build]. Nothing may be left out
// but pre and build, numbers have no zeros in front and fit 64 bits.
func ParseVersion(s string) (Version, error) {
	var v Version
	if len(s) > MaxName {
		return v, fmt.Errorf("version of %d bytes, more than %d", len(s), MaxName)
	}
	rest, build, hasBuild := strings.Cut(s, "+")
	core, pre, hasPre := strings.Cut(rest, "-")
	numbers := strings.Split(core, ".")
	ok := len(numbers) == 3 &&
		(!hasPre || identifiers(pre, true)) && (!hasBuild || identifiers(build, false))
	for i, to := range []*uint64{&v.Major, &v.Minor, &v.Patch} {
		ok = ok && number(numbers[i], to)
	}
	if !ok {
		return Version{}, fmt.Errorf("%q is not a version like 1.2.3 or 1.2.3-rc.1+build", s)
	}
	v.Pre, v.Build = pre, build
	return v, nil
}

func number(s string, to *uint64) (ok bool) {
	if !each(s, digit) || len(s) > 1 && s[0] == '0' {
		return false
	}
	var err error
	*to, err = strconv.ParseUint(s, 10, 64)
	return err == nil
}

// identifiers reports whether s is identifiers joined by dots. In a
// pre-release, those of digits only are numbers and have no zeros in front.
func identifiers(s string, numbers bool) bool {
	for id := range strings.SplitSeq(s, ".") {
		if !each(id, repositoryByte) || numbers && len(id) > 1 && id[0] == '0' && each(id, digit) {
			return false
		}
	}
	return true
}

// String returns the version as ParseVersion reads it.
func (v Version) String() string {
	s := fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
	if v.Pre != "" {
		s += "-" + v.Pre
	}
	if v.Build != "" {
		s += "+" + v.Build
	}
	return s
}

// Compare returns -1, 0 or 1 by the precedence of semver.org section 11, which
// ignores Build.
func (v Version) Compare(w Version) int {
	return cmp.Or(
		cmp.Compare(v.Major, w.Major),
		cmp.Compare(v.Minor, w.Minor),
		cmp.Compare(v.Patch, w.Patch),
		comparePre(v.Pre, w.Pre))
}

func comparePre(a, b string) int {
	if a == "" || b == "" {
		return cmp.Compare(len(b), len(a)) // a pre-release comes before its release
	}
	for a != "" && b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		xNumber, yNumber := each(x, digit), each(y, digit)
		c := strings.Compare(x, y)
		switch {
		case xNumber && yNumber: // of any length, without zeros in front
			c = cmp.Or(cmp.Compare(len(x), len(y)), c)
		case xNumber:
			c = -1
		case yNumber:
			c = 1
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// CheckTag returns an error unless s can be a tag: a version of semver.org
// 2.0.0, at most MaxName bytes.
func CheckTag(s string) error {
	_, err := ParseVersion(s)
	if err != nil {
		return fmt.Errorf("tag %w", err)
	}
	return nil
}

// CompareTags orders tags: by precedence, then by their text, so that two that
// differ in the build alone have an order too. What is no version comes first.
func CompareTags(a, b string) int {
	v, errA := ParseVersion(a)
	w, errB := ParseVersion(b)
	switch {
	case errA == nil && errB == nil:
		return cmp.Or(v.Compare(w), strings.Compare(a, b))
	case errA == nil:
		return 1
	case errB == nil:
		return -1
	}
	return strings.Compare(a, b)
}
