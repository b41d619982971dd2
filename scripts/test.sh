#!/usr/bin/env bash
# All tests, here, and beside them their core under Debian's kernel. At the end the slowest tests, and one line with the
# sum. A test that cannot run on this kernel says so in a file of skips and counts as skipped, not as passed.
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
slowest() {
  sed -nE 's/^test (.*) \.\.\. ok <([0-9.]+)s>$/\2 \1/p' "$here" | sort -rn |
    awk 'NR <= 10 { printf "%6.0f s  %s\n", $1, $2 }'
}
summary() {
  kill "${machine:-}" 2>/dev/null || true
  echo "the slowest here:"
  slowest
  sort -u "$WEFT_SKIP_LOG"
  skipped=$(sort -u "$WEFT_SKIP_LOG" | grep -c '::' || true)
  echo "here, Linux $(uname -r): $(sum "$here" "$skipped")"
  echo "in a virtual machine, $(grep -m 1 -o '^Linux [^,]*' "$there" || echo 'not reached'): $(sum "$there" 0)"
  echo "$((SECONDS / 60)) minutes $((SECONDS % 60)) seconds"
  echo "all: $(sum <(cat "$here" "$there") "$skipped")"
}
trap summary EXIT

# Tests mount namespaces in a mount namespace of their own: a killed run leaves none behind.
privately() { unshare --mount --propagation private "$@" 2>&1 | tee -a "$here"; }
cargo test --locked --quiet --workspace --no-run
# The machine computes, the tests here wait for the kernel more than they compute.
nice scripts/test-vm.sh core >"$there" 2>&1 &
machine=$!
echo "in a virtual machine beside these tests: target/test-vm.log"

WEFT_SIM_RUNS=20 privately cargo test --locked --workspace --exclude weft-tests
scripts/fuzz.sh "${SECONDS_EACH:-10}"
suite=$(cargo test --locked -p weft-tests --test suite --no-run 2>&1 | sed -n 's/.*(\(target[^)]*\))$/\1/p')
# The runner tells how long each test took only if it may use what is not stable yet.
RUSTC_BOOTSTRAP=1 privately "$suite" --test-threads "${RUST_TEST_THREADS:-$((2 * $(nproc)))}" -Z unstable-options --report-time
scripts/test-vm.sh covered

wait "$machine" || failed=$?
cat "$there"
exit "${failed:-0}"
