#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds a small program with each of upstream's Drawbridge client crates, and
# lets it do with our server what a user does: register, make repositories,
# publish a folder, list, fetch, and fail in the ways in which one fails.
# Needs cargo and its registry; not part of `make test`.
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in cargo openssl go; do
	command -v $tool >/dev/null || { echo "rust-clients: no $tool here, nothing was tried" >&2; exit 0; }
done
work=$(mktemp -d)
target=${CARGO_TARGET_DIR:-$PWD/build/rust-clients}
pids=()
finish() {
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
	wait 2>/dev/null || true
	rm -rf "$work"
}
trap finish EXIT

# Version of the client crate, and the TLS and HTTP crates of its time: newer
# patch releases of them do not fit together any more.
versions=("0.2.4 0.20 2.5.0 old" "0.4.2 0.22 2.9.7 new")

cat > "$work/main.rs" <<'EOF'
// SPDX-License-Identifier: Apache-2.0
//! Does with upstream's client crate what a user does, and says what came back.
//! c URL CA.der TOKEN SUBJECT DIR VERSION
use drawbridge_client::types::{
    RepositoryConfig, RepositoryContext, TagContext, TagEntry, TreeEntry, TreePath, UserContext, UserRecord,
};
use drawbridge_client::{mime, Client, Context, Result, Url};

fn client(url: &Url, ca: &[u8], token: Option<&str>) -> Result<Client> {
    let mut roots = rustls::RootCertStore::empty();
    #[cfg(feature = "old")]
    roots.add(&rustls::Certificate(ca.to_vec()))?;
    #[cfg(feature = "new")]
    roots.add(ca.to_vec().into())?;
    let b = Client::builder(url.clone()).roots(roots);
    match token {
        Some(t) => b.token(t).build(),
        None => b.build(),
    }
}

fn check(what: &str, ok: bool) {
    println!("{} {what}", if ok { "ok  " } else { "FAIL" });
    if !ok {
        std::process::exit(1)
    }
}

/// The call must fail, and say something with want in it.
fn refused<T>(what: &str, r: Result<T>, want: &str) {
    match r {
        Ok(_) => check(&format!("{what}: it succeeded"), false),
        Err(e) => {
            let text = format!("{e:#}").replace('\n', " ");
            check(&format!("{what}: {text}"), text.contains(want))
        }
    }
}

fn main() -> Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let (url, ca, token, subject, dir, version) = (a[1].parse::<Url>()?, std::fs::read(&a[2])?, &a[3], &a[4], &a[5], &a[6]);
    let (own, anyone, bad) = (client(&url, &ca, Some(token))?, client(&url, &ca, None)?, client(&url, &ca, Some("nonsense"))?);
    let name = format!("rust{}", version.replace('.', ""));
    let user: UserContext = name.parse()?;

    refused("user before it exists", own.user(&user).get(), "401");
    check("user created", own.user(&user).create(&UserRecord { subject: subject.clone() })?);
    check("user again: not created", !own.user(&user).create(&UserRecord { subject: subject.clone() })?);
    check("user record", own.user(&user).get()?.subject == *subject);
    refused("user record, anonymously", anyone.user(&user).get(), "Bearer token header missing");

    for public in [false, true] {
        let repo: RepositoryContext = format!("{name}/{}", if public { "public" } else { "private" }).parse()?;
        let (mine, theirs) = (own.repository(&repo), anyone.repository(&repo));
        refused(&format!("{repo} before it exists"), mine.get(), "Repository does not exist");
        check(&format!("{repo} created"), mine.create(&RepositoryConfig { public })?);
        check(&format!("{repo} again: not created"), !mine.create(&RepositoryConfig { public })?);
        refused("the other visibility", mine.create(&RepositoryConfig { public: !public }), "409");
        check("its configuration", mine.get()?.public == public);
        check("no tags", mine.tags()?.is_empty());

        let tag: TagContext = format!("{repo}:0.1.0").parse()?;
        refused("tag before it exists", own.tag(&tag).get(), "404");
        let (created, nodes) = own.tag(&tag).create_from_path_unsigned(dir)?;
        println!("     published {tag}: tag {created}");
        for (path, created) in &nodes {
            println!("       /{path} {created}");
        }
        check("tag and every node created", created && nodes.values().all(|c| *c));
        let (created, nodes) = own.tag(&tag).create_from_path_unsigned(dir)?;
        check("published again: nothing created", !created && nodes.values().all(|c| !*c));
        check("tag list", mine.tags()?.iter().map(|t| t.to_string()).collect::<Vec<_>>() == ["0.1.0"]);
        let root = match own.tag(&tag).get()? {
            TagEntry::Unsigned(e) => e,
            TagEntry::Signed(_) => panic!("a signed tag"),
        };
        let whole: TreePath = "/".parse()?;
        let (meta, listing): (_, std::collections::BTreeMap<String, TreeEntry>) = own.tag(&tag).path(&whole).get_json(1 << 20)?;
        check(&format!("root is what the tag says, {} bytes, {} names", meta.size, listing.len()), meta == root.meta);

        for path in nodes.keys() {
            let file = std::path::Path::new(dir).join(path.to_string());
            if !file.is_file() {
                continue;
            }
            let want = std::fs::read(&file)?;
            let (meta, got) = own.tag(&tag).path(path).get_bytes(1 << 30)?;
            check(&format!("fetched /{path}, {} bytes, {}", got.len(), meta.mime), got == want);
            let r = anyone.tag(&tag).path(path).get_bytes(1 << 30);
            if public {
                check("  anonymously", r?.1 == want);
            } else {
                refused("  anonymously", r, "401");
            }
        }
        refused("a node that is not there", own.tag(&tag).path(&"nowhere/x".parse()?).get_bytes(10), "404");
        if public {
            check("tag list, anonymously", theirs.tags()?.len() == 1);
        } else {
            refused("tag list, anonymously", theirs.tags(), "401");
        }
        // The client sends all of a body before it reads the answer.
        let big = vec![7u8; 30_000_000];
        let at: TreePath = "big".parse()?;
        refused("30 MB with a bad token", bad.tag(&tag).path(&at).create_bytes(&mime::APPLICATION_OCTET_STREAM, &big), "401");
        let first = nodes.keys().find(|p| std::path::Path::new(dir).join(p.to_string()).is_file()).context("no file")?;
        refused("30 MB over a file that is there", own.tag(&tag).path(first).create_bytes(&mime::APPLICATION_OCTET_STREAM, &big), "409");
    }
    println!("all as a user of upstream's server would want");
    Ok(())
}
EOF

