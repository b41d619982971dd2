#!/usr/bin/env bash
# All tests, and one line at the end with their sum. A test that cannot run on this kernel says so in
# a file of skips and counts as skipped, not as passed.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p target
log=$PWD/target/test.log
export WEFT_SKIP_LOG=$PWD/target/skipped
: >"$log"
: >"$WEFT_SKIP_LOG"

summary() {
  sort -u "$WEFT_SKIP_LOG"
  skipped=$(sort -u "$WEFT_SKIP_LOG" | grep -c '::' || true)
  awk -v skipped="$skipped" '
    /^test result:/ { passed += $4; failed += $6 }
    END { printf "%d passed, %d failed, %d skipped\n", passed - skipped, failed, skipped }' "$log"
}
trap summary EXIT

# Tests mount namespaces in a mount namespace of their own: a killed run leaves none behind.
privately() { unshare --mount --propagation private "$@" 2>&1 | tee -a "$log"; }
privately cargo test --locked --workspace --exclude weft-tests
scripts/fuzz.sh "${SECONDS_EACH:-10}"
privately cargo test --locked -p weft-tests
