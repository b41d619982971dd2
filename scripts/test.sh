#!/usr/bin/env bash
# All tests, here, and their core under Debian's kernel, and one line at the end with their sum. A test that
# cannot run on this kernel says so in a file of skips and counts as skipped, not as passed.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p target
here=$PWD/target/test.log there=$PWD/target/test-vm.log
export WEFT_SKIP_LOG=$PWD/target/skipped
: >"$here"
: >"$there"
: >"$WEFT_SKIP_LOG"

# sum LOG SKIPPED: of the results that the test runner printed.
sum() {
  awk -v skipped="$2" '
    /^test result:/ { passed += $4; failed += $6 }
    END { printf "%d passed, %d failed, %d skipped\n", passed - skipped, failed, skipped }' "$1"
}
summary() {
  sort -u "$WEFT_SKIP_LOG"
  skipped=$(sort -u "$WEFT_SKIP_LOG" | grep -c '::' || true)
  echo "here, Linux $(uname -r): $(sum "$here" "$skipped")"
  echo "in a virtual machine, $(grep -m 1 -o '^Linux [^,]*' "$there" || echo 'not reached'): $(sum "$there" 0)"
  echo "all: $(sum <(cat "$here" "$there") "$skipped")"
}
trap summary EXIT

# Tests mount namespaces in a mount namespace of their own: a killed run leaves none behind.
privately() { unshare --mount --propagation private "$@" 2>&1 | tee -a "$here"; }
privately cargo test --locked --workspace --exclude weft-tests
scripts/fuzz.sh "${SECONDS_EACH:-10}"
# They wait for the kernel more than they compute.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))} privately cargo test --locked -p weft-tests
scripts/test-vm.sh core 2>&1 | tee -a "$there"
