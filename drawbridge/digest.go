// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Algorithm is a hash function, by its name in Content-Digest.
type Algorithm string

// The four algorithms of upstream. Of these, RFC 9530 has SHA256 and SHA512.
const (
	SHA224 Algorithm = "sha-224"
	SHA256 Algorithm = "sha-256"
	SHA384 Algorithm = "sha-384"
	SHA512 Algorithm = "sha-512"
)

// algorithms is the order in which they are always written.
var algorithms = [...]Algorithm{SHA224, SHA256, SHA384, SHA512}

// All returns the four algorithms in their order. Clients declare all of them.
func All() []Algorithm { return algorithms[:len(algorithms):len(algorithms)] }

// Size returns the bytes of a digest, 0 for an unknown algorithm.
func (a Algorithm) Size() int {
	switch a {
	case SHA224:
		return 28
	case SHA256:
		return 32
	case SHA384:
		return 48
	case SHA512:
		return 64
	}
	return 0
}

// Digests is the digests of one content, at most one per algorithm. Two are
// equal, by == too, if they have the same algorithms and all digests match:
// one that matches never excuses another.
type Digests struct {
	has    [len(algorithms)]bool
	sha224 [28]byte
	sha256 [32]byte
	sha384 [48]byte
	sha512 [64]byte
}

// slot returns where the digest of an algorithm is kept.
func (d *Digests) slot(a Algorithm) (has *bool, sum []byte) {
	switch a {
	case SHA224:
		return &d.has[0], d.sha224[:]
	case SHA256:
		return &d.has[1], d.sha256[:]
	case SHA384:
		return &d.has[2], d.sha384[:]
	case SHA512:
		return &d.has[3], d.sha512[:]
	}
	return nil, nil
}

// Set stores the digest for one algorithm, in place of an older one. It fails
// for an unknown algorithm and for a digest of the wrong size.
func (d *Digests) Set(a Algorithm, sum []byte) error {
	has, to := d.slot(a)
	switch {
	case has == nil:
		return fmt.Errorf("unknown digest algorithm %q", a)
	case len(sum) != len(to):
		return fmt.Errorf("%s digest of %d bytes, not %d", a, len(sum), len(to))
	}
	*has = true
	copy(to, sum)
	return nil
}

// Get returns the digest for an algorithm, and whether there is one.
func (d Digests) Get(a Algorithm) ([]byte, bool) {
	if has, sum := d.slot(a); has != nil && *has {
		return sum, true
	}
	return nil, false
}

// Has reports whether there is a digest for the algorithm.
func (d Digests) Has(a Algorithm) bool {
	_, ok := d.Get(a)
	return ok
}

// Len returns how many algorithms there are.
func (d Digests) Len() int { return len(d.Algorithms()) }

// Algorithms returns those that d has, in the fixed order.
func (d Digests) Algorithms() []Algorithm {
	var have []Algorithm
	for i, a := range algorithms {
		if d.has[i] {
			have = append(have, a)
		}
	}
	return have
}

// Equal reports whether d and e have the same algorithms and digests.
func (d Digests) Equal(e Digests) bool { return d == e }

// SHA256 returns the SHA-256 digest, and whether there is one.
func (d Digests) SHA256() ([32]byte, bool) { return d.sha256, d.has[1] }

// Header returns the value of Content-Digest: no spaces, in the fixed order.
// It is "" for no digest.
func (d Digests) Header() string {
	var b strings.Builder
	for _, a := range d.Algorithms() {
		sum, _ := d.Get(a)
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(string(a) + "=:" + base64.StdEncoding.EncodeToString(sum) + ":")
	}
	return b.String()
}

// ParseDigestHeader reads the values of one or more Content-Digest or
// Repr-Digest lines. As upstream does, it lets the later digest of an algorithm
// win and ignores the case of its name; as RFC 9530 says, it takes spaces
// around commas and ignores algorithms it does not know, if one remains.
func ParseDigestHeader(values ...string) (Digests, error) {
	var d Digests
	total := 0
	for _, value := range values {
		if total += len(value); total > maxHeader {
			return Digests{}, fmt.Errorf("content digest of more than %d bytes", maxHeader)
		}
		for member := range strings.SplitSeq(value, ",") {
			if err := d.parseMember(strings.Trim(member, " \t")); err != nil {
				return Digests{}, err
			}
		}
	}
	if d == (Digests{}) {
		return Digests{}, errors.New("content digest without a known algorithm")
	}
	return d, nil
}

var errMember = errors.New(`content digest is not "algorithm=:base64:"`)

func (d *Digests) parseMember(member string) error {
	name, value, ok := strings.Cut(member, "=")
	if !ok || len(value) < 2 || value[0] != ':' || value[len(value)-1] != ':' {
		return fmt.Errorf("%w: %.80q", errMember, member)
	}
	a := Algorithm(strings.ToLower(name))
	if a.Size() == 0 {
		if !each(name, token) {
			return fmt.Errorf("%w: %.80q", errMember, member)
		}
		if _, err := decodeBase64(base64.StdEncoding, value[1:len(value)-1]); err != nil {
			return fmt.Errorf("content digest %.80q: %w", member, err)
		}
		return nil
	}
	return d.setBase64(a, value[1:len(value)-1])
}

func (d *Digests) setBase64(a Algorithm, s string) error {
	sum, err := decodeBase64(base64.StdEncoding, s)
	if err != nil {
		return fmt.Errorf("%s digest: %w", a, err)
	}
	return d.Set(a, sum)
}

// decodeBase64 takes the one spelling that encoding gives back: Go's decoder
// also skips line breaks and, unless strict, ignores spare bits.
func decodeBase64(e *base64.Encoding, s string) ([]byte, error) {
	b, err := e.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("bad base64")
	}
	return b, nil
}

// MarshalJSON returns an object from algorithm to base64 with padding, in the
// fixed order.
func (d Digests) MarshalJSON() ([]byte, error) { return d.appendJSON(nil), nil }

func (d Digests) appendJSON(b []byte) []byte {
	b = append(b, '{')
	for i, a := range d.Algorithms() {
		sum, _ := d.Get(a)
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `"`+string(a)+`":"`...)
		b = base64.StdEncoding.AppendEncode(b, sum)
		b = append(b, '"')
	}
	return append(b, '}')
}

// UnmarshalJSON reads what MarshalJSON writes, in any order. An unknown or
// repeated algorithm is an error, and so is an empty set: it would match
// every content.
func (d *Digests) UnmarshalJSON(data []byte) error {
	if err := checkJSON(data, maxEntry); err != nil {
		return err
	}
	return d.parseJSON(data)
}

func (d *Digests) parseJSON(data []byte) error {
	found, err := members(data)
	if err != nil {
		return fmt.Errorf("digest: %w", err)
	}
	var read Digests
	for name, value := range found {
		var s string
		if err := json.Unmarshal(value, &s); err != nil || value[0] != '"' {
			return fmt.Errorf("digest: %.40q is not base64 in a string", name)
		}
		if err := read.setBase64(Algorithm(name), s); err != nil {
			return err
		}
	}
	if read == (Digests{}) {
		return errors.New("digest: no algorithm")
	}
	*d = read
	return nil
}
