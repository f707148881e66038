// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// The keys of the bucket. Names in them are encoded by encodeName. Below a
// repository there are no folders but n, p, t, o and s, so that a bucket that is
// a directory never has folders to remove.
//
//	blobs/<aa>/<sha256>                       content
//	u/<user>/user                             user record
//	u/<user>/k/<token>                        that the token is the user's
//	u/<user>/r/<repo>/repo                    repository record
//	u/<user>/r/<repo>/policy                  the one object that is replaced
//	u/<user>/r/<repo>/n/<node>                node record; <node> is <meta>.<length>.<blob>
//	u/<user>/r/<repo>/n/<node>.<time>         it was acknowledged again
//	u/<user>/r/<repo>/p/<tag>.<id>.<time>     pending tag
//	u/<user>/r/<repo>/t/<tag>.tag             committed tag
//	u/<user>/r/<repo>/t/<tag>.yank            that it is yanked
//	u/<user>/r/<repo>/o/<id>.<path>           node that its directory does not list
//	u/<user>/r/<repo>/s/<upload>.info         upload session
//	u/<user>/r/<repo>/s/<upload>.<offset>     part of it
//	k/<token>.token                           token
//	k/<token>.use.<n>                         that it was used
//	sub/<issuer and subject>                  whose subject it is
//	gc/blobs/<time>-<nonce>                   marker: blobs that are condemned
//	gc/r/<user>/<repo>/<time>-<nonce>         marker: node records and orphans that are
//	gc/settings                               what all servers agree on
//	gc/probe/<time>-<nonce>                   left by a start that was cut off
//
// <meta> is drawbridge.Meta.Key, <id> is tagID, and times are nanoseconds since
// 1970 in 16 hexadecimal digits.

// maxEncoded is the longest encoded name. Keys must fit names of 255 bytes in
// a directory, with what is added to them.
const maxEncoded = 100

// encodeName makes a name fit for a key. Some file systems take A and a for
// the same, so capitals are written ^a. Long names are replaced by their hash:
// the record below tells the name.
func encodeName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; 'A' <= c && c <= 'Z' {
			b.WriteByte('^')
			b.WriteByte(c + 'a' - 'A')
		} else {
			b.WriteByte(c)
		}
	}
	if b.Len() > maxEncoded {
		return "~" + hexSum([]byte(name))
	}
	return b.String()
}

// decodeName undoes encodeName, and refuses what no user, repository, tag or
// token is called. A name that was replaced by its hash comes back as "" and
// true.
func decodeName(s string) (string, bool) {
	if rest, ok := strings.CutPrefix(s, "~"); ok {
		_, ok := parseSum(rest)
		return "", ok
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '^' && i+1 < len(s) && 'a' <= s[i+1] && s[i+1] <= 'z':
			i++
			c = s[i] - 'a' + 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '+', c == '.' && i > 0:
		default:
			return "", false
		}
		b.WriteByte(c)
	}
	name := b.String()
	return name, name != "" && encodeName(name) == s
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// parseSum reads 64 lower-case hexadecimal digits.
func parseSum(s string) (sum [32]byte, ok bool) {
	if len(s) != 64 || strings.ToLower(s) != s {
		return sum, false
	}
	_, err := hex.Decode(sum[:], []byte(s))
	return sum, err == nil
}

// randomID returns 128 random bits in hexadecimal digits.
func randomID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// hexNumber writes n so that the order of keys is that of numbers.
func hexNumber(n int64) string { return fmt.Sprintf("%016x", uint64(n)) }

func parseHexNumber(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 16, 63)
	return int64(n), err == nil && hexNumber(int64(n)) == s
}

func blobKey(sum [32]byte) string {
	s := hex.EncodeToString(sum[:])
	return "blobs/" + s[:2] + "/" + s
}

