//! Objects of overlays in the kernel: seen, made, changed, removed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;
use weft_cni::IpFamily;
use weft_kernel::address::{self, DuplicateDetection};
use weft_kernel::bridge::{self, NewBridge};
use weft_kernel::forwarding;
use weft_kernel::link::{self, Change, Link};
use weft_kernel::neighbour;
use weft_kernel::netlink::{Batch, RouteSocket};
use weft_kernel::nexthop::{self, Nexthop};
use weft_kernel::policy_routing::{self, Narrowed, OwnRoute, OwnRule};
use weft_kernel::route::{self, RouteSpec};
use weft_kernel::vxlan::{self, FLOOD, Forward, NewVxlan, Vxlan};
use weft_node::default_route;
use weft_node::names::{LINK_GROUP, bridge_mac};
use weft_overlay::object::{RouteKey, RuleKey, Selector, Via};
use weft_overlay::underlay::Interface;
use weft_overlay::{Key, Objects, Overlay, Step, Value};

/// The kernel of this network namespace.
#[derive(Debug)]
pub(super) struct Kernel {
    socket: RouteSocket,
    /// Interfaces that overlays are made of or carried by, by index: events of others do not matter.
    pub(super) concerned: BTreeSet<u32>,
    /// Those that are VXLAN devices: their neighbours matter, too.
    pub(super) devices: BTreeSet<u32>,
    /// Tables in which routes of others give way.
    pub(super) replaceable: BTreeSet<u32>,
    /// Interfaces with names of an overlay's that are something else.
    pub(super) strangers: BTreeSet<String>,
}

impl Kernel {
    pub(super) fn open() -> Result<Self> {
        Ok(Self {
            socket: RouteSocket::open()?,
            concerned: BTreeSet::new(),
            devices: BTreeSet::new(),
            replaceable: BTreeSet::new(),
            strangers: BTreeSet::new(),
        })
    }

    /// Interfaces that may carry overlays.
    pub(super) fn interfaces(&mut self) -> Result<Vec<Interface>> {
        let way_out = default_route::interface(&mut self.socket)?.map(|link| link.index);
        let mut by_link: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
        for assigned in address::list_all(&mut self.socket)? {
            let ip = assigned.address.ip();
            let is_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
            if !is_local && !ip.is_loopback() {
                by_link.entry(assigned.link).or_default().push(ip);
            }
        }
        let mut interfaces = Vec::new();
        for (index, addresses) in by_link {
            let Some(link) = link::find_index(&mut self.socket, index)? else {
                continue;
            };
            interfaces.push(Interface {
                name: link.name,
                mtu: link.mtu,
                is_up: link.is_up,
                addresses,
                is_way_out: Some(index) == way_out,
            });
        }
        Ok(interfaces)
    }

    /// What there is of these interfaces.
    pub(super) fn seen(&mut self, names: &BTreeSet<String>) -> Result<Objects> {
        let mut seen = Objects::new();
        self.strangers.clear();
        for name in names {
            let Some(link) = link::find(&mut self.socket, name)? else {
                continue;
            };
            self.concerned.insert(link.index);
            if link.kind.as_deref() == Some("bridge") {
                self.see_bridge(&link, &mut seen)?;
            } else if let Some(tunnel) = link.vxlan {
                self.see_device(&link, tunnel, &mut seen)?;
            } else {
                self.strangers.insert(link.name);
            }
        }
        self.see_routing(&mut seen)?;
        Ok(seen)
    }

    /// Routes, rules and nexthop objects that have Weft's number, wherever they are.
    fn see_routing(&mut self, seen: &mut Objects) -> Result<()> {
        let (mut names, mut by_nexthop) = (BTreeMap::new(), BTreeMap::new());
        for nexthop in self.nexthops()? {
            let Some(name) = self.name_of(nexthop.link, &mut names)? else {
                continue;
            };
            let value = Value::Gateway(nexthop.gateway);
            by_nexthop.insert(nexthop.id, name.clone());
            seen.insert(Key::Nexthop(name, nexthop.id), value);
        }
        for family in IpFamily::ALL {
            for route in policy_routing::routes(&mut self.socket, family)? {
                // Of a route by an object the kernel may not tell the interface.
                let name = match route.via {
                    policy_routing::Via::Nexthop(id) => by_nexthop.get(&id).cloned(),
                    policy_routing::Via::Gateway(_) => self.name_of(route.link, &mut names)?,
                    policy_routing::Via::Unreachable => None,
                };
                let Some(name) = name else { continue };
                let via = match route.via {
                    policy_routing::Via::Gateway(ip) => Via::Gateway(ip),
                    policy_routing::Via::Nexthop(id) => Via::Nexthop(id),
                    policy_routing::Via::Unreachable => continue,
                };
                seen.insert(Key::Route(name, route_key(&route)), Value::Via(via));
            }
            for rule in policy_routing::rules(&mut self.socket, family)? {
                // An overlay's rules look at nothing else of a packet.
                if rule.narrowed != Narrowed::default() {
                    continue;
                }
                let selector = match (rule.iif, rule.oif, rule.to) {
                    (Some(name), None, None) => Selector::Iif(name),
                    (None, Some(name), None) => Selector::Oif(name),
                    (None, None, Some(to)) => Selector::To(to),
                    _ => continue,
                };
                let key = RuleKey {
                    priority: rule.priority,
                    is_ipv4: family == IpFamily::V4,
                    selector,
                    table: rule.table,
                };
                seen.insert(Key::Rule(key), Value::There);
            }
        }
        Ok(())
    }

