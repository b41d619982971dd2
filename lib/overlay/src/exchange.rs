//! What hosts tell each other: whom to call with what, what to believe of what comes in, and what follows of it for this
//! host's routes. Without sockets, and with the time as an argument.

mod known;
mod learned;
mod message;
mod report;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnetwork::IpNetwork;

use crate::config::Overlays;
use crate::policy::Home;
use known::{Known, Told};

pub use known::{MOST_ROUTES, Probe};
pub use learned::{Learned, LearnedEnd, LearnedRoute};
pub use message::{Call, End, Neighbour, Route, RouteKey, Stamp, State};
pub use report::{PeerReport, PeerState, ProbeReport, RouteReport};

/// Why something that came in is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// No peer has this id.
    Stranger(String),
    /// The certificate, or the address, is another host's.
    Impostor {
        /// The message's id.
        says: String,
        /// The common name of the certificate, or the peer with that address.
        is: String,
    },
    /// It is this host's own id.
    SameId(String),
    /// It is older than what is known, or something before it is missing: everything has to be exchanged.
    OutOfOrder,
}

/// What others say can be long.
fn short(text: &str) -> String {
    const MOST: usize = 64;
    text.chars().take(MOST).collect()
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stranger(id) => write!(f, "{:?} is no [[peer]] here", short(id)),
            Self::Impostor { says, is } => write!(
                f,
                "it says that it is {:?}, and is {:?} by its certificate or address",
                short(says),
                short(is)
            ),
            Self::SameId(id) => {
                write!(f, "{id:?} is the id of two hosts: give one another node.id")
            }
            Self::OutOfOrder => f.write_str("out of order: exchange states first"),
        }
    }
}

/// What this host has to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Own {
    /// Where it leads to.
    pub routes: Vec<Route>,
    /// Its part of each overlay.
    pub ends: Vec<End>,
    /// Its underlay addresses.
    pub locals: Vec<IpAddr>,
    /// Networks of its interfaces, without overlays'.
    #[serde(default)]
    pub home: Vec<IpNetwork>,
    /// What fits into each overlay, by VNI, in bytes.
    pub mtus: BTreeMap<u32, u32>,
}

/// Everything about other hosts.
#[derive(Debug)]
pub struct Exchange {
    node: String,
    overlays: Arc<Overlays>,
    own: Own,
    stamp: Stamp,
    peers: BTreeMap<String, Known>,
    owners: BTreeMap<RouteKey, String>,
    /// When another host last said that it has this one's id.
    twin: Option<Duration>,
}

impl Exchange {
    /// Begins, with another `generation` each time.
    pub fn new(node: String, generation: u64) -> Self {
        let stamp = Stamp {
            generation,
            sequence: 1,
        };
        Self {
            node,
            overlays: Arc::default(),
            own: Own::default(),
            stamp,
            peers: BTreeMap::new(),
            owners: BTreeMap::new(),
            twin: None,
        }
    }

    /// This host's id.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// What is configured.
    pub fn overlays(&self) -> &Overlays {
        &self.overlays
    }

    /// How new what this host tells is.
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Takes in the configuration, and what this host has to tell.
    pub fn configure(&mut self, node: String, overlays: Overlays, own: Own) {
        let is_me =
            |peer: &crate::config::Peer| peer.id == node || own.locals.contains(&peer.address);
        let wanted: BTreeMap<&String, _> = (overlays.peer.iter())
            .filter(|peer| !is_me(peer))
            .map(|peer| (&peer.id, peer))
            .collect();
        self.peers.retain(|id, known| {
            wanted
                .get(id)
                .is_some_and(|peer| peer.address == known.config.address)
        });
        for (id, peer) in wanted {
            let known = (self.peers.entry(id.clone())).or_insert_with(|| Known::new(peer.clone()));
            known.config = peer.clone();
        }
        let is_other = overlays != *self.overlays;
        let is_elsewhere = (&own.locals, &own.home) != (&self.own.locals, &self.own.home);
        if is_other || is_elsewhere || own.routes != self.own.routes {
            // What was taken may be refused now; what was refused has to be told again.
            let home = home(&overlays, &own);
            for known in self.peers.values_mut() {
                let routes: Vec<Route> = known.routes.values().cloned().collect();
                known.take(&routes, &overlays, &home);
                known.is_behind |= is_other || !known.refused_routes.is_empty();
            }
        }
        if (&own.routes, &own.ends) != (&self.own.routes, &self.own.ends) {
            self.stamp.sequence += 1;
        }
        (self.node, self.overlays, self.own) = (node, Arc::new(overlays), own);
    }

