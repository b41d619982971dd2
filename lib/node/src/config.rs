//! Where this machine's state is and how it is kept: from the environment, else from /etc/weft/weft.toml.
//!
//! Why it is so: docs/decisions/store.md.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use weft_cni::env::Env;
use weft_cni::{CniError, Code};
use weft_store::{BackendKind, StaticRecord};

/// What [`crate::Host::open`] needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// Where live state is kept: a reboot may empty it.
    pub state_dir: PathBuf,
    /// Where what outlives a reboot is kept.
    pub data_dir: PathBuf,
    /// Where the daemon's socket for everybody's questions is.
    pub public_dir: PathBuf,
    /// Where the files with the host's policies are.
    pub policy_dir: PathBuf,
    /// The store's database library.
    pub backend: BackendKind,
    /// How long locks are waited for.
    pub lock_timeout: Duration,
    /// Whether calls are counted in the operations file.
    pub metrics_enabled: bool,
    /// The domain that all containers' names are below, unless their network has one of its own.
    pub dns_domain: String,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            state_dir: "/run/weft".into(),
            data_dir: "/var/lib/weft".into(),
            public_dir: "/run/weft-pub".into(),
            policy_dir: "/etc/weft/policies.d".into(),
            backend: BackendKind::Redb,
            lock_timeout: Duration::from_secs(30),
            metrics_enabled: true,
            dns_domain: DNS_DOMAIN.to_owned(),
        }
    }
}

/// ICANN has set the top-level domain aside for private use.
const DNS_DOMAIN: &str = "weft.internal";

/// weft.toml. A table or key that is not known is refused: misspelt, it would mean another store.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    host: Table,
    #[serde(default)]
    vnet: NetworkDefaults,
    #[serde(default)]
    dns: DnsDefaults,
    /// The daemon's: lib/overlay says what is in it.
    #[serde(default, rename = "overlay")]
    _overlay: IgnoredAny,
    #[serde(default, rename = "peer")]
    _peer: IgnoredAny,
    #[serde(default, rename = "node")]
    _node: IgnoredAny,
    #[serde(default, rename = "security")]
    _security: IgnoredAny,
    #[serde(default, rename = "observability")]
    _observability: IgnoredAny,
    #[serde(default, rename = "netplan")]
    _netplan: IgnoredAny,
    /// The daemon's: lib/warp says what is in it.
    #[serde(default, rename = "warp")]
    _warp: IgnoredAny,
}

/// The table `[host]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    state_dir: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    public_dir: Option<PathBuf>,
    policy_dir: Option<PathBuf>,
    store: Option<BackendKind>,
    lock_timeout_seconds: Option<u64>,
}

/// The table `[vnet]`: what networks are like that are made by command. Meanings and defaults are the network
/// manager's, in weft-vnet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkDefaults {
    /// The kind of interface.
    pub default_driver: Option<String>,
    /// How closed a network is.
    pub default_isolation: Option<String>,
    /// Whether networks have IPv6 addresses too.
    pub ipv6_enabled: Option<bool>,
    /// What subnets are taken from.
    pub default_subnet: Option<String>,
    /// The same for IPv6.
    pub default_subnet_v6: Option<String>,
    /// How many networks there may be.
    pub max_networks: Option<usize>,
    /// Whether calls are counted in the operations file.
    pub metrics_enabled: Option<bool>,
}

/// The table `[dns]`: how the daemon answers. Meanings and defaults are the daemon's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsDefaults {
    /// The domain that all containers' names are below.
    pub domain: Option<String>,
    /// How long clients may remember a container's name, in seconds.
    pub ttl: Option<u32>,
    /// What is asked for names of others; else what resolv.conf names.
    #[serde(default)]
    pub upstreams: Vec<IpAddr>,
    /// What is asked for the names of a domain: domain to servers.
    #[serde(default)]
    pub zones: BTreeMap<String, Vec<IpAddr>>,
    /// Names of no container, for all networks.
    #[serde(default)]
    pub records: Vec<StaticRecord>,
    /// Whether names of one label that no container has are asked for elsewhere.
    pub forward_single_label: Option<bool>,
    /// How many answers of others are remembered.
    pub cache_entries: Option<usize>,
    /// How many questions to others may be open.
    pub max_in_flight: Option<usize>,
    /// How many of them one client may have.
    pub max_in_flight_per_client: Option<usize>,
    /// Whether systemd-resolved is told to ask here for containers' names.
    pub host_resolver: Option<bool>,
}

impl DnsDefaults {
    /// Reads the file.
    ///
    /// # Errors
    /// As [`HostConfig::read`].
    pub fn read(env: &Env) -> Result<Self, CniError> {
        Ok(read_file(&env.config_file())?.dns)
    }
}

impl NetworkDefaults {
    /// Reads the file.
    ///
    /// # Errors
    /// As [`HostConfig::read`].
    pub fn read(env: &Env) -> Result<Self, CniError> {
        Ok(read_file(&env.config_file())?.vnet)
    }
}

