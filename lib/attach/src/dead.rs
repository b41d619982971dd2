//! Holders that are dead: what a container that is provably gone still has is taken from it, instead of refusing
//! it to one that lives.
//!
//! Why it is so: docs/decisions/calls.md.

use std::time::{Duration, Instant};

use weft_kernel::link;
use weft_node::{Host, Users, WeftError, namespaces};
use weft_store::{AttachmentRecord, StoreError};

use crate::del::detach;

/// What the kernel takes at most to remove the interfaces of a namespace that has ended.
const CLEAN_UP: Duration = Duration::from_millis(700);

/// Does something again as long as what is in its way is a dead container's, which ends then.
pub fn retry<T>(
    host: &mut Host,
    mut work: impl FnMut(&mut Host) -> Result<T, WeftError>,
) -> Result<T, WeftError> {
    /// Each time at least one container has ended; an ADD that needs more has several things to ask for.
    const ATTEMPTS: u32 = 16;
    /// Interfaces without a pair on the host show only in the refusal that the kernel has not removed them yet.
    const PAUSE: Duration = Duration::from_millis(20);
    let mut attempts = 0;
    let mut last_end = None;
    while attempts < ATTEMPTS {
        let error = match work(host) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match end_blockers(host, &error) {
            Ok(true) => {
                attempts += 1;
                last_end = Some(Instant::now());
            }
            Ok(false) if last_end.is_some_and(|end| end.elapsed() < CLEAN_UP) => {
                std::thread::sleep(PAUSE);
            }
            Ok(false) => return Err(error),
            Err(failure) => {
                tracing::warn!(%failure, "a dead container is in the way and could not be ended");
                return Err(error);
            }
        }
    }
    work(host)
}

/// Ends those that are in the way if they are dead. Whether there were any.
fn end_blockers(host: &mut Host, error: &WeftError) -> Result<bool, WeftError> {
    let blockers = blockers(host, error)?;
    let dead = find_dead(host, &blockers, Patience::UntilLinksAreGone)?;
    if dead.is_empty() {
        return Ok(false);
    }
    for record in &dead {
        let netns = record.netns.as_ref().map_or("", |netns| &netns.path);
        let ended = record.id.to_string();
        tracing::warn!(ended, netns, "the container is gone: what it had is free");
    }
    detach(host, &dead)?;
    Ok(true)
}

/// The attachments that an error says are in the way.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an error that names no users has no holder in its way"
)]
fn blockers(host: &Host, error: &WeftError) -> Result<Vec<AttachmentRecord>, WeftError> {
    let users = match error {
        WeftError::Store(error) => match error {
            StoreError::AttachmentExists { id, .. } => Users::One(id.clone()),
            StoreError::AddressTaken { holder, .. }
            | StoreError::AddressOnSegment { holder, .. }
            | StoreError::PortTaken { holder, .. } => Users::One((**holder).clone()),
            StoreError::Exhausted { .. } => return with_addresses(host),
            StoreError::Io { .. }
            | StoreError::LockTimeout { .. }
            | StoreError::Backend { .. }
            | StoreError::Damaged { .. }
            | StoreError::AddressUnusable { .. } => return Ok(Vec::new()),
        },
        WeftError::InUse { users, .. } => (**users).clone(),
        _ => return Ok(Vec::new()),
    };
    let is_user = |record: &AttachmentRecord| match &users {
        Users::One(id) => record.id == *id,
        Users::Sharing(object) => record.shared.contains(object),
        Users::OnBridge(bridge) => {
            let mut ports = record.link.port().into_iter();
            ports.any(|port| port.bridge.as_ref() == Some(bridge))
        }
        Users::OfDevice(name) => record.link.device().is_some_and(|one| one.name == *name),
    };
    Ok(host.store.read(|transaction| match &users {
        Users::One(id) => Ok(transaction.attachment(id)?.into_iter().collect()),
        Users::Sharing(_) | Users::OnBridge(_) | Users::OfDevice(_) => {
            let mut all = transaction.attachments()?;
            all.retain(is_user);
            Ok::<_, StoreError>(all)
        }
    })?)
}

/// Those that have addresses: one of another network may have what is missing, where both are on one bridge.
fn with_addresses(host: &Host) -> Result<Vec<AttachmentRecord>, WeftError> {
    let mut all = host.store.read(|transaction| transaction.attachments())?;
    all.retain(|record| !record.addresses.is_empty());
    Ok(all)
}

/// How long the kernel's clean-up of a namespace is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Not at all.
    None,
    /// A moment: the links of a namespace go some milliseconds after its last process.
    UntilLinksAreGone,
}

/// Which of them are dead beyond doubt: the namespace is neither where it was nor anywhere else, and the pair of
/// interfaces, which lives as long as the namespace does, is gone too.
pub fn find_dead<'a>(
    host: &mut Host,
    records: &'a [AttachmentRecord],
    patience: Patience,
) -> Result<Vec<&'a AttachmentRecord>, WeftError> {
    let gone = namespaces::gone(records.iter().filter(|record| record.netns.is_some()));
    let deadline = Instant::now()
        + match patience {
            Patience::None => Duration::ZERO,
            Patience::UntilLinksAreGone => CLEAN_UP,
        };
    let mut dead = Vec::new();
    for record in gone {
        if are_links_gone(host, record, deadline)? {
            dead.push(record);
        }
    }
    Ok(dead)
}

fn are_links_gone(
    host: &mut Host,
    record: &AttachmentRecord,
    deadline: Instant,
) -> Result<bool, WeftError> {
    const PAUSE: Duration = Duration::from_millis(10);
    if let Some(port) = record.link.port() {
        while link::find(host.route()?, &port.name)?.is_some() {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(PAUSE);
        }
    }
    Ok(true)
}
