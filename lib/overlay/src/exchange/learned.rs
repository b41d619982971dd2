//! What was learnt of all peers together: one owner for each prefix.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use serde::{Deserialize, Serialize};
use weft_cni::Mac;

use super::Own;
use super::known::MOST_ROUTES;
use super::message::{End, Route, RouteKey};
use crate::config::{Mode, Overlay, Overlays};
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
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut routes = Vec::new();
        for one in &self.routes {
            let (Some(peer), Some(overlay)) = (peer_of(&one.peer), overlays.of(one.route.vni))
            else {
                continue;
            };
            let Ok(prefix) = IpNetwork::new(one.route.prefix.network(), one.route.prefix.prefix())
            else {
                continue;
            };
            let count = counts.entry(&one.peer).or_default();
            *count += 1;
            let may = policy::judge(overlay, peer, &home, prefix, one.route.next_hop).is_ok();
            if may && *count <= MOST_ROUTES {
                let mut one = one.clone();
                (one.address, one.route.prefix) = (peer.address, prefix);
                routes.push(one);
            }
        }
        let mut ends: Vec<LearnedEnd> = Vec::new();
        for one in &self.ends {
            let (Some(peer), Some(overlay)) = (peer_of(&one.peer), overlays.of(one.end.vni)) else {
                continue;
            };
            if !peer.is_in(overlay.vni) || one.end.mode != overlay.mode {
                continue;
            }
            let of_peer =
                |route: &&LearnedRoute| route.peer == one.peer && route.route.vni == one.end.vni;
            let prefixes: Vec<IpNetwork> = routes
                .iter()
                .filter(of_peer)
                .map(|route| route.route.prefix)
                .collect();
            ends.push(LearnedEnd {
                peer: one.peer.clone(),
                address: peer.address,
                end: trusted_end(&one.end, overlay, &prefixes),
            });
        }
        refuse_shared(&mut ends, own);
        Self { routes, ends }
    }
}

/// What a peer may say of its part of an overlay, if it leads to these prefixes.
fn trusted_end(end: &End, overlay: &Overlay, prefixes: &[IpNetwork]) -> End {
    let mut end = end.clone();
    let is_host = |mac: &Mac| mac.0 != [0; 6] && mac.0.first().is_some_and(|byte| byte & 1 == 0);
    end.mac = end.mac.filter(is_host);
    // One of a family, and its own.
    let (mut has_v4, mut has_v6) = (false, false);
    end.gateways.retain(|ip| {
        let has = if ip.is_ipv4() {
            &mut has_v4
        } else {
            &mut has_v6
        };
        !std::mem::replace(has, true) && prefixes.iter().any(|one| one.contains(*ip))
    });
    let subnets = overlay.subnets();
    let own: Vec<IpAddr> = overlay.addresses().iter().map(IpNetwork::ip).collect();
    let ranges = std::mem::take(&mut end.ranges);
    // Containers of other hosts have addresses of the segment, and none of this host's part.
    end.neighbours.retain_mut(|one| {
        one.addresses.retain(|ip| {
            subnets.iter().any(|net| net.contains(*ip))
                && !own.contains(ip)
                && (ranges.is_empty() || ranges.iter().any(|part| part.contains(*ip)))
                && !overlay.containers.iter().any(|part| part.contains(*ip))
        });
        overlay.mode == Mode::L2 && is_host(&one.mac) && !one.addresses.is_empty()
    });
    end.ranges = ranges;
    end
}

/// What two peers say is theirs is nobody's: frames to one must not go to the other.
fn refuse_shared(ends: &mut [LearnedEnd], own: &Own) {
    let mut macs: BTreeMap<(u32, Mac), usize> = BTreeMap::new();
    let mut gateways: BTreeMap<(u32, IpAddr), usize> = BTreeMap::new();
    for end in ends.iter().map(|one| &one.end).chain(&own.ends) {
        let neighbours = end.neighbours.iter().map(|one| one.mac);
        for mac in end.mac.into_iter().chain(neighbours) {
            *macs.entry((end.vni, mac)).or_default() += 1;
        }
        for gateway in &end.gateways {
            *gateways.entry((end.vni, *gateway)).or_default() += 1;
        }
    }
    for LearnedEnd { end, .. } in ends {
        let vni = end.vni;
        let is_own = |mac: &Mac| macs.get(&(vni, *mac)) == Some(&1);
        end.mac = end.mac.filter(is_own);
        end.neighbours.retain(|one| is_own(&one.mac));
        end.gateways
            .retain(|ip| gateways.get(&(vni, *ip)) == Some(&1));
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
