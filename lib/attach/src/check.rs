//! CHECK: the record against the kernel, changing nothing, reporting every difference.

use ipnetwork::IpNetwork;
use weft_cni::result::Route;
use weft_cni::{AttachmentId, CniError, CniResult, Code, Request};
use weft_firewall::ruleset;
use weft_ipam::network_of;
use weft_kernel::bridge::PortOptions;
use weft_kernel::route::{self, RouteSpec};
use weft_kernel::{address, link, vlan};
use weft_node::names::{network_owner, owner};
use weft_node::{Container, Host, WeftError, namespaces};
use weft_store::{AttachmentRecord, ContainerLink, HostLink, SharedObject};

use crate::delegate::{DelegateIpam, foreign_type};
use crate::plan::{BridgePlan, LinkPlan, Settings};
use crate::steps::container::spec;
use crate::steps::gateway::{families, gateway_addresses, not_forwarding};
use crate::steps::parent::mode_words;
use crate::steps::veth::{VlanSettings, expected_vlans};
use crate::steps::{host_access, source_routes};

/// The result that CHECK is to compare with.
///
/// # Errors
/// Code 7 if the runtime gave none.
pub fn require_prev_result(request: &Request) -> Result<CniResult, CniError> {
    request.conf.prev_result()?.ok_or_else(|| {
        CniError::new(
            Code::InvalidConfig,
            "prevResult: is missing: the result of the plugins before, or for CHECK of the ADD",
        )
    })
}

/// Compares an attachment with its record and with `prev`, which chained plugins may have changed
/// since.
///
/// # Errors
/// [`WeftError::Differs`] with every difference.
pub fn check(host: &mut Host, request: &Request, settings: &Settings) -> Result<(), WeftError> {
    let prev = require_prev_result(request)?;
    let id = request.attachment_id()?;
    if let Some(plugin) = foreign_type(request) {
        DelegateIpam::new(plugin, request).forward("CHECK")?;
    }
    let mut found = Differences::default();
    let record = host.store.read(|transaction| {
        let record = transaction.attachment(&id)?;
        if let Some(record) = &record {
            found.leases(transaction, record)?;
        }
        Ok::<_, WeftError>(record)
    })?;
    let Some(record) = record else {
        found.add("no record of it in Weft's store");
        return found.into_result(&id);
    };
    for port in &record.host_links {
        found.host_link(host, (port, ruleset::is_guarded(&record)))?;
    }
    found.elements(host, &record)?;
    if let LinkPlan::Bridge(plan) = &settings.link {
        found.bridge(host, &record, plan)?;
    }
    found.parent(host, &record)?;
    if let Some(own) = &record.container_link {
        let netns = request.env.get("CNI_NETNS").unwrap_or_default();
        let may_be_own = record.host_network || request.env.netns_override();
        let mut inside = Container::open(netns, may_be_own)?;
        if record
            .netns
            .as_ref()
            .is_some_and(|at| !namespaces::is_same(&inside.netns, at))
        {
            found.add(format!("{netns} is not the network namespace of the ADD"));
        }
        let parent = parent_index(host, &record)?;
        found.container(&mut inside, own, &record, &prev)?;
        found.child(&mut inside, own, &record, parent)?;
        found
            .0
            .extend(source_routes::missing(&mut inside, &record)?);
    }
    found.into_result(&id)
}

/// What CHECK found.
#[derive(Default, Debug)]
pub struct Differences(Vec<String>);

impl Differences {
    /// Notes one.
    pub fn add(&mut self, text: impl Into<String>) {
        self.0.push(text.into());
    }

