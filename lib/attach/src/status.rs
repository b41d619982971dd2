//! STATUS: whether an ADD would succeed, without trying one.

use weft_cni::{AttachmentId, ContainerId, IfName, Request};
use weft_ipam::{IpamConfig, is_exhausted};
use weft_node::{Host, WeftError};
use weft_store::AttachmentRecord;

use crate::delegate::{DelegateIpam, foreign_type};
use crate::kinds::NetworkState;
use crate::plan::{Ipam, Settings};

/// Answers for a network: store, addresses, what its interfaces are connected to, nf_tables,
/// forwarding.
///
/// # Errors
/// [`WeftError::NotReady`] (codes 50 and 51), or what a delegate says.
pub fn status(host: &mut Host, request: &Request, settings: &Settings) -> Result<(), WeftError> {
    let ipam = match &settings.ipam {
        Ipam::Store(config) => Some(&**config),
        Ipam::None | Ipam::Delegate(_) | Ipam::Given(_) => None,
    };
    let records = ipam_status(host, request, ipam)?;
    if let Some(plugin) = foreign_type(request) {
        DelegateIpam::new(plugin, request)
            .forward("STATUS")
            .or_else(ignore_unknown_verb)?;
    }
    let network = NetworkState {
        settings,
        records: &records,
        ipam,
    };
    settings.link.kind().status(host, &network)
}

/// Whether there are addresses left; the attachments that the network has.
pub fn ipam_status(
    host: &Host,
    request: &Request,
    ipam: Option<&IpamConfig>,
) -> Result<Vec<AttachmentRecord>, WeftError> {
    let network = &request.conf.name;
    let (records, exhausted) = host
        .store
        .read(|transaction| {
            let records = transaction.attachments_of(network)?;
            let exhausted = match (ipam, no_attachment(request)) {
                (Some(config), Some(id)) => is_exhausted(config, &host.sticky, &id, transaction)?,
                _ => None,
            };
            Ok::<_, WeftError>((records, exhausted))
        })
        .map_err(unavailable)?;
    match exhausted {
        Some(reason) => Err(WeftError::NotReady {
            reason,
            existing_suffer: false,
        }),
        None => Ok(records),
    }
}

/// An identity to try a lease with; it is never written.
fn no_attachment(request: &Request) -> Option<AttachmentId> {
    Some(AttachmentId {
        network: request.conf.name.clone(),
        container_id: ContainerId::try_from("status").ok()?,
        ifname: IfName::try_from("status").ok()?,
    })
}

/// A delegate of before 1.1.0 does not know the verb: that is no statement about its readiness.
fn ignore_unknown_verb(error: weft_cni::CniError) -> Result<(), weft_cni::CniError> {
    const INVALID_ENVIRONMENT: u32 = 4;
    const INCOMPATIBLE_VERSION: u32 = 1;
    match error.code {
        INVALID_ENVIRONMENT | INCOMPATIBLE_VERSION => Ok(()),
        _ => Err(error),
    }
}

/// The network's containers suffer already.
pub(crate) fn suffering(reason: String) -> Result<(), WeftError> {
    Err(WeftError::NotReady {
        reason,
        existing_suffer: true,
    })
}

/// An ADD would fail.
pub(crate) fn unavailable(error: WeftError) -> WeftError {
    WeftError::NotReady {
        reason: error.to_string(),
        existing_suffer: false,
    }
}
