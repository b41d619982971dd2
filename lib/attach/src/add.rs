//! ADD: from a plan to a record, and from the record to kernel objects.

mod bridge;
mod child;
mod device;
mod record;
mod result;
mod side;
mod undo;

use weft_cni::CniResult;
use weft_cni::result::Interface;
use weft_firewall::policy::{self, Policies};
use weft_firewall::ruleset;
use weft_ipam::remember;
use weft_node::{Container, Host, WeftError, with_cleanup_failure};
use weft_store::{AttachmentRecord, FileLock, LINKS_LOCK, POLICY_LOCK, Sharing};

use crate::dead;
use crate::del::idle;
use crate::plan::{DevicePlan, Ipam, LinkPlan, Plan};
use crate::steps::container::{self, Settings};
use crate::steps::{Created, source_routes};

pub(crate) use device::shared as shared_device;
use record::{Recorded, record};
use result::result;
use side::Side;
use undo::undo;

/// Attaches a container. What a container that is gone still has is free.
///
/// # Errors
/// Any; everything that was done is undone then, and failures of that are part of the error.
pub fn add(host: &mut Host, plan: &Plan) -> Result<CniResult, WeftError> {
    dead::retry(host, |host| add_once(host, plan))
}

fn add_once(host: &mut Host, plan: &Plan) -> Result<CniResult, WeftError> {
    let is_host_network = plan.settings.link.is_host_network();
    plan.require_expressible()?;
    if let LinkPlan::Device(DevicePlan::Moved(_)) = &plan.settings.link {
        // It may wait for its own name.
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
    let side = Side::look(host, plan, &mut inside)?;
    let policies = Policies::read(host, plan.closed_network())?;
    let mut created = Created::default();
    let recorded = match record(host, plan, &mut inside, &side, &policies, &mut created) {
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
        Some(lock) => Ok((lock, side)),
        None => lock_links(host).and_then(|lock| Ok((lock, Side::look(host, plan, &mut inside)?))),
    };
    let (lock, side) = match locked {
        Ok(locked) => locked,
        Err(error) => return Err(undo(host, plan, &record, created, None, error)),
    };
    let obeyed = match obey(host, &mut record) {
        Ok(lock) => lock,
        Err(error) => return Err(undo(host, plan, &record, created, Some(lock), error)),
    };
    // A MAC that derives from the address is what everybody remembers already; beyond the host
    // there may be machines that know the address from before. An announcement reaches every port,
    // so one that tells nobody anything is not made.
    let is_news = plan.settings.mac.is_some() || leased.is_remembered || side.has_neighbours(plan);
    let settings = Settings {
        detection: plan.settings.detection,
        announces: is_news,
        sysctls: &plan.settings.sysctls,
        alias: None,
        mac: None,
    };
    let applied = apply(
        host,
        plan,
        &record,
        &mut inside,
        &side,
        settings,
        &mut created,
    );
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
            if let Err(error) = side.await_carrier(host, &record) {
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
    /// Somebody may change them again and again.
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

/// Held until everything is made: who removes what is unused waits for it.
fn lock_links(host: &Host) -> Result<FileLock, WeftError> {
    Ok(host.store.named_lock(LINKS_LOCK, Sharing::Shared)?)
}

/// Makes everything the record names. The rules are in force before the first link is up.
fn apply(
    host: &mut Host,
    plan: &Plan,
    record: &AttachmentRecord,
    inside: &mut Container,
    side: &Side,
    settings: Settings<'_>,
    created: &mut Created,
) -> Result<Vec<Interface>, WeftError> {
    weft_firewall::add_elements(host, record)?;
    side.apply(host, plan, record, inside, settings, created)
}
