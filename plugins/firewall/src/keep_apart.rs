//! Keeping an interface that another plugin of the chain has made apart from other networks.
//!
//! The bridge becomes a closed network of nf_tables; a record is made if the interface plugin is not
//! Weft's. The attachment's DEL opens what nothing closes any more.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_attach::chained::own_addresses;
use weft_attach::chained::record::{ends_with_interface, foreign, recorded, take_back, undo};
use weft_attach::conf::IngressPolicy;
use weft_attach::del::idle;
use weft_attach::steps::isolation;
use weft_attach::{Differences, dead, require_prev_result};
use weft_cni::{CniResult, Mac, Request};
use weft_firewall::foreign::admission;
use weft_firewall::foreign::obstacles::Behind;
use weft_firewall::foreign::passage::Passage;
use weft_firewall::{connections, ruleset};
use weft_kernel::link::{self, Link};
use weft_node::{Host, WeftError, namespaces};
use weft_store::{
    Addition, AttachmentRecord, FirewallRecord, HostLink, Isolation, LINKS_LOCK, NftRecord,
    SharedObject, Sharing,
};

/// The host's side of the container's interface.
struct Port {
    link: Link,
    bridge: Link,
}

impl Port {
    /// The interface by which the host reaches the container: with a VLAN not the bridge itself.
    fn gateway(&self, record: Option<&AttachmentRecord>) -> String {
        record
            .and_then(|record| record.link.port())
            .and_then(HostLink::gateway_link)
            .unwrap_or_else(|| self.bridge.name.clone())
    }
}

/// The bridge's port among the interfaces that the plugins before have made on the host.
fn port(host: &mut Host, result: &CniResult) -> Result<Option<Port>, WeftError> {
    for one in result
        .interfaces
        .iter()
        .filter(|one| one.sandbox.is_empty())
    {
        let Some(found) = link::find(host.route()?, &one.name)? else {
            continue;
        };
        let Some(controller) = found.controller else {
            continue;
        };
        let bridge = link::find_index(host.route()?, controller)?;
        if let Some(bridge) = bridge.filter(|one| one.kind.as_deref() == Some("bridge")) {
            return Ok(Some(Port {
                link: found,
                bridge,
            }));
        }
    }
    Ok(None)
}

fn require_port(host: &mut Host, result: &CniResult) -> Result<Port, WeftError> {
    port(host, result)?.ok_or_else(|| WeftError::Conflict {
        key: "ingressPolicy",
        name: "prevResult".to_owned(),
        why: "names no port of a bridge on the host: only bridges can be kept apart".to_owned(),
    })
}

/// Applies the policy and returns the result of the plugins before. The network is let through other people's
/// chains that would drop it.
///
/// # Errors
/// Any; everything is as it was then.
pub(crate) fn add(
    host: &mut Host,
    plugin: &str,
    request: &Request,
    policy: &IngressPolicy,
) -> Result<CniResult, WeftError> {
    dead::retry(host, |host| add_once(host, plugin, request, *policy))
}

fn add_once(
    host: &mut Host,
    plugin: &str,
    request: &Request,
    policy: IngressPolicy,
) -> Result<CniResult, WeftError> {
    let result = require_prev_result(request)?;
    let id = request.attachment_id()?;
    let own = own_addresses(&result, id.ifname.as_str());
    let addresses: Vec<IpAddr> = own.iter().map(IpNetwork::ip).collect();
    let lock = host.store.named_lock(LINKS_LOCK, Sharing::Shared)?;
    let recorded = match policy {
        IngressPolicy::Open => record_open(host, plugin, request, &result, &addresses)?,
        IngressPolicy::SameBridge | IngressPolicy::Isolated => {
            record_closed(host, plugin, request, &result, (policy, &addresses))?
        }
    };
    let Some((part, link)) = recorded else {
        return Ok(result);
    };
    let applied = weft_firewall::add_elements(host, &part);
    let applied = applied
        .and_then(|()| admission::ensure(host, &Passage::Through(Behind { link, addresses })));
    // Removing takes it for itself.
    drop(lock);
    if let Err(error) = applied {
        return Err(undo(host, &part, |_| Ok(()), &take_out, error));
    }
    Ok(result)
}

type Part = (AttachmentRecord, String);

