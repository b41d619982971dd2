# shellcheck shell=bash
# Sourced by the runtime suites: results, polling, leak checks, the test image.

# The suites would change the networks of a real host.
[ -d "${WEFT_RT_TMP:-}/.host" ] || { echo "$0: run me through isolated-host.sh" >&2; exit 2; }

PASSED=0 FAILED=0 LAST=none FINISHED=
# Seconds that eventually waits. In a virtual machine without KVM whose processors others use as well,
# one podman exec has taken more than ten.
LIMIT=60

# Otherwise a failure inside $(...) would go unnoticed.
shopt -s inherit_errexit

pass() { PASSED=$((PASSED + 1)) LAST=$1; echo "PASS $1"; }
fail() { FAILED=$((FAILED + 1)) LAST=$1; echo "FAIL $1: ${2//$'\n'/ }"; }

# check NAME CMD...: PASS if CMD succeeds; the end of its output is the reason if not.
check() {
    local name=$1 out
    shift
    if out=$("$@" 2>&1); then pass "$name"; else fail "$name" "$(tail -n 3 <<<"$out" | tr '\n' ' ')"; fi
}

# must NAME CMD...: like check, but without it the rest makes no sense.
must() { local before=$FAILED; check "$@"; [ $FAILED -eq $before ]; }

# eventually CMD...: repeats CMD until it succeeds or LIMIT seconds have passed.
# The output is that of the last attempt only.
eventually() {
    local end=$((SECONDS + LIMIT)) out
    until out=$("$@" 2>&1); do
        if [ $SECONDS -ge $end ]; then printf '%s\n' "$out"; return 1; fi
        sleep 0.1
    done
    printf '%s\n' "$out"
}

# check_soon NAME CMD...: like check, but CMD has LIMIT seconds to succeed.
check_soon() { check "$1" eventually "${@:2}"; }

# know VARIABLE CMD...: what CMD says, which may take several tries on a busy machine.
know() {
    local said
    said=$(eventually "${@:2}") || { fail "${*:2}" "$said"; exit 1; }
    printf -v "$1" %s "$(tail -n 1 <<<"$said")"
}

# The first address in what ip says; all is read, so that nobody writes to a closed pipe.
first_address() { awk 'NR == 1 { sub("/.*", "", $4); print $4 }' | grep .; }

# gone PID: dead and reaped.
gone() { [ ! -e "/proc/$1" ]; }

# equal WHAT GOT WANTED
equal() { [ "$2" = "$3" ] || { echo "$1 is '$2' instead of '$3'"; return 1; }; }

# summary: the last line; its status is that of the suite. A suite that ends before (set -e)
# says so and fails.
summary() { FINISHED=1; echo "$PASSED passed, $FAILED failed"; [ $FAILED -eq 0 ]; }
trap '[ -n "$FINISHED" ] || { fail "suite" "ended early, after \"$LAST\""; summary; exit 1; }' EXIT

# snapshot: what a removed container must not leave behind, one sorted line for each thing.
# Left out is what changes without a leak: link states and link-local addresses (those of a
# bridge follow its ports), local routes (the kernel makes them of addresses, for IPv6 only
# after duplicate address detection), counters, timers.
snapshot() {
    (
        set +e +o pipefail   # nothing to list is no error
        ip -o -d link show | sed -E 's/^[0-9]+: //' | awk '{
            name = $1; master = ""; kind = "-"
            sub(/:$/, "", name); sub(/@.*/, "", name)
            for (i = 2; i < NF; i++) {
                if ($i == "master") master = " master " $(i + 1)
                if ($i ~ /^(veth|bridge|vlan|macvlan|ipvlan|dummy|vxlan|tun|ifb|vrf|wireguard)$/ \
                    && kind == "-") kind = $i
            }
            print "link " name " " kind master }'
        ip -o addr show | awk '$4 !~ /^fe80:/ { print "address", $2, $4 }'
        { ip -4 -o route show table all; ip -6 -o route show table all; } |
            sed -E 's/ (linkdown|dead|expires [0-9]+sec)//g; s/ +$//' |
            grep -v -e '^fe80:' -e ' table local proto kernel ' | sed 's/^/route /'
        { ip -4 rule show; ip -6 rule show; } | sed 's/^/rule /'
        nft list ruleset 2>/dev/null | nft_lines
        # The legacy back end is invisible to nft; with the nft one this only says it again.
        local save
        for save in iptables-save ip6tables-save; do
            ! command -v $save >/dev/null || $save 2>/dev/null |
                awk -v s=$save '/^#/ { next } /^\*/ { t = $1 } { sub(/ ?\[[0-9]+:[0-9]+\]/, ""); print s, t, $0 }'
        done
        ls /run/netns 2>/dev/null | sed 's/^/netns /'
        find /var/lib/cni/results /var/lib/cni/networks -type f 2>/dev/null |
            grep -v -e '/last_reserved_ip\.' -e '/lock$' | sed 's/^/file /'
        [ -z "${WEFT_STATE_CMD:-}" ] || bash -c "$WEFT_STATE_CMD" 2>&1 | sed 's/^/state /'
    ) | LC_ALL=C sort
}

