#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fetches the kernel that internal/lanes/emulated boots, Debian's or Ubuntu's own
# package for virtual machines, and leaves in build/emulated what is needed of it:
#   kernel     the image
#   version    its release
#   modules/   the modules that are not built in, uncompressed, numbered in the
#              order in which they load
# Nothing is installed. Says nothing when all is there.
set -eu

out=$(cd "$(dirname "$0")/.." && pwd)/build/emulated

# In load order: the channel to the host, entropy, then KVM.
modules="virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci
	virtio_console rng-core virtio-rng ccp irqbypass kvm kvm-amd"

[ ! -e "$out/version" ] || exit 0

die() {
	printf 'setup: %s\n' "$@" >&2
	exit 1
}

# depends PACKAGE prints what the newest version of it depends on.
depends() { apt-cache depends "$1" 2>/dev/null | sed -n 's/^ *Depends: //p'; }

# Debian's linux-image-cloud-amd64 depends on one package with all in it;
# Ubuntu's linux-image-virtual on the image, with the modules in another.
packages() {
	image=$(depends linux-image-cloud-amd64 | grep '^linux-image-' | head -n 1)
	[ -n "$image" ] || image=$(depends linux-image-virtual | grep '^linux-image-[0-9]' | head -n 1)
	[ -n "$image" ] || return 0
	echo "$image"
	parts="linux-modules-${image#linux-image-}"
	! apt-cache show "$parts" >/dev/null 2>&1 || echo "$parts"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # apt's own user may write here only if it can enter
cd "$work"

update() { apt-get update -qq >log 2>&1 || { cat log >&2; die "updating the package lists did not work: is this machine offline?"; }; }

# shellcheck disable=SC2086 # one word per package
fetch() { names=$(packages) && [ -n "$names" ] && apt-get download $names >log 2>&1; }

command -v apt-get >/dev/null || die "the kernel for the emulated machine comes from Debian's or Ubuntu's packages, and there is no apt-get"
if ! fetch; then
	update
	[ -n "$(packages)" ] || die "neither linux-image-cloud-amd64 (Debian) nor linux-image-virtual (Ubuntu) is to be had"
	fetch || { cat log >&2; die "the kernel for the emulated machine could not be fetched: is this machine offline?"; }
fi
echo "setup: fetched" "$names" "for the emulated machine"
for deb in ./*.deb; do dpkg -x "$deb" tree; done

kernel=$(find tree -name 'vmlinuz-*' -type f | head -n 1)
[ -n "$kernel" ] || kernel=$(find tree -path '*/modules/*/vmlinuz' -type f | head -n 1)
[ -n "$kernel" ] || die "no kernel image in $names"
version=$(find tree -type d -path '*/lib/modules/*' -prune | head -n 1)
version=${version##*/}

mkdir modules
n=10
for name in $modules; do
	file=$(find tree -name "$name.ko*" | head -n 1)
	case $file in
	*.xz) xz -dc "$file" >"modules/$n-$name.ko" ;;
	*.zst) zstd -qdc "$file" >"modules/$n-$name.ko" ;;
	*.ko) cp "$file" "modules/$n-$name.ko" ;; # 6.1 and before
	"") ;; # built in, or not of this kernel; the machine says what it lacks
	*) die "$file: unknown compression" ;;
	esac
	n=$((n + 1))
done

rm -rf "$out"
mkdir -p "$out"
cp "$kernel" "$out/kernel"
mv modules "$out/modules"
echo "$version" >"$out/version" # last: it says that the rest is complete
