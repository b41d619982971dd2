//! Features of the kernel that some tests need and some machines lack.

use std::sync::OnceLock;

use crate::host::Host;

/// A feature of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// CONFIG_BRIDGE_VLAN_FILTERING.
    BridgeVlanFiltering,
}

/// Whether the kernel has a feature.
pub fn has(feature: Feature) -> bool {
    static VLAN_FILTERING: OnceLock<bool> = OnceLock::new();
    match feature {
        Feature::BridgeVlanFiltering => *VLAN_FILTERING.get_or_init(|| {
            Host::new().succeeds("ip link add probe0 type bridge vlan_filtering 1")
        }),
    }
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
