//! The host a verb works on: its store, and its sockets as they are needed.

use std::path::{Path, PathBuf};

use weft_cni::conf::{NetConf, Problems};
use weft_cni::env::Env;
use weft_cni::{CniError, Code, NetworkName};
use weft_kernel::netlink::RouteSocket;
use weft_kernel::nft::NftSocket;
use weft_kernel::{NetNs, host};
use weft_store::{AttachmentRecord, NetworkRecord, StickyLeases, Store, StoreConfig};

use crate::config::HostConfig;
use crate::error::WeftError;

/// A host. Sockets are opened when first used and closed with it.
#[derive(Debug)]
pub struct Host {
    /// Records, leases, shared objects; opened anew for each look.
    pub store: Store,
    /// Last addresses of pods, which outlive a reboot.
    pub sticky: StickyLeases,
    /// Where what outlives a reboot is kept.
    pub data_dir: PathBuf,
    /// Where the host's rules are.
    pub policy_dir: PathBuf,
    /// The domain that all containers' names are below, unless their network has one of its own.
    pub dns_domain: String,
    /// Whether tables of Weft's were missing and this call has made them.
    pub has_made_tables: bool,
    route: Option<RouteSocket>,
    nft: Option<NftSocket>,
}

impl Host {
    /// Opens the host that a configuration describes.
    pub fn open(config: &HostConfig) -> Self {
        let dir = config.state_dir.clone();
        Self {
            store: Store::new(StoreConfig {
                // Where a reboot empties the directory there are no earlier boots to tell apart.
                boot_id: if host::is_volatile(&dir) {
                    None
                } else {
                    host::boot_id()
                },
                dir,
                backend: config.backend,
                lock_timeout: config.lock_timeout,
            }),
            sticky: StickyLeases::new(&config.data_dir),
            data_dir: config.data_dir.clone(),
            policy_dir: config.policy_dir.clone(),
            dns_domain: config.dns_domain.clone(),
            has_made_tables: false,
            route: None,
            nft: None,
        }
    }

    /// The host that the environment and weft.toml describe.
    ///
    /// # Errors
    /// As [`HostConfig::read`].
    pub fn of_environment(env: &Env) -> Result<Self, CniError> {
        HostConfig::read(env).map(|config| Self::open(&config))
    }

    /// Refuses a network's configuration that names another store than the host's.
    ///
    /// # Errors
    /// Code 7.
    pub fn require_store(&self, conf: &NetConf) -> Result<(), CniError> {
        let problems = Problems::default();
        let fields = conf.open(&problems);
        let (named, own) = (fields.string("store"), self.store.backend());
        match named {
            Some(text) if text.parse() != Ok(own) => Err(CniError::new(
                Code::InvalidConfig,
                format!(
                    "store: {text:?} is not the host's, which is {own}: the store is one for the whole host; set \
                     WEFT_STORE, or store below [host] in /etc/weft/weft.toml"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// The host for the removal of a container from a network: with the database that was the host's before, if the
    /// attachment is in that one.
    ///
    /// # Errors
    /// As [`HostConfig::read`].
    pub fn that_holds(env: &Env, network: &NetworkName) -> Result<Self, CniError> {
        let host = Self::of_environment(env)?;
        if let (Some(other), Ok((container, _))) = (host.with_other_database(), env.container()) {
            let own = host
                .store
                .read(|transaction| transaction.attachments_of_container(network, &container));
            // Of whatever network: it may have had another name.
            let others = other
                .store
                .read(|transaction| transaction.attachments_of_id(&container));
            // What cannot be read is reported by the removal itself.
            if own.is_ok_and(|own| own.is_empty()) && others.is_ok_and(|others| !others.is_empty())
            {
                return Ok(other);
            }
        }
        Ok(host)
    }

    /// The same host with the database that it had before, if there is one ([`Store::other`]).
    pub fn with_other_database(&self) -> Option<Self> {
        Some(Self {
            store: self.store.other()?,
            sticky: self.sticky.clone(),
            data_dir: self.data_dir.clone(),
            policy_dir: self.policy_dir.clone(),
            dns_domain: self.dns_domain.clone(),
            has_made_tables: false,
            route: None,
            nft: None,
        })
    }

    /// The attachments of the host, those that are in an earlier database included.
    ///
    /// # Errors
    /// The stores'.
    pub fn attachments(&self) -> Result<Vec<AttachmentRecord>, WeftError> {
        let mut all = self.store.read(|transaction| transaction.attachments())?;
        if let Some(other) = self.store.other() {
            all.extend(other.read(|transaction| transaction.attachments())?);
        }
        Ok(all)
    }

    /// The closed networks of the host, those that are in an earlier database included.
    ///
    /// # Errors
    /// The stores'.
    pub fn networks(&self) -> Result<Vec<(String, NetworkRecord)>, WeftError> {
        let mut all = self.store.read(|transaction| transaction.networks())?;
        if let Some(other) = self.store.other() {
            all.extend(other.read(|transaction| transaction.networks())?);
        }
        Ok(all)
    }

    /// The rtnetlink socket.
    ///
    /// # Errors
    /// The kernel's.
    pub fn route(&mut self) -> Result<&mut RouteSocket, WeftError> {
        match &mut self.route {
            Some(socket) => Ok(socket),
            empty => Ok(empty.insert(RouteSocket::open()?)),
        }
    }

    /// The nf_tables socket.
    ///
    /// # Errors
    /// The kernel's.
    pub fn nft(&mut self) -> Result<&mut NftSocket, WeftError> {
        match &mut self.nft {
            Some(socket) => Ok(socket),
            empty => Ok(empty.insert(NftSocket::open()?)),
        }
    }
}

/// The container's side of a verb.
#[derive(Debug)]
pub struct Container {
    /// Its namespace.
    pub netns: NetNs,
    /// The namespace to come back to.
    pub home: NetNs,
    /// A socket inside.
    pub route: RouteSocket,
    /// It has other interfaces than the loopback interface, as far as has been looked.
    pub has_others: bool,
}

impl Container {
    /// Opens the container's namespace. One that is the host's own is refused before anything is
    /// done, unless `may_be_own`.
    pub fn open(path: &str, may_be_own: bool) -> Result<Self, WeftError> {
        let netns = NetNs::open(Path::new(path))?;
        let home = NetNs::current()?;
        if netns == home && !may_be_own {
            return Err(WeftError::OwnNetns {
                path: path.to_owned(),
            });
        }
        Self::between(netns, home)
    }

    /// The same of a namespace that has been found.
    pub fn open_found(netns: NetNs) -> Result<Self, WeftError> {
        Self::between(netns, NetNs::current()?)
    }

    fn between(netns: NetNs, home: NetNs) -> Result<Self, WeftError> {
        let route = RouteSocket::open_in(&netns, &home)?;
        Ok(Self {
            netns,
            home,
            route,
            has_others: false,
        })
    }

    /// Refuses if the container is not in the host's namespace.
    pub fn require_home(&self) -> Result<(), WeftError> {
        if self.netns == self.home {
            return Ok(());
        }
        Err(WeftError::Conflict {
            key: "CNI_NETNS",
            name: self.netns.path().display().to_string(),
            why: "is not the host's network namespace; for a container of its own name the \
                  interface that it is to have: device, hwaddr, kernelpath or pciBusID"
                .to_owned(),
        })
    }

    /// Runs `work` inside the namespace (for what is not netlink: `/proc/sys`).
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T, WeftError> {
        Ok(self.netns.run(&self.home, work)?)
    }
}
