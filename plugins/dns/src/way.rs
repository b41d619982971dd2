//! The way of a question to the host: other people's chains that drop by default what the host is sent let it through.

use weft_attach::Differences;
use weft_firewall::foreign::admission;
use weft_firewall::foreign::passage::Passage;
use weft_kernel::{link, route};
use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, NamesRecord, SharedObject};

/// The interface of the host that a container's questions come by: the one that leads to it. None if it asks inside.
pub(crate) fn link(host: &mut Host, names: &NamesRecord) -> Result<Option<String>, WeftError> {
    if names.servers.is_empty() {
        return Ok(None);
    }
    let socket = host.route()?;
    for address in &names.addresses {
        let Some(index) = route::output_link(socket, *address)? else {
            continue;
        };
        if let Some(found) = link::find_index(socket, index)? {
            return Ok(Some(found.name));
        }
    }
    Ok(None)
}

/// Notes the interface, in the place of one noted before.
pub(crate) fn record(record: &mut AttachmentRecord, link: Option<&str>) {
    record.shared.retain(|one| one.questions().is_none());
    record
        .shared
        .extend(link.map(|link| SharedObject::Questions {
            link: link.to_owned(),
        }));
}

/// Lets questions through.
pub(crate) fn open(
    host: &mut Host,
    link: Option<&str>,
    names: &NamesRecord,
) -> Result<(), WeftError> {
    let Some(link) = link else {
        return Ok(());
    };
    let questions = Passage::asked_by(link, &names.addresses, &names.servers);
    admission::ensure(host, &questions)
}

/// Adds the chains that drop questions.
pub(crate) fn compare(
    host: &mut Host,
    record: Option<&AttachmentRecord>,
    found: &mut Differences,
) -> Result<(), WeftError> {
    let own: Vec<AttachmentRecord> = record.cloned().into_iter().collect();
    for passage in Passage::questions(&own) {
        for (chain, _) in admission::dropping(host, &passage)? {
            found.add(format!(
                "chain {} {} {} drops questions for names that come by {}",
                chain.table.family.as_str(),
                chain.table.name,
                chain.name,
                passage.link()
            ));
        }
    }
    Ok(())
}
