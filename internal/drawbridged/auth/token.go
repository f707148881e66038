// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"enarx.dev/enarx/drawbridge"
)

// The texts of tokens are prefix_id_secret: the id is 10 random bytes, the
// secret 32 and a CRC-32 of all that is before it. The prefix lets scanners
// find leaked ones, the checksum lets us refuse what is none without asking the
// store.
const (
	robotPrefix      = "edb"
	deploymentPrefix = "edd"
	idSize           = 10
	secretSize       = 32
	tokenLen         = 3 + 1 + 16 + 1 + 58
)

// Limits on what tokens may say.
const (
	MaxTokenRecord = 16 << 10 // bytes of a stored record
	maxTokenName   = 100      // runes
	maxTokenLife   = 10 * 365 * 24 * time.Hour
	maxTokenUses   = 10_000
)

// Actions of robot tokens.
var robotActions = []string{"read", "publish", "yank"}

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Token is the record of a robot or deployment token. It does not hold the
// secret.
type Token struct {
	drawbridge.Token
	Hash string `json:"hash"` // SHA-256 of the secret, in hexadecimal
	By   string `json:"by"`   // ID of the principal that made it
}

// NewToken returns a token as it is asked for by a client that may make one,
// and its text, which nobody can find out later. Errors are about the request.
func NewToken(ask drawbridge.Token, by Principal, now time.Time) (t *Token, text string, err error) {
	t = &Token{Token: ask, By: by.ID()}
	t.Secret, t.Used, t.Created = "", 0, now.UTC().Truncate(time.Second)
	if err := t.check(now); err != nil {
		return nil, "", err
	}
	id, secret := make([]byte, idSize), make([]byte, secretSize, secretSize+4)
	rand.Read(id)
	rand.Read(secret)
	prefix := robotPrefix
	if t.Kind == string(Deployment) {
		prefix = deploymentPrefix
	}
	t.ID = base32Lower.EncodeToString(id)
	t.Hash = hashOf(secret)
	head := prefix + "_" + t.ID + "_"
	return t, head + base32Lower.EncodeToString(checksummed(head, secret)), nil
}

// checksummed returns secret with the CRC-32 of head and secret.
func checksummed(head string, secret []byte) []byte {
	sum := crc32.ChecksumIEEE(append([]byte(head), secret...))
	return binary.BigEndian.AppendUint32(slices.Clip(secret), sum)
}

func hashOf(secret []byte) string {
	sum := sha256.Sum256(secret)
	return hex.EncodeToString(sum[:])
}

// check is for requests and for what the store gave back.
func (t *Token) check(now time.Time) error {
	if err := drawbridge.CheckUser(t.User); err != nil {
		return err
	}
	if t.Repository != "" {
		if err := drawbridge.CheckRepository(t.Repository); err != nil {
			return err
		}
	}
	control := func(r rune) bool { return unicode.IsControl(r) }
	switch {
	case len([]rune(t.Name)) > maxTokenName || strings.ContainsFunc(t.Name, control):
		return fmt.Errorf("the token's name has more than %d characters, or control characters", maxTokenName)
	case t.Expires.IsZero():
		return errors.New("a token must expire")
	case !t.Expires.After(now):
		return errors.New("the token would have expired already")
	case t.Expires.Sub(now) > maxTokenLife:
		return errors.New("a token lives for at most ten years")
	}
	switch Kind(t.Kind) {
	case Robot:
		return t.checkRobot()
	case Deployment:
		return t.checkDeployment()
	}
	return fmt.Errorf("a token is of the kind robot or deployment, not %.32q", t.Kind)
}

func (t *Token) checkRobot() error {
	if len(t.Actions) == 0 {
		return errors.New("a robot token needs at least one action of read, publish, yank")
	}
	for i, action := range t.Actions {
		if !slices.Contains(robotActions, action) || slices.Contains(t.Actions[:i], action) {
			return fmt.Errorf("robot actions are read, publish and yank, once each, not %.32q", action)
		}
	}
	if t.Tag != "" || t.Digest != "" || t.Uses != 0 {
		return errors.New("a robot token has no tag, digest or number of uses: those are for deployment tokens")
	}
	return nil
}

