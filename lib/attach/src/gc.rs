//! GC: everything of a network that belongs to no valid attachment.
//!
//! Why it is so: docs/decisions/calls.md.

use std::collections::BTreeSet;

use weft_cni::conf::ValidAttachments;
use weft_cni::{AttachmentId, NetworkName, Request};
use weft_firewall::{policy, ruleset};
use weft_kernel::{NetNs, link};
use weft_node::names::{host_link_of_owner, id_of_alias, network_owner, owner};
use weft_node::{Host, WeftError, namespaces};
use weft_store::{AttachmentRecord, LINKS_LOCK, NftRecord, SharedObject, Sharing};

use crate::dead::{Patience, find_dead};
use crate::del::{detach, idle, leaving, users};
use crate::delegate::{DelegateIpam, foreign_type};
use crate::steps::{child, host_access, links};

/// How long a sticky lease outlives its last use.
const STICKY_DAYS: u64 = 30;

/// What may be collected.
#[derive(Debug, Clone)]
pub struct GcScope {
    /// The network whose attachments are collected; others' are not touched.
    pub network: NetworkName,
    /// What stays.
    pub valid: ValidAttachments,
    /// Whether its interfaces can be seen only inside containers.
    pub is_inside: bool,
}

/// Collects as a request says, and lets another IPAM plugin collect.
///
/// # Errors
/// All failures together.
pub fn gc(host: &mut Host, request: &Request, is_inside: bool) -> Result<(), WeftError> {
    let scope = GcScope {
        network: request.conf.name.clone(),
        valid: request.conf.valid_attachments()?,
        is_inside,
    };
    let mut errors = Vec::new();
    errors.extend(collect(host, &scope).err());
    if let Some(plugin) = foreign_type(request) {
        let outcome = DelegateIpam::new(plugin, request).forward("GC");
        errors.extend(outcome.err().map(WeftError::from));
    }
    WeftError::collect("garbage collection", errors)
}

/// Collects what is provably dead, of every network: no configuration is needed. What ended.
///
/// # Errors
/// All failures together.
pub fn gc_all(host: &mut Host) -> Result<Vec<AttachmentRecord>, WeftError> {
    let mut errors = Vec::new();
    let before = host.attachments()?;
    let networks: BTreeSet<NetworkName> = before
        .iter()
        .map(|record| record.id.network.clone())
        .collect();
    for network in networks {
        let scope = GcScope {
            network,
            valid: ValidAttachments::Absent,
            is_inside: true,
        };
        errors.extend(collect(host, &scope).err());
    }
    errors.extend(idle::remove_idle(host).err());
    let after = host.attachments()?;
    let is_left = |record: &AttachmentRecord| after.iter().any(|one| one.id == record.id);
    let ended = before
        .into_iter()
        .filter(|record| !is_left(record))
        .collect();
    WeftError::collect("garbage collection", errors)?;
    Ok(ended)
}

/// Collects what a scope allows: recorded attachments, then links and nft elements whose record is
/// lost, then what none shares any more. What an earlier database of the host has counts too.
///
/// # Errors
/// All failures together.
pub fn collect(host: &mut Host, scope: &GcScope) -> Result<(), WeftError> {
    let mut errors = Vec::new();
    errors.extend(collect_recorded(host, scope).err());
    if let Some(mut other) = host.with_other_database() {
        errors.extend(collect_recorded(&mut other, scope).err());
    }
    WeftError::collect("garbage collection", errors)
}

/// The same by one database.
fn collect_recorded(host: &mut Host, scope: &GcScope) -> Result<(), WeftError> {
    let mut errors = Vec::new();
    errors.extend(leaving::finish_left_over(host).err());
    let records = host
        .store
        .read(|transaction| transaction.attachments_of(&scope.network))?;
    let stale: Vec<&AttachmentRecord> = match &scope.valid {
        ValidAttachments::Only(valid) => {
            let unlisted = |record: &&AttachmentRecord| !is_listed(valid, &record.id);
            records.iter().filter(unlisted).collect()
        }
        ValidAttachments::Absent => find_dead(host, &records, Patience::None)?,
    };
    // All in one go; if that fails, each by itself, so that one does not keep the others.
    if detach(host, &stale).is_err() {
        for record in &stale {
            errors.extend(detach(host, &[record]).err());
        }
    }
    errors.extend(remove_orphaned_links(host, scope).err());
    if scope.is_inside {
        errors.extend(remove_orphans_inside(host, scope).err());
        errors.extend(remove_orphaned_access(host).err());
    }
    errors.extend(remove_orphaned_elements(host, scope).err());
    errors.extend(idle::remove_idle(host).err());
    host.sticky
        .expire(std::time::Duration::from_secs(STICKY_DAYS * 86_400));
    WeftError::collect("garbage collection", errors)
}

fn is_listed(valid: &BTreeSet<(String, String)>, id: &AttachmentId) -> bool {
    valid.contains(&(id.container_id.to_string(), id.ifname.to_string()))
}