func userPrefix(user string) string       { return "u/" + encodeName(user) + "/" }
func userKey(user string) string          { return userPrefix(user) + "user" }
func repoPrefix(user, repo string) string { return userPrefix(user) + "r/" + encodeName(repo) + "/" }
func repoKey(user, repo string) string    { return repoPrefix(user, repo) + "repo" }
func policyKey(user, repo string) string  { return repoPrefix(user, repo) + "policy" }
func tagKey(user, repo, tag string) string {
	return repoPrefix(user, repo) + "t/" + encodeName(tag) + ".tag"
}
func yankKey(user, repo, tag string) string {
	return repoPrefix(user, repo) + "t/" + encodeName(tag) + ".yank"
}
func pendingPrefix(user, repo, tag string) string {
	return repoPrefix(user, repo) + "p/" + encodeName(tag) + "."
}
func orphanPrefix(user, repo string, id [32]byte) string {
	return repoPrefix(user, repo) + "o/" + hex.EncodeToString(id[:]) + "."
}
func orphanKey(user, repo string, id [32]byte, path drawbridge.Path) string {
	return orphanPrefix(user, repo, id) + hexSum([]byte(path.String()))
}
func uploadPrefix(user, repo, id string) string { return repoPrefix(user, repo) + "s/" + id + "." }
func tokenKey(id string) string                 { return "k/" + encodeName(id) + ".token" }
func useKey(id string, n int) string            { return fmt.Sprintf("k/%s.use.%d", encodeName(id), n) }
func userTokenKey(user, id string) string       { return userPrefix(user) + "k/" + encodeName(id) }
func subjectKey(issuer, subject string) string {
	length := binary.BigEndian.AppendUint64(nil, uint64(len(issuer))) // so that no two pairs read the same
	return "sub/" + hexSum(append(length, issuer+subject...))
}

const (
	blobMarkers  = "gc/blobs/"
	probeMarkers = "gc/probe/" // of Store.probe
	settingsKey  = "gc/settings"
)

func repoMarkers(user, repo string) string {
	return "gc/r/" + encodeName(user) + "/" + encodeName(repo) + "/"
}

// tagID names a pending tag: the same bytes under another name, or declared
// otherwise, are another one.
func tagID(tag string, o Object) [32]byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(tag), o.Meta.Canonical(), o.Body} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	return [32]byte(h.Sum(nil))
}

// nodeID is what a node record says, and its name.
type nodeID struct {
	meta   [32]byte // drawbridge.Meta.Key
	length int64
	blob   [32]byte
}

func (n nodeID) String() string {
	return hex.EncodeToString(n.meta[:]) + "." + strconv.FormatInt(n.length, 10) + "." + hex.EncodeToString(n.blob[:])
}

func nodeKey(user, repo string, n nodeID) string { return repoPrefix(user, repo) + "n/" + n.String() }
func nodePrefix(user, repo string, meta [32]byte) string {
	return repoPrefix(user, repo) + "n/" + hex.EncodeToString(meta[:]) + "."
}

// parseNode reads the name of a node record. at is zero, or for the name of a
// refreshing object, when it was made.
func parseNode(s string) (n nodeID, at time.Time, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 && len(parts) != 4 {
		return n, at, false
	}
	meta, ok1 := parseSum(parts[0])
	length, err := strconv.ParseInt(parts[1], 10, 64)
	blob, ok2 := parseSum(parts[2])
	n = nodeID{meta, length, blob}
	if !ok1 || !ok2 || err != nil || length < 0 || strconv.FormatInt(length, 10) != parts[1] {
		return nodeID{}, at, false
	}
	if len(parts) == 4 {
		nanos, ok := parseHexNumber(parts[3])
		return n, time.Unix(0, nanos), ok
	}
	return n, at, true
}

// A kind is what is below a key.
type kind string

const (
	kindBlob      kind = "blob"
	kindUser      kind = "user"
	kindUserToken kind = "user token"
	kindRepo      kind = "repository"
	kindPolicy    kind = "policy"
	kindNode      kind = "node"
	kindRefresh   kind = "refresh"
	kindPending   kind = "pending tag"
	kindTag       kind = "tag"
	kindYank      kind = "yank"
	kindOrphan    kind = "orphan"
	kindUpload    kind = "upload"
	kindPart      kind = "part"
	kindToken     kind = "token"
	kindUse       kind = "use"
	kindSubject   kind = "subject"
	kindMarker    kind = "marker"
	kindSettings  kind = "settings"
)

// A location is a key taken apart. Names are as encoded; what the kind does
// not have is zero.
type location struct {
	kind             kind
	user, repo, name string    // name: of the tag, upload or token
	node             nodeID    // of a node, and of a refresh
	sum              [32]byte  // of a blob or subject; the tag's id of pending tags and orphans
	path             [32]byte  // hash of an orphan's
	number           int64     // offset of a part, number of a use
	at               time.Time // of a pending tag, refresh or marker
}

