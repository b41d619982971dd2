//! All that is known: networks, endpoints, where they ask, other servers.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use tokio::sync::broadcast;
use weft_api::daemon::Seen;
use weft_dns::cache::{Cache, Key};
use weft_dns::{Name, Transport, View};
use weft_store::ForwardZone;

use super::clients::{At, Client, Clients, InFlight};
use super::counters::Totals;
use super::question::Found;
use super::served::Served;
use super::upstream::Upstreams;
use crate::channel::{Endpoint, Network};
use crate::config::Settings;

/// What the root part has told, and what has come of it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) settings: Settings,
    pub(super) networks: HashMap<Arc<str>, Served>,
    pub(super) endpoints: HashMap<Arc<str>, Endpoint>,
    /// Which networks ask at an address of the host.
    by_server: HashMap<IpAddr, Vec<Arc<str>>>,
    clients: Clients,
    pub(super) reaches: HashMap<String, Vec<String>>,
    /// The host's own servers.
    pub(super) host_servers: Vec<IpAddr>,
    pub(super) upstreams: Upstreams,
    pub(super) cache: Cache,
    pub(super) in_flight: InFlight,
    pub(super) connections: InFlight,
    /// What others are being asked, for those that ask the same meanwhile (RFC 5452, section 5).
    pub(super) asking: HashMap<(Key, Transport), Found>,
    pub(super) totals: Totals,
    pub(super) troubles: Vec<String>,
    /// Everything that there was at the beginning is known.
    pub(super) is_complete: bool,
    /// Those that want to see each question.
    pub(super) watchers: broadcast::Sender<Seen>,
}

impl Default for Known {
    fn default() -> Self {
        const BEHIND: usize = 4096;
        let settings = Settings::default();
        Self {
            cache: Cache::new(settings.cache_entries),
            settings,
            networks: HashMap::new(),
            endpoints: HashMap::new(),
            by_server: HashMap::new(),
            clients: Clients::default(),
            reaches: HashMap::new(),
            host_servers: Vec::new(),
            upstreams: Upstreams::default(),
            in_flight: InFlight::default(),
            connections: InFlight::default(),
            asking: HashMap::new(),
            totals: Totals::default(),
            troubles: Vec::new(),
            is_complete: false,
            watchers: broadcast::Sender::new(BEHIND),
        }
    }
}

/// Whose question it is.
#[derive(Debug)]
pub(super) struct Asker<'k> {
    /// For whom it is counted.
    pub(super) client: Client,
    pub(super) network: Arc<str>,
    pub(super) view: &'k View,
    /// Views of other networks that it is in, or that its network reaches.
    pub(super) others: Vec<&'k View>,
}

impl Known {
    pub(super) fn put_settings(&mut self, settings: Settings) -> Result<()> {
        self.cache.set_most(settings.cache_entries);
        self.settings = settings;
        let names: Vec<Network> = self
            .networks
            .values()
            .map(|one| one.network.clone())
            .collect();
        // One that the settings do not fit keeps none of the others from them.
        let mut outcomes = Vec::new();
        for network in names {
            outcomes.push(self.put_network(network));
        }
        outcomes.into_iter().collect()
    }

    pub(super) fn put_network(&mut self, network: Network) -> Result<()> {
        let name: Arc<str> = network.name.as_str().into();
        self.forget_servers(&name);
        for server in &network.servers {
            self.by_server
                .entry(*server)
                .or_default()
                .push(Arc::clone(&name));
        }
        let mut served = Served::new(network, &self.settings)?;
        if let Some(before) = self.networks.remove(&name) {
            served.counters = before.counters;
        }
        for endpoint in self.endpoints.values().filter(|one| *one.network == *name) {
            served.insert(endpoint);
        }
        self.networks.insert(name, served);
        Ok(())
    }

    fn forget_servers(&mut self, name: &str) {
        self.by_server.retain(|_, networks| {
            networks.retain(|one| **one != *name);
            !networks.is_empty()
        });
    }

