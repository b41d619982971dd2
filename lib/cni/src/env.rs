//! The environment: every variable Weft reads, read once, here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::args::CniArgs;
use crate::error::{CniError, Code};
use crate::id::{AttachmentId, ContainerId, IfName, NetworkName};

/// A variable and what it is for; the reference page is made from [`VARIABLES`].
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// As in the environment.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
}

const fn of_warp(name: &'static str, doc: &'static str) -> Variable {
    Variable { name, doc }
}

/// Every variable that plugins and the command line read.
pub const VARIABLES: &[Variable] = &[
    Variable {
        name: "CNI_COMMAND",
        doc: "the verb: ADD, DEL, CHECK, GC, STATUS or VERSION",
    },
    Variable {
        name: "CNI_CONTAINERID",
        doc: "the container's id",
    },
    Variable {
        name: "CNI_NETNS",
        doc: "path of the container's network namespace",
    },
    Variable {
        name: "CNI_IFNAME",
        doc: "the interface's name inside the container",
    },
    Variable {
        name: "CNI_ARGS",
        doc: "KEY=VALUE pairs separated by ';'",
    },
    Variable {
        name: "CNI_PATH",
        doc: "directories with plugins, separated by ':'",
    },
    Variable {
        name: "CNI_NETNS_OVERRIDE",
        doc: "1 or true: allow CNI_NETNS to be the plugin's own network namespace",
    },
    Variable {
        name: "TRACEPARENT",
        doc: "W3C trace context; written into every log line",
    },
    Variable {
        name: "WEFT_CONFIG",
        doc: "the host's configuration, default /etc/weft/weft.toml; variables count before its keys",
    },
    Variable {
        name: "WEFT_STATE_DIR",
        doc: "directory of live state, default /run/weft",
    },
    Variable {
        name: "WEFT_DATA_DIR",
        doc: "directory of what outlives a reboot, default /var/lib/weft",
    },
    Variable {
        name: "WEFT_PUBLIC_DIR",
        doc: "directory of the daemon's socket for everybody's questions, default /run/weft-pub",
    },
    Variable {
        name: "WEFT_OVERLAY_CONFIG",
        doc: "a file of n-netman's (YAML) that says which overlays there are, in place of weft.toml's tables",
    },
    Variable {
        name: "WEFT_POLICY_DIR",
        doc: "directory of the host's policies, default /etc/weft/policies.d",
    },
    Variable {
        name: "WEFT_STORE",
        doc: "the host's database, redb (default) or sled",
    },
    Variable {
        name: "WEFT_LOCK_TIMEOUT",
        doc: "seconds to wait for the store's lock, default 30; four times as long for those that delete links",
    },
    Variable {
        name: "WEFT_SYSCTL_ALLOWLIST",
        doc: "file of regular expressions, one per line, for the sysctls that plugins may set; default /etc/cni/tuning/allowlist.conf; without the file all names below net",
    },
    Variable {
        name: "WEFT_LOG",
        doc: "error, warn (default), info, debug or trace",
    },
    Variable {
        name: "NETCONFPATH",
        doc: "the command line: network configurations, default /etc/cni/net.d",
    },
    Variable {
        name: "WEFT_CACHE_DIR",
        doc: "the command line: results of ADDs as libcni keeps them, default /var/lib/cni",
    },
    Variable {
        name: "CAP_ARGS",
        doc: "weft cni: capability arguments as JSON",
    },
    of_warp("WEFT_WARP_ENABLED", "counts before `[warp] enabled`"),
    of_warp(
        "WEFT_WARP_DOCKER_CONNECTION_METHOD",
        "counts before `[warp] docker_connection_method`",
    ),
    of_warp(
        "WEFT_WARP_CONTAINER_NAME_PATTERN",
        "counts before `[warp] warp_container_name_pattern`",
    ),
    of_warp(
        "WEFT_WARP_CONTAINER_LABEL",
        "counts before `[warp] warp_container_label`",
    ),
    of_warp(
        "WEFT_WARP_TARGET_CONTAINER_LABEL",
        "counts before `[warp] target_container_label`",
    ),
    of_warp(
        "WEFT_WARP_NETWORK_PREFERENCE_LABEL",
        "counts before `[warp] network_preference_label`",
    ),
    of_warp(
        "WEFT_WARP_ROUTING_RULES",
        "counts before `[warp] routing_rules`, with semicolons between them",
    ),
    of_warp("WEFT_WARP_IPV6", "counts before `[warp] ipv6`"),
    of_warp("WEFT_WARP_ON_MISSING", "counts before `[warp] on_missing`"),
    of_warp(
        "WEFT_WARP_WAIT_SECONDS",
        "counts before `[warp] wait_seconds`",
    ),
    of_warp("WEFT_WARP_LOGGING", "counts before `[warp] logging`"),
    of_warp(
        "WEFT_WARP_DOCKER_SOCKET",
        "counts before `[warp.docker] socket`",
    ),
    of_warp(
        "WEFT_WARP_DOCKER_HOST",
        "counts before `[warp.docker] host`",
    ),
    of_warp(
        "WEFT_WARP_DOCKER_CERT_DIR",
        "counts before `[warp.docker] cert_dir`",
    ),
    of_warp(
        "WEFT_WARP_DOCKER_API_VERSION",
        "counts before `[warp.docker] api_version`",
    ),
    of_warp(
        "WEFT_WARP_PODMAN_SOCKET",
        "counts before `[warp.podman] socket`",
    ),
];

