//! What chained plugins add to the record of an attachment that another plugin has made.

use weft_cni::{AttachmentId, Request};
use weft_store::{AttachmentRecord, NetnsRecord, StoreError};

use crate::del::{Target, detach};
use crate::error::AttachError;
use crate::host::Host;

/// A record for an interface that is not Weft's.
pub(crate) fn foreign(
    id: &AttachmentId,
    plugin: &str,
    path: &str,
    identity: (u64, u64),
) -> AttachmentRecord {
    let mut record = AttachmentRecord::new(id.clone(), plugin);
    let (dev, ino) = identity;
    record.netns = Some(NetnsRecord {
        path: path.to_owned(),
        dev,
        ino,
    });
    record
}

/// Whether there is nothing in a record that anybody but a chained plugin would have to remove.
fn is_empty(record: &AttachmentRecord) -> bool {
    record.container_link.is_none()
        && record.host_links.is_empty()
        && record.addresses.is_empty()
        && record.nft.is_empty()
        && record.ports.is_empty()
        && record.shared.is_empty()
        && record.tuning.is_none()
        && record.bandwidth.is_none()
        && record.firewall.is_none()
        && record.delegate.is_none()
}

/// The records that a DEL of a chained plugin is about. A store that cannot be read keeps no container
/// from being removed: nothing is known of what was added then.
pub(crate) fn records(
    host: &Host,
    request: &Request,
) -> Result<Vec<AttachmentRecord>, AttachError> {
    let network = request.conf.name.clone();
    let (container, ifname) = request.env.container()?;
    let target = Target {
        network: &network,
        container: &container,
        ifname: ifname.as_ref(),
        netns: None,
    };
    match target.read_records(host) {
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::warn!(%error, "DEL without the store: weft store rebuild mends it");
            Ok(Vec::new())
        }
        outcome => Ok(outcome?),
    }
}

/// Takes something out of a record, and a record away of which nothing is left.
pub(crate) fn withdraw(
    host: &mut Host,
    id: &AttachmentId,
    take_out: &dyn Fn(&mut AttachmentRecord),
) -> Result<(), AttachError> {
    let left = host.store.write(|transaction| {
        let Some(mut there) = transaction.attachment(id)? else {
            return Ok(None);
        };
        take_out(&mut there);
        transaction.replace_attachment(&there)?;
        Ok::<_, StoreError>(Some(there))
    })?;
    match left {
        Some(record) if is_empty(&record) => detach(host, &[&record]),
        _ => Ok(()),
    }
}

/// Whether what chained plugins add to nf_tables could be added.
///
/// # Errors
/// Code 50.
pub fn status(host: &mut Host, request: &Request) -> Result<(), AttachError> {
    crate::status::ipam_status(host, request, None)?;
    let generation = host.nft().and_then(|nft| Ok(nft.generation()?));
    generation.map(drop).map_err(crate::status::unavailable)
}
