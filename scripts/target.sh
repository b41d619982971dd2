#!/usr/bin/env bash
# Prints the target that the programs are built for: musl where Rust's standard library for it is
# installed, because a program that carries it starts in half the time, glibc otherwise.
set -euo pipefail
arch=$(rustc -vV | sed -n 's/^host: \([^-]*\)-.*/\1/p')
if compgen -G "$(rustc --print sysroot)/lib/rustlib/$arch-unknown-linux-musl/lib/libstd-*.rlib" >/dev/null; then
  echo "$arch-unknown-linux-musl"
else
  echo "building with glibc: Rust's target $arch-unknown-linux-musl is not installed" >&2
  echo "$arch-unknown-linux-gnu"
fi
