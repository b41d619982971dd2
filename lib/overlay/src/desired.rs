//! Which kernel objects an overlay is made of.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::config::{LookupMode, Mode, Overlay, Peer};
use crate::exchange::{Learned, LearnedEnd, LearnedRoute, Route};
use crate::object::{Key, Objects, RouteKey, RuleKey, Selector, Value, Via};
use crate::underlay::Chosen;

/// Rules of packets from the bridge, of sockets bound to it, and to imported prefixes: the first two are n-netman's numbers.
const IIF_PRIORITY: u32 = 100;
const OIF_PRIORITY: u32 = 101;
const TO_PRIORITY: u32 = 102;

/// The objects of an overlay, with what is wrong with its peers. `own` are all addresses of this host that carry overlays, `ids` the numbers of nexthop objects that are taken.
pub fn objects(
    overlay: &Overlay,
    (chosen, own): (&Chosen, &[IpAddr]),
    peers: &[Peer],
    learned: &Learned,
    ids: &mut BTreeSet<u32>,
) -> (Objects, Vec<String>) {
    let device = overlay.device();
    let bridge = overlay.bridge.name.clone();
    let mtu = chosen.mtu;
    let mut objects = Objects::from([
        (
            Key::Bridge(bridge.clone()),
            Value::Bridge { mtu, is_up: true },
        ),
        (
            Key::Vxlan(device.clone()),
            Value::Vxlan {
                vni: overlay.vni,
                port: overlay.port,
                local: chosen.local,
                underlay: chosen.interface.clone(),
                learning: overlay.learning && overlay.mode == Mode::L2,
                mtu,
                is_up: true,
            },
        ),
    ]);
    let addresses = overlay.addresses().into_iter();
    objects.extend(addresses.map(|one| (Key::Address(bridge.clone(), one), Value::There)));
    let mut problems = Vec::new();
    match overlay.mode {
        Mode::L2 => {
            let port = Value::Port {
                bridge: bridge.clone(),
                suppresses: !learned.ends.is_empty(),
            };
            objects.insert(Key::Port(device.clone()), port);
            flood(overlay, (chosen, own), peers, &mut objects, &mut problems);
            neighbours(overlay, learned, &mut objects);
        }
        Mode::Routed => {
            let own = overlay.gateways().into_iter().map(IpNetwork::from);
            objects.extend(own.map(|one| (Key::Address(device.clone(), one), Value::There)));
            ends(overlay, learned, ids, &mut objects);
        }
    }
    if overlay.mode == Mode::L2 {
        let routes = learned
            .routes
            .iter()
            .filter(|one| one.route.vni == overlay.vni);
        objects.extend(routes.map(|one| {
            let via = Via::Gateway(one.route.next_hop);
            (
                Key::Route(bridge.clone(), route_key(overlay, one)),
                Value::Via(via),
            )
        }));
    }
    rules(overlay, learned, &mut objects);
    (objects, problems)
}

/// Frames to all go to every peer.
fn flood(
    overlay: &Overlay,
    (chosen, own): (&Chosen, &[IpAddr]),
    peers: &[Peer],
    objects: &mut Objects,
    problems: &mut Vec<String>,
) {
    let device = overlay.device();
    for peer in peers.iter().filter(|peer| peer.is_in(overlay.vni)) {
        if peer.address == chosen.local || own.contains(&peer.address) {
            // The same list serves all hosts: each is in it too.
            continue;
        }
        if peer.address.is_ipv4() != chosen.local.is_ipv4() {
            problems.push(format!(
                "peer {} has {}, and {device} sends from {}: both have to be of one family",
                peer.id, peer.address, chosen.local
            ));
            continue;
        }
        objects.insert(Key::Flood(device.clone(), peer.address), Value::There);
    }
}

/// The bridge answers for containers of other hosts, whose frames go to their host alone.
fn neighbours(overlay: &Overlay, learned: &Learned, objects: &mut Objects) {
    let (device, bridge) = (overlay.device(), &overlay.bridge.name);
    for LearnedEnd { address, end, .. } in &learned.ends {
        if end.vni != overlay.vni {
            continue;
        }
        for one in &end.neighbours {
            objects.insert(Key::Forward(device.clone(), one.mac), Value::To(*address));
            objects.insert(Key::Behind(device.clone(), one.mac), Value::There);
            objects.extend(
                one.addresses
                    .iter()
                    .map(|ip| (Key::Neighbour(bridge.clone(), *ip), Value::Mac(one.mac))),
            );
        }
    }
}