impl HostConfig {
    /// Reads environment and file. A variable counts before the file's key.
    ///
    /// # Errors
    /// Code 4 for a variable, code 7 for a file that cannot be understood, with line and key; code 5 for one that
    /// cannot be read. Nothing falls back to a default then: another store is another host.
    pub fn read(env: &Env) -> Result<Self, CniError> {
        let file = read_file(&env.config_file())?;
        let table = file.host;
        let default = Self::default();
        let path = |name: &str, key: Option<PathBuf>, default: PathBuf| {
            env.get(name).map(PathBuf::from).or(key).unwrap_or(default)
        };
        let backend = match env.get("WEFT_STORE") {
            Some(text) => text.parse().map_err(|()| {
                CniError::new(
                    Code::InvalidEnvironment,
                    format!("WEFT_STORE: {text:?} must be redb or sled"),
                )
            })?,
            None => table.store.unwrap_or(default.backend),
        };
        let lock_timeout = env.lock_timeout()?;
        let of_file = table.lock_timeout_seconds.map(Duration::from_secs);
        let config = Self {
            state_dir: path("WEFT_STATE_DIR", table.state_dir, default.state_dir),
            data_dir: path("WEFT_DATA_DIR", table.data_dir, default.data_dir),
            public_dir: path("WEFT_PUBLIC_DIR", table.public_dir, default.public_dir),
            policy_dir: path("WEFT_POLICY_DIR", table.policy_dir, default.policy_dir),
            backend,
            lock_timeout: lock_timeout.or(of_file).unwrap_or(default.lock_timeout),
            metrics_enabled: (file.vnet.metrics_enabled).unwrap_or(default.metrics_enabled),
            dns_domain: file.dns.domain.unwrap_or(default.dns_domain),
        };
        config.require_absolute()?;
        Ok(config)
    }

    /// A relative path would be another store for each directory that a runtime is started in.
    fn require_absolute(&self) -> Result<(), CniError> {
        let all = [
            ("state_dir", &self.state_dir),
            ("data_dir", &self.data_dir),
            ("public_dir", &self.public_dir),
            ("policy_dir", &self.policy_dir),
        ];
        match all.iter().find(|(_, path)| !path.is_absolute()) {
            Some((key, path)) => Err(CniError::new(
                Code::InvalidConfig,
                format!("{key}: {path:?} must be an absolute path"),
            )),
            None => Ok(()),
        }
    }
}

fn read_file(path: &Path) -> Result<File, CniError> {
    let text = match weft_cni::file::read_text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(File::default()),
        Err(error) => {
            let text = format!("{}: cannot be read: {error}", path.display());
            return Err(CniError::new(Code::Io, text));
        }
    };
    toml::from_str(&text).map_err(|error| {
        let text = format!("{}: {}", path.display(), error.to_string().trim_end());
        CniError::new(Code::InvalidConfig, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, pairs: &[(&str, &str)]) -> Result<HostConfig, CniError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("weft.toml");
        std::fs::write(&file, text).unwrap();
        let file = ("WEFT_CONFIG", file.to_str().unwrap());
        HostConfig::read(&Env::from_pairs(pairs.iter().copied().chain([file])))
    }

    #[test]
    fn variables_count_before_the_file() {
        let text = "[host]\nstore = \"sled\"\ndata_dir = \"/d\"\nlock_timeout_seconds = 3\n";
        let config = read(text, &[("WEFT_DATA_DIR", "/e")]).unwrap();
        let wanted = HostConfig {
            data_dir: "/e".into(),
            backend: BackendKind::Sled,
            lock_timeout: Duration::from_secs(3),
            ..HostConfig::default()
        };
        assert_eq!(config, wanted);
        let config = read(text, &[("WEFT_STORE", "redb"), ("WEFT_LOCK_TIMEOUT", "0")]).unwrap();
        assert_eq!(
            (config.backend, config.lock_timeout),
            (BackendKind::Redb, Duration::ZERO)
        );
    }

    #[test]
    fn a_wrong_file_names_line_and_key() {
        for (text, part) in [
            ("[host]\nstorr = \"sled\"\n", "storr"),
            ("[host]\nstore = \"mysql\"\n", "line 2"),
            ("[host\n", "line 1"),
            ("store = \"sled\"\n", "store"),
            ("[Host]\nstore = \"sled\"\n", "Host"),
        ] {
            let error = read(text, &[]).unwrap_err();
            assert_eq!(error.code, 7);
            assert!(
                error.msg.contains(part) && error.msg.contains("weft.toml"),
                "{}",
                error.msg
            );
        }
        let error = read("", &[("WEFT_STORE", "mysql")]).unwrap_err();
        assert!(error.msg.contains("WEFT_STORE"), "{}", error.msg);
        let error = read("", &[("WEFT_LOCK_TIMEOUT", "abc")]).unwrap_err();
        assert_eq!(error.code, 4);
        for relative in ["", "run/weft"] {
            let error = read(&format!("[host]\nstate_dir = \"{relative}\"\n"), &[]).unwrap_err();
            assert!(error.msg.contains("state_dir"), "{}", error.msg);
        }
    }

    #[test]
    fn without_a_file_everything_is_as_always() {
        let env = Env::from_pairs([("WEFT_CONFIG", "/nonexistent/weft.toml")]);
        assert_eq!(HostConfig::read(&env).unwrap(), HostConfig::default());
    }
}
