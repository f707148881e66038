#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds what is stale of the examples into build/examples (see Makefile here).
set -eu
exec make --no-print-directory -s -C "$(dirname "$0")" -j"$(nproc)" "$@"
