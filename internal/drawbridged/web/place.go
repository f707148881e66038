// SPDX-License-Identifier: Apache-2.0

package web

import (
	"strings"

	"enarx.dev/enarx/drawbridge"
)

// A place is what a page is about. Its names are checked.
type place struct {
	User, Repo, Tag string
	Path            drawbridge.Path
}

// userURL is the page of a user. Names that the server takes for the API's or
// for /health are reached another way.
func userURL(user string) string {
	if strings.HasPrefix(user, "api") || user == "health" {
		return "/-/u/" + user
	}
	return "/" + user
}

func repoURL(user, repo string) string { return userURL(user) + "/" + repo }

func (p place) repoURL() string { return repoURL(p.User, p.Repo) }

func (p place) tagURL() string { return p.repoURL() + "/" + p.Tag }

func (p place) treeURL() string { return p.below("tree") }

func (p place) fileURL() string { return p.below("file") }

func (p place) below(what string) string {
	url := p.tagURL() + "/" + what
	if len(p.Path) > 0 {
		url += "/" + p.Path.String()
	}
	return url
}

// apiURL is the resource of the API below the tag.
func (p place) apiURL(what string) string {
	return drawbridge.Prefix + "/" + p.User + "/" + p.Repo + "/_tag/" + p.Tag + "/" + what
}

// child is the place one name below.
func (p place) child(name string) place {
	p.Path = p.Path.Child(name)
	return p
}

// slug is what enarx calls the tag.
func (p place) slug(host string) string { return host + "/" + p.User + "/" + p.Repo + ":" + p.Tag }
