#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A Steward on this machine, with synthetic silicon in place of AMD's and Intel's:
# evidence in, certificates and explanations out. Part of `make demo`; ends 0 only
# if all of it was as expected.
set -u
cd "$(dirname "$0")/.."

work=$(mktemp -d)
at=127.0.0.1:18450
steward=
trap '[ -z "$steward" ] || kill "$steward" 2>/dev/null; rm -rf "$work"' EXIT
failures=0

fail() {
	echo "NOT AS EXPECTED: $*"
	failures=$((failures + 1))
}

# show TITLE COMMAND...: runs it in view; its output is left in $work/out.
show() {
	printf '\n== %s\n$' "$1"
	shift
	printf ' %q' "$@" | sed "s|$work/||g"
	echo
	"$@" >"$work/out" 2>"$work/err"
	local rc=$?
	cat "$work/out"
	return $rc
}

# says TEXT: what was shown last has to hold it.
says() { grep -qF -- "$1" "$work/out" || { fail "no '$1' in it"; cat "$work/err"; }; }

# post NAME [OPTION...]: sends a request as a Keep does; -w prints the status.
post() {
	local name=$1
	shift
	curl -sS --max-time 10 -H 'Content-Type: application/pkcs10' --data-binary "@$work/silicon/$name.csr" "$@" "http://$at/"
}

echo '== Synthetic silicon: chips, vendors and requests from a seed'
go run ./attest/attesttest/silicon --seed demo --out "$work/silicon" >/dev/null || exit 1
bin/enarx-steward --listen $at --state-dir "$work/state" --host steward.demo --issuance-log "$work/issued" \
	--roots "$work/silicon/roots.pem" --collateral "$work/silicon/collateral" 2>"$work/log" &
steward=$!
for _ in $(seq 100); do
	curl -s --max-time 1 "http://$at/" && break
	sleep 0.1
done
head -3 "$work/log" | cut -c1-160

for tee in snp sgx; do
	post $tee -H 'Accept: application/pem-certificate-chain' -o "$work/$tee.pem" || fail "no certificate for $tee"
	show "A certificate for a Keep on $tee: curl posted $tee.csr" \
		openssl x509 -in "$work/$tee.pem" -noout -subject -issuer -dates
	says 'steward.demo'
	show "What it says about the Keep" bin/enarx attest explain "$work/$tee.pem"
	says 'measurement'
done

# refused TITLE NAME CODE: the Steward says why, in words.
refused() {
	show "$1" curl -sS --max-time 10 -w 'status %{http_code}\n' -H 'Content-Type: application/pkcs10' \
		-H 'Accept: text/plain' --data-binary "@$work/silicon/$2.csr" "http://$at/"
	says "refused: $3"
	says 'status 400'
}

refused 'The same with one bit of the measurement changed' snp-altered snp.signature
refused 'A guest that its host may debug: genuine, and refused' snp-debug snp.policy.debug
refused 'Evidence of another key' snp-otherkey binding.key
refused 'No hardware, no certificate' none none.accepted
show 'The same explanation without a Steward' \
	bin/enarx attest explain --roots "$work/silicon/roots.pem" "$work/silicon/sgx-debug.csr" "$work/silicon/collateral/"*.json \
	"$work/silicon/collateral/"*.pem "$work/silicon/collateral/"*.der && fail 'accepted'
says 'sgx.attributes.debug'
kill -TERM $steward && wait $steward || fail "the Steward ended with $?"
steward=
show 'What was issued: a chain of hashes that anybody can check' bin/enarx-steward audit "$work/issued"
says '2'

echo
if [ "$failures" != 0 ]; then
	echo "demo: $failures things of the Steward were not as expected"
	cat "$work/log"
	exit 1
fi
echo 'demo: the Steward did what was expected'
