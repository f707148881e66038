// SPDX-License-Identifier: Apache-2.0

package workload

// Template is the file that `enarx config init` writes. It is valid as it
// stands, and still so with "# " stripped from the start of every line,
// which turns everything on; lines that must stay comments begin with "##".
func Template() []byte { return []byte(template) }

const template = `## How this workload runs in an Enarx Keep.
## A line that starts with one # is an example: delete the "# " to use it.

## Arguments of the program. Its argv[0] is always main.wasm.
# args = [
#      "--argument1",
#      "--argument2=value",
# ]

## The Steward that attests this workload and issues its certificate.
# steward = "https://attest.profian.com"

## Environment variables. FD_COUNT and FD_NAMES are always there as well.
# [env]
# VAR1 = "value1"
# VAR2 = "value2"

## The open files of the program, in order: the first entry is descriptor 0.
## Each may have a name, which FD_NAMES lists. Kinds: null, stdin, stdout,
## stderr, listen, connect, dir.

## Standard input, output and error of the host, which can read them.
[[files]]
kind = "stdin"

[[files]]
kind = "stdout"

[[files]]
kind = "stderr"

## A listening socket. With prot = "tls", the default, the Keep does TLS and
## the program reads and writes plain text; "tcp" is without protection.
## The port defaults to 443 for tls and 80 for tcp, addr to "::".
# [[files]]
# kind = "listen"
# name = "listen"
# prot = "tls"
# port = 12345
## To verify the certificates of clients, set client_auth to "request" or
## "require", and ca to PEM certificates or to "steward".

## A connected socket. For servers outside the public PKI, set ca to the PEM
## certificates to trust.
# [[files]]
# kind = "connect"
# name = "stream"
# prot = "tls"
# host = "localhost"
# port = 23456

## A directory. It is a folder of this package, which the program cannot
## change, if there is a from = "folder". Otherwise it is empty, writable, in
## the memory of the Keep, and gone at the end.
# [[files]]
# kind = "dir"
# path = "/data"

## Who may read the output of the program and the logs: "host", "none", or
## "encrypted" for the age keys listed in recipients.
# [log]
# mode = "host"

## What the program may use at most. The clock of wall starts with it.
# [limits]
# memory = "512MiB"
# sockets = 64
# wall = "24h"
`
