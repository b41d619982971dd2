//! DEL: from a record, else from names that derive from the identity, else from prevResult.
//!
//! Why it is so: docs/decisions/calls.md.

pub mod idle;
pub(crate) mod leaving;
pub(crate) mod take_out;
pub(crate) mod users;

use std::collections::BTreeSet;
use std::path::Path;

use weft_cni::phases::{Phase, measure};
use weft_cni::{AttachmentId, CniResult, ContainerId, IfName, NetworkName, Request};
use weft_firewall::{connections, ruleset};
use weft_kernel::NetNs;
use weft_node::names::{alias, alternative_name, config_digest, host_link_name};
use weft_node::{Host, WeftError};
use weft_store::{Addition, AttachmentRecord, LinkRecord, StoreError, Transaction};

use crate::delegate::{DelegateIpam, foreign_type};
use crate::steps::{bandwidth, child, device, host_access, links, source_routes, tuning, warp};

/// Detaches what the request names. Whatever is absent already is fine; nothing stops at the
/// first failure.
///
/// # Errors
/// Only what could not be removed.
pub fn del(host: &mut Host, request: &Request) -> Result<(), WeftError> {
    let names = request.env.container()?;
    let mut errors = Vec::new();
    let target = Target::of(request, &names);
    let records = target.read_records(host);
    let delegates = delegates_of(request, records.as_deref().unwrap_or_default());
    // Only a hint, for when there is no record; what cannot be read is none.
    let prev = request
        .conf
        .prev_result()
        .ok()
        .flatten()
        .unwrap_or_default();
    errors.extend(detach_records(host, target, records, &prev).err());
    // After everything that names the addresses: they may be another container's at once.
    for plugin in delegates {
        let outcome = DelegateIpam::new(&plugin, request).del();
        errors.extend(outcome.err().map(WeftError::from));
    }
    WeftError::collect("DEL", errors)
}

/// The IPAM plugins that have to be told: the configuration's, and that of the ADD if the
/// configuration has changed since.
fn delegates_of(request: &Request, records: &[AttachmentRecord]) -> BTreeSet<String> {
    let configured = foreign_type(request);
    let recorded = records
        .iter()
        .filter_map(|record| Some(record.delegate.as_ref()?.plugin.as_str()));
    configured
        .into_iter()
        .chain(recorded)
        .map(str::to_owned)
        .collect()
}

/// What is to be detached: one interface of a container from a network, or all of them.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The network, as the configuration names it now.
    pub network: &'a NetworkName,
    /// The container, by the id of the call.
    pub container: &'a ContainerId,
    /// The interface; none for all.
    pub ifname: Option<&'a IfName>,
    /// The path of the container's namespace, where to look for what has no record.
    pub netns: Option<&'a str>,
    /// The configuration, for a network that has another name by now.
    pub input: &'a [u8],
}

impl<'a> Target<'a> {
    /// What a request names.
    pub(crate) fn of(
        request: &'a Request,
        (container, ifname): &'a (ContainerId, Option<IfName>),
    ) -> Self {
        Self {
            network: &request.conf.name,
            container,
            ifname: ifname.as_ref(),
            netns: request.env.get("CNI_NETNS"),
            input: &request.input,
        }
    }

    /// The attachment, if it is one.
    fn id(&self) -> Option<AttachmentId> {
        Some(AttachmentId {
            network: self.network.clone(),
            container_id: self.container.clone(),
            ifname: self.ifname?.clone(),
        })
    }

    pub(crate) fn read_records(&self, host: &Host) -> Result<Vec<AttachmentRecord>, StoreError> {
        host.store.read(|transaction| self.records_in(transaction))
    }

    pub(crate) fn records_in(
        &self,
        transaction: &Transaction<'_>,
    ) -> Result<Vec<AttachmentRecord>, StoreError> {
        match self.id() {
            Some(id) => match transaction.attachment(&id)? {
                Some(record) => Ok(vec![record]),
                None => self.records_of_renamed(transaction),
            },
            None => transaction.attachments_of_container(self.network, self.container),
        }
    }

    /// A network may have got another name since: the interface of the container in this namespace is the same, and so is
    /// all of the configuration but the name. (A DEL also follows an ADD that failed because another network's interface
    /// was there: that one is not meant.)
    fn records_of_renamed(
        &self,
        transaction: &Transaction<'_>,
    ) -> Result<Vec<AttachmentRecord>, StoreError> {
        let Some(netns) = self.netns else {
            return Ok(Vec::new());
        };
        let mut found = transaction.attachments_of_id(self.container)?;
        if found.is_empty() {
            return Ok(found);
        }
        let digest = config_digest(self.input);
        found.retain(|record| {
            Some(&record.id.ifname) == self.ifname
                && record.config_digest == digest
                && record.netns.as_ref().is_some_and(|one| one.path == netns)
        });
        Ok(found)
    }
}

