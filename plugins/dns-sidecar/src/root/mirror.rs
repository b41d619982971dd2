//! What the store says of names, as the part that answers is told it. A change costs what it changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use weft_cni::AttachmentId;
use weft_firewall::policy::reachable_networks;
use weft_node::Host;
use weft_overlay::exchange::Neighbour;
use weft_store::{AttachmentRecord, NetnsRecord, Position, StoreError};

use super::network::Descriptions;
use super::overlay::own::Container;
use super::record::named;
use crate::channel::{Endpoint, Message, Network};

/// What others on its bridge's segment know of a container.
fn port(record: &AttachmentRecord) -> Option<Container> {
    let bridge = record.link.port()?.bridge.clone()?;
    let mac = record.link.own()?.mac?;
    let addresses = record.addresses.iter().map(|one| one.address.ip());
    Some(Container {
        bridge,
        neighbour: Neighbour {
            mac,
            addresses: addresses.collect(),
        },
    })
}

/// An endpoint, with what it says of its network.
#[derive(Debug)]
struct Told {
    endpoint: Endpoint,
    network: Arc<Network>,
}

/// What is known of the store, and what has not been told of it yet.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    position: Position,
    known: HashMap<AttachmentId, Told>,
    networks: BTreeMap<String, (Descriptions, Network)>,
    reaches: BTreeMap<String, Vec<String>>,
    /// Bridges that are shared with other hosts, which are told of the ports.
    shared: BTreeSet<String>,
    /// Their ports, and whether they have changed.
    ports: HashMap<AttachmentId, Container>,
    ports_changed: bool,
    /// Attachments that weft-warp was called for.
    warped: BTreeSet<AttachmentId>,
    /// To be told, in this order.
    news: Vec<Message>,
    /// Endpoints that ask inside of their namespace.
    inside: BTreeMap<String, NetnsRecord>,
    /// Why it cannot be told which networks reach each other.
    pub(super) trouble: Option<String>,
}

impl Mirror {
    /// Reads what has changed in the store.
    pub(super) fn look(&mut self, host: &Host) -> Result<()> {
        let records = host.store.records_since(self.position)?;
        let Some(changed) = records.attachments else {
            return self.read_everything(host);
        };
        if records.has_networks {
            self.look_at_connections(host);
        }
        for (id, record) in changed {
            self.put(id, record.as_ref());
        }
        self.position = records.position;
        Ok(())
    }

    fn read_everything(&mut self, host: &Host) -> Result<()> {
        let (position, records) = host.store.read(|transaction| {
            Ok::<_, StoreError>((transaction.position()?, transaction.attachments()?))
        })?;
        let there: BTreeSet<&AttachmentId> = records.iter().map(|record| &record.id).collect();
        let all = (self.known.keys())
            .chain(self.ports.keys())
            .chain(&self.warped);
        let gone = all.filter(|id| !there.contains(id));
        for id in gone.cloned().collect::<Vec<_>>() {
            self.put(id, None);
        }
        // What networks are like is said by the newest of their containers.
        let mut records: Vec<&AttachmentRecord> = records.iter().collect();
        records.sort_by_key(|record| record.created_at);
        for record in records {
            self.put(record.id.clone(), Some(record));
        }
        self.look_at_connections(host);
        self.position = position;
        Ok(())
    }

    /// Reads which networks reach each other. What cannot be read stays as it was.
    pub(super) fn look_at_connections(&mut self, host: &Host) {
        let all = match reachable_networks(host) {
            Ok(all) => all.into_iter(),
            Err(error) => {
                let text = format!("which networks reach each other cannot be read: {error}");
                if self.trouble.as_ref() != Some(&text) {
                    tracing::warn!("{text}");
                }
                self.trouble = Some(text);
                return;
            }
        };
        self.trouble = None;
        let reaches: BTreeMap<_, _> = all
            .filter(|(_, _, reached)| !reached.is_empty())
            .map(|(name, _, reached)| (name, reached))
            .collect();
        if reaches != self.reaches {
            self.news.push(Message::Reaches {
                reaches: reaches.clone(),
            });
            self.reaches = reaches;
        }
    }

    fn put_port(&mut self, id: &AttachmentId, record: Option<&AttachmentRecord>) {
        let now = record.and_then(port);
        let now = now.filter(|one| self.shared.contains(&one.bridge));
        if self.ports.get(id) != now.as_ref() {
            self.ports_changed = true;
            match now {
                Some(now) => self.ports.insert(id.clone(), now),
                None => self.ports.remove(id),
            };
        }
    }

