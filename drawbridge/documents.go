// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// User is the record of a user.
type User struct {
	Subject string `json:"subject"` // whose tokens may act for the user: sub of OpenID Connect
}

// ParseUser reads a user's record. As with upstream, subject is needed and
// nothing else may be there.
func ParseUser(data []byte) (User, error) {
	found, err := only(data, "subject")
	if err != nil {
		return User{}, err
	}
	subject, ok, err := text(found, "subject")
	if err == nil && !ok {
		err = errors.New("subject is missing")
	}
	return User{Subject: subject}, err
}

// Canonical returns the JSON that upstream hashes and sends.
func (u User) Canonical() []byte {
	return append(appendString([]byte(`{"subject":`), u.Subject), '}')
}

// Repository is the configuration of a repository.
type Repository struct {
	Public bool `json:"public"` // everybody may read its tags and trees
}

// ParseRepository reads a repository's configuration. As with upstream, public
// is needed and nothing else may be there.
func ParseRepository(data []byte) (Repository, error) {
	found, err := only(data, "public")
	if err != nil {
		return Repository{}, err
	}
	switch string(found["public"]) {
	case "true":
		return Repository{Public: true}, nil
	case "false":
		return Repository{}, nil
	}
	return Repository{}, errors.New("public is neither true nor false")
}

// Canonical returns the JSON that upstream hashes and sends.
func (r Repository) Canonical() []byte { return fmt.Appendf(nil, `{"public":%t}`, r.Public) }

// only reads an object that has the one name and no other.
func only(data []byte, name string) (map[string]json.RawMessage, error) {
	if err := checkJSON(data, MaxJSON); err != nil {
		return nil, err
	}
	found, err := members(data)
	if err != nil {
		return nil, err
	}
	for other := range found {
		if other != name {
			return nil, fmt.Errorf("unknown name %.80q, expected %s", other, name)
		}
	}
	return found, nil
}

// The documents below are extensions of ours.

// Deployment is what a host needs to know of a package before it starts it, at
// …/_tag/<tag>/deployment.
type Deployment struct {
	User            string   `json:"user"`
	Repository      string   `json:"repository"`
	Tag             string   `json:"tag"`
	Digest          string   `json:"digest"`                             // of the root node: sha256:hex, as in a pinned slug
	Digests         Digests  `json:"digests"`                            // of the root node, as declared
	Length          int64    `json:"length"`                             // of the root node
	Type            string   `json:"type"`                               // of the root node
	Steward         string   `json:"steward,omitempty"`                  // URL of the Steward that should certify the Keep
	Signed          bool     `json:"signed"`                             // the tag is a JWS
	Signers         []string `json:"signers,omitempty"`                  // thumbprints of the keys in the JWS whose signatures hold
	CertificateLife int64    `json:"certificate_life_seconds,omitempty"` // wanted for the Keep's certificate
	Yanked          string   `json:"yanked,omitempty"`                   // why, if it was
}

// TagInfo is a tag in a RepositoryInfo.
type TagInfo struct {
	Tag     string    `json:"tag"`
	Digest  string    `json:"digest"` // of the root node: sha256:hex
	Length  int64     `json:"length"` // of the root node
	Type    string    `json:"type"`   // of the root node
	Signed  bool      `json:"signed"`
	Yanked  bool      `json:"yanked"`
	Reason  string    `json:"reason,omitempty"` // of the yank
	Created time.Time `json:"created"`
}

// RepositoryInfo is a repository with its tags, yanked ones too, at …/_info.
type RepositoryInfo struct {
	User       string    `json:"user"`
	Repository string    `json:"repository"`
	Public     bool      `json:"public"`
	Tags       []TagInfo `json:"tags"`
}

// RepositorySummary is a repository in a list.
type RepositorySummary struct {
	User       string `json:"user"`
	Repository string `json:"repository"`
	Public     bool   `json:"public"`
	Latest     string `json:"latest,omitempty"` // the greatest tag that is not yanked
	Tags       int    `json:"tags"`             // not yanked
}

