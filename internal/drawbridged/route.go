// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"enarx.dev/enarx/drawbridge"
)

// An endpoint is what a path names. Its text is the route's class in metrics
// and logs.
type endpoint string

// The endpoints; the first eight are upstream's, spec/drawbridge.md 1.1.
const (
	epHealth endpoint = "health"
	epSlash  endpoint = "health-slash"
	epUser   endpoint = "user"
	epRepo   endpoint = "repo"
	epTags   endpoint = "tags"
	epTag    endpoint = "tag"
	epTree   endpoint = "tree"

	epConfig     endpoint = "config"
	epWhoami     endpoint = "whoami"
	epSearch     endpoint = "search"
	epRepos      endpoint = "repos"
	epUserTokens endpoint = "user-tokens"
	epUserToken  endpoint = "user-token"
	epInfo       endpoint = "info"
	epDigest     endpoint = "digest"
	epNodes      endpoint = "nodes"
	epNode       endpoint = "node"
	epUploads    endpoint = "uploads"
	epUpload     endpoint = "upload"
	epPolicy     endpoint = "policy"
	epTokens     endpoint = "tokens"
	epToken      endpoint = "token"
	epDeployment endpoint = "deployment"
	epYank       endpoint = "yank"

	epSite endpoint = "site" // whatever is neither the API nor /health
)

// A route is a parsed path: every name in it has passed its check.
type route struct {
	endpoint endpoint
	user     string
	repo     string
	tag      string
	path     drawbridge.Path
	digest   [32]byte // sha-256 of a root
	id       string   // of a token or an upload
}

// maxID bounds the names that we gave ourselves; the store knows which exist.
const maxID = 64

var errNoRoute = &failure{status: http.StatusNotFound, text: "Route not found", kind: "route"}

func badPath(err error) *failure {
	return &failure{status: http.StatusBadRequest, text: "Failed to parse path: " + err.Error(), kind: "path"}
}

// rawPath is the path as it was sent: nothing decoded, nothing cleaned.
func rawPath(r *http.Request) string {
	if !strings.HasPrefix(r.RequestURI, "/") {
		return r.URL.EscapedPath() // absolute form, or a request that was not received
	}
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return path
}

// parseRoute reads a raw path in the order of spec/drawbridge.md 1.1.
func parseRoute(raw string) (route, *failure) {
	switch raw {
	case "/health":
		return route{endpoint: epHealth}, nil
	case "/health/":
		return route{endpoint: epSlash}, nil
	}
	rest, ok := strings.CutPrefix(strings.TrimLeft(raw, "/"), "api")
	if !ok {
		return route{endpoint: epSite}, nil
	}
	rest, ok = strings.CutPrefix(strings.TrimLeft(rest, "/"), "v")
	if !ok {
		return route{}, errNoRoute
	}
	version, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return route{}, errNoRoute
	}
	if err := checkVersion(version); err != nil {
		return route{}, err
	}
	rest = strings.TrimLeft(rest, "/")
	if rest == "" {
		return route{}, errNoRoute
	}
	switch rest {
	case "_config":
		return route{endpoint: epConfig}, nil
	case "_whoami":
		return route{endpoint: epWhoami}, nil
	case "_search":
		return route{endpoint: epSearch}, nil
	}
	left, right, found := strings.Cut(rest, "/_")
	if found {
		right = "_" + right
	}
	return parseOwned(left, right)
}

// checkVersion is spec/drawbridge.md 1.2 for a server of version 0.4: anything
// older is served, any patch of it, and nothing newer.
func checkVersion(text string) *failure {
	if err := drawbridge.CheckTag(text); err != nil {
		return &failure{status: http.StatusBadRequest, text: "Failed to parse SemVer version from path: " + err.Error(), kind: "path"}
	}
	major, rest, _ := strings.Cut(text, ".")
	minor, _, _ := strings.Cut(rest, ".")
	n, err := strconv.ParseUint(minor, 10, 64)
	if major != "0" || err != nil || n > 4 {
		return &failure{status: http.StatusNotImplemented, text: "Unsupported API version", kind: "version"}
	}
	return nil
}

// parseOwned reads user[/repo] and the sub-resource after it.
func parseOwned(left, right string) (route, *failure) {
	user, repo, _ := strings.Cut(left, "/")
	if err := drawbridge.CheckUser(user); err != nil {
		return route{}, badPath(err)
	}
	rt := route{endpoint: epUser, user: user}
	if repo == "" {
		return rt.ofUser(right), nil
	}
	if err := drawbridge.CheckRepository(repo); err != nil {
		return route{}, badPath(err)
	}
	rt.endpoint, rt.repo = epRepo, repo
	if right == "" {
		return rt, nil
	}
	return rt.ofRepo(right)
}

// ofUser is the route below a user. Upstream ignores whatever stands there.
func (rt route) ofUser(right string) route {
	name, id, sub := strings.Cut(right, "/")
	switch {
	case right == "_repos":
		rt.endpoint = epRepos
	case right == "_token":
		rt.endpoint = epUserTokens
	case sub && name == "_token" && checkID(id):
		rt.endpoint, rt.id = epUserToken, id
	}
	return rt
}

// ofRepo is the route below a repository.
func (rt route) ofRepo(right string) (route, *failure) {
	name, rest, sub := strings.Cut(right, "/")
	lone := map[string]endpoint{
		"_tag": epTags, "_info": epInfo, "_nodes": epNodes, "_node": epNode,
		"_upload": epUploads, "_policy": epPolicy, "_token": epTokens,
	}
	ep, known := lone[name]
	switch {
	case known && !sub:
		rt.endpoint = ep
		return rt, nil
	case name == "_tag" && sub:
		return rt.ofTag(rest)
	case name == "_digest" && sub:
		return rt.ofDigest(rest)
	case name == "_upload" && sub && checkID(rest):
		rt.endpoint, rt.id = epUpload, rest
		return rt, nil
	case name == "_token" && sub && checkID(rest):
		rt.endpoint, rt.id = epToken, rest
		return rt, nil
	}
	return route{}, errNoRoute
}

// ofTag reads what comes after "_tag/".
func (rt route) ofTag(rest string) (route, *failure) {
	tag, rest, sub := strings.Cut(rest, "/")
	name, path, _ := strings.Cut(rest, "/")
	switch {
	case !sub:
		rt.endpoint = epTag
	case name == "tree":
		rt.endpoint = epTree
	case rest == "deployment":
		rt.endpoint = epDeployment
	case rest == "yank":
		rt.endpoint = epYank
	default:
		return route{}, errNoRoute
	}
	if err := drawbridge.CheckTag(tag); err != nil {
		return route{}, badPath(err)
	}
	rt.tag = tag
	if rt.endpoint != epTree {
		return rt, nil
	}
	return rt.at(path)
}

// ofDigest reads what comes after "_digest/".
func (rt route) ofDigest(rest string) (route, *failure) {
	digest, path, _ := strings.Cut(rest, "/")
	rt.endpoint = epDigest
	if len(digest) != 2*len(rt.digest) || strings.ToLower(digest) != digest {
		return route{}, errNoRoute
	}
	if _, err := hex.Decode(rt.digest[:], []byte(digest)); err != nil {
		return route{}, errNoRoute
	}
	return rt.at(path)
}

func (rt route) at(path string) (route, *failure) {
	p, err := drawbridge.ParsePath(path)
	if err != nil {
		return route{}, badPath(err)
	}
	rt.path = p
	return rt, nil
}

// checkID reports whether s can be an identifier that we gave.
func checkID(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return true
}
