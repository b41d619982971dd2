//! Features of the kernel that some tests need and some machines lack.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::host::Host;

/// A feature of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// CONFIG_BRIDGE_VLAN_FILTERING.
    BridgeVlanFiltering,
    /// CONFIG_IPVLAN.
    Ipvlan,
    /// CONFIG_VLAN_8021Q.
    Vlan8021q,
    /// CONFIG_NET_SCH_NETEM.
    Netem,
    /// CONFIG_NET_CLS_U32 and CONFIG_NET_ACT_GACT.
    IngressDrop,
    /// CONFIG_WIREGUARD.
    Wireguard,
}

impl Feature {
    /// What only a kernel with the feature does, on a host of its own.
    fn probe(self) -> &'static str {
        match self {
            Self::BridgeVlanFiltering => "ip link add probe0 type bridge vlan_filtering 1",
            Self::Ipvlan => {
                "ip link add probe0 type veth && ip link add link probe0 name probe1 type ipvlan"
            }
            Self::Netem => {
                "ip link add probe0 type veth && tc qdisc add dev probe0 root netem delay 1ms"
            }
            Self::IngressDrop => {
                "ip link add probe0 type veth && tc qdisc add dev probe0 clsact && tc filter add dev probe0 ingress \
                 protocol ip u32 match ip dst 127.0.0.0/8 action drop"
            }
            Self::Wireguard => "ip link add probe0 type wireguard",
            Self::Vlan8021q => {
                "ip link add probe0 type veth && \
                 ip link add link probe0 name probe0.5 type vlan id 5"
            }
        }
    }
}

/// Whether the kernel has a feature.
pub fn has(feature: Feature) -> bool {
    static KNOWN: Mutex<BTreeMap<Feature, bool>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap();
    *known
        .entry(feature)
        .or_insert_with(|| Host::new().succeeds(feature.probe()))
}

/// Whether a test can go on. If not, a line says so, which `make test` counts; with
/// `WEFT_REQUIRE=all` it is a failure.
pub fn require(feature: Feature, test: &str) -> bool {
    if has(feature) {
        return true;
    }
    let all = std::env::var("WEFT_REQUIRE").is_ok_and(|value| value == "all");
    assert!(!all, "{test} needs {feature:?}, which this kernel lacks");
    use std::io::Write;
    // The test runner names a test's thread after it: so the line names one that can be asked for.
    let thread = std::thread::current();
    let name = thread.name().filter(|name| name.contains("::"));
    let test = name.unwrap_or(test);
    // Straight to the terminal: the test harness hides what passing tests print.
    if let Ok(mut log) = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(skip_log())
    {
        let _ = writeln!(log, "SKIPPED {test}: this kernel lacks {feature:?}");
    }
    false
}

fn skip_log() -> std::path::PathBuf {
    std::env::var_os("WEFT_SKIP_LOG").map_or_else(
        || std::env::temp_dir().join("weft-skipped"),
        std::path::PathBuf::from,
    )
}
