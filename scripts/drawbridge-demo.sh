#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A Drawbridge on this machine: publish a package, fetch and run it, and what does
# not work. Part of `make demo`; ends 0 only if all of it was as expected.
set -u
cd "$(dirname "$0")/.."

work=$(mktemp -d)
at=127.0.0.1:18451
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
failures=0
export HOME=$work ENARX_STORE_HOST=$at ENARX_CA_BUNDLE=$work/dev/ca.pem

fail() {
	echo "NOT AS EXPECTED: $*"
	failures=$((failures + 1))
}

# show TITLE COMMAND...: runs it in view; its output is left in $work/out.
show() {
	printf '\n== %s\n$' "$1"
	shift
	printf ' %q' "$@" | sed "s|bin/enarx|enarx|; s|$work/||g"
	echo
	"$@" >"$work/out" 2>&1
	local rc=$?
	sed "s|$work/||g" "$work/out"
	return $rc
}

# says TEXT: what was shown last has to hold it.
says() { grep -qF -- "$1" "$work/out" || fail "no '$1' in it"; }

bin/enarx-drawbridge --development "$work/dev" --addr $at 2>"$work/log" &
server=$!
for _ in $(seq 100); do
	curl -s --max-time 1 --cacert "$work/dev/ca.pem" -o "$work/out" "https://$at/health" && break
	sleep 0.1
done
token=$(cat "$work/dev/token") || exit 1
export ENARX_INSECURE_AUTH_TOKEN=$token

cp -r build/examples/files-go "$work/files" || exit 1

show 'A private repository' bin/enarx repo register --private dev/files || fail 'no repository'
show 'A package: a folder with a module, its Enarx.toml, and folders' bin/enarx package publish dev/files:1.0.0 "$work/files" || fail 'not published'
show 'The same again changes nothing' bin/enarx package publish dev/files:1.0.0 "$work/files" || fail 'not idempotent'
show 'A later version costs only what is new in it' bin/enarx package publish dev/files:1.1.0 "$work/files" || fail 'not published'
show 'Its files' bin/enarx tree info dev/files:1.0.0 || fail 'no listing'
says 'main.wasm'
bin/enarx tree digest "$work/files" >"$work/local" && bin/enarx tree digest dev/files:1.0.0 >"$work/remote"
cmp -s "$work/local" "$work/remote" || fail 'the digests of folder and package differ'
digest=$(grep -o 'sha256:[0-9a-f]*' "$work/local" | head -1)
show 'Fetched by its digest, every byte checked' bin/enarx package fetch "dev/files:1.0.0@$digest" "$work/fetched" || fail 'not fetched'
diff -r "$work/files" "$work/fetched" || fail 'other files came back'
show 'And run' bin/enarx run --backend nil "$work/fetched" || fail 'it does not run'

openssl genpkey -algorithm ed25519 -out "$work/key.pem" 2>/dev/null && openssl pkey -in "$work/key.pem" -pubout -out "$work/key.pub"
show 'A signed version' bin/enarx package publish --sign "$work/key.pem" dev/files:2.0.0 "$work/files" || fail 'not published'
show 'Who says so? The key that we know' bin/enarx package verify --signer "$work/key.pub" dev/files:2.0.0 || fail 'not verified'

echo
echo '=== What does not work'
show 'An unsigned version, where a signature is wanted' bin/enarx package verify --signer "$work/key.pub" dev/files:1.0.0 && fail 'it was accepted'
says 'error'
show 'Other content than the digest says' bin/enarx package fetch "dev/files:1.0.0@sha256:$(printf '0%.0s' $(seq 64))" "$work/other" && fail 'it was fetched'
[ -e "$work/other" ] && fail 'something was written'
echo 'more' >>"$work/files/Enarx.toml"
show 'A version that is there already, with other content' bin/enarx package publish dev/files:1.0.0 "$work/files" && fail 'it was replaced'
show 'Without the token' env -u ENARX_INSECURE_AUTH_TOKEN bin/enarx package fetch dev/files:1.0.0 "$work/other" && fail 'it was fetched'
show 'A version that was withdrawn' bin/enarx package yank --reason 'it leaks' dev/files:1.1.0 || fail 'not yanked'
show 'That one is served to nobody' bin/enarx package fetch dev/files:1.1.0 "$work/other" && fail 'it was fetched'
says 'it leaks'

kill "$server" && wait "$server" 2>/dev/null
server=
show 'Every digest and reference of the store' bin/enarx-drawbridge fsck --store "$work/dev/store" || fail 'damage'
printf '\nThe store has %s for three versions of %s.\n' "$(du -sh "$work/dev/store" | cut -f1)" "$(du -sh "$work/fetched" | cut -f1)"

[ $failures = 0 ] || { echo "$failures things were not as expected" && cat "$work/log" && exit 1; }
