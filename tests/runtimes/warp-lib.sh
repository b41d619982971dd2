# shellcheck shell=bash
# Sourced by the suites that lead containers of Docker and Podman: what the outside sees, and what weft says.

# watch FILTER: what comes to the outside, until seen or counted.
watch() {
    # shellcheck disable=SC2086
    ip netns exec outside tcpdump -lnni uplink -Q in "$1" >"$WEFT_RT_TMP/seen" 2>"$WEFT_RT_TMP/tcpdump" &
    TCPDUMP=$!
    until grep -q listening "$WEFT_RT_TMP/tcpdump"; do sleep 0.01; done
}
# counted: how many packets came.
counted() { sleep 0.3; kill $TCPDUMP; wait $TCPDUMP 2>/dev/null || true; grep -c " > " "$WEFT_RT_TMP/seen" || true; }

state() {
    weft warp status --json | python3 -c "
import json, sys
all = json.load(sys.stdin)
print([one['state'] for one in all['targets'] + all['gateways'] if one['name'] == '$1'][0])"
}
state_is() { equal "state of $1" "$(state "$1")" "$2"; }
