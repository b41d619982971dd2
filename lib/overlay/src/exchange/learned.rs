//! What was learnt of all peers together: one owner for each prefix.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Own;
use super::message::{End, Route, RouteKey};
use crate::config::Overlays;
use crate::policy::{self, contains};

/// A route, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedRoute {
    /// The peer.
    pub peer: String,
    /// Its underlay address.
    pub address: IpAddr,
    /// The route.
    pub route: Route,
    /// The peer is not heard of any more, but its containers answer, or its lease is not over.
    pub is_stale: bool,
}

/// A peer's part of an overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedEnd {
    /// The peer.
    pub peer: String,
    /// Its underlay address.
    pub address: IpAddr,
    /// What it tells.
    pub end: End,
}

/// Everything that was learnt, and is to be in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// One for each prefix of an overlay.
    pub routes: Vec<LearnedRoute>,
    /// Peers' parts of overlays.
    pub ends: Vec<LearnedEnd>,
}

impl Learned {
    /// What of it may be in force, whoever says it: the part that hears other hosts has no say in what they may.
    pub fn trusted(&self, overlays: &Overlays, own: &Own) -> Self {
        let home = super::home(overlays, own);
        let peer_of = |id: &str| overlays.peer.iter().find(|peer| peer.id == id);
        let routes = self.routes.iter().filter_map(|one| {
            let (peer, overlay) = (peer_of(&one.peer)?, overlays.of(one.route.vni)?);
            let Route {
                prefix, next_hop, ..
            } = one.route;
            policy::judge(overlay, peer, &home, prefix, next_hop).ok()?;
            let address = peer.address;
            Some(LearnedRoute {
                address,
                ..one.clone()
            })
        });
        let ends = self.ends.iter().filter_map(|one| {
            let (peer, overlay) = (peer_of(&one.peer)?, overlays.of(one.end.vni)?);
            let mut end = one.end.clone();
            // A group's address is nobody's.
            end.mac = end
                .mac
                .filter(|mac| mac.0.first().is_some_and(|byte| byte & 1 == 0));
            let subnets = overlay.subnets();
            end.gateways.retain(|ip| {
                overlay.networks.iter().any(|one| one.contains(*ip))
                    && !subnets.iter().any(|one| one.contains(*ip))
            });
            Some(LearnedEnd {
                peer: one.peer.clone(),
                address: peer.address,
                end,
            })
        });
        Self {
            routes: routes.collect(),
            ends: ends.collect(),
        }
    }
}

/// Chooses the owner of each prefix: the lowest metric; of equal ones whoever has it already, else the lowest id.
pub(super) fn choose<'a>(
    offers: impl Iterator<Item = (&'a String, &'a Route)>,
    owners: &mut BTreeMap<RouteKey, String>,
) -> BTreeMap<RouteKey, (&'a String, &'a Route)> {
    let mut best: BTreeMap<RouteKey, (&String, &Route)> = BTreeMap::new();
    for (peer, route) in offers {
        let owner = owners.get(&route.key());
        let rank = |peer: &String, route: &Route| (route.metric, owner != Some(peer), peer.clone());
        let is_better = best
            .get(&route.key())
            .is_none_or(|(other, theirs)| rank(peer, route) < rank(other, theirs));
        if is_better {
            best.insert(route.key(), (peer, route));
        }
    }
    owners.retain(|key, _| best.contains_key(key));
    for (key, (peer, _)) in &best {
        owners.insert(*key, (*peer).clone());
    }
    best
}

/// Prefixes that several hosts claim, where each is to have its own.
pub(super) fn clashes<'a>(offers: impl Iterator<Item = (&'a String, &'a Route)>) -> Vec<String> {
    let mut all: Vec<(&String, &Route)> = offers.collect();
    all.sort_by_key(|(peer, route)| {
        (
            route.vni,
            route.prefix.network(),
            route.prefix.prefix(),
            *peer,
        )
    });
    let mut around: Vec<(&String, &Route)> = Vec::new();
    let mut clashes = Vec::new();
    for (peer, route) in all {
        around.retain(|(_, wide)| wide.vni == route.vni && contains(wide.prefix, route.prefix));
        if let Some((other, wide)) = around.iter().find(|(other, _)| *other != peer) {
            clashes.push(format!(
                "{peer} announces {} of VNI {}, and {other} {}: give each host a subnet of its own",
                route.prefix, route.vni, wide.prefix
            ));
        }
        around.push((peer, route));
    }
    clashes
}