    /// None on a kernel without them.
    fn nexthops(&mut self) -> Result<Vec<Nexthop>> {
        match nexthop::list(&mut self.socket) {
            Err(error) if error.errno().is_some() => Ok(Vec::new()),
            other => Ok(other?),
        }
    }

    fn name_of(
        &mut self,
        index: u32,
        names: &mut BTreeMap<u32, Option<String>>,
    ) -> Result<Option<String>> {
        if let Some(name) = names.get(&index) {
            return Ok(name.clone());
        }
        let name = link::find_index(&mut self.socket, index)?.map(|link| link.name);
        names.insert(index, name.clone());
        Ok(name)
    }

    /// Packets between containers and other hosts pass this one: forwarding is on, of both families if need be, as for
    /// any bridge with a gateway. It stays on.
    pub(super) fn forward(&mut self, overlays: &[Overlay]) -> Result<()> {
        for family in IpFamily::ALL {
            let mut routed = overlays.iter().filter(|one| one.mode.is_routed());
            let has_family = |one: &Overlay| one.subnets().iter().any(|net| family.has(net.ip()));
            if routed.any(has_family) && forwarding::ensure(&mut self.socket, family)? {
                tracing::info!(
                    "overlay: packets are forwarded: {}",
                    forwarding::sysctl_of_all(family)
                );
            }
        }
        Ok(())
    }

    /// Whether the bridge can answer by all of its ports: by one without ARP it sends none.
    pub(super) fn can_answer(&mut self, bridge: &str) -> Result<bool> {
        let Some(bridge) = link::find(&mut self.socket, bridge)? else {
            return Ok(true);
        };
        let ports = link::ports_of(&mut self.socket, bridge.index)?;
        Ok(ports
            .iter()
            .all(|port| port.vxlan.is_some() || !port.is_without_arp))
    }

    /// Networks of the host's interfaces, without these.
    pub(super) fn connected(&mut self, without: &BTreeSet<String>) -> Result<Vec<IpNetwork>> {
        let mut names = BTreeMap::new();
        let mut found = Vec::new();
        for assigned in address::list_all(&mut self.socket)? {
            let ip = assigned.address.ip();
            let is_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
            if is_local || ip.is_loopback() {
                continue;
            }
            let name = self.name_of(assigned.link, &mut names)?;
            if name.is_some_and(|name| !without.contains(&name)) {
                let network = assigned.address.network();
                found.extend(IpNetwork::new(network, assigned.address.prefix()));
            }
        }
        Ok(found)
    }

    /// Destinations of the main table's routes by a gateway, without default routes.
    pub(super) fn static_routes(&mut self) -> Result<Vec<IpNetwork>> {
        const MAIN: u32 = 254;
        let mut found = Vec::new();
        for family in IpFamily::ALL {
            let routes = route::list(&mut self.socket, family)?.into_iter();
            let is_meant = |one: &RouteSpec| {
                one.table == Some(MAIN) && one.gateway.is_some() && one.dst.prefix() > 0
            };
            found.extend(routes.filter(is_meant).map(|one| one.dst));
        }
        Ok(found)
    }

    fn see_bridge(&mut self, link: &Link, seen: &mut Objects) -> Result<()> {
        let value = Value::Bridge {
            mtu: link.mtu,
            is_up: link.is_up,
        };
        seen.insert(Key::Bridge(link.name.clone()), value);
        let assigned = address::list(&mut self.socket, link.index)?;
        let own = assigned.into_iter().filter(|one| one.is_own);
        seen.extend(own.map(|one| (Key::Address(link.name.clone(), one.address), Value::There)));
        for (address, mac) in neighbour::own_of_link(&mut self.socket, link.index)? {
            let key = Key::Neighbour(link.name.clone(), address);
            seen.insert(key, Value::Mac(mac));
        }
        Ok(())
    }

