//! Sockets on the loopback of containers that reach no address of the host. They are opened in the container's
//! namespace and given away at once: a socket keeps its namespace alive, so it is closed as soon as the container's names
//! or the namespace's path are gone.

use std::collections::BTreeMap;
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
    told: BTreeMap<String, NetnsRecord>,
    /// Endpoints that cannot be listened for, and why.
    pub(super) refused: BTreeMap<String, String>,
}

impl Inside {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            home: NetNs::current()?,
            told: BTreeMap::new(),
            refused: BTreeMap::new(),
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
        child: &Child,
        watch: &Watch,
    ) -> Result<()> {
        let is_right = |id: &String, netns: &NetnsRecord| {
            wanted.get(id) == Some(netns) && namespaces::is_there(netns)
        };
        let over = self.told.iter().filter(|(id, netns)| !is_right(id, netns));
        for endpoint in over.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.told.remove(&endpoint);
            child.tell(&Message::UnlistenInside { endpoint })?;
        }
        self.refused.retain(|id, _| wanted.contains_key(id));
        for (id, netns) in wanted {
            if self.told.contains_key(id) || !namespaces::is_there(netns) {
                continue;
            }
            match self.open(netns) {
                Ok(sockets) => {
                    watch.add_namespace(Path::new(&netns.path));
                    let endpoint = id.clone();
                    child.hand_over(&Message::ListenInside { endpoint }, &sockets)?;
                    self.told.insert(id.clone(), netns.clone());
                    self.refused.remove(id);
                }
                Err(error) => self.refuse(id, &error),
            }
        }
        Ok(())
    }

    /// Said once, and tried again at each look.
    fn refuse(&mut self, id: &str, error: &anyhow::Error) {
        let text = format!(
            "{id}: {error:#}: the container gets no answers; a name server of its own at port 53 of all addresses \
             keeps others from it"
        );
        if self.refused.get(id) != Some(&text) {
            tracing::warn!("{text}");
            self.refused.insert(id.to_owned(), text);
        }
    }

    fn open(&self, netns: &NetnsRecord) -> Result<[std::os::fd::OwnedFd; 2]> {
        let there = NetNs::open(Path::new(&netns.path))?;
        let opened = there.run(&self.home, || sockets::open(ADDRESS))?;
        opened.with_context(|| format!("inside {}", netns.path))
    }
}
