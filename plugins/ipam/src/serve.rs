//! The verbs of the IPAM plugin: leases for anybody's interface plugins.

use weft_attach::del::{Target, detach_container};
use weft_attach::gc::{GcScope, collect};
use weft_attach::{dead, ipam_status, require_prev_result};
use weft_cni::conf::Problems;
use weft_cni::result::IpConfig;
use weft_cni::{CniError, CniResult, Request};
use weft_ipam::{IpamConfig, allocate, refuse_mistyped, remember};
use weft_node::names::config_digest;
use weft_node::{Host, WeftError, namespaces};
use weft_store::{AttachmentRecord, Holder};

pub(crate) fn read(request: &Request) -> Result<IpamConfig, CniError> {
    let problems = Problems::default();
    refuse_mistyped(&request.conf.open(&problems));
    let config = IpamConfig::read(&request.conf, &request.env.args()?, &problems);
    problems.into_result(request.conf.strict)?;
    Ok(config)
}

/// Leases addresses for an attachment that another plugin makes.
///
/// # Errors
/// The store's and the configuration's.
pub(crate) fn serve_add(
    host: &mut Host,
    plugin: &'static str,
    request: &Request,
) -> Result<CniResult, WeftError> {
    let config = read(request)?;
    let id = request.attachment_id()?;
    let path = request.env.get("CNI_NETNS").unwrap_or_default();
    // Only remembered, to tell later whether the container is gone.
    let netns = namespaces::record_at(path);
    let mut record = AttachmentRecord::new(id.clone(), plugin);
    record.netns = netns.ok();
    record.config_digest = config_digest(&request.input);
    let addresses = dead::retry(host, |host| {
        host.store.write(|transaction| {
            transaction.refuse_duplicate(&id)?;
            let holder = Holder::anywhere(&id);
            let addresses = allocate(&config, &host.sticky, holder, transaction)?.addresses;
            record.addresses.clone_from(&addresses);
            transaction.insert_attachment(&record)?;
            Ok::<_, WeftError>(addresses)
        })
    })?;
    remember(&config, &host.sticky, &id, &addresses);
    let ips = addresses.iter().map(|one| IpConfig {
        interface: None,
        address: one.address,
        gateway: one.gateway,
    });
    Ok(CniResult {
        interfaces: Vec::new(),
        ips: ips.collect(),
        routes: config.routes,
        dns: config.dns,
    })
}

/// Ends the leases of an attachment.
///
/// # Errors
/// The store's, unless it is damaged: then there is nothing to give back.
pub(crate) fn serve_del(host: &mut Host, request: &Request) -> Result<(), WeftError> {
    let (container, ifname) = request.env.container()?;
    let (network, ifname) = (&request.conf.name, ifname.as_ref());
    let target = Target {
        network,
        container: &container,
        ifname,
        netns: None,
        input: &request.input,
    };
    // An IPAM plugin has no rules to look for.
    detach_container(host, target, &CniResult::default())
}

/// Compares the leases with the result.
///
/// # Errors
/// [`WeftError::Differs`].
pub(crate) fn serve_check(host: &mut Host, request: &Request) -> Result<(), WeftError> {
    let prev = require_prev_result(request)?;
    let id = request.attachment_id()?;
    let differences = host.store.read(|transaction| {
        let Some(record) = transaction.attachment(&id)? else {
            return Ok(vec!["no record of it in Weft's store".to_owned()]);
        };
        let mut differences = Vec::new();
        for one in &record.addresses {
            let pool = one.pool.as_deref().unwrap_or_default();
            let lease = transaction.lease_of(pool, one.address.ip())?;
            if lease.is_none_or(|lease| lease.holder != id) {
                differences.push(format!("address {} is not leased to it", one.address));
            }
            if !prev.ips.is_empty() && !prev.ips.iter().any(|ip| ip.address == one.address) {
                differences.push(format!("address {} is not in prevResult", one.address));
            }
        }
        Ok::<_, WeftError>(differences)
    })?;
    if differences.is_empty() {
        Ok(())
    } else {
        Err(WeftError::Differs {
            id: id.to_string(),
            differences,
        })
    }
}

/// Collects the network's leases.
///
/// # Errors
/// The store's.
pub(crate) fn serve_gc(host: &mut Host, request: &Request) -> Result<(), WeftError> {
    let valid = request.conf.valid_attachments()?;
    collect(
        host,
        &GcScope {
            network: request.conf.name.clone(),
            valid,
            is_inside: false,
        },
    )
}

/// Whether there are addresses left.
///
/// # Errors
/// [`WeftError::NotReady`].
pub(crate) fn serve_status(host: &mut Host, request: &Request) -> Result<(), WeftError> {
    let config = read(request)?;
    ipam_status(host, request, Some(&config)).map(drop)
}
