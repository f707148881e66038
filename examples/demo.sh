#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs every example in a Keep, shows what it prints, and ends 0 only if all of it
# was as expected. The body of `make demo`, which builds everything first.
set -u
cd "$(dirname "$0")/.."

enarx=bin/enarx
built=build/examples
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
failures=0

# check TITLE EXIT-CODE EXPECTED COMMAND...: standard input goes to the command.
check() {
	local title=$1 code=$2 expected=$3 got rc
	shift 3
	printf '\n== %s\n$' "$title"
	printf ' %q' "$@"
	echo
	"$@" >"$work/out" 2>"$work/err"
	rc=$?
	got=$(<"$work/out")
	[ -z "$got" ] || printf '%s\n' "$got"
	[ "$code" = 0 ] || printf '(exit code %s)\n' "$rc"
	if [ "$rc" != "$code" ] || [ "$got" != "$expected" ]; then
		printf 'NOT AS EXPECTED: exit code %s, expected %s and:\n%s\n' "$rc" "$code" "$expected"
		[ ! -s "$work/err" ] || { echo 'standard error:'; cat "$work/err"; }
		failures=$((failures + 1))
	fi
}

# serving TITLE EXPECTED PACKAGE CLIENT...: the package is a server that runs as long
# as the client.
serving() {
	local title=$1 expected=$2 package=$3 before=$failures
	shift 3
	"$enarx" run "$package" >"$work/server" 2>&1 &
	server=$!
	check "$title ($enarx run $package &)" 0 "$expected" "$@"
	if ! kill "$server" 2>/dev/null; then
		echo 'NOT AS EXPECTED: the server had ended by itself:'
		failures=$((failures + 1))
	fi
	wait "$server" 2>/dev/null
	server=
	[ "$failures" = "$before" ] || cat "$work/server"
}

go build -o build/democlient ./examples/democlient || exit 1
"$enarx" --version
"$enarx" run $built/hello-wat 2>&1 >/dev/null | sed 's/^/(on standard error each time) /'

check 'Hello from the text format' 0 'Hello from WebAssembly text format' \
	$enarx run $built/hello-wat
check 'Hello from C' 0 'Hello from C' $enarx run $built/hello-c
check 'Hello from Go' 0 'Hello from Go on wasip1/wasm' $enarx run $built/hello-go
check 'Hello from AssemblyScript' 0 'Hello from AssemblyScript' $enarx run $built/hello-as
check 'Arguments and environment from Enarx.toml' 0 $'fibonacci(7) = 13\nfibonacci(21) = 10946' \
	$enarx run $built/args-as
check 'Arguments from the command line' 0 'fibonacci(90) = 2880067194370816120' \
	$enarx run $built/args-as -- 90
check 'Standard input' 0 'through the Keep and back' \
	$enarx run $built/echo-c <<<'through the Keep and back'
check 'The exit code of the program is that of enarx' 42 $'argument 1: 42\nargument 2: for ever' \
	$enarx run $built/exit-c -- 42 'for ever'
check 'Files in the memory of the Keep, from C' 0 \
	$'entry: final\nsize: 37\ncontent: memory only: gone when the Keep ends\n/etc/passwd: Capabilities insufficient' \
	$enarx run $built/files-c
check 'Files of the package and /tmp, from Go' 0 \
	$'/data/colours.txt: 15 bytes\n/data/notes/readme.txt: 73 bytes\n/data is read-only\n/tmp/a/b/sorted: blue green red\nleft in /tmp: a' \
	$enarx run $built/files-go
serving 'An HTTPS server: the Keep ends TLS, the program is net/http' \
	$'TLS 1.3, certificate of CN=localhost\nGET /: 200 OK Hello from a Keep\nPOST /echo: 200 OK over TLS and back' \
	$built/https-go build/democlient https 127.0.0.1:18443
serving 'A chat relay: non-blocking accept and poll in C' \
	$'first sees: * you are guest 1\nsecond sees: * you are guest 2\nfirst sees: * guest 2 joined\nsecond sees: 1: anybody there?\nfirst sees: 2: yes\nsecond sees: * guest 1 left' \
	$built/chat-c build/democlient chat 127.0.0.1:18445
check 'A TLS client that trusts a CA of its own' 0 \
	'the server says: I read "hello from a Keep" and my certificate is good' \
	build/democlient serve $built/tlsclient-go "$work/tlsclient" $enarx run

echo
if [ "$failures" != 0 ]; then
	echo "demo: $failures of the examples did not do what was expected"
	exit 1
fi
echo 'demo: every example did what was expected'
