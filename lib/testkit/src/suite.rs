//! Which plugins are tested: Weft's, or another suite's with the same keys.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A directory of plugins and the names they have there.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The directory.
    pub bin_dir: PathBuf,
    /// The bridge plugin.
    pub bridge: &'static str,
    /// The IPAM plugin.
    pub ipam: &'static str,
    /// The loopback plugin.
    pub loopback: &'static str,
}

impl Suite {
    /// The suite in a directory: Weft's if there is a `weft-bridge`, else the reference's.
    pub fn in_dir(bin_dir: &Path) -> Self {
        let bin_dir = bin_dir.to_owned();
        if bin_dir.join("weft-bridge").exists() {
            Self {
                bin_dir,
                bridge: "weft-bridge",
                ipam: "weft-ipam",
                loopback: "weft-loopback",
            }
        } else {
            Self {
                bin_dir,
                bridge: "bridge",
                ipam: "host-local",
                loopback: "loopback",
            }
        }
    }

    /// Weft's own, as `make build` leaves it; `WEFT_BIN_DIR` names another directory.
    pub fn weft() -> Self {
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bin");
        let dir = std::env::var("WEFT_BIN_DIR").map_or(built, PathBuf::from);
        assert!(
            dir.join("weft-bridge").exists(),
            "{} has no weft-bridge: run `make build` first",
            dir.display()
        );
        Self::in_dir(&std::fs::canonicalize(dir).unwrap())
    }

    /// The reference plugins of Debian's package containernetworking-plugins.
    pub fn reference() -> Self {
        let dir = Path::new("/usr/lib/cni");
        assert!(
            dir.join("bridge").exists(),
            "no reference plugins: run `make deps` first"
        );
        Self::in_dir(dir)
    }

    /// Whether it is Weft's.
    pub fn is_weft(&self) -> bool {
        self.bridge == "weft-bridge"
    }

    /// A bridge network with one subnet, leases in `data_dir` where the suite needs one.
    pub fn bridge_conf(&self, network: &str, subnet: &str, data_dir: &Path) -> Value {
        let mut conf = json!({
            "cniVersion": "1.0.0", "name": network, "type": self.bridge,
            "bridge": "wtest0", "isDefaultGateway": true,
            "ipam": {"type": self.ipam, "ranges": [[{"subnet": subnet}]]}
        });
        if !self.is_weft() {
            conf["ipam"]["dataDir"] = data_dir.join("networks").display().to_string().into();
        }
        conf
    }

    /// The same for the IPAM plugin alone.
    pub fn ipam_conf(&self, network: &str, subnet: &str, data_dir: &Path) -> Value {
        let mut conf = self.bridge_conf(network, subnet, data_dir);
        conf["type"] = self.ipam.into();
        conf
    }
}
