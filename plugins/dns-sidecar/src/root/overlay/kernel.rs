//! Objects of overlays in the kernel: seen, made, changed, removed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context, Result};
use weft_kernel::address::{self, DuplicateDetection};
use weft_kernel::bridge::NewBridge;
use weft_kernel::link::{self, Change, Link};
use weft_kernel::netlink::{Batch, RouteSocket};
use weft_kernel::vxlan::{self, FLOOD, Forward, NewVxlan, Vxlan};
use weft_node::default_route;
use weft_node::names::bridge_mac;
use weft_overlay::underlay::Interface;
use weft_overlay::{Key, Objects, Step, Value};

/// The kernel of this network namespace.
#[derive(Debug)]
pub(super) struct Kernel {
    socket: RouteSocket,
    /// Interfaces that overlays are made of or carried by, by index: events of others do not matter.
    pub(super) concerned: BTreeSet<u32>,
    /// Interfaces with names of an overlay's that are something else.
    pub(super) strangers: BTreeSet<String>,
}

impl Kernel {
    pub(super) fn open() -> Result<Self> {
        Ok(Self {
            socket: RouteSocket::open()?,
            concerned: BTreeSet::new(),
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
        Ok(seen)
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
            let value = Value::Port {
                bridge: bridge.name,
            };
            seen.insert(Key::Port(link.name.clone()), value);
        }
        let entries = vxlan::forwards(&mut self.socket, link.index)?;
        let floods = entries.into_iter().filter(|one| one.mac == FLOOD);
        seen.extend(floods.map(|one| (Key::Flood(link.name.clone(), one.remote), Value::There)));
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
            (Key::Port(name), Value::Port { bridge }) => {
                let bridge = self.index(bridge)?;
                link::set_controller(self.index(name)?, Some(bridge), batch);
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
        }
        Ok(())
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