/// Notes that an open network is to be let through. None for an interface that the host does not route for.
fn record_open(
    host: &mut Host,
    plugin: &str,
    request: &Request,
    result: &CniResult,
    addresses: &[IpAddr],
) -> Result<Option<Part>, WeftError> {
    let id = request.attachment_id()?;
    let part = AttachmentRecord::new(id.clone(), plugin);
    let open = FirewallRecord {
        is_open: true,
        addresses: addresses.to_vec(),
        ..FirewallRecord::default()
    };
    let note = |record: &mut AttachmentRecord, link: &str| {
        if record.apart().is_none() {
            let link = link.to_owned();
            record.shared.push(SharedObject::Admitted { link });
            record.set_addition(Addition::Apart(open.clone()));
        }
    };
    // What Weft has made itself the record says.
    let own = host.store.write(|transaction| {
        let Some(mut record) = transaction.attachment(&id)? else {
            return Ok(None);
        };
        if record.link.own().is_none() {
            return Ok(None);
        }
        let link = record.gateway_link();
        let link = link.filter(|_| record.is_routed_by_host);
        if let Some(link) = &link {
            note(&mut record, link);
            transaction.replace_attachment(&record)?;
        }
        Ok::<_, WeftError>(Some(link))
    })?;
    if let Some(link) = own {
        return Ok(link.map(|link| (part, link)));
    }
    let Some(port) = port(host, result)? else {
        return Ok(None);
    };
    let path = request.env.get("CNI_NETNS").unwrap_or_default();
    let netns = namespaces::record_at(path)?;
    let link = port.bridge.name.clone();
    host.store.write(|transaction| {
        let there = transaction.attachment(&id)?;
        let mut record = there.unwrap_or_else(|| foreign(&id, plugin, &netns));
        note(&mut record, &link);
        Ok::<_, WeftError>(transaction.replace_attachment(&record)?)
    })?;
    Ok(Some((part, link)))
}

/// Names the elements that keep the container apart.
fn record_closed(
    host: &mut Host,
    plugin: &str,
    request: &Request,
    result: &CniResult,
    (policy, addresses): (IngressPolicy, &[IpAddr]),
) -> Result<Option<Part>, WeftError> {
    let id = request.attachment_id()?;
    let path = request.env.get("CNI_NETNS").unwrap_or_default();
    let netns = namespaces::record_at(path)?;
    let port = require_port(host, result)?;
    let mut part = AttachmentRecord::new(id.clone(), plugin);
    let there = host.store.read(|transaction| transaction.attachment(&id))?;
    let link = port.gateway(there.as_ref());
    let gateway_mac = link::find(host.route()?, &link)?.and_then(|found| found.mac);
    host.store.write(|transaction| {
        let there = transaction.attachment(&id)?;
        let mut record = there.unwrap_or_else(|| foreign(&id, plugin, &netns));
        if record.apart().is_none() {
            // A network that is closed already is closed by its own plugin.
            if record.isolation.is_none() {
                let bridge = &port.bridge.name;
                isolation::refuse_other_modes(bridge, Isolation::Apart, transaction)?;
                part.shared = isolation::shared_objects(bridge, &link, Isolation::Apart);
                let mac = port.link.mac;
                part.nft
                    .extend(mac.map(|mac| ruleset::routed_element(&link, mac)));
                part.shared
                    .extend(gateway_mac.map(|mac| SharedObject::NftElement {
                        element: ruleset::routed_element(&link, mac),
                    }));
                let homes = addresses.iter();
                part.nft
                    .extend(homes.flat_map(|ip| ruleset::home_elements(&link, *ip)));
            }
            if policy == IngressPolicy::Isolated {
                let (own, shared) = apart(&port, &link, gateway_mac);
                part.nft.extend(own);
                part.shared.extend(shared);
            }
            part.nft.retain(|element| !record.nft.contains(element));
            let link = link.clone();
            part.shared.push(SharedObject::Admitted { link });
            record.shared.extend(part.shared.iter().cloned());
            record.nft.extend(part.nft.iter().cloned());
            record.set_addition(Addition::Apart(FirewallRecord {
                is_open: false,
                nft: part.nft.clone(),
                addresses: addresses.to_vec(),
            }));
        }
        Ok::<_, WeftError>(transaction.replace_attachment(&record)?)
    })?;
    Ok(Some((part, link)))
}

/// What keeps a container from its peers: its own elements, and one that it shares with them.
fn apart(port: &Port, link: &str, gateway: Option<Mac>) -> (Vec<NftRecord>, Option<SharedObject>) {
    let mut own = ruleset::alone_elements(&port.link.name).to_vec();
    own.extend(port.link.mac.map(|mac| ruleset::apart_element(link, mac)));
    let shared = gateway.map(|mac| SharedObject::NftElement {
        element: ruleset::apart_element(link, mac),
    });
    (own, shared)
}