    fn see_device(&mut self, link: &Link, tunnel: Vxlan, seen: &mut Objects) -> Result<()> {
        let underlay = link::find_index(&mut self.socket, tunnel.underlay)?;
        self.concerned.insert(tunnel.underlay);
        let value = Value::Vxlan {
            vni: tunnel.vni,
            port: tunnel.port,
            local: tunnel.local,
            underlay: underlay.map(|one| one.name).unwrap_or_default(),
            learning: tunnel.learning,
            mtu: link.mtu,
            is_up: link.is_up,
        };
        seen.insert(Key::Vxlan(link.name.clone()), value);
        if let Some(index) = link.controller
            && let Some(bridge) = link::find_index(&mut self.socket, index)?
        {
            let port = link.port.unwrap_or_default();
            let value = Value::Port {
                bridge: bridge.name,
                suppresses: port.suppresses_questions,
            };
            seen.insert(Key::Port(link.name.clone()), value);
        }
        self.devices.insert(link.index);
        for mac in vxlan::all_behind(&mut self.socket, link.index)? {
            seen.insert(Key::Behind(link.name.clone(), mac), Value::There);
        }
        for entry in vxlan::forwards(&mut self.socket, link.index)? {
            let (key, value) = match entry.mac == FLOOD {
                true => (Key::Flood(link.name.clone(), entry.remote), Value::There),
                false => (
                    Key::Forward(link.name.clone(), entry.mac),
                    Value::To(entry.remote),
                ),
            };
            seen.insert(key, value);
        }
        let assigned = address::list(&mut self.socket, link.index)?;
        let own = assigned.into_iter().filter(|one| one.is_own);
        seen.extend(own.map(|one| (Key::Address(link.name.clone(), one.address), Value::There)));
        for (address, mac) in neighbour::own_of_link(&mut self.socket, link.index)? {
            let key = Key::Neighbour(link.name.clone(), address);
            seen.insert(key, Value::Mac(mac));
        }
        Ok(())
    }

    fn index(&mut self, name: &str) -> Result<u32> {
        let found = link::find(&mut self.socket, name)?;
        let found = found.with_context(|| format!("there is no interface {name}"))?;
        Ok(found.index)
    }

    /// Takes a step. MACs are the same each time, and other ones on each host.
    pub(super) fn take(&mut self, step: &Step, local: Option<IpAddr>) -> Result<()> {
        let mut batch = Batch::new();
        match step {
            Step::Make(key, value) => self.make(key, value, local, &mut batch)?,
            Step::Change(key, value) => self.change(key, value, &mut batch)?,
            Step::Remove(key) => self.remove(key, &mut batch)?,
        }
        self.socket.commit(batch)?;
        Ok(())
    }

    fn make(
        &mut self,
        key: &Key,
        value: &Value,
        local: Option<IpAddr>,
        batch: &mut Batch,
    ) -> Result<()> {
        let mac = |name: &str| {
            let host = local.map(|ip| ip.to_string()).unwrap_or_default();
            bridge_mac(name, &host)
        };
        match (key, value) {
            (Key::Bridge(name), Value::Bridge { mtu, .. }) => {
                let bridge = NewBridge {
                    name,
                    mac: mac(name),
                    mtu: *mtu,
                    vlan_filtering: false,
                    group_forward_mask: None,
                    group: 0,
                };
                bridge.create(batch);
                bring_up(name, batch);
            }
            (
                Key::Vxlan(name),
                Value::Vxlan {
                    vni,
                    port,
                    local,
                    underlay,
                    learning,
                    mtu,
                    ..
                },
            ) => {
                let vxlan = Vxlan {
                    vni: *vni,
                    underlay: self.index(underlay)?,
                    local: *local,
                    port: *port,
                    learning: *learning,
                };
                let device = NewVxlan {
                    name,
                    mac: mac(name),
                    mtu: *mtu,
                    // What comes by it is of containers, and never from outside.
                    group: LINK_GROUP,
                    vxlan,
                };
                device.create(batch);
                let change = Change {
                    // A port needs no address of its own.
                    without_ipv6_address: true,
                    up: true,
                    ..Change::default()
                };
                change.apply(name, batch);
            }
            (Key::Port(_), Value::Port { .. }) => self.change(key, value, batch)?,
            (Key::Address(name, address), _) => {
                let index = self.index(name)?;
                address::add(index, address, DuplicateDetection::Skip, batch);
            }
            (Key::Flood(name, remote), _) => {
                let forward = flood(*remote);
                vxlan::add_forward(self.index(name)?, &forward, batch);
            }
            (Key::Rule(key), _) => own_rule(key).add(batch),
            (Key::Route(name, key), Value::Via(via)) if !self.replaceable.contains(&key.table) => {
                own_route(self.index(name)?, key, *via).add(batch);
            }
            (
                Key::Forward(..)
                | Key::Behind(..)
                | Key::Neighbour(..)
                | Key::Nexthop(..)
                | Key::Route(..),
                _,
            ) => self.change(key, value, batch)?,
            (Key::Bridge(_) | Key::Vxlan(_) | Key::Port(_), _) => {}
        }
        Ok(())
    }