/// Links that carry an identity of this network without a record. An ADD writes its record before
/// it makes links, so there is no ADD under way that they could belong to. Only pairs: a container can write such an
/// alias on an interface of the host that it has had.
fn remove_orphaned_links(host: &mut Host, scope: &GcScope) -> Result<(), WeftError> {
    let carrying: Vec<(String, AttachmentId)> = link::list(host.route()?)?
        .into_iter()
        .filter(|link| link.kind.as_deref() == Some("veth"))
        .filter_map(|link| Some((link.name, id_of_alias(&link.alias)?)))
        .filter(|(_, id)| id.network == scope.network)
        .collect();
    let orphans = host.store.read(|transaction| {
        let mut orphans = Vec::new();
        for (name, id) in carrying {
            let keep = match &scope.valid {
                ValidAttachments::Only(valid) => is_listed(valid, &id),
                // The other end may be in a live container: a lost record is no proof of death.
                ValidAttachments::Absent => true,
            };
            if !keep && transaction.attachment(&id)?.is_none() {
                orphans.push(name);
            }
        }
        Ok::<_, WeftError>(orphans)
    })?;
    links::delete(host, &orphans)
}

/// Interfaces on a parent that have lost their record are seen only in their container: every
/// namespace there is has to be looked into.
fn remove_orphans_inside(host: &Host, scope: &GcScope) -> Result<(), WeftError> {
    // A lost record alone is no proof of death.
    let ValidAttachments::Only(valid) = &scope.valid else {
        return Ok(());
    };
    let home = NetNs::current()?;
    let mut errors = Vec::new();
    // Asked for each interface after it was seen: an ADD writes its record before it makes one.
    let is_orphan = |alias: &str| {
        let id = id_of_alias(alias);
        let unlisted = |id: &AttachmentId| id.network == scope.network && !is_listed(valid, id);
        let Some(id) = id.filter(unlisted) else {
            return Ok(false);
        };
        let record = host.store.read(|transaction| transaction.attachment(&id))?;
        Ok(record.is_none())
    };
    for netns in namespaces::all() {
        errors.extend(child::delete_orphans(&netns, &home, &is_orphan).err());
    }
    WeftError::collect("looking into the containers", errors)
}

/// The host's interfaces on parents where no record needs one. They are listed before the records
/// are read: an ADD writes its record first.
fn remove_orphaned_access(host: &mut Host) -> Result<(), WeftError> {
    for link in host_access::all(host)? {
        host_access::mend(host, &link, host_access::Extent::All)?;
        let object = SharedObject::HostAccess { link };
        if let SharedObject::HostAccess { link } = &object
            && !users::is_needed(host, &object)?
        {
            host_access::remove(host, link)?;
        }
    }
    Ok(())
}

/// Elements whose owner has neither record nor link, and those of this network if none is in it any more: a
/// record that is lost opens nothing, for what guards a link stays with it. Under the links lock, so that an ADD that
/// is about to add some, or has found one to be there already, is not disturbed.
fn remove_orphaned_elements(host: &mut Host, scope: &GcScope) -> Result<(), WeftError> {
    if !host.nft()?.has_table(&ruleset::NAT)? {
        return Ok(());
    }
    let _lock = host.store.named_lock(LINKS_LOCK, Sharing::Exclusive)?;
    let present = ruleset::owners(host)?;
    if present.is_empty() {
        return Ok(());
    }
    let records = host.attachments()?;
    let known: BTreeSet<String> = records.iter().map(|record| owner(&record.id)).collect();
    let links = link::list(host.route()?)?;
    let names: BTreeSet<&str> = links.iter().map(|link| link.name.as_str()).collect();
    let has_link =
        |owner: &str| host_link_of_owner(owner).is_some_and(|name| names.contains(name.as_str()));
    let carried = links.iter().filter_map(|link| id_of_alias(&link.alias));
    let mut networks = carried
        .map(|id| id.network)
        .chain(records.iter().map(|record| record.id.network.clone()));
    let is_used = networks.any(|network| network == scope.network);
    let network = network_owner(&scope.network);
    let is_orphan = |owner: &str| match owner.strip_prefix("weft network ") {
        Some(_) => owner == network && !is_used,
        // What the rules themselves have belongs to no attachment.
        None if owner == policy::OWNER => false,
        None if known.contains(owner) || has_link(owner) => false,
        None => owner.starts_with("weft ") && present.contains(owner),
    };
    // Networks on one bridge share what closes it: it may bear the name of one that is gone.
    let used: BTreeSet<&NftRecord> = records
        .iter()
        .flat_map(|record| &record.shared)
        .filter_map(SharedObject::nft_element)
        .collect();
    let is_orphan = |owner: &str, element: &NftRecord| is_orphan(owner) && !used.contains(element);
    ruleset::sweep(host, &is_orphan).map(drop)
}