// RepositoryList is at /<user>/_repos and /_search. The next page starts after
// Next, if there is one.
type RepositoryList struct {
	Repositories []RepositorySummary `json:"repositories"`
	Next         string              `json:"next,omitempty"`
}

// Yank is why and when a tag was yanked, at …/_tag/<tag>/yank. A client sends
// the reason only.
type Yank struct {
	Reason string    `json:"reason"`
	Time   time.Time `json:"time,omitzero"`
	By     string    `json:"by,omitempty"`
}

// Whoami is what the server takes the caller for, at /_whoami.
type Whoami struct {
	Kind    string   `json:"kind"` // anonymous, oidc, userinfo, robot, deployment or attested
	Issuer  string   `json:"issuer,omitempty"`
	Subject string   `json:"subject,omitempty"`
	Scopes  []string `json:"scopes,omitempty"`
	Users   []string `json:"users,omitempty"` // the users whose subject it is
}

// Config is what a client should know of a server, at /_config.
type Config struct {
	Version    string   `json:"version"`             // of the HTTP interface
	Issuer     string   `json:"issuer,omitempty"`    // of OpenID Connect
	ClientID   string   `json:"client_id,omitempty"` // for the command line
	Audience   string   `json:"audience,omitempty"`
	Auth       []string `json:"auth"`               // jwt, userinfo
	Features   []string `json:"features,omitempty"` // nodes, upload, digest, search, yank, tokens, policy, range
	StrictTree bool     `json:"strict_tree"`
	MaxNode    int64    `json:"max_node,omitempty"`  // bytes; 0: no limit
	ChunkSize  int64    `json:"chunk_size,omitzero"` // bytes that one PATCH of an upload should have
}

// Token is a robot's or a deployment token, at …/_token. A client that makes
// one sends it without ID, Secret and the times but Expires.
type Token struct {
	ID         string    `json:"id,omitempty"`
	Kind       string    `json:"kind"` // robot or deployment
	Name       string    `json:"name,omitempty"`
	User       string    `json:"user,omitempty"`
	Repository string    `json:"repository,omitempty"` // "": a robot for all of the user's
	Actions    []string  `json:"actions,omitempty"`    // of a robot: read, publish, yank
	Tag        string    `json:"tag,omitempty"`        // of a deployment, or else Digest
	Digest     string    `json:"digest,omitempty"`     // sha256:hex
	Uses       int       `json:"uses,omitempty"`       // of a deployment; 0: any number
	Used       int       `json:"used,omitempty"`
	Created    time.Time `json:"created,omitzero"`
	Expires    time.Time `json:"expires,omitzero"`
	Secret     string    `json:"secret,omitempty"` // only in the answer to making it
}

// Policy is how a repository may be read by Keeps and who may sign its tags,
// at …/_policy.
type Policy struct {
	TEE              []string `json:"tee,omitempty"`               // allowed: snp, sgx, tdx; none: any
	MinimumTier      string   `json:"minimum_tier,omitempty"`      // appraisal: affirming (default) or warning
	AllowNoHardware  bool     `json:"allow_no_hardware,omitempty"` // Keeps without a TEE
	AllowDevelopment bool     `json:"allow_development,omitempty"` // certificates rooted in a development key
	CAs              []string `json:"cas,omitempty"`               // names of the Stewards' CAs; none: every configured one
	Signers          []string `json:"signers,omitempty"`           // public keys, PEM or JWK: a tag must be signed by one
	Steward          string   `json:"steward,omitempty"`           // for Deployment
	CertificateLife  int64    `json:"certificate_life_seconds,omitempty"`
}

// Missing is the answer to a list of Metas at …/_nodes: which of them, by index,
// the repository does not have.
type Missing struct {
	Missing []int `json:"missing"`
}

// Upload is an upload session, at …/_upload and …/_upload/<id>.
type Upload struct {
	ID     string `json:"id,omitempty"`
	Offset int64  `json:"offset"` // bytes that the server has for good
}
