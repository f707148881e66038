#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the Keep images twice, as `make images` does, and compares them byte
# by byte. The two builds share the source and nothing else that could show:
# not the path, the time, the build cache, the number of CPUs, the time zone or
# the umask. In a TEE these bytes are the measurement, so a difference would
# mean that nobody can check what a Keep runs.
#
# usage: repro.sh             exit 0 when both builds are the same
#        repro.sh --selftest  leaks a time stamp, then a path, and exits 0 only
#                             when the comparison catches both
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A build cache of its own makes the second build compile everything again
# instead of linking what the first one compiled. It is kept, because filling it
# takes a minute.
second_cache=$root/build/repro-cache

# copy_tree DIR puts the source, tracked or new but not ignored, into DIR.
copy_tree() {
	mkdir -p "$1"
	git ls-files -z --cached --others --exclude-standard |
		while IFS= read -r -d '' f; do
			if [ -f "$f" ]; then printf '%s\0' "$f"; fi
		done | tar -c --null -T - | tar -x -m -C "$1"
}

images=internal/images/bin

agree() {
	local image
	for image in enarx-exec enarx-exec.sha256 enarx-shim-kvm; do
		cmp "$work/one/$images/$image" "$work/a second, longer path/$images/$image" || return 1
	done
}

first() { make --no-print-directory -s -C "$work/one" images "$@"; }
second() { make --no-print-directory -s -C "$work/a second, longer path" images "$@"; }

copy_tree "$work/one"
copy_tree "$work/a second, longer path"

case ${1-} in
"")
	first
	(
		umask 077
		export GOCACHE=$second_cache GOMAXPROCS=1 TZ=Pacific/Chatham LC_ALL=C
		second
	)
	if ! agree; then
		echo "repro: the two builds of the Keep images differ" >&2
		exit 1
	fi
	echo "repro: two builds agree: enarx-exec $(cat "$work/one/$images/enarx-exec.sha256")"
	echo "repro: two builds agree: enarx-shim-kvm $(sha256sum < "$work/one/$images/enarx-shim-kvm" | cut -c1-64)"
	;;
--selftest)
	first IMAGE_LDFLAGS="-s -w -buildid=$(date +%s%N)"
	second IMAGE_LDFLAGS="-s -w -buildid=$(date +%s%N)"
	if agree; then
		echo "repro: selftest: a time stamp in the image went unnoticed" >&2
		exit 1
	fi
	first IMAGE_FLAGS=-buildvcs=false
	second IMAGE_FLAGS=-buildvcs=false
	if agree; then
		echo "repro: selftest: a build path in the image went unnoticed" >&2
		exit 1
	fi
	echo "repro: selftest: a leaked time stamp and a leaked path are both noticed"
	;;
*)
	echo "usage: repro.sh [--selftest]" >&2
	exit 2
	;;
esac
