//! What networks are like unless it is said: the table `[vnet]` of weft.toml.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{Ipv4Network, Ipv6Network};
use sha2::{Digest, Sha256};
use weft_cni::env::Env;
use weft_cni::{CniError, Code};
use weft_kernel::host::machine_id;
use weft_node::NetworkDefaults;

use crate::driver::DriverType;
use crate::isolation::IsolationMode;

/// Settings of the network manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VNetConfig {
    /// The kind of a network, if none is asked for.
    pub default_driver: DriverType,
    /// How closed a bridge or overlay network is, if nothing is asked for. Other kinds cannot be closed.
    pub default_isolation: IsolationMode,
    /// Whether a network has IPv6 addresses too.
    pub ipv6_enabled: bool,
    /// What IPv4 subnets are taken from, each a /26.
    pub default_subnet: Ipv4Network,
    /// What IPv6 subnets are taken from, each a /64. None: a prefix of the host's own, from its machine id.
    pub default_subnet_v6: Option<Ipv6Network>,
    /// How many networks there may be.
    pub max_networks: usize,
    /// Whether calls are counted in the operations file.
    pub metrics_enabled: bool,
}

impl Default for VNetConfig {
    fn default() -> Self {
        let base = Ipv4Addr::new(172, 20, 0, 0);
        Self {
            default_driver: DriverType::Bridge,
            default_isolation: IsolationMode::Full,
            ipv6_enabled: false,
            default_subnet: Ipv4Network::new_checked(base, 16)
                .unwrap_or_else(|| Ipv4Network::from(base)),
            default_subnet_v6: None,
            max_networks: 1000,
            metrics_enabled: true,
        }
    }
}

impl VNetConfig {
    /// Reads weft.toml; what is not in it is as in [`Self::default`].
    ///
    /// # Errors
    /// Code 7 with file and key, code 5.
    pub fn read(env: &Env) -> Result<Self, CniError> {
        let file = NetworkDefaults::read(env)?;
        let invalid = |key: &str, why: String| {
            let path = env.config_file();
            let text = format!("{}: [vnet] {key}: {why}", path.display());
            CniError::new(Code::InvalidConfig, text)
        };
        let mut config = Self::default();
        if let Some(text) = file.default_driver {
            let driver = text.parse::<DriverType>();
            config.default_driver =
                driver.map_err(|error| invalid("default_driver", error.to_string()))?;
        }
        if let Some(text) = file.default_isolation {
            let mode = text.parse::<IsolationMode>();
            config.default_isolation =
                mode.map_err(|error| invalid("default_isolation", error.to_string()))?;
        }
        if let Some(text) = file.default_subnet {
            let subnet = text.parse::<Ipv4Network>().ok();
            let subnet = subnet.filter(|one| one.prefix() <= SUBNET_V4);
            let why = format!("{text:?} must be an IPv4 prefix of at most /{SUBNET_V4}");
            config.default_subnet = subnet.ok_or_else(|| invalid("default_subnet", why))?;
        }
        if let Some(text) = file.default_subnet_v6 {
            let subnet = text.parse::<Ipv6Network>().ok();
            let subnet = subnet.filter(|one| one.prefix() <= SUBNET_V6);
            let why = format!("{text:?} must be an IPv6 prefix of at most /{SUBNET_V6}");
            let subnet = subnet.ok_or_else(|| invalid("default_subnet_v6", why))?;
            config.default_subnet_v6 = Some(subnet);
        }
        config.ipv6_enabled = file.ipv6_enabled.unwrap_or(config.ipv6_enabled);
        config.max_networks = file.max_networks.unwrap_or(config.max_networks);
        config.metrics_enabled = file.metrics_enabled.unwrap_or(config.metrics_enabled);
        Ok(config)
    }

    /// What IPv6 subnets are taken from: as set, else a /48 of the host's own, as RFC 4193 asks for.
    pub fn pool_v6(&self) -> Ipv6Network {
        self.default_subnet_v6.unwrap_or_else(|| {
            let digest = Sha256::digest(format!("weft {}", machine_id().unwrap_or_default()));
            let global: [u8; 5] = digest
                .first_chunk()
                .copied()
                .unwrap_or([0x77, 0x65, 0x66, 0x74, 0]);
            let mut bytes = [0; 16];
            let places = bytes.iter_mut().zip([0xfd].into_iter().chain(global));
            places.for_each(|(place, byte)| *place = byte);
            let address = Ipv6Addr::from(bytes);
            Ipv6Network::new_checked(address, 48).unwrap_or_else(|| Ipv6Network::from(address))
        })
    }
}

/// Prefix length of the subnets that networks get: a thousand fit into a /16.
pub(crate) const SUBNET_V4: u8 = 26;
pub(crate) const SUBNET_V6: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<VNetConfig, CniError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("weft.toml");
        std::fs::write(&file, text).unwrap();
        VNetConfig::read(&Env::from_pairs([("WEFT_CONFIG", file.to_str().unwrap())]))
    }

    #[test]
    fn what_is_said_counts_and_the_rest_is_as_always() {
        assert_eq!(read("").unwrap(), VNetConfig::default());
        let text = "[vnet]\ndefault_driver = \"macvlan\"\ndefault_isolation = \"peer\"\nipv6_enabled = true\n\
            default_subnet = \"10.8.0.0/20\"\ndefault_subnet_v6 = \"fd00:1::/56\"\nmax_networks = 3\n\
            metrics_enabled = false\n";
        let config = read(text).unwrap();
        assert_eq!(config.default_driver, DriverType::Macvlan);
        assert_eq!(config.default_isolation, IsolationMode::PeerOnly);
        assert_eq!(config.default_subnet.to_string(), "10.8.0.0/20");
        assert_eq!(config.pool_v6().to_string(), "fd00:1::/56");
        assert_eq!((config.max_networks, config.metrics_enabled), (3, false));
    }

    #[test]
    fn a_wrong_key_is_named() {
        for (text, part) in [
            ("default_driver = \"vxlan\"", "default_driver"),
            ("default_isolation = \"some\"", "default_isolation"),
            ("default_subnet = \"10.0.0.0/27\"", "default_subnet"),
            ("default_subnet_v6 = \"10.0.0.0/8\"", "default_subnet_v6"),
            ("default_subnt = \"10.0.0.0/8\"", "default_subnt"),
            ("max_networks = -1", "max_networks"),
        ] {
            let error = read(&format!("[vnet]\n{text}\n")).unwrap_err();
            assert!(error.msg.contains(part), "{}", error.msg);
        }
    }

    #[test]
    fn the_hosts_own_prefix_is_a_unique_local_one() {
        let pool = VNetConfig::default().pool_v6();
        assert_eq!((pool.prefix(), pool.ip().octets()[0]), (48, 0xfd));
        assert_eq!(pool.ip(), pool.network());
    }
}
