//! The record of an ADD: addresses leased, everything named, before anything is made.

use ipnetwork::IpNetwork;
use weft_cni::CniResult;
use weft_cni::result::{Dns, IpConfig, Route};
use weft_kernel::Mac;
use weft_store::{
    AddressRecord, AttachmentRecord, ContainerLink, Delegate, SharedObject, Transaction,
    TuningRecord,
};

use super::side::Side;
use crate::error::{AttachError, with_cleanup_failure};
use crate::host::{Container, Host};
use crate::ipam::allocate;
use crate::names::container_mac;
use crate::namespaces;
use crate::plan::{Ipam, Plan};
use crate::policy::Policies;
use crate::ruleset;
use crate::steps::tuning;
use crate::steps::veth::IPV6_MINIMUM_MTU;

/// The result's parts that come from IPAM.
#[derive(Debug, Clone, Default)]
pub(super) struct Leased {
    pub(super) addresses: Vec<AddressRecord>,
    /// Neighbours may know one of them by another MAC.
    pub(super) is_remembered: bool,
    pub(super) routes: Vec<Route>,
    pub(super) dns: Dns,
}

/// Leases addresses and writes the record, complete, in one transaction. Another IPAM plugin's
/// addresses are known only after it ran: its record is written before and completed after.
pub(super) fn record(
    host: &mut Host,
    plan: &Plan,
    inside: &Container,
    side: &Side,
    policies: &Policies,
) -> Result<(AttachmentRecord, Leased), AttachError> {
    let sysctls = tuning::originals(inside, &plan.settings.sysctls)?;
    let draft = |addresses: &Leased| draft(plan, inside, side, addresses, &sysctls);
    match &plan.settings.ipam {
        Ipam::None | Ipam::Given(_) => {
            let leased = leased_before(plan, side);
            let mut record = draft(&leased)?;
            host.store.write(|transaction| {
                side.refuse_conflicts(plan, transaction)?;
                insert(transaction, &mut record, policies)
            })?;
            Ok((record, leased))
        }
        Ipam::Store(config) => {
            let sticky = &host.sticky;
            host.store.write(|transaction| {
                transaction.refuse_duplicate(&plan.id)?;
                side.refuse_conflicts(plan, transaction)?;
                let allocation = allocate(config, sticky, &plan.id, transaction)?;
                let leased = Leased {
                    addresses: allocation.addresses,
                    is_remembered: allocation.is_remembered,
                    routes: config.routes.clone(),
                    dns: config.dns.clone(),
                };
                let mut record = draft(&leased)?;
                insert(transaction, &mut record, policies)?;
                Ok((record, leased))
            })
        }
        Ipam::Delegate(delegate) => {
            let mut before = draft(&Leased::default())?;
            before.delegate = Some(Delegate {
                plugin: delegate.plugin.clone(),
            });
            host.store.write(|transaction| {
                side.refuse_conflicts(plan, transaction)?;
                Ok::<_, AttachError>(transaction.insert_attachment(&before)?)
            })?;
            let outcome = delegate
                .add()
                .map_err(AttachError::from)
                .and_then(|answer| {
                    let leased = leased_by_delegate(&answer);
                    let mut record = draft(&leased)?;
                    record.delegate = before.delegate.clone();
                    host.store.write(|transaction| {
                        transaction.remove_attachment(&plan.id)?;
                        insert(transaction, &mut record, policies)
                    })?;
                    Ok((record, leased))
                });
            outcome.map_err(|error| undo_delegate(host, plan, error))
        }
    }
}

/// Writes the record, unless one of its addresses is another attachment's on the host.
fn insert(
    transaction: &mut Transaction<'_>,
    record: &mut AttachmentRecord,
    policies: &Policies,
) -> Result<(), AttachError> {
    policies.join(transaction, record)?;
    for object in &record.shared {
        if let SharedObject::HostRoute { address } = object
            && transaction.users_of(object)? > 0
        {
            return Err(AttachError::Conflict {
                key: "hostAccess",
                name: address.to_string(),
                why: "is another attachment's already: give the networks different ranges"
                    .to_owned(),
            });
        }
    }
    Ok(transaction.insert_attachment(record)?)
}

/// The specification: a delegate that fails an ADD is called again with DEL.
fn undo_delegate(host: &mut Host, plan: &Plan, error: AttachError) -> AttachError {
    if let Ipam::Delegate(delegate) = &plan.settings.ipam
        && let Err(second) = delegate.del()
    {
        tracing::warn!(%second, "IPAM DEL after a failed ADD");
    }
    // Somebody may have put into the kernel what the record names.
    let named =
        |transaction: &Transaction<'_>| Ok(transaction.attachment(&plan.id)?.into_iter().collect());
    let removed = ruleset::forget(host, &named, &|transaction| {
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
            routes: given.routes.clone(),
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

fn leased_by_delegate(answer: &CniResult) -> Leased {
    Leased {
        addresses: answer.ips.iter().map(address_of).collect(),
        is_remembered: false,
        routes: answer.routes.clone(),
        dns: answer.dns.clone(),
    }
}

fn draft(
    plan: &Plan,
    inside: &Container,
    side: &Side,
    leased: &Leased,
    sysctls: &[(String, String)],
) -> Result<AttachmentRecord, AttachError> {
    let networks: Vec<IpNetwork> = leased.addresses.iter().map(|one| one.address).collect();
    let mtu = side.mtu(plan);
    if mtu < IPV6_MINIMUM_MTU && networks.iter().any(IpNetwork::is_ipv6) {
        return Err(AttachError::Conflict {
            key: "mtu",
            name: mtu.to_string(),
            why: format!("is too small for IPv6, which needs {IPV6_MINIMUM_MTU}"),
        });
    }
    let mut record = AttachmentRecord::new(plan.id.clone(), plan.plugin);
    record.name.clone_from(&plan.name);
    record.labels.clone_from(&plan.labels);
    record.netns = Some(namespaces::record(
        &plan.netns,
        &inside.netns,
        &inside.home,
    )?);
    record.container_link = Some(ContainerLink {
        name: plan.id.ifname.to_string(),
        mac: own_mac(plan, side, &networks).to_string(),
        mtu,
        up: plan.settings.up,
        has_own_mac: plan.settings.mac.is_some(),
    });
    record.addresses.clone_from(&leased.addresses);
    record.routes.clone_from(&leased.routes);
    record.config_digest.clone_from(&plan.config_digest);
    if !sysctls.is_empty() {
        record.tuning = Some(TuningRecord {
            ifname: plan.id.ifname.to_string(),
            sysctls: sysctls.to_vec(),
            ..TuningRecord::default()
        });
    }
    side.complete(plan, leased, &networks, &mut record)?;
    Ok(record)
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