/// Detaches a container by its records; without any, by what derives from its identity and by the
/// result of its ADD.
///
/// # Errors
/// Only what could not be removed.
pub fn detach_container(
    host: &mut Host,
    target: Target<'_>,
    prev: &CniResult,
) -> Result<(), WeftError> {
    let records = target.read_records(host);
    detach_records(host, target, records, prev)
}

fn detach_records(
    host: &mut Host,
    target: Target<'_>,
    records: Result<Vec<AttachmentRecord>, StoreError>,
    prev: &CniResult,
) -> Result<(), WeftError> {
    let records = match records {
        Ok(records) => records,
        // A store that cannot be read keeps no container from being removed: what the kernel no
        // longer shows is not rebuilt.
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::warn!(%error, "DEL without the store: weft store rebuild mends it");
            return target
                .id()
                .map_or(Ok(()), |id| remove_derived(host, &id, target.netns, prev));
        }
        Err(error) => return Err(error.into()),
    };
    if !records.is_empty() {
        return detach(host, &records.iter().collect::<Vec<_>>());
    }
    let mut errors = Vec::new();
    if let Some(id) = target.id() {
        errors.extend(remove_derived(host, &id, target.netns, prev).err());
    }
    // Its own, if an earlier call was killed; others' are not its fault.
    if let Err(error) = leaving::finish_left_over(host) {
        tracing::warn!(%error, "DEL leaves what another one has noted");
    }
    errors.extend(idle::remove_idle(host).err());
    WeftError::collect("DEL", errors)
}

/// Without a record there can still be a link, whose name derives from the identity or, in the
/// container, whose alias names it, and nf_tables elements of the addresses in the result, if they
/// carry the attachment's mark.
fn remove_derived(
    host: &mut Host,
    id: &AttachmentId,
    netns: Option<&str>,
    prev: &CniResult,
) -> Result<(), WeftError> {
    let name = host_link_name(id);
    let mut errors = Vec::new();
    errors.extend(links::delete(host, std::slice::from_ref(&name)).err());
    // What guards a link that is still there stays too.
    if errors.is_empty() && !prev.ips.is_empty() {
        errors.extend(ruleset::remove_derived(host, id, &name, prev).err());
    }
    // A path that is none any more leads to nothing that could be left.
    if let Some(netns) = netns.and_then(|path| NetNs::open(Path::new(path)).ok()) {
        let own = alias(id);
        errors.extend(child::delete_unrecorded(&netns, &|alias| alias == own).err());
        errors.extend(device::rescue(&netns, &alternative_name(id)).err());
    }
    WeftError::collect("DEL without a record", errors)
}

/// Removes everything that the records name: elements after the links that they guard, the records
/// last, so that a crash anywhere in between opens nothing and leaves enough to begin again. What they
/// shared with others goes if they were the last.
///
/// # Errors
/// Only what could not be removed; a record of which something remains stays.
pub(crate) fn detach(host: &mut Host, records: &[&AttachmentRecord]) -> Result<(), WeftError> {
    let mut errors = Vec::new();
    let names = leaving::ports_of(records);
    for record in records {
        for addition in record.additions.iter().rev() {
            errors.extend(take_back(host, record, addition, &names).err());
        }
        errors.extend(source_routes::remove(record).err());
        match &record.link {
            // Ports go together below; what is not Weft's stays.
            LinkRecord::Port { .. } | LinkRecord::Foreign | LinkRecord::Host { .. } => {}
            LinkRecord::OnParent {
                own,
                parent,
                host_routes,
            } => {
                errors.extend(host_access::remove_routes(host, host_routes).err());
                let deleted = measure(Phase::Link, || child::delete(record, own, parent));
                errors.extend(deleted.err());
            }
            LinkRecord::Moved { device, .. } => {
                let given = measure(Phase::Link, || device::give_back(host, record, device));
                errors.extend(given.err());
            }
        }
    }
    if errors.is_empty() {
        errors.extend(leaving::finish(host, records).err());
    } else {
        // The records stay for what could not be removed.
        match links::delete(host, &names) {
            Ok(()) => errors.extend(ruleset::remove_elements(host, records).err()),
            Err(error) => errors.push(error),
        }
        errors.extend(connections::end_of_gone(host, records).err());
    }
    WeftError::collect("removing an attachment", errors)
}

/// Takes back what a chained plugin has added, as far as it does not go with elements and connections.
/// `going` are ports that are about to be deleted.
fn take_back(
    host: &mut Host,
    record: &AttachmentRecord,
    addition: &Addition,
    going: &[String],
) -> Result<(), WeftError> {
    match addition {
        Addition::Settings(settings) => tuning::restore(host, record, settings),
        Addition::Limits(limits) => bandwidth::remove(host, record, limits, going),
        Addition::Warp(warp) => warp::take_back(host, record, warp),
        Addition::Ports(_) | Addition::Apart(_) | Addition::Names(_) => Ok(()),
    }
}