/// The variables as they were when the process started.
#[derive(Debug, Clone, Default)]
pub struct Env {
    values: BTreeMap<&'static str, OsString>,
}

impl Env {
    /// Reads the process's environment.
    pub fn read() -> Self {
        let values = VARIABLES
            .iter()
            .filter_map(|variable| {
                std::env::var_os(variable.name).map(|value| (variable.name, value))
            })
            .collect();
        Self { values }
    }

    /// An environment made up of pairs; names that Weft does not read are left out.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let values = pairs
            .into_iter()
            .filter_map(|(name, value)| {
                let known = VARIABLES.iter().find(|variable| variable.name == name)?;
                Some((known.name, OsString::from(value)))
            })
            .collect();
        Self { values }
    }

    /// A variable's text; `None` when it is unset, empty or not UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .and_then(|value| value.to_str())
            .filter(|value| !value.is_empty())
    }

    /// The same with a variable that has another value; a name that Weft does not read is left out.
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        let known = VARIABLES.iter().find(|variable| variable.name == name);
        if let Some(known) = known {
            self.values.insert(known.name, value.into());
        }
        self
    }

    /// `CNI_PATH` as directories.
    pub fn plugin_path(&self) -> Vec<PathBuf> {
        self.values
            .get("CNI_PATH")
            .map(|value| std::env::split_paths(value).filter(|p| !p.as_os_str().is_empty()))
            .into_iter()
            .flatten()
            .collect()
    }

    /// The file with the host's configuration.
    pub fn config_file(&self) -> PathBuf {
        PathBuf::from(self.get("WEFT_CONFIG").unwrap_or("/etc/weft/weft.toml"))
    }

    /// The file that says which sysctls plugins may set.
    pub fn sysctl_allowlist(&self) -> PathBuf {
        let default = "/etc/cni/tuning/allowlist.conf";
        PathBuf::from(self.get("WEFT_SYSCTL_ALLOWLIST").unwrap_or(default))
    }

    /// How long to wait for the store's lock, if it says so.
    pub fn lock_timeout(&self) -> Result<Option<Duration>, CniError> {
        let Some(text) = self.get("WEFT_LOCK_TIMEOUT") else {
            return Ok(None);
        };
        let seconds = text.parse().map_err(|_| {
            CniError::new(
                Code::InvalidEnvironment,
                format!("WEFT_LOCK_TIMEOUT: {text:?} must be a number of seconds"),
            )
        })?;
        Ok(Some(Duration::from_secs(seconds)))
    }

    /// `CNI_NETNS_OVERRIDE` is set.
    pub fn netns_override(&self) -> bool {
        self.get("CNI_NETNS_OVERRIDE")
            .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
    }

    /// `CNI_ARGS`, parsed.
    ///
    /// # Errors
    /// As [`CniArgs::parse`].
    pub fn args(&self) -> Result<CniArgs, CniError> {
        CniArgs::parse(self.get("CNI_ARGS").unwrap_or_default())
    }

    /// The container, and the interface unless it is absent (DEL may come without).
    ///
    /// # Errors
    /// Code 4, naming every variable that is wrong.
    pub fn container(&self) -> Result<(ContainerId, Option<IfName>), CniError> {
        let mut wrong = Vec::new();
        let container = ContainerId::try_from(self.get("CNI_CONTAINERID").unwrap_or_default())
            .map_err(|error| wrong.push(format!("CNI_CONTAINERID {error}")))
            .ok();
        let ifname = match self.get("CNI_IFNAME") {
            None => Ok(None),
            Some(text) => IfName::try_from(text).map(Some),
        }
        .map_err(|error| wrong.push(format!("CNI_IFNAME {error}")))
        .ok();
        match (container, ifname) {
            (Some(container), Some(ifname)) => Ok((container, ifname)),
            _ => Err(CniError::new(Code::InvalidEnvironment, wrong.join("; "))),
        }
    }

    /// The attachment that the environment and the network's name identify.
    ///
    /// # Errors
    /// Code 4.
    pub fn attachment_id(&self, network: &NetworkName) -> Result<AttachmentId, CniError> {
        let (container_id, ifname) = self.container()?;
        let ifname = ifname.ok_or_else(|| missing(&["CNI_IFNAME"]))?;
        Ok(AttachmentId {
            network: network.clone(),
            container_id,
            ifname,
        })
    }

    /// Refuses when one of the named variables is unset or empty, naming all of them.
    ///
    /// # Errors
    /// Code 4.
    pub fn require(&self, names: &[&str]) -> Result<(), CniError> {
        let absent: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| self.get(name).is_none())
            .collect();
        if absent.is_empty() {
            Ok(())
        } else {
            Err(missing(&absent))
        }
    }
}

fn missing(names: &[&str]) -> CniError {
    CniError::new(
        Code::InvalidEnvironment,
        format!(
            "required environment variable missing: {}",
            names.join(", ")
        ),
    )
}