    /// What was known before the daemon was started anew: it is in force until the peers have spoken, or their leases end.
    pub fn remember(&mut self, now: Duration, learned: Learned) {
        for one in learned.ends {
            if let Some(known) = self.peers.get_mut(&one.peer) {
                known.ends.insert(one.end.vni, one.end);
            }
        }
        let home = home(&self.overlays, &self.own);
        for one in learned.routes {
            if let Some(known) = self.peers.get_mut(&one.peer) {
                known.heard.get_or_insert(now);
                known.take(&[one.route], &self.overlays, &home);
            }
        }
    }

    /// All that this host has to tell.
    pub fn state(&self) -> State {
        State {
            node: self.node.clone(),
            stamp: Some(self.stamp),
            routes: self.own.routes.clone(),
            ends: self.own.ends.clone(),
        }
    }

    /// The ids of peers that are to be called, with their addresses.
    pub fn peers(&self) -> impl Iterator<Item = (&String, IpAddr)> {
        self.peers
            .iter()
            .map(|(id, known)| (id, known.config.address))
    }

    /// When a peer is asked whether it lives, and when it is given up.
    pub fn health(&self, peer: &str) -> crate::config::Health {
        let known = self.peers.get(peer);
        known.map(|known| known.config.health).unwrap_or_default()
    }

