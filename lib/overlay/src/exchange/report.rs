//! How peers and their routes are, for people and for figures.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::known::FRESH;
use super::message::{Route, RouteKey};
use super::{Exchange, learned};
use crate::config::Mode;
use crate::policy::Refusal;

/// How a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// It is heard of.
    Up,
    /// It is not heard of any more; its routes are still in force.
    Stale,
    /// It is not heard of.
    Down,
}

impl PeerState {
    /// As a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Stale => "stale",
            Self::Down => "down",
        }
    }
}

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerReport {
    /// Its id.
    pub id: String,
    /// Its underlay address.
    pub address: IpAddr,
    /// How it is.
    pub state: PeerState,
    /// For how long it is so.
    pub since: Duration,
    /// It is of Weft's; none as long as it has not spoken.
    pub is_weft: Option<bool>,
    /// A connection to it stands.
    pub is_connected: bool,
    /// Routes of it that may be used.
    pub routes: usize,
    /// What was refused of it.
    pub refused: BTreeMap<Refusal, u64>,
    /// The last of those, in words.
    pub last_refusal: Option<String>,
    /// Why it cannot be spoken with.
    pub error: Option<String>,
    /// By VNI.
    pub probes: BTreeMap<u32, ProbeReport>,
}

/// Whether packets reach a peer's part of an overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeReport {
    /// How long one takes there and back; none if none comes back.
    pub time: Option<Duration>,
    /// One of the overlay's full size comes back, too.
    pub is_full: bool,
    /// Enough were sent to tell.
    pub is_sure: bool,
}

/// A route of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteReport {
    /// The peer.
    pub peer: String,
    /// The route.
    pub route: Route,
    /// It is the one in force of those to its prefix.
    pub is_chosen: bool,
    /// Its peer is not heard of any more.
    pub is_stale: bool,
}

impl Exchange {
    /// All peers.
    pub fn peer_reports(&self, now: Duration) -> Vec<PeerReport> {
        let reports = self.peers.iter().map(|(id, known)| {
            let is_up = known.is_up(now);
            let state = match (is_up, known.routes.is_empty()) {
                (true, _) => PeerState::Up,
                (false, false) => PeerState::Stale,
                (false, true) => PeerState::Down,
            };
            let vnis = self.overlays.overlay.iter().map(|one| one.vni);
            let probed = vnis.filter(|vni| known.gateway(*vni).is_some());
            PeerReport {
                id: id.clone(),
                address: known.config.address,
                state,
                since: now.saturating_sub(known.changed_state_at),
                is_weft: known.has_spoken.then_some(known.said.is_some()),
                is_connected: known.is_connected,
                routes: known.routes.len(),
                refused: known.refused.clone(),
                last_refusal: known.last_refusal.clone(),
                error: known.error.clone().filter(|_| !known.is_connected),
                probes: probed
                    .map(|vni| {
                        let probe = known.probes.get(&vni).filter(|_| known.answers(vni, now));
                        let full = probe.and_then(|probe| probe.full_at);
                        let report = ProbeReport {
                            time: probe.map(|probe| probe.time),
                            is_full: full.is_some_and(|at| now.saturating_sub(at) < FRESH),
                            is_sure: now.saturating_sub(known.changed_state_at) > 2 * FRESH,
                        };
                        (vni, report)
                    })
                    .collect(),
            }
        });
        reports.collect()
    }

    /// All routes of peers.
    pub fn route_reports(&self, now: Duration) -> Vec<RouteReport> {
        let mut reports = Vec::new();
        for (id, known) in &self.peers {
            let is_stale = !known.is_up(now);
            reports.extend(known.routes.values().map(|route| RouteReport {
                peer: id.clone(),
                route: route.clone(),
                is_chosen: self.owners.get(&route.key()) == Some(id),
                is_stale,
            }));
        }
        reports.sort_by_key(|one| (one.route.key(), !one.is_chosen));
        reports
    }

    /// Routes that peers are told of.
    pub fn exported(&self) -> &[Route] {
        &self.own.routes
    }

    /// What is wrong between the hosts, and what to do.
    pub fn troubles(&self, now: Duration) -> Vec<String> {
        /// What was said once is over then.
        const RECENT: Duration = Duration::from_secs(60);
        let mut troubles = Vec::new();
        if self.twin.is_some_and(|at| now.saturating_sub(at) < RECENT) {
            troubles.push(format!(
                "another host says that it is {:?}, as this one does: give one of them another node.id",
                self.node
            ));
        }
        let is_routed = |(vni, _): &RouteKey| {
            (self.overlays.of(*vni)).is_some_and(|one| one.mode == Mode::Routed)
        };
        let offers = self.peers.iter().flat_map(|(id, known)| {
            let routes = known.routes.values();
            routes
                .filter(|route| is_routed(&route.key()))
                .map(move |route| (id, route))
        });
        troubles.extend(learned::clashes(offers));
        for (id, known) in &self.peers {
            const MOST: usize = 3;
            let of_peer = known.troubles(&self.overlays).into_iter().take(MOST);
            troubles.extend(of_peer.map(|text| format!("peer {id}: {text}")));
        }
        troubles
    }
}
