#!/usr/bin/env bash
# Compares the code of the protocols between hosts with what their files make.
set -euo pipefail
cd "$(dirname "$0")/.."
new=$(mktemp -d)
trap 'rm -r "$new"' EXIT
CARGO_TARGET_DIR=target/proto cargo run --locked --quiet --manifest-path proto/generate/Cargo.toml -- "$new"
diff -r "$new" plugins/dns-sidecar/src/wire || { echo "proto.sh: run make proto" >&2; exit 1; }
