//! What on the host keeps containers from working that no single call would notice.

mod bridges;
mod inside;
mod ports;
mod routes;

use ipnetwork::IpNetwork;
use weft_cni::file::is_open_to_others;
use weft_firewall::foreign::obstacles::{Behind, has_legacy_rules, obstacles};
use weft_firewall::foreign::passage::Passage;
use weft_node::{Host, WeftError};
use weft_store::AttachmentRecord;

use crate::dead::{Patience, find_dead};
use crate::steps::gateway::{families, not_forwarding};
use crate::steps::{host_access, subnets};

/// What people notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Symptom {
    /// A network cannot be made.
    NetworkCreation,
    /// A container cannot be attached.
    Attachment,
    /// Containers do not reach each other.
    BetweenContainers,
    /// Containers do not reach the outside, or the outside them.
    External,
    /// Names are not found.
    Names,
    /// It is slow.
    Performance,
    /// Nothing yet: something is left, open or not as it should be.
    State,
}

impl Symptom {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetworkCreation => "network creation fails",
            Self::Attachment => "containers cannot be attached",
            Self::BetweenContainers => "no connectivity between containers",
            Self::External => "no external connectivity",
            Self::Names => "names are not found",
            Self::Performance => "performance",
            Self::State => "state",
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What people notice of it.
    pub symptom: Symptom,
    /// What it is, and the command that mends it.
    pub text: String,
}

impl Finding {
    /// A finding.
    pub fn new(symptom: Symptom, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { symptom, text }
    }
}

/// Other people's chains that drop what containers send, or are answered, or ask the host.
fn drops(
    host: &mut Host,
    records: &[AttachmentRecord],
    networks: &[Behind],
) -> Result<Vec<(Symptom, String)>, WeftError> {
    let through: Vec<Passage> = networks.iter().cloned().map(Passage::Through).collect();
    let mut found = Vec::new();
    for (symptom, passages) in [
        (Symptom::External, through),
        (Symptom::Names, Passage::questions(records)),
    ] {
        let all = obstacles(host, &passages)?;
        found.extend(all.iter().map(|one| (symptom, one.to_string())));
    }
    Ok(found)
}

/// Everything that was found, each with what to do.
///
/// # Errors
/// The kernel's and the stores'.
pub fn findings(host: &mut Host) -> Result<Vec<Finding>, WeftError> {
    let records = host.attachments()?;
    let mut found = Vec::new();
    let mut add = |symptom, text: String| found.push(Finding { symptom, text });
    for text in dead(host, &records)? {
        add(Symptom::State, text);
    }
    let directories = [host.store.dir().to_owned(), host.data_dir.clone()];
    for directory in directories.iter().filter(|one| is_open_to_others(one)) {
        let path = directory.display();
        add(
            Symptom::State,
            format!(
                "{path}: other users than root can change what is in it, and so who reaches whom: chown root {path}; \
             chmod 700 {path}"
            ),
        );
    }
    if let Some(other) = host.store.other() {
        let left = other.read(|transaction| transaction.attachments())?.len();
        add(
            Symptom::State,
            format!(
                "{}: the host's store is {} now, and this one has {left} attachments of before: {}",
                other.path().display(),
                host.store.backend(),
                match left {
                    0 => "remove it",
                    _ => "restart their containers, or wait for their end, then remove it",
                }
            ),
        );
    }
    let networks = Behind::of(&records);
    for (symptom, text) in drops(host, &records, &networks)? {
        add(symptom, text);
    }
    if has_legacy_rules() && !networks.is_empty() {
        add(Symptom::External,
            "iptables-legacy has rules, which Weft does not see: iptables-legacy -S FORWARD shows whether they \
             drop what is forwarded"
                .to_owned(),
        );
    }
    for behind in &networks {
        let addresses = behind.addresses.iter().map(|ip| IpNetwork::from(*ip));
        for name in not_forwarding(host, &behind.link, &families(addresses))? {
            let value = name.replace('/', ".");
            add(
                Symptom::External,
                format!(
                    "sysctl {name} is off: containers behind {} reach nothing outside: sysctl -w {value}=1",
                    behind.link
                ),
            );
        }
        for text in subnets::overlaps(host, &behind.link)? {
            add(Symptom::External, text);
        }
    }
    for record in &records {
        for text in host_access::missing(host, record.link.host_routes())? {
            add(
                Symptom::External,
                format!(
                    "{}: {text}: weft cni gc {} puts it back",
                    record.id, record.id.network
                ),
            );
        }
    }
    found.extend(bridges::findings(host, &records)?);
    found.extend(routes::findings(host, &records)?);
    found.extend(inside::findings(&records)?);
    found.extend(ports::findings(&records));
    Ok(found)
}

fn dead(host: &mut Host, records: &[AttachmentRecord]) -> Result<Vec<String>, WeftError> {
    let dead = find_dead(host, records, Patience::None)?;
    let text = |record: &&AttachmentRecord| {
        format!(
            "{}: its namespace is gone, and what it had is still recorded: weft gc",
            record.id
        )
    };
    Ok(dead.iter().map(text).collect())
}
