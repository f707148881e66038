#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what `make demo` and `make test` need besides Go, git and make, on Debian
# and Ubuntu: a C compiler for WebAssembly (clang, lld, wasi-libc and clang's
# run-time library of the same version), the text format's assembler (wabt), and
# Node.js with npm for AssemblyScript. And for tests of the KVM Keep: QEMU, a kernel
# to boot in it (kernel.sh), and a C compiler for static Linux programs (musl). And
# for the Steward: curl, openssl and ssh-agent. Says nothing when all is there.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
log=$(mktemp)
trap 'rm -f "$log"' EXIT

die() {
	printf 'setup: %s\n' "$@" >&2
	exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# One real link asks for clang, lld, wasi-libc and the builtins all at once.
links_wasm() {
	has clang && echo 'int main(void) { return 0; }' |
		clang --target=wasm32-wasi --sysroot=/usr -x c - -o /dev/null 2>/dev/null
}

missing() {
	has clang || echo clang
	has wasm-ld || echo lld
	[ -e /usr/lib/wasm32-wasi/libc.a ] || echo wasi-libc
	has wat2wasm || echo wabt
	has node || echo nodejs
	has npm || echo npm
	has qemu-system-x86_64 || echo qemu-system-x86
	has musl-gcc || echo musl-tools
	has as || echo binutils
	has curl || echo curl
	has openssl || echo openssl
	has ssh-agent || echo openssh-client
	has chromium || echo chromium fonts-dejavu-core
	has xz || echo xz-utils # kernel.sh; newer kernels' modules
	has zstd || echo zstd   # kernel.sh; Ubuntu's modules
	[ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
}

updated=
apt_install() {
	has apt-get || die "missing: $*" "only apt-get is known here: install their equivalents by hand"
	[ "$(id -u)" = 0 ] || die "missing: $*" "run as root: apt-get install --no-install-recommends $*"
	echo "setup: installing $*"
	export DEBIAN_FRONTEND=noninteractive
	if [ -z "$updated" ]; then
		apt-get update -qq >"$log" 2>&1 || { cat "$log" >&2; die "updating the package lists did not work"; }
		updated=1
	fi
	apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1 ||
		{ cat "$log" >&2; die "apt-get install did not work"; }
}

packages=$(missing)
# shellcheck disable=SC2086 # one word per package
[ -z "$packages" ] || apt_install $packages

if ! links_wasm; then
	# The builtins come in a package named after clang's major version.
	major=$(clang -dumpversion | cut -d. -f1)
	apt_install "libclang-rt-$major-dev-wasm32"
	links_wasm || die "clang cannot link for wasm32-wasi; try: echo 'int main(void){}' | clang --target=wasm32-wasi --sysroot=/usr -x c - -o /dev/null"
fi

"$root/scripts/kernel.sh"

# Go has its own cache: this is quick when nothing changed.
CGO_ENABLED=0 go -C "$root/tools/servers" build -o "$root/build/servers/" github.com/versity/versitygw/cmd/versitygw

# AssemblyScript goes into build/, as package-lock.json pins it.
make --no-print-directory -s -C "$root/examples" setup
