// SPDX-License-Identifier: Apache-2.0

// Package version holds the one version number that all programs of this
// module share. Signature files name it (upstream rejects any other), so it
// is a constant and not a build flag.
package version

// Version is the semantic version of this release. Upstream stopped at 0.7.1.
const Version = "0.8.0"