// parseKey takes a key apart, and reports whether it is one of ours.
func parseKey(key string) (location, bool) {
	parts := strings.Split(key, "/")
	var l location
	ok := false
	switch {
	case len(parts) == 3 && parts[0] == "blobs":
		l.kind = kindBlob
		l.sum, ok = parseSum(parts[2])
		ok = ok && parts[1] == parts[2][:2]
	case len(parts) >= 3 && parts[0] == "u":
		l.user = parts[1]
		l, ok = parseUserKey(l, parts[2:])
		ok = ok && isName(l.user)
	case len(parts) == 2 && parts[0] == "k":
		l, ok = parseTokenKey(parts[1])
	case len(parts) == 2 && parts[0] == "sub":
		l.kind = kindSubject
		l.sum, ok = parseSum(parts[1])
	case key == settingsKey:
		l.kind, ok = kindSettings, true
	case len(parts) == 3 && parts[0] == "gc" && (parts[1] == "blobs" || parts[1] == "probe"):
		l.kind = kindMarker
		l.at, l.name, ok = parseMarker(parts[2])
	case len(parts) == 5 && parts[0] == "gc" && parts[1] == "r":
		l.kind, l.user, l.repo = kindMarker, parts[2], parts[3]
		l.at, l.name, ok = parseMarker(parts[4])
		ok = ok && isName(l.user) && isName(l.repo)
	}
	return l, ok
}

func isName(encoded string) bool {
	_, ok := decodeName(encoded)
	return ok
}

func parseUserKey(l location, parts []string) (location, bool) {
	switch {
	case len(parts) == 1 && parts[0] == "user":
		l.kind = kindUser
		return l, true
	case len(parts) == 2 && parts[0] == "k":
		l.kind, l.name = kindUserToken, parts[1]
		return l, isName(l.name)
	case len(parts) < 3 || parts[0] != "r" || !isName(parts[1]):
		return l, false
	}
	l.repo = parts[1]
	switch rest := parts[2:]; {
	case len(rest) == 1 && rest[0] == "repo":
		l.kind = kindRepo
		return l, true
	case len(rest) == 1 && rest[0] == "policy":
		l.kind = kindPolicy
		return l, true
	case len(rest) == 2:
		return parseRepoKey(l, rest[0], rest[1])
	}
	return l, false
}

// parseRepoKey takes the name of an object in one of a repository's folders
// apart.
func parseRepoKey(l location, folder, name string) (location, bool) {
	ok := false
	switch folder {
	case "n":
		l.kind = kindNode
		if l.node, l.at, ok = parseNode(name); !l.at.IsZero() {
			l.kind = kindRefresh
		}
	case "p":
		l.kind = kindPending
		rest, nanos, _ := cutLast(name)
		encoded, id, _ := cutLast(rest)
		var n int64
		if n, ok = parseHexNumber(nanos); ok {
			l.name, l.at = encoded, time.Unix(0, n)
			l.sum, ok = parseSum(id)
		}
		ok = ok && isName(l.name)
	case "t":
		encoded, what, _ := cutLast(name)
		l.kind, l.name = kindTag, encoded
		if what == "yank" {
			l.kind = kindYank
		}
		ok = isName(encoded) && (what == "tag" || what == "yank")
	case "o":
		l.kind = kindOrphan
		id, path, _ := strings.Cut(name, ".")
		if l.sum, ok = parseSum(id); ok {
			l.path, ok = parseSum(path)
		}
	case "s":
		l.kind = kindUpload
		id, part, _ := strings.Cut(name, ".")
		l.name = id
		if ok = part == "info"; !ok {
			l.kind = kindPart
			l.number, ok = parseHexNumber(part)
		}
		ok = ok && isUploadID(id)
	}
	return l, ok
}

func parseTokenKey(name string) (location, bool) {
	id, what, _ := strings.Cut(name, ".")
	l := location{kind: kindToken, name: id}
	ok := what == "token"
	if number, isUse := strings.CutPrefix(what, "use."); isUse {
		n, err := strconv.Atoi(number)
		l.kind, l.number = kindUse, int64(n)
		ok = err == nil && n >= 0 && strconv.Itoa(n) == number
	}
	return l, ok && isName(id)
}

func parseMarker(name string) (at time.Time, nonce string, ok bool) {
	nanos, nonce, _ := strings.Cut(name, "-")
	n, ok := parseHexNumber(nanos)
	return time.Unix(0, n), nonce, ok && isUploadID(nonce)
}

// isUploadID reports whether s is of the form of randomID.
func isUploadID(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 16 && strings.ToLower(s) == s
}

// cutLast cuts around the last dot: tags have dots too.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
