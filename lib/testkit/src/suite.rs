//! Which plugins are tested: Weft's, or another suite's with the same keys.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::host::Host;

/// The interface plugin that is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Ports of a bridge.
    Bridge,
    /// On a parent, with a MAC of their own.
    Macvlan,
    /// On a parent, with its MAC.
    Ipvlan,
}

/// A directory of plugins and the names they have there.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The directory.
    pub bin_dir: PathBuf,
    /// Which interface plugin is tested.
    pub driver: Driver,
    /// Its name.
    pub plugin: &'static str,
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
                driver: Driver::Bridge,
                plugin: "weft-bridge",
                ipam: "weft-ipam",
                loopback: "weft-loopback",
            }
        } else {
            Self {
                bin_dir,
                driver: Driver::Bridge,
                plugin: "bridge",
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

    /// The same with another interface plugin.
    #[must_use]
    pub fn with(self, driver: Driver) -> Self {
        let plugin = match (driver, self.is_weft()) {
            (Driver::Bridge, true) => "weft-bridge",
            (Driver::Macvlan, true) => "weft-macvlan",
            (Driver::Ipvlan, true) => "weft-ipvlan",
            (Driver::Bridge, false) => "bridge",
            (Driver::Macvlan, false) => "macvlan",
            (Driver::Ipvlan, false) => "ipvlan",
        };
        Self {
            driver,
            plugin,
            ..self
        }
    }

    /// Whether it is Weft's.
    pub fn is_weft(&self) -> bool {
        self.ipam == "weft-ipam"
    }

    /// Gives a host what the plugin's networks need: the interface that containers' sit on, and a
    /// gateway at its other end.
    pub fn prepare(&self, host: &Host) {
        if self.driver != Driver::Bridge {
            host.sh(
                "ip link add lan0 type veth peer name lan1 && ip link set lan0 up && \
                 ip link set lan1 up && ip addr add 10.1.0.1/24 dev lan1 && \
                 ip addr add 10.2.0.1/24 dev lan1 && ip addr add fd01::1/64 dev lan1 nodad",
            );
        }
    }

    /// A network with one subnet, leases in `data_dir` where the suite needs one.
    pub fn network_conf(&self, network: &str, subnet: &str, data_dir: &Path) -> Value {
        let mut conf = json!({
            "cniVersion": "1.0.0", "name": network, "type": self.plugin,
            "ipam": {"type": self.ipam, "ranges": [[{"subnet": subnet}]]}
        });
        if self.driver == Driver::Bridge {
            conf["bridge"] = "wtest0".into();
            conf["isDefaultGateway"] = true.into();
        } else {
            conf["master"] = "lan0".into();
            conf["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}]);
        }
        if !self.is_weft() {
            conf["ipam"]["dataDir"] = data_dir.join("networks").display().to_string().into();
        }
        conf
    }

    /// The same for the IPAM plugin alone.
    pub fn ipam_conf(&self, network: &str, subnet: &str, data_dir: &Path) -> Value {
        let mut conf = self.network_conf(network, subnet, data_dir);
        conf["type"] = self.ipam.into();
        conf
    }
}
