//! Messages of the wire as values, and back. What cannot be read of a message is left out, and counted by its kind.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use ipnetwork::IpNetwork;
use weft_cni::Mac;
use weft_overlay::Mode;
use weft_overlay::exchange::{End, MOST_ROUTES, Neighbour, Route, Stamp, State};

use crate::wire::nnetman::v1 as wire;
use crate::wire::weft::overlay::v1 as beside;

/// More of a message is not looked at.
const MOST: usize = 4 * MOST_ROUTES;
const MOST_ENDS: usize = 256;

/// Milliseconds since 1970.
pub(super) fn timestamp() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let milliseconds = since.map(|time| time.as_millis()).unwrap_or_default();
    i64::try_from(milliseconds).unwrap_or(i64::MAX)
}

pub(super) fn route_out(route: &Route) -> wire::Route {
    wire::Route {
        prefix: route.prefix.to_string(),
        next_hop: route.next_hop.to_string(),
        metric: route.metric,
        lease_seconds: route.lease_seconds,
        tags: Vec::new(),
        vni: route.vni,
    }
}

/// Routes that can be read, and how many cannot.
pub(super) fn routes_in(routes: &[wire::Route]) -> (Vec<Route>, usize) {
    let read: Vec<Route> = routes.iter().take(MOST).filter_map(route_in).collect();
    let unread = routes.len() - read.len();
    (read, unread)
}

fn route_in(route: &wire::Route) -> Option<Route> {
    let prefix: IpNetwork = route.prefix.parse().ok()?;
    Some(Route {
        vni: route.vni,
        prefix: IpNetwork::new(prefix.network(), prefix.prefix()).ok()?,
        next_hop: route.next_hop.parse().ok()?,
        metric: route.metric,
        lease_seconds: route.lease_seconds,
    })
}

pub(super) fn prefix_in(text: &str) -> Option<IpNetwork> {
    let prefix: IpNetwork = text.parse().ok()?;
    IpNetwork::new(prefix.network(), prefix.prefix()).ok()
}

pub(super) fn stamp_out(stamp: Stamp) -> beside::Beside {
    beside::Beside {
        stamp: Some(beside::Stamp {
            generation: stamp.generation,
            sequence: stamp.sequence,
        }),
        ..beside::Beside::default()
    }
}

pub(super) fn stamp_in(beside: Option<&beside::Beside>) -> Option<Stamp> {
    let stamp = beside?.stamp.as_ref()?;
    Some(Stamp {
        generation: stamp.generation,
        sequence: stamp.sequence,
    })
}

/// What stands beside n-netman's fields of a whole state.
pub(super) fn beside_out(state: &State) -> Option<beside::Beside> {
    let ends = state.ends.iter().map(|end| beside::End {
        vni: end.vni,
        mode: match end.mode {
            Mode::L2 => "l2".to_owned(),
            Mode::Routed => "routed".to_owned(),
        },
        mac: end.mac.map(|mac| mac.0.to_vec()).unwrap_or_default(),
        gateways: end.gateways.iter().map(ToString::to_string).collect(),
        ranges: end.ranges.iter().map(ToString::to_string).collect(),
        neighbours: (end.neighbours.iter())
            .map(|one| beside::Neighbour {
                mac: one.mac.0.to_vec(),
                addresses: one.addresses.iter().map(ToString::to_string).collect(),
            })
            .collect(),
    });
    Some(beside::Beside {
        ends: ends.collect(),
        ..stamp_out(state.stamp?)
    })
}

/// A whole state, and how many of its routes cannot be read.
pub(super) fn state_in(
    node: String,
    routes: &[wire::Route],
    beside: Option<&beside::Beside>,
) -> (State, usize) {
    let (routes, unread) = routes_in(routes);
    let ends = beside
        .map(|beside| beside.ends.as_slice())
        .unwrap_or_default();
    let state = State {
        node,
        stamp: stamp_in(beside),
        routes,
        ends: ends.iter().take(MOST_ENDS).filter_map(end_in).collect(),
    };
    (state, unread)
}

fn end_in(end: &beside::End) -> Option<End> {
    let mode = match end.mode.as_str() {
        "l2" => Mode::L2,
        "routed" => Mode::Routed,
        _ => return None,
    };
    let gateways = end
        .gateways
        .iter()
        .take(MOST_ENDS)
        .filter_map(|text| text.parse::<IpAddr>().ok());
    let neighbours = end.neighbours.iter().take(MOST).filter_map(|one| {
        let addresses = one.addresses.iter().filter_map(|text| text.parse().ok());
        Some(Neighbour {
            mac: Mac::from_slice(&one.mac)?,
            addresses: addresses.collect(),
        })
    });
    Some(End {
        neighbours: neighbours.collect(),
        vni: end.vni,
        mode,
        mac: Mac::from_slice(&end.mac),
        gateways: gateways.collect(),
        ranges: end
            .ranges
            .iter()
            .filter_map(|text| prefix_in(text))
            .collect(),
    })
}
