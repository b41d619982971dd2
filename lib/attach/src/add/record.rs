//! The record of an ADD: addresses leased, everything named, before anything is made.

use ipnetwork::IpNetwork;
use weft_cni::phases::{Phase, measure};
use weft_cni::{CniResult, Mac};
use weft_firewall::policy::Policies;
use weft_ipam::allocate;
use weft_node::names::container_mac;
use weft_node::{Container, Host, Users, WeftError, namespaces, with_cleanup_failure};
use weft_store::{
    Addition, AttachmentRecord, ContainerLink, Delegate, Holder, LINKS_LOCK, NetnsRecord,
    SharedObject, Sharing, Transaction, TuningRecord,
};

use super::leased::Leased;
use super::undo::undo;
use crate::del::take_out::take_out;
use crate::kinds::{Making, PreparedLink};
use crate::plan::{Ipam, Plan};
use crate::steps::veth::IPV6_MINIMUM_MTU;
use crate::steps::{Created, source_routes, tuning};

/// What an ADD has recorded.
pub(super) struct Recorded {
    pub(super) record: AttachmentRecord,
    pub(super) leased: Leased,
    /// The other attachments in the container's namespace.
    pub(super) siblings: Vec<AttachmentRecord>,
}

/// Leases addresses and writes the record, complete, in one transaction. Another IPAM plugin's
/// addresses are known only after it ran: its record is written before and completed after.
pub(super) fn record(
    host: &mut Host,
    plan: &Plan,
    inside: &mut Container,
    link: &dyn PreparedLink,
    policies: &Policies,
    created: &mut Created,
) -> Result<Recorded, WeftError> {
    measure(Phase::Address, || {
        recorded(host, plan, inside, link, policies, created)
    })
}

fn recorded(
    host: &mut Host,
    plan: &Plan,
    inside: &mut Container,
    link: &dyn PreparedLink,
    policies: &Policies,
    created: &mut Created,
) -> Result<Recorded, WeftError> {
    let sysctls = tuning::originals(inside, &plan.settings.sysctls)?;
    let draft = Draft {
        plan,
        link,
        netns: namespaces::record(&plan.netns, &inside.netns, &inside.home)?,
        has_others: inside.has_others,
        sysctls,
    };
    let segment = link.segment();
    match &plan.settings.ipam {
        Ipam::None | Ipam::Given(_) => {
            let leased = Leased::before(plan, link.own_addresses());
            let mut record = draft.record(&leased, None)?;
            let siblings = host.store.write(|transaction| {
                link.refuse_conflicts(transaction)?;
                created.is_first_on_segment = is_first(transaction, segment.as_deref())?;
                insert(transaction, &mut record, policies)
            })?;
            Ok(Recorded {
                record,
                leased,
                siblings,
            })
        }
        Ipam::Store(config) => {
            let sticky = &host.sticky;
            host.store.write(|transaction| {
                transaction.refuse_duplicate(&plan.id)?;
                link.refuse_conflicts(transaction)?;
                created.is_first_on_segment = is_first(transaction, segment.as_deref())?;
                let holder = Holder {
                    id: &plan.id,
                    segment: segment.as_deref(),
                };
                let allocation = allocate(config, sticky, holder, transaction)?;
                let leased = Leased {
                    addresses: allocation.addresses,
                    is_remembered: allocation.is_remembered,
                    routes: config.routes.clone(),
                    dns: config.dns.clone(),
                };
                let mut record = draft.record(&leased, None)?;
                let siblings = insert(transaction, &mut record, policies)?;
                Ok(Recorded {
                    record,
                    leased,
                    siblings,
                })
            })
        }
        Ipam::Delegate(delegate) => {
            let mut before = draft.record(&Leased::default(), None)?;
            before.delegate = Some(Delegate {
                plugin: delegate.plugin.clone(),
            });
            host.store.write(|transaction| {
                link.refuse_conflicts(transaction)?;
                created.is_first_on_segment = is_first(transaction, segment.as_deref())?;
                Ok::<_, WeftError>(transaction.insert_attachment(&before)?)
            })?;
            let made = match delegate.needs_interface() {
                true => make_link(host, link, &before, inside, created),
                false => Ok(()),
            };
            let answer = made.and_then(|()| delegate.add().map_err(WeftError::from));
            let is_made = created.container_link;
            let outcome = answer.and_then(|answer| {
                record_answer(host, &draft, &before, &answer, policies, is_made)
            });
            outcome.map_err(|error| undo_delegate(host, plan, &before, created, error))
        }
    }
}

/// Completes the record by what another IPAM plugin has answered.
fn record_answer(
    host: &mut Host,
    draft: &Draft<'_>,
    before: &AttachmentRecord,
    answer: &CniResult,
    policies: &Policies,
    is_made: bool,
) -> Result<Recorded, WeftError> {
    let leased = Leased::by_delegate(answer);
    let addresses = leased.addresses.iter();
    let families: Vec<bool> = addresses.map(|one| one.address.is_ipv4()).collect();
    CniResult::require_one_of_each_family(draft.plan.version, &families)?;
    // An interface that is there has its MAC.
    let own = before.link.own().filter(|_| is_made);
    let mut record = draft.record(&leased, own.and_then(|own| own.mac))?;
    record.delegate = before.delegate.clone();
    let siblings = host.store.write(|transaction| {
        transaction.remove_attachment(&before.id)?;
        insert(transaction, &mut record, policies)
    })?;
    Ok(Recorded {
        record,
        leased,
        siblings,
    })
}