    /// Nothing, or all of them as one error.
    ///
    /// # Errors
    /// [`WeftError::Differs`].
    pub fn into_result(self, id: &AttachmentId) -> Result<(), WeftError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(WeftError::Differs {
            id: id.to_string(),
            differences: self.0,
        })
    }

    fn leases(
        &mut self,
        transaction: &weft_store::Transaction<'_>,
        record: &AttachmentRecord,
    ) -> Result<(), WeftError> {
        for one in &record.addresses {
            let Some(pool) = &one.pool else { continue };
            let lease = transaction.lease_of(pool, one.address.ip())?;
            if lease.is_none_or(|lease| lease.holder != record.id) {
                self.add(format!("address {} is not leased to it", one.address));
            }
        }
        Ok(())
    }

    fn host_link(
        &mut self,
        host: &mut Host,
        (port, is_guarded): (&HostLink, bool),
    ) -> Result<(), WeftError> {
        let socket = host.route()?;
        let Some(there) = link::find(socket, &port.name)? else {
            self.add(format!("host interface {} is missing", port.name));
            return Ok(());
        };
        if !there.is_up {
            self.add(format!("host interface {} is down", port.name));
        }
        let bridge = match &port.bridge {
            Some(name) => link::find(socket, name)?.map(|link| (name, link)),
            None => None,
        };
        match (&port.bridge, bridge) {
            (Some(name), None) => self.add(format!("bridge {name} is missing")),
            (_, Some((name, bridge))) => {
                if there.controller != Some(bridge.index) {
                    self.add(format!(
                        "host interface {} is not a port of {name}",
                        port.name
                    ));
                }
                if !bridge.is_up {
                    self.add(format!("bridge {name} is down"));
                }
                let state = bridge.bridge.unwrap_or_default();
                if is_guarded && !state.no_link_local_learning {
                    self.add(format!(
                        "bridge {name} learns from frames that nothing can check: ip link set \
                         {name} type bridge no_linklocal_learn 1"
                    ));
                }
            }
            (None, None) => {}
        }
        let options = there.port.map(|port| port.options).unwrap_or_default();
        let wanted = PortOptions {
            hairpin: port.hairpin,
            isolated: port.isolated,
        };
        if there.controller.is_some() && options != wanted {
            self.add(format!(
                "host interface {}: {options:?} instead of {wanted:?}",
                port.name
            ));
        }
        Ok(())
    }

    /// What the configuration says of a port of a bridge: it may have changed since, and a container that is open
    /// is not closed by that.
    fn bridge(
        &mut self,
        host: &mut Host,
        record: &AttachmentRecord,
        plan: &BridgePlan,
    ) -> Result<(), WeftError> {
        if !record.host_links.is_empty() && plan.isolation != record.isolation {
            let (actual, wanted) = (record.isolation, plan.isolation);
            self.add(format!("isolation is {actual} instead of {wanted}"));
        }
        for port in &record.host_links {
            self.vlans(host, port, plan.preserve_default_vlan)?;
        }
        if plan.is_gateway {
            self.gateway(host, record)?;
        }
        Ok(())
    }

    fn vlans(
        &mut self,
        host: &mut Host,
        port: &HostLink,
        keep_default: bool,
    ) -> Result<(), WeftError> {
        if port.vlan.is_none() && port.trunk.is_empty() {
            return Ok(());
        }
        let Some(link) = link::find(host.route()?, &port.name)? else {
            return Ok(());
        };
        let settings = VlanSettings {
            native: port.vlan,
            trunk: &port.trunk,
            keep_default,
        };
        let there = vlan::list(host.route()?, link.index)?;
        for wanted in expected_vlans(settings) {
            if !there.contains(&wanted) {
                let (name, id) = (&port.name, wanted.id);
                self.add(format!(
                    "host interface {name} is not in VLAN {id} as it should be"
                ));
            }
        }
        Ok(())
    }

    fn elements(&mut self, host: &mut Host, record: &AttachmentRecord) -> Result<(), WeftError> {
        let own = owner(&record.id);
        for element in &record.nft {
            if !ruleset::element_is_right(host, element, Some(&own))? {
                self.add(format!(
                    "nft set {} lacks element {}",
                    element.set, element.key
                ));
            }
        }
        for object in &record.shared {
            if let SharedObject::NftElement { element } = object
                && !ruleset::element_is_right(host, element, None)?
            {
                let network = network_owner(&record.id.network);
                self.add(format!(
                    "nft set {} lacks an element of {network}",
                    element.set
                ));
            }
        }
        Ok(())
    }

    /// Gateway addresses and forwarding.
    fn gateway(&mut self, host: &mut Host, record: &AttachmentRecord) -> Result<(), WeftError> {
        let Some(holder) = record.host_links.first().and_then(HostLink::gateway_link) else {
            return Ok(());
        };
        let there = match link::find(host.route()?, &holder)? {
            Some(found) => address::list(host.route()?, found.index)?,
            None => Vec::new(),
        };
        for wanted in gateway_addresses(&record.addresses) {
            if !there.iter().any(|assigned| assigned.address == wanted) {
                self.add(format!("gateway address {wanted} is missing on {holder}"));
            }
        }
        let families = families(record.addresses.iter().map(|one| one.address));
        for name in not_forwarding(host, &holder, &families)? {
            self.add(format!("sysctl {name} is off"));
        }
        Ok(())
    }

    /// What the container's interface sits on, and the host's way to it.
    fn parent(&mut self, host: &mut Host, record: &AttachmentRecord) -> Result<(), WeftError> {
        if let Some(parent) = record.parent.as_ref().filter(|parent| !parent.in_container) {
            match link::find(host.route()?, &parent.name)? {
                None => self.add(format!("master {} is missing", parent.name)),
                Some(there) if !there.is_up => {
                    self.add(format!("master {} is down", parent.name));
                }
                Some(_) => {}
            }
        }
        self.0
            .extend(host_access::missing(host, &record.host_routes)?);
        Ok(())
    }

    /// Driver, mode and parent of an interface that sits on another.
    fn child(
        &mut self,
        inside: &mut Container,
        own: &ContainerLink,
        record: &AttachmentRecord,
        parent_index: Option<u32>,
    ) -> Result<(), WeftError> {
        let Some(parent) = &record.parent else {
            return Ok(());
        };
        let Some(there) = link::find(&mut inside.route, &own.name)? else {
            return Ok(());
        };
        let Some(kind) = there.child.filter(|kind| kind.driver() == parent.driver) else {
            self.add(format!("interface {} is no {}", own.name, parent.driver));
            return Ok(());
        };
        let mode = mode_words(kind);
        if mode != parent.mode {
            let (name, wanted) = (&own.name, &parent.mode);
            self.add(format!(
                "interface {name} is in mode {mode} instead of {wanted}"
            ));
        }
        if parent_index.is_some() && there.parent != parent_index {
            let (name, parent) = (&own.name, &parent.name);
            self.add(format!("interface {name} is not on {parent}"));
        }
        Ok(())
    }

    fn container(
        &mut self,
        inside: &mut Container,
        own: &ContainerLink,
        record: &AttachmentRecord,
        prev: &CniResult,
    ) -> Result<(), WeftError> {
        let Some(there) = link::find(&mut inside.route, &own.name)? else {
            self.add(format!(
                "interface {} is missing in the container",
                own.name
            ));
            return Ok(());
        };
        if own.up && !there.is_up {
            self.add(format!("interface {} is down", own.name));
        }
        self.against_result(own, &there, prev);
        if !own.up {
            return Ok(());
        }
        let assigned: Vec<IpNetwork> = address::list(&mut inside.route, there.index)?
            .iter()
            .map(|a| a.address)
            .collect();
        for wanted in wanted_addresses(own, record, prev) {
            if !assigned.contains(&wanted) {
                self.add(format!("address {wanted} is missing on {}", own.name));
            }
        }
        self.routes(inside, there.index, record, prev)
    }

    /// A later plugin of the chain may have changed MAC and MTU, and says so in its result.
    fn against_result(&mut self, own: &ContainerLink, there: &link::Link, prev: &CniResult) {
        let told = prev
            .interfaces
            .iter()
            .find(|i| i.name == own.name && !i.sandbox.is_empty());
        let mac = told
            .map(|i| i.mac.as_str())
            .filter(|mac| !mac.is_empty())
            .unwrap_or(&own.mac);
        let actual = there.mac.map(|mac| mac.to_string()).unwrap_or_default();
        if !actual.eq_ignore_ascii_case(mac) {
            self.add(format!(
                "interface {} has MAC {actual} instead of {mac}",
                own.name
            ));
        }
        let mtu = told.and_then(|i| i.mtu).unwrap_or(own.mtu);
        if there.mtu != mtu && told.is_none_or(|i| i.mtu.is_some()) {
            self.add(format!(
                "interface {} has MTU {} instead of {mtu}",
                own.name, there.mtu
            ));
        }
    }

    fn routes(
        &mut self,
        inside: &mut Container,
        index: u32,
        record: &AttachmentRecord,
        prev: &CniResult,
    ) -> Result<(), WeftError> {
        let wanted = if prev.routes.is_empty() {
            &record.routes
        } else {
            &prev.routes
        };
        let mut there: Vec<RouteSpec> = Vec::new();
        for is_ipv4 in [true, false] {
            if wanted.iter().any(|route| route.dst.is_ipv4() == is_ipv4) {
                there.extend(route::list(&mut inside.route, is_ipv4)?);
            }
        }
        for one in wanted {
            // Results before version 1.1.0 leave out what the record has: scope, priority, table.
            let is_same =
                |known: &&Route| network_of(known.dst) == network_of(one.dst) && known.gw == one.gw;
            let known = record.routes.iter().find(is_same).unwrap_or(one);
            let wanted = spec(known, index, &record.addresses);
            let matches = |actual: &RouteSpec| {
                actual.dst == wanted.dst
                    && actual.gateway == wanted.gateway
                    && (wanted.table.is_none() || actual.table == wanted.table)
                    && (wanted.priority.is_none() || actual.priority == wanted.priority)
            };
            if !there.iter().any(matches) {
                let via = wanted.gateway.map(|gateway| format!(" via {gateway}"));
                self.add(format!(
                    "route {}{} is missing",
                    wanted.dst,
                    via.unwrap_or_default()
                ));
            }
        }
        Ok(())
    }
}

/// The index of the parent on the host.
fn parent_index(host: &mut Host, record: &AttachmentRecord) -> Result<Option<u32>, WeftError> {
    let Some(parent) = record.parent.as_ref().filter(|parent| !parent.in_container) else {
        return Ok(None);
    };
    Ok(link::find(host.route()?, &parent.name)?.map(|link| link.index))
}

/// The addresses of the result for this interface; the record's where the result has none.
fn wanted_addresses(
    own: &ContainerLink,
    record: &AttachmentRecord,
    prev: &CniResult,
) -> Vec<IpNetwork> {
    let index = prev
        .interfaces
        .iter()
        .position(|i| i.name == own.name && !i.sandbox.is_empty());
    let told: Vec<IpNetwork> = match index {
        Some(index) => prev.ips_of(index).map(|ip| ip.address).collect(),
        None => prev.ips.iter().map(|ip| ip.address).collect(),
    };
    if told.is_empty() {
        record.addresses.iter().map(|one| one.address).collect()
    } else {
        told
    }
}
