#!/usr/bin/env bash
# Runs each fuzz target for some seconds. libFuzzer's coverage comes from LLVM's own pass, so the
# installed stable compiler will do.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
seconds=${1:-10}

export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Ccodegen-units=1 -Cdebug-assertions"
export CARGO_TARGET_DIR=../target/fuzz
cargo build --quiet --release --locked --target x86_64-unknown-linux-gnu

for target in configuration arguments prev_result dns; do
  corpus=$(mktemp -d)
  trap 'rm -rf "$corpus"' EXIT
  log=$corpus.log
  if ! "$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release/$target" -max_total_time="$seconds" \
      -rss_limit_mb=2048 -artifact_prefix="$CARGO_TARGET_DIR/" "$corpus" "seeds/$target" \
      >"$log" 2>&1; then
    tail -n 40 "$log"
    echo "fuzz target $target has found something"
    exit 1
  fi
  grep '^Done' "$log" | sed "s/^/fuzz $target: /"
  rm -rf "$corpus" "$log"
done