/// Whether none of Weft's addresses is on a segment.
fn is_first(transaction: &Transaction<'_>, segment: Option<&str>) -> Result<bool, WeftError> {
    match segment {
        Some(segment) => Ok(!transaction.is_segment_used(segment)?),
        None => Ok(true),
    }
}

/// The interface without addresses, for an IPAM plugin that asks for them by it.
fn make_link(
    host: &mut Host,
    link: &dyn PreparedLink,
    before: &AttachmentRecord,
    inside: &mut Container,
    created: &mut Created,
) -> Result<(), WeftError> {
    let _lock = host.store.named_lock(LINKS_LOCK, Sharing::Shared)?;
    link.make_link(&mut Making {
        host,
        record: before,
        inside,
        created: &mut *created,
    })?;
    created.container_link = true;
    Ok(())
}

/// Writes the record, unless one of its addresses is another attachment's on the host. The other attachments
/// in the container's namespace, each with the table that its addresses are routed by from now on.
fn insert(
    transaction: &mut Transaction<'_>,
    record: &mut AttachmentRecord,
    policies: &Policies,
) -> Result<Vec<AttachmentRecord>, WeftError> {
    policies.join(transaction, record)?;
    if let Some(mut tuning) = record.take_settings() {
        tuning::share_originals(transaction, record, &mut tuning)?;
        record.set_addition(Addition::Settings(tuning));
    }
    for object in &record.shared {
        if let SharedObject::HostRoute { address } = object
            && transaction.users_of(object)? > 0
        {
            return Err(WeftError::InUse {
                key: "hostAccess",
                name: address.to_string(),
                why: "is another attachment's already: give the networks different ranges"
                    .to_owned(),
                users: Box::new(Users::Sharing(object.clone())),
            });
        }
    }
    transaction.insert_attachment(record)?;
    if record.source_table.is_none() {
        return Ok(Vec::new());
    }
    source_routes::share(transaction, record)
}

/// The specification: a delegate that fails an ADD is called again with DEL.
fn undo_delegate(
    host: &mut Host,
    plan: &Plan,
    before: &AttachmentRecord,
    created: &mut Created,
    error: WeftError,
) -> WeftError {
    if created.container_link {
        return undo(host, plan, before, std::mem::take(created), None, error);
    }
    if let Ipam::Delegate(delegate) = &plan.settings.ipam
        && let Err(second) = delegate.del()
    {
        tracing::warn!(%second, "IPAM DEL after a failed ADD");
    }
    // Another process may have put into the kernel what the record names.
    let named =
        |transaction: &Transaction<'_>| Ok(transaction.attachment(&plan.id)?.into_iter().collect());
    let removed = take_out(host, Vec::new(), &named, |_| Ok(()), &|transaction| {
        transaction.remove_attachment(&plan.id)
    });
    with_cleanup_failure(error, removed.err())
}

/// What a record is made of besides its addresses.
struct Draft<'a> {
    plan: &'a Plan,
    link: &'a dyn PreparedLink,
    netns: NetnsRecord,
    /// The container has other interfaces.
    has_others: bool,
    /// Names and present values.
    sysctls: Vec<(String, String)>,
}

impl Draft<'_> {
    fn record(&self, leased: &Leased, mac: Option<Mac>) -> Result<AttachmentRecord, WeftError> {
        let plan = self.plan;
        let networks: Vec<IpNetwork> = leased.addresses.iter().map(|one| one.address).collect();
        let mtu = self.link.mtu();
        if mtu < IPV6_MINIMUM_MTU && networks.iter().any(IpNetwork::is_ipv6) {
            return Err(WeftError::Conflict {
                key: "mtu",
                name: mtu.to_string(),
                why: format!("is too small for IPv6, which needs {IPV6_MINIMUM_MTU}"),
            });
        }
        let mut record = AttachmentRecord::new(plan.id.clone(), plan.plugin);
        record.name.clone_from(&plan.name);
        record.labels.clone_from(&plan.labels);
        record.netns = Some(self.netns.clone());
        let own = ContainerLink {
            name: plan.id.ifname.to_string(),
            mac: Some(mac.unwrap_or_else(|| self.own_mac(&networks))),
            mtu,
            up: plan.settings.up,
            has_own_mac: plan.settings.mac.is_some(),
        };
        record.addresses.clone_from(&leased.addresses);
        record.routes.clone_from(&leased.routes);
        record.config_digest.clone_from(&plan.config_digest);
        if !self.sysctls.is_empty() {
            record.set_addition(Addition::Settings(TuningRecord {
                ifname: plan.id.ifname.to_string(),
                sysctls: self.sysctls.clone(),
                wanted_sysctls: plan.settings.sysctls.to_list(),
                ..TuningRecord::default()
            }));
        }
        record.link = self.link.complete(own, leased, &mut record)?;
        if self.has_others && plan.settings.up && !record.addresses.is_empty() {
            record.source_table = Some(source_routes::table(&plan.id));
        }
        Ok(record)
    }

    fn own_mac(&self, networks: &[IpNetwork]) -> Mac {
        let first = networks.first().map(IpNetwork::ip);
        let derived = || container_mac(&self.plan.id, first);
        let fixed = || self.link.fixed_mac();
        let asked = self.plan.settings.mac;
        asked.or_else(fixed).unwrap_or_else(derived)
    }
}