    pub(super) fn remove_network(&mut self, name: &str) {
        self.forget_servers(name);
        self.networks.remove(name);
    }

    pub(super) fn put_endpoint(&mut self, endpoint: Endpoint) {
        self.remove_endpoint(&endpoint.id);
        if let Some(served) = self.networks.get_mut(endpoint.network.as_str()) {
            served.insert(&endpoint);
        }
        let id: Arc<str> = endpoint.id.as_str().into();
        self.clients.insert(&id, &endpoint);
        self.endpoints.insert(id, endpoint);
    }

    pub(super) fn remove_endpoint(&mut self, id: &str) {
        let Some(endpoint) = self.endpoints.remove(id) else {
            return;
        };
        self.clients.remove(&endpoint);
        let Some(served) = self.networks.get_mut(endpoint.network.as_str()) else {
            return;
        };
        served.remove(&endpoint);
    }

    /// Whose question it is that came in `at` a place from an address; none for somebody that is in no network.
    pub(super) fn asker(&self, at: &At, client: IpAddr) -> Option<Asker<'_>> {
        match at {
            At::Inside(id) => {
                let endpoint = self.endpoints.get(id.as_str())?;
                self.asker_of(endpoint)
            }
            At::Host(server) => {
                let networks = self.by_server.get(server)?;
                let endpoints = self.clients.at(client).iter();
                let mut endpoints = endpoints.filter_map(|id| self.endpoints.get(id));
                let own = endpoints.find(|one| networks.iter().any(|name| **name == *one.network));
                match own {
                    Some(endpoint) => self.asker_of(endpoint),
                    None => self.guest(networks, *server, client),
                }
            }
        }
    }

    /// A container, in one of its networks.
    pub(super) fn asker_of(&self, endpoint: &Endpoint) -> Option<Asker<'_>> {
        let (network, served) = self.networks.get_key_value(endpoint.network.as_str())?;
        let mut others = Vec::new();
        let mut add = |name: &str| {
            if let Some(other) = self
                .networks
                .get(name)
                .filter(|_| *name != *endpoint.network)
            {
                others.push(&other.view);
            }
        };
        let own = self.clients.of(&endpoint.container);
        if own.len() > 1 {
            let networks = own.iter().filter_map(|id| self.endpoints.get(id));
            networks.for_each(|one| add(&one.network));
        }
        if !self.reaches.is_empty() {
            let reached = self.reaches.get(&endpoint.network).into_iter().flatten();
            reached.for_each(|name| add(name));
        }
        let (id, _) = self.endpoints.get_key_value(endpoint.id.as_str())?;
        Some(Asker {
            client: Client::Endpoint(Arc::clone(id)),
            network: Arc::clone(network),
            view: &served.view,
            others,
        })
    }

    /// The host itself, which reaches all networks; or a machine on a bridge that is no container of Weft's.
    fn guest(&self, networks: &[Arc<str>], server: IpAddr, client: IpAddr) -> Option<Asker<'_>> {
        let is_host = client == server || self.by_server.contains_key(&client);
        let is_near = |name: &&Arc<str>| {
            self.networks.get(*name).is_some_and(|served| {
                let network = &served.network;
                network.serves_subnets && network.subnets.iter().any(|one| one.contains(client))
            })
        };
        let name = match is_host {
            true => networks.first(),
            false => networks.iter().find(is_near),
        }?;
        let others = match is_host {
            true => self.networks.values().map(|served| &served.view).collect(),
            false => Vec::new(),
        };
        let client = match is_host {
            true => Client::Host,
            false => Client::Guests(Arc::clone(name)),
        };
        Some(Asker {
            client,
            network: Arc::clone(name),
            view: &self.networks.get(name)?.view,
            others,
        })
    }

    /// Who is asked for a name: the servers of its domain, of the network, of the host; but never this daemon itself.
    pub(super) fn servers_for(&self, network: &str, name: &Name) -> Vec<IpAddr> {
        let own = self.networks.get(network).map(|served| &served.network);
        let zones = own.map_or(&[][..], |network| &network.zones);
        let of_zone = zone_of(zones, name).or_else(|| zone_of(&self.settings.zones, name));
        let of_network = || {
            own.map(|network| &network.upstreams)
                .filter(|all| !all.is_empty())
        };
        let of_settings = || Some(&self.settings.upstreams).filter(|all| !all.is_empty());
        let servers = of_zone.or_else(of_network).or_else(of_settings);
        let mut servers = servers.unwrap_or(&self.host_servers).clone();
        servers.retain(|ip| !self.by_server.contains_key(ip));
        servers
    }

    /// Servers that are asked for any name.
    fn general_servers(&self) -> Vec<IpAddr> {
        let networks = self.networks.values().map(|served| &served.network);
        let mut all = [self.host_servers.clone(), self.settings.upstreams.clone()].concat();
        networks.for_each(|network| all.extend(&network.upstreams));
        all
    }

    /// Domains with servers of their own.
    fn zones(&self) -> impl Iterator<Item = &ForwardZone> {
        let networks = self.networks.values().map(|served| &served.network);
        let own = networks.flat_map(|network| &network.zones);
        self.settings.zones.iter().chain(own)
    }

    /// Servers, each with a domain that it is asked for: below it a question must not come back here. One that has a
    /// domain alone may well ask back for others.
    pub(super) fn probes(&self) -> Vec<(IpAddr, Name)> {
        /// Nothing is there (RFC 6761).
        const NOTHING: &str = "test";
        let general = self.general_servers();
        let name_of = |server: &IpAddr| {
            let mut zones = self.zones();
            let own = zones.find(|zone| zone.servers.contains(server));
            let own = own.filter(|_| !general.contains(server));
            Name::parse(own.map_or(NOTHING, |zone| &zone.domain)).ok()
        };
        let all = self.all_servers();
        all.into_iter()
            .filter_map(|server| Some((server, name_of(&server)?)))
            .collect()
    }

    /// Every server that could be asked.
    pub(super) fn all_servers(&self) -> Vec<IpAddr> {
        let mut all = self.general_servers();
        all.extend(self.zones().flat_map(|zone| &zone.servers));
        all.sort_unstable();
        all.dedup();
        all.retain(|ip| !self.by_server.contains_key(ip));
        all
    }

    /// An endpoint by its container's id, the beginning of it, or one of its names.
    pub(super) fn find(&self, text: &str, network: Option<&str>) -> Option<&Endpoint> {
        let is_in = |one: &&Endpoint| network.is_none_or(|network| network == one.network);
        let mut all: Vec<&Endpoint> = self.endpoints.values().filter(is_in).collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        let is_named =
            |one: &&&Endpoint| one.names.iter().any(|name| name == text) || one.container == text;
        let found = all.iter().find(is_named).or_else(|| {
            all.iter()
                .find(|one| !text.is_empty() && one.container.starts_with(text))
        });
        found.copied()
    }
}

/// The servers of the most particular domain that a name is in.
fn zone_of<'z>(zones: &'z [ForwardZone], name: &Name) -> Option<&'z Vec<IpAddr>> {
    let domain = |zone: &'z ForwardZone| Name::parse(&zone.domain).ok().map(|name| (name, zone));
    let within = zones
        .iter()
        .filter_map(domain)
        .filter(|(domain, _)| name.is_within(domain));
    let (_, zone) = within.max_by_key(|(domain, _)| domain.wire().len())?;
    Some(&zone.servers)
}

/// Stands for a list of servers.
pub(super) fn scope_of(servers: &[IpAddr]) -> u64 {
    let mut hasher = DefaultHasher::new();
    servers.hash(&mut hasher);
    hasher.finish()
}