    fn change(&mut self, key: &Key, value: &Value, batch: &mut Batch) -> Result<()> {
        match (key, value) {
            (Key::Bridge(name), Value::Bridge { mtu, .. })
            | (Key::Vxlan(name), Value::Vxlan { mtu, .. }) => {
                let change = Change {
                    mtu: Some(*mtu),
                    up: true,
                    ..Change::default()
                };
                change.apply(name, batch);
            }
            (Key::Port(name), Value::Port { bridge, suppresses }) => {
                let bridge = self.index(bridge)?;
                let index = self.index(name)?;
                let there = link::find_index(&mut self.socket, index)?;
                if there.and_then(|one| one.controller) != Some(bridge) {
                    link::set_controller(index, Some(bridge), batch);
                }
                bridge::suppress_questions(index, *suppresses, batch);
            }
            (Key::Behind(name, mac), _) => {
                vxlan::put_behind(self.index(name)?, *mac, batch);
            }
            (Key::Forward(name, mac), Value::To(remote)) => {
                let forward = Forward {
                    mac: *mac,
                    remote: *remote,
                };
                vxlan::set_forward(self.index(name)?, &forward, batch);
            }
            (Key::Neighbour(name, address), Value::Mac(mac)) => {
                neighbour::set_own(self.index(name)?, *address, *mac, batch);
            }
            (Key::Nexthop(name, id), Value::Gateway(gateway)) => {
                let nexthop = Nexthop {
                    id: *id,
                    link: self.index(name)?,
                    gateway: *gateway,
                };
                nexthop.put(batch);
            }
            (Key::Route(name, key), Value::Via(via)) => {
                own_route(self.index(name)?, key, *via).put(batch);
            }
            _ => {}
        }
        Ok(())
    }

    fn remove(&mut self, key: &Key, batch: &mut Batch) -> Result<()> {
        match key {
            Key::Bridge(name) | Key::Vxlan(name) => link::delete(name, batch),
            Key::Port(name) => link::set_controller(self.index(name)?, None, batch),
            Key::Address(name, address) => address::delete(self.index(name)?, address, batch),
            Key::Flood(name, remote) => {
                vxlan::remove_forward(self.index(name)?, &flood(*remote), batch);
            }
            Key::Forward(name, mac) => {
                vxlan::remove_forwards(self.index(name)?, *mac, batch);
            }
            Key::Behind(name, mac) => vxlan::remove_behind(self.index(name)?, *mac, batch),
            Key::Neighbour(name, address) => {
                neighbour::delete(self.index(name)?, *address, batch);
            }
            Key::Nexthop(name, id) => {
                let gateway = IpAddr::from([0; 4]);
                let link = self.index(name)?;
                let id = *id;
                Nexthop { id, link, gateway }.delete(batch);
            }
            Key::Route(_, key) => OwnRoute::delete(key.table, key.prefix, key.metric, batch),
            Key::Rule(key) => own_rule(key).delete(batch),
        }
        Ok(())
    }
}

const fn route_key(route: &OwnRoute) -> RouteKey {
    RouteKey {
        table: route.table,
        prefix: route.prefix,
        metric: route.metric,
    }
}

const fn own_route(link: u32, key: &RouteKey, via: Via) -> OwnRoute {
    OwnRoute {
        table: key.table,
        prefix: key.prefix,
        metric: key.metric,
        link,
        via: match via {
            Via::Gateway(ip) => policy_routing::Via::Gateway(ip),
            Via::Nexthop(id) => policy_routing::Via::Nexthop(id),
        },
    }
}

fn own_rule(key: &RuleKey) -> OwnRule {
    let (mut iif, mut oif, mut to) = (None, None, None);
    match &key.selector {
        Selector::Iif(name) => iif = Some(name.clone()),
        Selector::Oif(name) => oif = Some(name.clone()),
        Selector::To(prefix) => to = Some(*prefix),
    }
    OwnRule {
        priority: key.priority,
        family: if key.is_ipv4 {
            IpFamily::V4
        } else {
            IpFamily::V6
        },
        iif,
        oif,
        to,
        narrowed: Narrowed::default(),
        table: key.table,
    }
}

fn flood(remote: IpAddr) -> Forward {
    Forward { mac: FLOOD, remote }
}

fn bring_up(name: &str, batch: &mut Batch) {
    let change = Change {
        up: true,
        ..Change::default()
    };
    change.apply(name, batch);
}