    /// A connection to a peer is new: what it was told may be lost.
    pub fn opened(&mut self, peer: &str) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.told.is_current = false;
            known.is_connected = true;
            known.error = None;
        }
    }

    /// A connection could not be made, or is lost.
    pub fn closed(&mut self, peer: &str, why: String) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.told.is_current = false;
            known.is_connected = false;
            known.error = Some(why);
        }
    }

    /// Whether a connection to a peer stands.
    pub fn is_connected(&self, peer: &str) -> bool {
        self.peers.get(peer).is_some_and(|known| known.is_connected)
    }

    /// What a peer is to be told next.
    pub fn next_call(&self, now: Duration, peer: &str) -> Option<Call> {
        let known = self.peers.get(peer)?;
        let told = &known.told;
        let own: BTreeMap<RouteKey, &Route> = self.own_by_key();
        let gone = told.routes.iter().filter(|(key, _)| !own.contains_key(key));
        let gone: Vec<Route> = gone.map(|(_, route)| route.clone()).collect();
        // First of all: an exchange may only add to what a host of n-netman's knows. A host of Weft's is told changes of
        // both kinds at once, because one number stands for both.
        let has_new = own
            .values()
            .any(|route| told.routes.get(&route.key()) != Some(*route));
        let may_withdraw = known.said.is_none() || (told.is_current && !has_new);
        if !gone.is_empty() && may_withdraw {
            return Some(Call::Withdraw(gone));
        }
        let is_behind = known.is_behind || !gone.is_empty();
        if is_behind || !told.is_current || told.ends != self.own.ends {
            return Some(Call::Exchange);
        }
        // n-netman's hosts count the time of each route by itself.
        let is_due = known.said.is_none() && now.saturating_sub(told.at) >= self.renewal();
        let is_new = |route: &&&Route| is_due || told.routes.get(&route.key()) != Some(**route);
        let new: Vec<Route> = own
            .values()
            .filter(is_new)
            .map(|route| (**route).clone())
            .collect();
        (!new.is_empty()).then_some(Call::Announce(new))
    }

    fn own_by_key(&self) -> BTreeMap<RouteKey, &Route> {
        let routes = self.own.routes.iter();
        routes.map(|route| (route.key(), route)).collect()
    }

    /// A third of the shortest lease.
    fn renewal(&self) -> Duration {
        let leases = self.own.routes.iter().map(|route| route.lease_seconds);
        Duration::from_secs(u64::from(leases.min().unwrap_or(30).max(3))) / 3
    }

    /// A peer has taken a call, with `sent` as what this host had to tell then. Everything that it has comes with the
    /// answer to an exchange.
    ///
    /// # Errors
    /// Why the answer is not taken.
    pub fn called(
        &mut self,
        now: Duration,
        peer: &str,
        call: &Call,
        sent: &State,
        answer: Option<State>,
    ) -> Result<(), Rejection> {
        if let (Call::Exchange, Some(state)) = (call, answer) {
            if state.node != peer {
                return Err(Rejection::Impostor {
                    says: state.node,
                    is: peer.to_owned(),
                });
            }
            self.believe(now, state)?;
        }
        let Some(known) = self.peers.get_mut(peer) else {
            return Ok(());
        };
        known.hear(now);
        let told = &mut known.told;
        let keyed = |routes: &[Route]| -> BTreeMap<RouteKey, Route> {
            routes
                .iter()
                .map(|route| (route.key(), route.clone()))
                .collect()
        };
        match call {
            Call::Exchange => {
                *told = Told {
                    routes: keyed(&sent.routes),
                    ends: sent.ends.clone(),
                    at: now,
                    is_current: true,
                };
            }
            Call::Announce(new) => {
                told.routes.extend(keyed(new));
                told.at = now;
            }
            Call::Withdraw(gone) => {
                let gone = keyed(gone);
                told.routes.retain(|key, _| !gone.contains_key(key));
            }
        }
        Ok(())
    }

    /// A peer tells everything.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn believe(&mut self, now: Duration, state: State) -> Result<(), Rejection> {
        let home = home(&self.overlays, &self.own);
        let overlays = Arc::clone(&self.overlays);
        let known = self.speaker(now, &state.node)?;
        let is_older = match (known.said, state.stamp) {
            (Some(said), Some(new)) => {
                said.generation == new.generation && said.sequence > new.sequence
            }
            _ => false,
        };
        if is_older {
            return Err(Rejection::OutOfOrder);
        }
        known.hear(now);
        known.said = state.stamp;
        known.is_behind = false;
        known.take_ends(state.ends, &overlays);
        known.routes.clear();
        known.refused_routes.clear();
        known.take(&state.routes, &overlays, &home);
        Ok(())
    }

    /// A peer tells of routes that are new or have changed. How many are taken.
    ///
    /// # Errors
    /// Why none is taken.
    pub fn announced(
        &mut self,
        now: Duration,
        node: &str,
        stamp: Option<Stamp>,
        routes: &[Route],
    ) -> Result<usize, Rejection> {
        let home = home(&self.overlays, &self.own);
        let overlays = Arc::clone(&self.overlays);
        let known = self.in_order(now, node, stamp)?;
        known.take(routes, &overlays, &home);
        Ok(routes
            .iter()
            .filter(|route| known.routes.get(&route.key()) == Some(*route))
            .count())
    }

    /// A peer tells that it does not lead to prefixes any more: in one overlay, or in all of them. How many routes went.
    ///
    /// # Errors
    /// Why none went.
    pub fn withdrawn(
        &mut self,
        now: Duration,
        node: &str,
        stamp: Option<Stamp>,
        prefixes: &[(Option<u32>, IpNetwork)],
    ) -> Result<usize, Rejection> {
        let known = self.in_order(now, node, stamp)?;
        let before = known.routes.len();
        let stays = |(vni, prefix): &RouteKey| {
            let is_meant = |(of, gone): &(Option<u32>, IpNetwork)| {
                gone == prefix && of.is_none_or(|of| of == *vni)
            };
            !prefixes.iter().any(is_meant)
        };
        known.routes.retain(|key, _| stays(key));
        known.refused_routes.retain(|key, _| stays(key));
        Ok(before - known.routes.len())
    }

    fn in_order(
        &mut self,
        now: Duration,
        node: &str,
        stamp: Option<Stamp>,
    ) -> Result<&mut Known, Rejection> {
        let known = self.speaker(now, node)?;
        if let Some(new) = stamp {
            let follows = known.said.is_some_and(|said| {
                said.generation == new.generation && said.sequence <= new.sequence
            });
            if !follows {
                known.is_behind = true;
                return Err(Rejection::OutOfOrder);
            }
            known.said = Some(new);
        }
        known.hear(now);
        Ok(known)
    }

    /// A peer says that it lives, and how new what it has told is. Whether everything has to be exchanged.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn lives(
        &mut self,
        now: Duration,
        node: &str,
        stamp: Option<Stamp>,
    ) -> Result<bool, Rejection> {
        let known = self.speaker(now, node)?;
        known.hear(now);
        if stamp.is_some() && known.said != stamp {
            known.is_behind = true;
        }
        Ok(known.is_behind)
    }

    /// Whose address something comes from that a peer is said to have sent.
    ///
    /// # Errors
    /// It is another peer's.
    pub fn is_from(&self, node: &str, address: IpAddr) -> Result<(), Rejection> {
        let address = address.to_canonical();
        let owner = self
            .peers
            .iter()
            .find(|(_, known)| known.config.address == address);
        match owner {
            Some((id, _)) if id != node && node != self.node => Err(Rejection::Impostor {
                says: node.to_owned(),
                is: id.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// A peer has said what its clock shows: by how many milliseconds it is ahead.
    pub fn shows(&mut self, peer: &str, ahead: i64) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.skew = ahead;
        }
    }

    fn speaker(&mut self, now: Duration, node: &str) -> Result<&mut Known, Rejection> {
        if node == self.node {
            self.twin = Some(now);
            return Err(Rejection::SameId(node.to_owned()));
        }
        let known = self.peers.get_mut(node);
        known.ok_or_else(|| Rejection::Stranger(node.to_owned()))
    }

    /// The addresses inside overlays at which peers are probed.
    pub fn targets(&self) -> Vec<(String, u32, IpAddr)> {
        let mut targets = Vec::new();
        for (id, known) in &self.peers {
            let vnis = self.overlays.overlay.iter().map(|one| one.vni);
            targets.extend(vnis.filter_map(|vni| Some((id.clone(), vni, known.gateway(vni)?))));
        }
        targets
    }

    /// What fits into an overlay, in bytes.
    pub fn mtu(&self, vni: u32) -> Option<u32> {
        self.own.mtus.get(&vni).copied()
    }

    /// A probe was answered.
    pub fn answered(&mut self, now: Duration, peer: &str, vni: u32, time: Duration) {
        if let Some(known) = self.peers.get_mut(peer) {
            let full_at = known.probes.get(&vni).and_then(|probe| probe.full_at);
            let probe = Probe {
                at: now,
                time,
                full_at,
            };
            known.probes.insert(vni, probe);
        }
    }

    /// A probe of the overlay's full size was answered.
    pub fn answered_full(&mut self, now: Duration, peer: &str, vni: u32) {
        let known = self.peers.get_mut(peer);
        if let Some(probe) = known.and_then(|known| known.probes.get_mut(&vni)) {
            probe.full_at = Some(now);
        }
    }

    /// Removes what has had its time. Whether anything was.
    pub fn expire(&mut self, now: Duration) -> bool {
        let mut is_changed = false;
        for known in self.peers.values_mut() {
            is_changed |= known.expire(now, &self.overlays);
            let is_up = known.is_up(now);
            if is_up != known.was_up {
                (known.was_up, known.changed_state_at) = (is_up, now);
                is_changed = true;
            }
        }
        is_changed
    }

    /// What is to be in force.
    pub fn learned(&mut self, now: Duration) -> Learned {
        let offers = (self.peers.iter())
            .flat_map(|(id, known)| known.routes.values().map(move |route| (id, route)));
        let best = learned::choose(offers, &mut self.owners);
        let mut learned = Learned::default();
        for (peer, route) in best.into_values() {
            let Some(known) = self.peers.get(peer) else {
                continue;
            };
            learned.routes.push(LearnedRoute {
                peer: peer.clone(),
                address: known.config.address,
                route: route.clone(),
                is_stale: !known.is_up(now),
            });
        }
        for (peer, known) in &self.peers {
            learned
                .ends
                .extend(known.ends.values().map(|end| LearnedEnd {
                    peer: peer.clone(),
                    address: known.config.address,
                    end: end.clone(),
                }));
        }
        learned
    }
}

/// What is this host's.
fn home(overlays: &Overlays, own: &Own) -> Home {
    let peers = overlays.peer.iter().map(|peer| peer.address);
    Home {
        prefixes: (own.routes.iter())
            .map(|route| route.prefix)
            .chain(own.home.iter().copied())
            .collect(),
        endpoints: peers.chain(own.locals.iter().copied()).collect(),
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