/// For each peer where its frames go, which MAC its gateways have, and what its routes lead by.
fn ends(overlay: &Overlay, learned: &Learned, ids: &mut BTreeSet<u32>, objects: &mut Objects) {
    let device = overlay.device();
    for LearnedEnd { peer, address, end } in &learned.ends {
        let (true, Some(mac)) = (end.vni == overlay.vni, end.mac) else {
            continue;
        };
        objects.insert(Key::Forward(device.clone(), mac), Value::To(*address));
        for gateway in &end.gateways {
            let neighbour = Key::Neighbour(device.clone(), *gateway);
            objects.insert(neighbour, Value::Mac(mac));
            let is_by_it = |one: &&LearnedRoute| {
                one.route.vni == overlay.vni && one.peer == *peer && one.route.next_hop == *gateway
            };
            let mut routes = learned.routes.iter().filter(is_by_it).peekable();
            if routes.peek().is_none() {
                continue;
            }
            let id = nexthop_id(overlay.vni, peer, *gateway, ids);
            objects.insert(Key::Nexthop(device.clone(), id), Value::Gateway(*gateway));
            objects.extend(routes.map(|one| {
                let key = Key::Route(device.clone(), route_key(overlay, one));
                (key, Value::Via(Via::Nexthop(id)))
            }));
        }
    }
}

fn route_key(overlay: &Overlay, learned: &LearnedRoute) -> RouteKey {
    /// What the kernel makes of 0 (IP6_RT_PRIO_USER).
    const OF_IPV6: u32 = 1024;
    let Route { prefix, metric, .. } = learned.route;
    RouteKey {
        table: overlay.table(),
        prefix,
        metric: match metric {
            0 if prefix.is_ipv6() => OF_IPV6,
            metric => metric,
        },
    }
}

/// A number that is the same each time. Those of others (routing daemons count from 1) are far away.
fn nexthop_id(vni: u32, peer: &str, gateway: IpAddr, ids: &mut BTreeSet<u32>) -> u32 {
    /// "W", in the highest byte.
    const BASE: u32 = 0x5700_0000;
    const MASK: u32 = 0x00ff_ffff;
    // FNV-1a (RFC 9923).
    const PRIME: u32 = 0x0100_0193;
    const START: u32 = 0x811c_9dc5;
    let text = format!("{vni} {peer} {}", gateway.is_ipv4());
    let hash = text.bytes().fold(START, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(PRIME)
    });
    let mut id = BASE | (hash ^ hash >> 8) & MASK;
    while !ids.insert(id) {
        id = BASE | id.wrapping_add(1) & MASK;
    }
    id
}

/// What leads packets into the overlay's table.
fn rules(overlay: &Overlay, learned: &Learned, objects: &mut Objects) {
    let install = &overlay.routing.import.install;
    let import = &overlay.routing.import;
    let imports = import.accept_all || !import.allow.is_empty() || overlay.mode == Mode::Routed;
    if !install.lookup_rules.enabled || !imports {
        return;
    }
    let table = overlay.table();
    let mut add = |priority, is_ipv4, selector| {
        let key = RuleKey {
            priority,
            is_ipv4,
            selector,
            table,
        };
        objects.insert(Key::Rule(key), Value::There);
    };
    let allowed = import.allow.iter().chain(&overlay.networks).copied();
    let mut prefixes: BTreeSet<IpNetwork> = allowed.collect();
    if import.accept_all {
        let routes = learned
            .routes
            .iter()
            .filter(|one| one.route.vni == overlay.vni);
        prefixes.extend(routes.map(|one| one.route.prefix));
    }
    // The host's own default route is not the overlay's to take.
    prefixes.retain(|one| one.prefix() > 0);
    for is_ipv4 in [true, false] {
        if install.lookup_rules.mode == LookupMode::Interface {
            let bridge = &overlay.bridge.name;
            add(IIF_PRIORITY, is_ipv4, Selector::Iif(bridge.clone()));
            add(OIF_PRIORITY, is_ipv4, Selector::Oif(bridge.clone()));
        }
    }
    for prefix in prefixes {
        let network = IpNetwork::new(prefix.network(), prefix.prefix()).unwrap_or(prefix);
        add(TO_PRIORITY, prefix.is_ipv4(), Selector::To(network));
    }
}
