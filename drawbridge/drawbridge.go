// SPDX-License-Identifier: Apache-2.0

// Package drawbridge holds what a Drawbridge and its clients must agree on:
// names, digests, listings, tags, signatures and the documents that are
// exchanged. A Drawbridge is a store of packages; a package is a tree of
// content-addressed nodes below a tag.
//
// The package is pure: it opens no file and no connection, so that a Keep can
// link it and check for itself what a store gave it. Everything it parses is
// taken to be hostile: capped, checked, then decoded. The wire format is that
// of the Rust implementation, versions 0.1 to 0.4; what it lacks is ours.
package drawbridge

import "strings"

const (
	// APIVersion is the newest version of the HTTP interface that we speak.
	APIVersion = "0.4.0"

	// Prefix is the start of every path that a client asks for. The oldest
	// version is named, as every server takes it.
	Prefix = "/api/v0.1.0"
)

// Limits on what is parsed. Those without a comment are ours.
const (
	MaxJSON       = 2 << 20 // bytes of a tag, a directory, a user or a repository: upstream's framework has the same
	MaxNode       = 1 << 62 // bytes of a node
	MaxName       = 255     // bytes of a user, repository, tag or entry: file systems have the same
	MaxDepth      = 64      // names in a path
	MaxMetas      = 5000    // entries in a list of Metas
	MaxSignatures = 16      // on one tag
	MaxSlug       = 512     // bytes of a slug
	maxEntry      = 64 << 10
	maxType       = 255
	maxHeader     = 4096
)

// The media types with a meaning of their own, as upstream names them.
const (
	TypeJSON      = "application/json"                             // users, repositories, lists
	TypeEntry     = "application/vnd.drawbridge.entry.v1+json"     // an unsigned tag
	TypeJOSE      = "application/jose+json"                        // a signed tag
	TypeDirectory = "application/vnd.drawbridge.directory.v1+json" // a directory node
	TypeWasm      = "application/wasm"                             // *.wasm
	TypeTOML      = "application/toml"                             // *.toml
	TypeBinary    = "application/octet-stream"                     // every other file
)

// TypeByName returns the media type that clients give to a file of this name.
// Upstream's clients decide by the extension, case-sensitively.
func TypeByName(name string) string {
	switch {
	case strings.HasSuffix(name, ".wasm") && name != ".wasm":
		return TypeWasm
	case strings.HasSuffix(name, ".toml") && name != ".toml":
		return TypeTOML
	}
	return TypeBinary
}