# Each line of a ruleset with its table and chain, without counters, timers and set headers'
# order: sorting must not mix equal lines of different chains.
nft_lines() {
    sed -E 's/counter packets [0-9]+ bytes [0-9]+/counter/; s/ expires [0-9a-z]+//g' | awk '
        /^table/ { table = $2 " " $3; block = ""; print "nft " table; next }
        /^\t(chain|set|map|flowtable|counter|quota|limit|ct) / && /\{$/ {
            block = $1 " " $2; print "nft " table " " block; next }
        /^\t*\}?$/ { next }
        { sub(/^\t+/, ""); print "nft " table " " block ": " $0 }'
}

# leak_warm: takes the present state as the one to come back to.
leak_warm() { snapshot >"$WEFT_RT_TMP/state.warm"; cp "$WEFT_RT_TMP/state.warm" "$WEFT_RT_TMP/state.last"; }

no_difference() {
    snapshot >"$WEFT_RT_TMP/state.now"
    diff "$1" "$WEFT_RT_TMP/state.now" >"$WEFT_RT_TMP/state.diff" && return 0
    echo "$(grep -c '^[<>]' "$WEFT_RT_TMP/state.diff") lines:" \
        "$(grep '^[<>]' "$WEFT_RT_TMP/state.diff" | head -n 4 | tr '\n' ';')"
    return 1
}

# leak_check NAME: nothing may have come or gone since the last check. A leak is reported
# once, where it happens: later checks compare with the state that includes it.
leak_check() {
    check_soon "no leak: $1" no_difference "$WEFT_RT_TMP/state.last"
    [ -z "${VERBOSE:-}" ] || cat "$WEFT_RT_TMP/state.diff"
    snapshot >"$WEFT_RT_TMP/state.last"
}

# leak_check_warm NAME: compares with the warm state, so this sees the sum of all leaks.
leak_check_warm() { check_soon "no leak: $1" no_difference "$WEFT_RT_TMP/state.warm"; }

# make_rootfs DIR: a root file system out of the static busybox.
make_rootfs() {
    local dir=$1 applet busybox
    busybox=$(command -v busybox)
    mkdir -p "$dir"/{bin,proc,sys,dev,etc,tmp,run,www}
    cp "$busybox" "$dir/bin/busybox"
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -sf busybox "$dir/bin/$applet"
    done
    echo 'root:x:0:0:root:/:/bin/sh' >"$dir/etc/passwd"
    echo 'hello from a container' >"$dir/www/index.html"
}

# make_rootfs_tar FILE: the same as a tarball (for podman import and as an image layer).
make_rootfs_tar() {
    make_rootfs "$WEFT_RT_TMP/rootfs"
    tar -C "$WEFT_RT_TMP/rootfs" --numeric-owner -cf "$1" .
    rm -rf "$WEFT_RT_TMP/rootfs"
}

# install_network CONFLIST: makes it the only network; prints its name.
install_network() {
    mkdir -p /etc/cni/net.d
    cp "$1" /etc/cni/net.d/10-test.conflist
    # The first "name" of a conflist may be that of a plugin's option, so parse, don't grep.
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["name"])' "$1"
}
