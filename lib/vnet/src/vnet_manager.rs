//! The network manager.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use weft_cni::CniError;
use weft_cni::env::Env;
use weft_cni::runtime::{Network, ResultCache};
use weft_node::{Host, HostConfig, namespaces};
use weft_store::{AttachmentRecord, BackendKind, FileLock, Sharing};

use crate::catalogue::{Catalogue, NetworkFile};
use crate::config::VNetConfig;
use crate::endpoint::Endpoint;
use crate::error::VNetError;
use crate::network::VirtualNetwork;
use crate::state::States;

/// Held exclusive while networks change, shared while an endpoint is made.
const NETWORKS_LOCK: &str = "networks";
/// Held while an endpoint is made.
const ENDPOINT_LOCK: &str = "endpoint";

/// Where things are that runtimes share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Network configurations.
    pub conf_dir: PathBuf,
    /// Plugins, searched in order.
    pub plugin_path: Vec<PathBuf>,
    /// Results of ADDs, as libcni keeps them.
    pub cache_dir: PathBuf,
}

impl Places {
    /// As the environment says (`NETCONFPATH`, `CNI_PATH`, `WEFT_CACHE_DIR`), else where packages put them. Behind them plugins are
    /// searched beside the running program.
    pub fn of_environment(env: &Env) -> Self {
        const PLUGINS: [&str; 3] = ["/opt/cni/bin", "/usr/libexec/cni", "/usr/lib/cni"];
        let mut plugin_path = env.plugin_path();
        if plugin_path.is_empty() {
            plugin_path.extend(PLUGINS.map(PathBuf::from));
            let program = std::env::current_exe().ok();
            plugin_path.extend(program.and_then(|path| Some(path.parent()?.to_owned())));
        }
        Self {
            conf_dir: env.get("NETCONFPATH").unwrap_or("/etc/cni/net.d").into(),
            plugin_path,
            cache_dir: env.get("WEFT_CACHE_DIR").unwrap_or("/var/lib/cni").into(),
        }
    }
}

/// Networks and endpoints of a host. All calls block until the kernel, the store and the plugins are done.
#[derive(Debug)]
pub struct VNetManager {
    /// Settings.
    pub config: VNetConfig,
    /// Directories.
    pub places: Places,
    /// The store and the kernel.
    pub host: Host,
    pub(crate) host_config: HostConfig,
    pub(crate) states: States,
}

impl VNetManager {
    /// The manager of the host that the environment and weft.toml describe.
    ///
    /// # Errors
    /// As [`HostConfig::read`] and [`VNetConfig::read`].
    pub fn of_environment(env: &Env) -> Result<Self, CniError> {
        let host_config = HostConfig::read(env)?;
        Ok(Self::open(
            VNetConfig::read(env)?,
            host_config,
            Places::of_environment(env),
        ))
    }

    /// The manager of a host.
    pub fn open(config: VNetConfig, host_config: HostConfig, places: Places) -> Self {
        Self {
            config,
            places,
            host: Host::open(&host_config),
            states: States::below(&host_config.data_dir),
            host_config,
        }
    }

    /// The networks, by name: those that Weft has made, all others that the host's runtimes read, and those that have
    /// endpoints without a configuration.
    ///
    /// # Errors
    /// The system's.
    pub fn networks(&self) -> Result<Vec<VirtualNetwork>, VNetError> {
        let catalogue = Catalogue::read(&self.places.conf_dir)?;
        let mut all: Vec<VirtualNetwork> = catalogue
            .files
            .iter()
            .map(|file| self.describe(file))
            .collect();
        let records = self.host.attachments()?;
        let mut unread: BTreeMap<&str, Vec<&AttachmentRecord>> = BTreeMap::new();
        let known: HashSet<String> = all.iter().map(|one| one.name.clone()).collect();
        for record in records
            .iter()
            .filter(|one| Endpoint::of_record(one).is_some())
        {
            let name = record.id.network.as_str();
            if !known.contains(name) {
                unread.entry(name).or_default().push(record);
            }
        }
        let unread = unread.values();
        all.extend(unread.filter_map(|records| VirtualNetwork::of_records(records)));
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// Configurations that no runtime can read, and why.
    ///
    /// # Errors
    /// The system's.
    pub fn broken_files(&self) -> Result<Vec<String>, VNetError> {
        Ok(Catalogue::read(&self.places.conf_dir)?.broken)
    }

    /// A network by its name, its id or the beginning of its id.
    ///
    /// # Errors
    /// [`VNetError::UnknownNetwork`], [`VNetError::Ambiguous`].
    pub fn network(&self, text: &str) -> Result<VirtualNetwork, VNetError> {
        /// Less is taken for a name.
        const SHORTEST_ID: usize = 4;
        let mut all = self.networks()?;
        if let Some(found) = all.iter().position(|one| one.name == text) {
            return Ok(all.swap_remove(found));
        }
        all.retain(|one| text.len() >= SHORTEST_ID && one.id.starts_with(text));
        match all.len() {
            0 => Err(VNetError::UnknownNetwork {
                name: text.to_owned(),
                dir: self.places.conf_dir.clone(),
            }),
            1 => Ok(all.swap_remove(0)),
            _ => Err(VNetError::Ambiguous {
                text: text.to_owned(),
                found: all.into_iter().map(|one| one.name).collect(),
            }),
        }
    }

    /// The endpoints of all networks that Weft's plugins have attached, by network and age.
    ///
    /// # Errors
    /// The store's.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, VNetError> {
        let records = self.host.attachments()?;
        let mut all: Vec<Endpoint> = records.iter().filter_map(Endpoint::of_record).collect();
        all.sort_by(|one, other| {
            let networks = one.network.cmp(&other.network);
            let ages = || one.created_at.cmp(&other.created_at);
            networks.then_with(ages).then_with(|| one.id.cmp(&other.id))
        });
        Ok(all)
    }