fn take_out(record: &mut AttachmentRecord) {
    let Some(firewall) = record.take_apart() else {
        return;
    };
    record.nft.retain(|element| !firewall.nft.contains(element));
    let is_admission = |object: &SharedObject| matches!(object, SharedObject::Admitted { .. });
    record.shared.retain(|object| !is_admission(object));
    if firewall.is_open {
        return;
    }
    record.ending.kept_apart = ends_with_interface(record);
    if !record.isolation.is_none() {
        return;
    }
    let is_own = |object: &SharedObject| {
        let element = object.nft_element();
        let is_mode = |object: &SharedObject| matches!(object, SharedObject::Isolation { mode, .. } if *mode == Isolation::Apart);
        element.is_some_and(ruleset::is_isolation) || is_mode(object)
    };
    record.shared.retain(|object| !is_own(object));
}

/// Takes the policy back. Without a record there is none.
///
/// # Errors
/// Only what could not be removed.
pub(crate) fn del(host: &mut Host, request: &Request) -> Result<(), WeftError> {
    let recorded = recorded(host, request)?;
    let mut errors = Vec::new();
    let mut had_policy = false;
    for record in &recorded.records {
        let Some(firewall) = record.apart() else {
            continue;
        };
        had_policy = true;
        // It goes with the record, which Weft's own interface plugin removes.
        if firewall.is_open && ends_with_interface(record) {
            continue;
        }
        let mut part = AttachmentRecord::new(record.id.clone(), "");
        part.nft.clone_from(&firewall.nft);
        let end = |host: &mut Host| match ends_with_interface(record) {
            true => Ok(()),
            false => connections::end_of_gone(host, &[record]),
        };
        errors.extend(take_back(host, &part, end, &take_out).err());
    }
    // What a DEL that was killed has left to be removed.
    if !had_policy && recorded.has_idle {
        errors.extend(idle::remove_found(host).err());
    }
    WeftError::collect("DEL", errors)
}

/// Compares bridge, port and elements with the policy.
///
/// # Errors
/// [`WeftError::Differs`] with every difference.
pub(crate) fn check(
    host: &mut Host,
    request: &Request,
    policy: &IngressPolicy,
) -> Result<(), WeftError> {
    let result = require_prev_result(request)?;
    let id = request.attachment_id()?;
    let mut found = Differences::default();
    let record = host.store.read(|transaction| transaction.attachment(&id))?;
    for object in record.iter().flat_map(|record| &record.shared) {
        if let SharedObject::Admitted { link } = object {
            let own = own_addresses(&result, id.ifname.as_str());
            let behind = Behind {
                link: link.clone(),
                addresses: own.iter().map(IpNetwork::ip).collect(),
            };
            for (chain, _) in admission::dropping(host, &Passage::Through(behind))? {
                let (family, table) = (chain.table.family.as_str(), chain.table.name);
                let name = &chain.name;
                found.add(format!(
                    "chain {family} {table} {name} drops what goes through {link}"
                ));
            }
        }
    }
    if *policy == IngressPolicy::Open {
        return found.into_result(&id);
    }
    let is_closed = record
        .as_ref()
        .is_some_and(|one| one.is_kept_apart() || !one.isolation.is_none());
    if !is_closed {
        found.add("no policy of it in Weft's store");
        return found.into_result(&id);
    }
    let Some(port) = port(host, &result)? else {
        found.add("no port of a bridge in prevResult exists on the host");
        return found.into_result(&id);
    };
    let link = port.gateway(record.as_ref());
    let mode = record
        .map(|one| one.isolation)
        .filter(|mode| !mode.is_none());
    for element in ruleset::isolation_elements(&link, mode.unwrap_or(Isolation::Apart)) {
        if !ruleset::element_is_right(host, &element, None)? {
            let set = &element.set;
            found.add(format!("nft set {set} lacks {link}: it is not kept apart"));
        }
    }
    if *policy == IngressPolicy::Isolated {
        let gateway = link::find(host.route()?, &link)?.and_then(|found| found.mac);
        let (own, shared) = apart(&port, &link, gateway);
        let owner = weft_node::names::owner(&id);
        let own = own.iter().map(|element| (element, Some(owner.as_str())));
        let shared = shared.iter().filter_map(SharedObject::nft_element);
        for (element, owner) in own.chain(shared.map(|element| (element, None))) {
            if !ruleset::element_is_right(host, element, owner)? {
                let (set, port) = (&element.set, &port.link.name);
                found.add(format!(
                    "nft set {set} lacks {port} by {link}: it is not kept apart from its peers"
                ));
            }
        }
    }
    found.into_result(&id)
}