for v in "${versions[@]}"; do
	read -r version rustls ureq age <<<"$v"
	dir=$work/client-$version
	mkdir -p "$dir/src"
	cp "$work/main.rs" "$dir/src/main.rs"
	cat > "$dir/Cargo.toml" <<-EOF
		[package]
		name = "client-$age"
		version = "0.1.0"
		edition = "2021"
		[features]
		default = ["$age"]
		old = []
		new = []
		[dependencies]
		drawbridge-client = "=$version"
		rustls = { version = "$rustls", default-features = false }
		ureq = { version = "=$ureq", default-features = false, features = ["json", "tls"] }
	EOF
	echo "== drawbridge-client $version: building"
	CARGO_TARGET_DIR=$target nice cargo build --release --quiet -j "${JOBS:-1}" --manifest-path "$dir/Cargo.toml"
done

# An identity provider, and a token of somebody.
cat > "$work/idp.go" <<'EOF'
package main

import (
	"fmt"
	"io"
	"log"
	"os"

	"enarx.dev/enarx/oidctest"
)

func main() {
	p, err := oidctest.New(oidctest.Options{Subject: "test|subject", Audience: "testserver"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.Issuer())
	fmt.Println(p.Mint(nil))
	_, _ = io.Copy(io.Discard, os.Stdin)
}
EOF
go build -o "$work/idp" "$work/idp.go"
CGO_ENABLED=0 go build -o "$work/enarx-drawbridge" ./cmd/enarx-drawbridge
mkfifo "$work/idp.in"
"$work/idp" < "$work/idp.in" > "$work/idp.out" & pids+=($!)
exec 9> "$work/idp.in"
until [ "$(wc -l < "$work/idp.out")" = 2 ]; do sleep 0.05; done
{ read -r issuer; read -r token; } < "$work/idp.out"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=rust-clients CA' \
	-keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=localhost' -CA "$work/ca.pem" -CAkey "$work/ca.key" \
	-addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' -addext 'basicConstraints=critical,CA:FALSE' -keyout "$work/tls.key" -out "$work/tls.pem" 2>/dev/null
openssl x509 -in "$work/ca.pem" -outform DER -out "$work/ca.der"

# What the clients publish: the two files of a package, and what the CLI never
# let anybody publish: folders, of which the client lists only the first.
package=$work/package
mkdir -p "$package/assets/fonts" "$package/empty"
head -c 100000 /dev/urandom > "$package/main.wasm"
printf 'args = ["x"]\n' > "$package/Enarx.toml"
printf 'text' > "$package/assets/readme.txt"
printf 'font' > "$package/assets/fonts/a.bin"
printf 'late' > "$package/zzz.txt"
: > "$package/nothing"

mkdir -m 0700 "$work/store"
"$work/enarx-drawbridge" --addr 127.0.0.1:0 --store "$work/store" --cert "$work/tls.pem" --key "$work/tls.key" --host localhost \
	--oidc-issuer "$issuer" --oidc-audience testserver --oidc-userinfo 2> "$work/log" & pids+=($!)
until port=$(sed -n 's/.*server=public address=127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$work/log") && [ -n "$port" ]; do
	kill -0 "${pids[1]}" || { cat "$work/log" >&2; exit 1; }
	sleep 0.05
done
until curl -sf --cacert "$work/ca.pem" "https://localhost:$port/health"; do sleep 0.1; done

for v in "${versions[@]}"; do
	read -r version _ _ age <<<"$v"
	echo "== drawbridge-client $version"
	"$target/release/client-$age" "https://localhost:$port" "$work/ca.der" "$token" "test|subject" "$package" "$version"
done
"$work/enarx-drawbridge" fsck --store "$work/store"