    /// These bridges are shared with other hosts from now on.
    pub(super) fn share(&mut self, bridges: BTreeSet<String>) {
        if bridges != self.shared {
            self.shared = bridges;
            // Records that are known are looked at once more.
            self.position = Position::default();
        }
    }

    /// Ports of shared bridges, if they have changed since it was asked last.
    pub(super) fn take_ports(&mut self) -> Option<Vec<Container>> {
        let mut ports: Vec<Container> = match std::mem::take(&mut self.ports_changed) {
            true => self.ports.values().cloned().collect(),
            false => return None,
        };
        ports.sort_by_key(|one| one.neighbour.mac);
        Some(ports)
    }

    /// Whether containers are led through others, or lead them, by their plugin chain.
    pub(super) fn has_warped(&self) -> bool {
        !self.warped.is_empty()
    }

    fn put(&mut self, id: AttachmentId, record: Option<&AttachmentRecord>) {
        self.put_port(&id, record);
        match record.is_some_and(|record| record.warp().is_some()) {
            true => drop(self.warped.insert(id.clone())),
            false => drop(self.warped.remove(&id)),
        }
        let mut now = record.and_then(named);
        let netns = now.as_mut().and_then(|now| now.netns.take());
        let endpoint_id = id.to_string();
        let before = self.known.get(&id);
        let is_same = match (before, &now) {
            (None, None) => true,
            (Some(before), Some(now)) => {
                before.endpoint == now.endpoint && *before.network == now.network
            }
            _ => false,
        };
        if is_same && self.inside.get(&endpoint_id) == netns.as_ref() {
            return;
        }
        let before = before.map(|before| Arc::clone(&before.network));
        let mut changed = BTreeSet::new();
        // What is new is described first: a network that changes is not one that goes and comes.
        let now = now.map(|now| {
            let name = &now.network.name;
            let (descriptions, _) = self.networks.entry(name.clone()).or_default();
            let (network, is_new) = descriptions.add(&now.network);
            if is_new {
                changed.insert(name.clone());
            }
            let endpoint = now.endpoint;
            Told { endpoint, network }
        });
        if let Some(before) = before {
            let there = self.networks.get_mut(&before.name);
            if there.is_some_and(|(descriptions, _)| descriptions.remove(&before)) {
                changed.insert(before.name.clone());
            }
        }
        changed.into_iter().for_each(|name| self.put_network(name));
        self.inside.remove(&endpoint_id);
        if let Some(netns) = netns {
            self.inside.insert(endpoint_id.clone(), netns);
        }
        match now {
            Some(now) => {
                self.news.push(Message::Endpoint(now.endpoint.clone()));
                self.known.insert(id, now);
            }
            None => {
                self.news.push(Message::EndpointGone { id: endpoint_id });
                self.known.remove(&id);
            }
        }
    }

    fn put_network(&mut self, name: String) {
        let Some((descriptions, told)) = self.networks.get_mut(&name) else {
            return;
        };
        match descriptions.together() {
            Some(network) if network == *told => {}
            Some(network) => {
                told.clone_from(&network);
                self.news.push(Message::Network(network));
            }
            None => {
                self.networks.remove(&name);
                self.news.push(Message::NetworkGone { name });
            }
        }
    }

    /// Everything is told anew: another process answers from now on.
    pub(super) fn forget_told(&mut self) {
        self.news.clear();
        let networks = self.networks.values();
        self.news
            .extend(networks.map(|(_, network)| Message::Network(network.clone())));
        self.news.push(Message::Reaches {
            reaches: self.reaches.clone(),
        });
        let endpoints = self.known.values().map(|one| one.endpoint.clone());
        self.news.extend(endpoints.map(Message::Endpoint));
    }

    /// What has not been told yet.
    pub(super) fn take_news(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.news)
    }

    /// Addresses of the host at which containers ask.
    pub(super) fn servers(&self) -> BTreeSet<IpAddr> {
        let networks = self.networks.values();
        networks
            .flat_map(|(_, network)| network.servers.iter().copied())
            .collect()
    }

    /// Networks, with where their containers ask.
    pub(super) fn networks(&self) -> impl Iterator<Item = &Network> {
        self.networks.values().map(|(_, network)| network)
    }

    /// Endpoints that ask inside of their namespace.
    pub(super) const fn inside(&self) -> &BTreeMap<String, NetnsRecord> {
        &self.inside
    }
}
