//! Sockets on the loopback of containers that reach no address of the host. They are opened in the container's
//! namespace and given away at once: a socket keeps its namespace alive, so it is closed as soon as the container's names
//! or the namespace's path are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result};
use weft_kernel::NetNs;
use weft_node::namespaces;
use weft_store::NetnsRecord;

use super::child::Child;
use super::sockets;
use super::watch::Watch;
use crate::channel::Message;

/// Where such a container asks.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

#[derive(Debug)]
pub(super) struct Inside {
    home: NetNs,
    told: BTreeSet<String>,
}

impl Inside {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            home: NetNs::current()?,
            told: BTreeSet::new(),
        })
    }

    /// Another process answers from now on, and the one before has closed its sockets.
    pub(super) fn forget_told(&mut self) {
        self.told.clear();
    }

    /// Opens sockets for containers that have none. Those that went, or whose namespace did, are closed.
    pub(super) fn be(
        &mut self,
        wanted: &BTreeMap<String, NetnsRecord>,
        touched: &BTreeSet<String>,
        child: &Child,
        watch: &Watch,
    ) -> Result<()> {
        // One that was changed is another one: the part that answers has closed its sockets.
        self.told
            .retain(|id| !touched.contains(id) && wanted.contains_key(id));
        for (id, netns) in wanted {
            let is_there = namespaces::is_there(netns);
            if !is_there && self.told.remove(id) {
                child.tell(&Message::EndpointGone { id: id.clone() })?;
            }
            if !is_there || self.told.contains(id) {
                continue;
            }
            match self.open(netns) {
                Ok(sockets) => {
                    watch.add_namespace(Path::new(&netns.path));
                    let endpoint = id.clone();
                    child.hand_over(&Message::ListenInside { endpoint }, &sockets)?;
                    self.told.insert(id.clone());
                }
                Err(error) => tracing::warn!("{id}: {error:#}"),
            }
        }
        Ok(())
    }

    fn open(&self, netns: &NetnsRecord) -> Result<[std::os::fd::OwnedFd; 2]> {
        let there = NetNs::open(Path::new(&netns.path))?;
        let opened = there.run(&self.home, || sockets::open(ADDRESS))?;
        opened.with_context(|| format!("inside {}", netns.path))
    }
}
