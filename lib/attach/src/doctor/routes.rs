//! Whether the host finds its containers where they are.

use std::collections::HashMap;

use weft_kernel::{link, route, sysctl};
use weft_node::{Host, WeftError};
use weft_store::AttachmentRecord;

use super::{Finding, Symptom};

/// Addresses of containers that the host looks for by another interface than they are behind. With a strict reverse path
/// filter what the containers send is dropped besides.
pub(super) fn findings(
    host: &mut Host,
    records: &[AttachmentRecord],
) -> Result<Vec<Finding>, WeftError> {
    let mut indices: HashMap<String, Option<u32>> = HashMap::new();
    let mut found = Vec::new();
    for record in records.iter().filter(|one| one.is_routed_by_host) {
        let Some(name) = record.gateway_link() else {
            continue;
        };
        let index = match indices.get(&name) {
            Some(index) => *index,
            None => {
                let index = link::find(host.route()?, &name)?.map(|link| link.index);
                indices.insert(name.clone(), index);
                index
            }
        };
        // One that is missing is a finding of its own.
        let Some(index) = index else { continue };
        for address in &record.addresses {
            let ip = address.address.ip();
            let by = route::output_link(host.route()?, ip)?;
            let Some(other) = by.filter(|by| *by != index) else {
                continue;
            };
            let other = link::find_index(host.route()?, other)?;
            let other = other.map_or_else(|| "another interface".to_owned(), |link| link.name);
            let drops = match ip.is_ipv4() && is_strict(&name) {
                true => format!(
                    ", and what it sends is dropped, for the reverse path filter is strict \
                     (net.ipv4.conf.{name}.rp_filter)"
                ),
                false => String::new(),
            };
            let text = format!(
                "{} has {ip} behind {name}, and the host looks for it by {other}{drops}: ip route get {ip} shows the \
                 route to be removed",
                record.id
            );
            found.push(Finding::new(Symptom::BetweenContainers, text));
        }
    }
    Ok(found)
}

/// The stricter one of the interface's and of all interfaces' counts; 2 is loose.
fn is_strict(link: &str) -> bool {
    let read = |name: &str| {
        let text = sysctl::read(&format!("net/ipv4/conf/{name}/rp_filter"));
        text.ok().and_then(|text| text.parse::<u8>().ok())
    };
    read("all").max(read(link)) == Some(1)
}
