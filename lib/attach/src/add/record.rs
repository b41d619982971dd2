//! The record of an ADD: addresses leased, everything named, before anything is made.

use ipnetwork::IpNetwork;
use weft_cni::CniResult;
use weft_cni::result::{Dns, IpConfig, Route};
use weft_firewall::policy::Policies;
use weft_ipam::{allocate, network_of};
use weft_kernel::Mac;
use weft_node::names::container_mac;
use weft_node::{Container, Host, Users, WeftError, namespaces, with_cleanup_failure};
use weft_store::{
    AddressRecord, AttachmentRecord, ContainerLink, Delegate, Holder, LINKS_LOCK, NetnsRecord,
    SharedObject, Sharing, Transaction, TuningRecord,
};

use super::side::Side;
use super::undo::undo;
use crate::del::take_out::take_out;
use crate::plan::{Ipam, Plan};
use crate::steps::veth::IPV6_MINIMUM_MTU;
use crate::steps::{Created, source_routes, tuning};

/// The result's parts that come from IPAM.
#[derive(Debug, Clone, Default)]
pub(super) struct Leased {
    pub(super) addresses: Vec<AddressRecord>,
    /// Neighbours may know one of them by another MAC.
    pub(super) is_remembered: bool,
    pub(super) routes: Vec<Route>,
    pub(super) dns: Dns,
}

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
    side: &Side,
    policies: &Policies,
    created: &mut Created,
) -> Result<Recorded, WeftError> {
    let sysctls = tuning::originals(inside, &plan.settings.sysctls)?;
    let draft = Draft {
        plan,
        side,
        netns: namespaces::record(&plan.netns, &inside.netns, &inside.home)?,
        has_others: inside.has_others,
        sysctls,
    };
    let segment = side.segment(plan);
    match &plan.settings.ipam {
        Ipam::None | Ipam::Given(_) => {
            let leased = leased_before(plan, side);
            let mut record = draft.record(&leased, None)?;
            let siblings = host.store.write(|transaction| {
                side.refuse_conflicts(plan, transaction)?;
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
                side.refuse_conflicts(plan, transaction)?;
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
                side.refuse_conflicts(plan, transaction)?;
                created.is_first_on_segment = is_first(transaction, segment.as_deref())?;
                Ok::<_, WeftError>(transaction.insert_attachment(&before)?)
            })?;
            let made = match delegate.needs_interface() {
                true => make_link(host, plan, side, &before, inside, created),
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
    let leased = leased_by_delegate(answer);
    let addresses = leased.addresses.iter();
    let families: Vec<bool> = addresses.map(|one| one.address.is_ipv4()).collect();
    CniResult::require_one_of_each_family(draft.plan.version, &families)?;
    // An interface that is there has its MAC.
    let mac = before.container_link.as_ref().filter(|_| is_made);
    let mut record = draft.record(&leased, mac.map(|own| own.mac.clone()))?;
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
    plan: &Plan,
    side: &Side,
    before: &AttachmentRecord,
    inside: &mut Container,
    created: &mut Created,
) -> Result<(), WeftError> {
    let _lock = host.store.named_lock(LINKS_LOCK, Sharing::Shared)?;
    side.make_link(host, plan, before, inside, created)?;
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
    if let Some(mut tuning) = record.tuning.take() {
        tuning::share_originals(transaction, record, &mut tuning)?;
        record.tuning = Some(tuning);
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
    // Somebody may have put into the kernel what the record names.
    let named =
        |transaction: &Transaction<'_>| Ok(transaction.attachment(&plan.id)?.into_iter().collect());
    let removed = take_out(host, Vec::new(), &named, |_| Ok(()), &|transaction| {
        transaction.remove_attachment(&plan.id)
    });
    with_cleanup_failure(error, removed.err())
}

/// Addresses that are there without IPAM: the host's, or those of the plugin before.
fn leased_before(plan: &Plan, side: &Side) -> Leased {
    match &plan.settings.ipam {
        Ipam::Given(given) => Leased {
            addresses: given.ips.iter().map(address_of).collect(),
            is_remembered: false,
            routes: given.routes.iter().map(normal).collect(),
            dns: given.dns.clone(),
        },
        Ipam::None | Ipam::Store(_) | Ipam::Delegate(_) => Leased {
            addresses: side.own_addresses(),
            ..Leased::default()
        },
    }
}

/// An address that somebody else manages.
fn address_of(ip: &IpConfig) -> AddressRecord {
    AddressRecord {
        address: ip.address,
        gateway: ip.gateway,
        pool: None,
        subnet_prefix: None,
    }
}

/// A route to the network that its destination names.
fn normal(route: &Route) -> Route {
    Route {
        dst: network_of(route.dst),
        ..route.clone()
    }
}

fn leased_by_delegate(answer: &CniResult) -> Leased {
    Leased {
        addresses: answer.ips.iter().map(address_of).collect(),
        is_remembered: false,
        routes: answer.routes.iter().map(normal).collect(),
        dns: answer.dns.clone(),
    }
}

/// What a record is made of besides its addresses.
struct Draft<'a> {
    plan: &'a Plan,
    side: &'a Side,
    netns: NetnsRecord,
    /// The container has other interfaces.
    has_others: bool,
    /// Names and present values.
    sysctls: Vec<(String, String)>,
}

impl Draft<'_> {
    fn record(&self, leased: &Leased, mac: Option<String>) -> Result<AttachmentRecord, WeftError> {
        let (plan, side) = (self.plan, self.side);
        let networks: Vec<IpNetwork> = leased.addresses.iter().map(|one| one.address).collect();
        let mtu = side.mtu(plan);
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
        record.container_link = Some(ContainerLink {
            name: plan.id.ifname.to_string(),
            mac: mac.unwrap_or_else(|| own_mac(plan, side, &networks).to_string()),
            mtu,
            up: plan.settings.up,
            has_own_mac: plan.settings.mac.is_some(),
        });
        record.addresses.clone_from(&leased.addresses);
        record.routes.clone_from(&leased.routes);
        record.config_digest.clone_from(&plan.config_digest);
        if !self.sysctls.is_empty() {
            record.tuning = Some(TuningRecord {
                ifname: plan.id.ifname.to_string(),
                sysctls: self.sysctls.clone(),
                wanted_sysctls: plan.settings.sysctls.to_list(),
                ..TuningRecord::default()
            });
        }
        side.complete(plan, leased, &networks, &mut record)?;
        if self.has_others && plan.settings.up && !record.addresses.is_empty() {
            record.source_table = Some(source_routes::table(&plan.id));
        }
        Ok(record)
    }
}

fn own_mac(plan: &Plan, side: &Side, networks: &[IpNetwork]) -> Mac {
    let derived = || container_mac(&plan.id, networks.first().map(|network| network.ip()));
    let fixed = || side.fixed_mac(plan);
    plan.settings.mac.or_else(fixed).unwrap_or_else(derived)
}

/// The default routes that are missing among IPAM's, one per family, with the first address of that
/// family.
pub(super) fn default_routes(leased: &Leased) -> Vec<(IpNetwork, &AddressRecord)> {
    let mut missing = Vec::new();
    for everywhere in ["0.0.0.0/0", "::/0"] {
        let Ok(dst) = everywhere.parse::<IpNetwork>() else {
            continue;
        };
        let is_same = |network: &IpNetwork| network.is_ipv4() == dst.is_ipv4();
        let has_default = leased
            .routes
            .iter()
            .any(|route| route.is_default() && is_same(&route.dst));
        let first = leased.addresses.iter().find(|one| is_same(&one.address));
        if let (false, Some(first)) = (has_default, first) {
            missing.push((dst, first));
        }
    }
    missing
}
