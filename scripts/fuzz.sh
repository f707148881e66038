#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every Fuzz target of the module for a while, one after the other (go
# test fuzzes one target of one package at a time).
# usage: fuzz.sh [TIME [PATTERN]]    e.g. fuzz.sh 5m wasi
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
pattern=${2:-.}

targets=$(grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' workload attest drawbridge internal cmd |
	sed 's/:func /:/' | grep -E "$pattern" | sort)
if [ -z "$targets" ]; then
	echo "fuzz: no target matches $pattern" >&2
	exit 1
fi

failed=0
while IFS=: read -r file name; do
	echo "== $(dirname "$file") $name ($time)"
	# Where two threads race on purpose, coverage cannot be repeated, and the time
	# would go into minimising inputs.
	go test -run='^$' -fuzz="^$name\$" -fuzztime="$time" -fuzzminimizetime=1x "./$(dirname "$file")" || failed=1
done <<<"$targets"
exit $failed
