#!/usr/bin/env bash
# Licences, sources and duplicate versions of the dependencies, by cargo-deny. Security advisories
# need a database from the network and are checked only where it can be fetched.
set -euo pipefail
cd "$(dirname "$0")/.."

tool=target/tools/bin/cargo-deny
if command -v cargo-deny >/dev/null; then
  tool=cargo-deny
elif [ ! -x "$tool" ]; then
  echo "installing cargo-deny below target/tools"
  if ! RUSTFLAGS= CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 \
      CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_TARGET_DIR=target/tools/build \
      cargo install --quiet --locked --root target/tools cargo-deny; then
    echo "SKIPPED: cargo-deny cannot be installed here"
    exit 0
  fi
  rm -rf target/tools/build
fi
# It reads the manifests of all platforms' crates, of which a build here fetches only its own.
cargo fetch --locked --quiet
"$tool" --offline --log-level warn check licenses bans sources