func (t *Token) checkDeployment() error {
	switch {
	case t.Repository == "":
		return errors.New("a deployment token needs a repository")
	case len(t.Actions) != 0:
		return errors.New("a deployment token has no actions: it opens the deployment metadata of its package")
	case t.Tag == "" && t.Digest == "":
		return errors.New("a deployment token needs a tag, a digest or both")
	case t.Uses < 0 || t.Uses > maxTokenUses:
		return fmt.Errorf("a deployment token has 1 to %d uses, or 0 for any number", maxTokenUses)
	}
	if t.Tag != "" {
		if err := drawbridge.CheckTag(t.Tag); err != nil {
			return err
		}
	}
	if t.Digest != "" {
		if _, err := drawbridge.ParsePin(t.Digest); err != nil {
			return err
		}
	}
	return nil
}

// Record returns what to store under the token's ID.
func (t *Token) Record() ([]byte, error) { return json.Marshal(t) }

// ParseToken reads what Record made. Tokens that have expired are read too.
func ParseToken(record []byte) (*Token, error) {
	if len(record) > MaxTokenRecord {
		return nil, fmt.Errorf("record of a token of %d bytes, more than %d", len(record), MaxTokenRecord)
	}
	t := new(Token)
	dec := json.NewDecoder(bytes.NewReader(record))
	dec.DisallowUnknownFields()
	if err := dec.Decode(t); err != nil {
		return nil, fmt.Errorf("record of a token: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("record of a token: data after it")
	}
	if err := t.check(t.Created); err != nil {
		return nil, fmt.Errorf("record of a token: %w", err)
	}
	if len(t.ID) != 16 || len(t.Hash) != 64 || t.Secret != "" {
		return nil, errors.New("record of a token: no id, no hash, or a secret")
	}
	return t, nil
}

// Public returns what the owner may see of t, with the count of uses.
func (t *Token) Public(used int) drawbridge.Token {
	public := t.Token
	public.Used = used
	return public
}

// ours reports whether text looks like a token of ours, by its prefix.
func ours(text string) bool {
	return strings.HasPrefix(text, robotPrefix+"_") || strings.HasPrefix(text, deploymentPrefix+"_")
}

var errToken = errors.New("not a token of ours")

// parseText takes a token's text apart.
func parseText(text string) (kind Kind, id string, secret []byte, err error) {
	if len(text) != tokenLen || !ours(text) || text[20] != '_' {
		return "", "", nil, errToken
	}
	kind = Robot
	if text[:3] == deploymentPrefix {
		kind = Deployment
	}
	id = text[4:20]
	raw, err := base32Lower.DecodeString(text[21:])
	rawID, err2 := base32Lower.DecodeString(id)
	if err != nil || err2 != nil || len(raw) != secretSize+4 || len(rawID) != idSize {
		return "", "", nil, errToken
	}
	secret = raw[:secretSize:secretSize]
	// The last character has bits to spare: one text for one token.
	if head := text[:21]; head+base32Lower.EncodeToString(checksummed(head, secret)) != text {
		return "", "", nil, errToken
	}
	return kind, id, secret, nil
}

// proves reports whether secret is the token's.
func (t *Token) proves(secret []byte) bool {
	return subtle.ConstantTimeCompare([]byte(hashOf(secret)), []byte(t.Hash)) == 1
}

// opens reports whether a deployment token is for r. The answer to others is
// the same whether r exists or not. What is read by its digest has any number
// of tags, so there only the digest counts.
func (t *Token) opens(r Resource) *Denied {
	ok := t.User == r.User && t.Repository == r.Repo && r.Exists && r.Root != [32]byte{}
	if t.Digest != "" {
		ok = ok && t.Digest == drawbridge.Pin(r.Root)
	}
	if t.Tag != "" {
		ok = ok && t.Tag == r.Tag
	}
	if !ok {
		return forbidden("deployment", "The deployment token is not for this package")
	}
	return nil
}
