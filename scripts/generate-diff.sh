#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fails when `go generate ./...` changes a file: generated files are committed,
# so what a reviewer read must be what the generator writes.
set -euo pipefail
cd "$(dirname "$0")/.."

# Compares states of the tree, not the tree with a commit, so that it can be
# run with work in progress.
state() {
	git ls-files -z --cached --others --exclude-standard |
		while IFS= read -r -d '' f; do
			if [ -f "$f" ]; then sha256sum "$f"; fi
		done
}

before=$(state)
go generate ./...
diff <(echo "$before") <(state) || {
	echo "generate-diff: go generate changed the files above: commit what it writes" >&2
	exit 1
}
