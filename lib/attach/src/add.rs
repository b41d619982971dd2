//! ADD: from a plan to a record, and from the record to kernel objects.

mod leased;
mod record;
mod result;
mod undo;

use ipnetwork::IpNetwork;
use weft_cni::CniResult;
use weft_cni::phases::{Phase, measure};
use weft_cni::result::Interface;
use weft_firewall::policy::{self, Policies};
use weft_firewall::{connections, ruleset};
use weft_ipam::remember;
use weft_node::{Container, Host, WeftError, with_cleanup_failure};
use weft_store::{AddressRecord, AttachmentRecord, FileLock, LINKS_LOCK, POLICY_LOCK, Sharing};

use crate::dead;
use crate::del::idle;
use crate::kinds::{Making, PreparedLink};
use crate::plan::{Ipam, Plan};
use crate::steps::container::{self, Settings};
use crate::steps::{Created, source_routes};

pub(crate) use leased::{Leased, default_routes};
use record::{Recorded, record};
use result::result;
pub(crate) use result::{container_interface, host_interface};
use undo::undo;

/// Attaches a container. What a container that is gone still has is free.
///
/// # Errors
/// Any; everything that was done is undone then, and failures of that are part of the error.
pub fn add(host: &mut Host, plan: &Plan) -> Result<CniResult, WeftError> {
    dead::retry(host, |host| add_once(host, plan))
}

fn add_once(host: &mut Host, plan: &Plan) -> Result<CniResult, WeftError> {
    let kind = plan.kind();
    let is_host_network = kind.is_in_host();
    plan.require_expressible()?;
    if kind.may_wait_for_its_name() {
        idle::remove_idle(host)?;
    }
    let mut inside = Container::open(&plan.netns, plan.netns_override || is_host_network)?;
    if is_host_network {
        inside.require_home()?;
    } else {
        container::require_free(&mut inside, plan.id.ifname.as_str())?;
    }
    // Another IPAM plugin may take its time: the lock is not held while it does.
    let early = match plan.settings.ipam {
        Ipam::Delegate(_) => None,
        Ipam::None | Ipam::Store(_) | Ipam::Given(_) => Some(lock_links(host)?),
    };
    let link = kind.look(host, plan, &mut inside)?;
    let policies = Policies::read(host, kind.closed_network())?;
    let mut created = Created::default();
    let recorded = match record(host, plan, &mut inside, &*link, &policies, &mut created) {
        Ok(recorded) => recorded,
        Err(error) => {
            drop(early);
            return Err(with_cleanup_failure(error, idle::remove_idle(host).err()));
        }
    };
    let Recorded {
        mut record,
        leased,
        siblings,
    } = recorded;
    let locked = match early {
        Some(lock) => Ok((lock, link)),
        None => lock_links(host).and_then(|lock| Ok((lock, kind.look(host, plan, &mut inside)?))),
    };
    let (lock, link) = match locked {
        Ok(locked) => locked,
        Err(error) => return Err(undo(host, plan, &record, created, None, error)),
    };
    let obeyed = match obey(host, &mut record) {
        Ok(lock) => lock,
        Err(error) => return Err(undo(host, plan, &record, created, Some(lock), error)),
    };
    // A MAC that derives from the address is what neighbours remember already; beyond the host
    // there may be machines that know the address from before. An announcement reaches every port,
    // so one that tells nothing new is not made.
    let is_news = plan.settings.mac.is_some() || leased.is_remembered || link.has_neighbours();
    let settings = Settings {
        detection: plan.settings.detection,
        announces: is_news,
        sysctls: &plan.settings.sysctls,
        alias: None,
        mac: None,
    };
    let mut making = Making {
        host,
        record: &record,
        inside: &mut inside,
        created: &mut created,
    };
    let applied = apply(&*link, &mut making, settings, phase_of(plan));
    let applied = applied.and_then(|interfaces| {
        // What is wrong with another interface is no reason against this one.
        if let Err(error) = source_routes::ensure(&mut inside, siblings.iter()) {
            tracing::warn!(%error, "answers of another interface of the container may leave by this one");
        }
        source_routes::ensure(&mut inside, std::iter::once(&record))?;
        Ok(interfaces)
    });
    drop(obeyed);
    match applied {
        Ok(interfaces) => {
            if let Ipam::Store(config) = &plan.settings.ipam {
                remember(config, &host.sticky, &plan.id, &record.addresses);
            }
            drop(lock);
            if let Err(error) = link.await_carrier(host, &record) {
                tracing::warn!(%error, "not known whether the interface passes packets yet");
            }
            Ok(result(plan, &record, leased, interfaces))
        }
        Err(error) => Err(undo(host, plan, &record, created, Some(lock), error)),
    }
}

/// Puts rules in force that are not yet, as those of the attachment's own network if it is the
/// first: what it is a member of may be another thing then.
///
/// The lock keeps the rules as they are until its elements are in the kernel.
fn obey(host: &mut Host, record: &mut AttachmentRecord) -> Result<Option<FileLock>, WeftError> {
    /// Other processes may change them again and again.
    const ATTEMPTS: u32 = 20;
    let is_concerned = record
        .nft
        .iter()
        .any(|one| ruleset::is_member_set(&one.set));
    if !is_concerned && record.isolation.is_none() {
        return Ok(None);
    }
    for _ in 0..ATTEMPTS {
        let lock = host.store.named_lock(POLICY_LOCK, Sharing::Shared)?;
        if policy::is_obeyed(host, record)? {
            return Ok(Some(lock));
        }
        drop(lock);
        weft_firewall::apply(host)?;
        let id = record.id.clone();
        if let Some(there) = host.store.read(|transaction| transaction.attachment(&id))? {
            *record = there;
        }
    }
    Err(WeftError::Conflict {
        key: "policy",
        name: record.id.network.to_string(),
        why: "rules have changed again and again meanwhile: try once more".to_owned(),
    })
}

/// Held until everything is made: a removal of what is unused waits for it.
fn lock_links(host: &Host) -> Result<FileLock, WeftError> {
    Ok(host.store.named_lock(LINKS_LOCK, Sharing::Shared)?)
}

fn phase_of(plan: &Plan) -> Phase {
    match plan.kind().bridge() {
        Some(_) => Phase::Bridge,
        None => Phase::Link,
    }
}

/// Makes everything the record names. The rules are in force before the first link is up.
fn apply(
    link: &dyn PreparedLink,
    making: &mut Making<'_>,
    settings: Settings<'_>,
    phase: Phase,
) -> Result<Vec<Interface>, WeftError> {
    weft_firewall::add_elements(making.host, making.record)?;
    let record = making.record;
    if making.created.is_first_on_segment && !record.isolation.is_none() {
        let whole = |one: &AddressRecord| {
            let prefix = one.subnet_prefix.unwrap_or_else(|| one.address.prefix());
            IpNetwork::new(one.address.ip(), prefix).ok()
        };
        let networks: Vec<IpNetwork> = record.addresses.iter().filter_map(whole).collect();
        connections::end_about(making.host, &networks)?;
    }
    measure(phase, || link.apply(making, settings))
}