    /// The endpoints whose containers' namespaces are still where they were.
    ///
    /// # Errors
    /// The store's.
    pub fn living_endpoints(&self) -> Result<Vec<Endpoint>, VNetError> {
        let mut records = self.host.attachments()?;
        records.retain(|record| record.netns.as_ref().is_some_and(namespaces::is_there));
        Ok(records.iter().filter_map(Endpoint::of_record).collect())
    }

    /// The endpoint with an id or the beginning of one, or the only one of a container (by id, its beginning, or name)
    /// or with an address.
    ///
    /// # Errors
    /// [`VNetError::UnknownEndpoint`], [`VNetError::Ambiguous`].
    pub fn endpoint(&self, text: &str) -> Result<Endpoint, VNetError> {
        let mut found = self.endpoints_of(text)?;
        match found.len() {
            1 => Ok(found.swap_remove(0)),
            _ => Err(VNetError::Ambiguous {
                text: text.to_owned(),
                found: found.iter().map(|one| one.short_id().to_owned()).collect(),
            }),
        }
    }

    /// All that [`Self::endpoint`] could mean: at least one.
    ///
    /// # Errors
    /// [`VNetError::UnknownEndpoint`].
    pub fn endpoints_of(&self, text: &str) -> Result<Vec<Endpoint>, VNetError> {
        self.endpoints_among(self.endpoints()?, text)
    }

    /// The same among some of them.
    ///
    /// # Errors
    /// [`VNetError::UnknownEndpoint`].
    pub fn endpoints_among(
        &self,
        all: Vec<Endpoint>,
        text: &str,
    ) -> Result<Vec<Endpoint>, VNetError> {
        for is_meant in Endpoint::WAYS {
            let found: Vec<Endpoint> = all
                .iter()
                .filter(|one| is_meant(one, text))
                .cloned()
                .collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(VNetError::UnknownEndpoint {
            text: text.to_owned(),
        })
    }

    pub(crate) fn describe(&self, file: &NetworkFile) -> VirtualNetwork {
        VirtualNetwork::new(file, self.states.of(file))
    }

    pub(crate) fn find_file(&self, name: &str) -> Result<NetworkFile, VNetError> {
        let catalogue = Catalogue::read(&self.places.conf_dir)?;
        let found = catalogue.find(name).cloned();
        found.ok_or_else(|| VNetError::UnknownNetwork {
            name: name.to_owned(),
            dir: self.places.conf_dir.clone(),
        })
    }

    /// One change of networks at a time, and none while an endpoint is made.
    pub(crate) fn lock(&self) -> Result<FileLock, VNetError> {
        Ok(self
            .host
            .store
            .named_lock(NETWORKS_LOCK, Sharing::Exclusive)?)
    }

    /// Held while an endpoint is made: its network does not change meanwhile, and no other call chooses the same name for
    /// an interface.
    pub(crate) fn lock_for_endpoint(&self) -> Result<[FileLock; 2], VNetError> {
        let store = &self.host.store;
        Ok([
            store.named_lock(NETWORKS_LOCK, Sharing::Shared)?,
            store.named_lock(ENDPOINT_LOCK, Sharing::Exclusive)?,
        ])
    }

    /// A network's plugins, ready to be run on this host.
    pub(crate) fn chain(&self, file: &NetworkFile) -> Network {
        let text = |path: &PathBuf| path.display().to_string();
        let config = &self.host_config;
        let store = match config.backend {
            BackendKind::Redb => "redb",
            BackendKind::Sled => "sled",
        };
        let variables = [
            ("WEFT_STATE_DIR", text(&config.state_dir)),
            ("WEFT_DATA_DIR", text(&config.data_dir)),
            ("WEFT_POLICY_DIR", text(&config.policy_dir)),
            ("WEFT_STORE", store.to_owned()),
        ];
        Network {
            list: file.list.clone(),
            path: self.places.plugin_path.clone(),
            cache: ResultCache::new(&self.places.cache_dir),
            variables: variables
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
        }
    }
}
