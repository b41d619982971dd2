//! Names become a part of the attachment's record, where weftd reads them; a record is made if the interface plugin is
//! not Weft's. The attachment's DEL removes them.

use ipnetwork::IpNetwork;
use weft_api::daemon::Poked;
use weft_attach::chained::own_addresses;
use weft_attach::chained::record::{foreign, recorded, withdraw};
use weft_attach::del::idle;
use weft_attach::{Differences, require_prev_result};
use weft_cni::{AttachmentId, CniResult, Request};
use weft_node::{Host, WeftError, namespaces, with_cleanup_failure};
use weft_store::{Addition, AttachmentRecord, LINKS_LOCK, NamesRecord, Sharing, StoreError};

use crate::config::Names;
use crate::daemon::{refusal, tell};
use crate::labelled;
use crate::server::{INSIDE, hosts_own, servers};
use crate::way;

/// Records the names, and returns the result of the plugins before with the server to be asked.
///
/// # Errors
/// The store's and the kernel's; that the daemon does not answer, where it is required. Nothing is changed then.
pub(crate) fn add(
    host: &mut Host,
    plugin: &'static str,
    request: &Request,
    wanted: &Names,
) -> Result<CniResult, WeftError> {
    let mut result = require_prev_result(request)?;
    let id = request.attachment_id()?;
    let path = request.env.get("CNI_NETNS").unwrap_or_default();
    let netns = namespaces::record_at(path)?;
    let there = host.store.read(|transaction| transaction.attachment(&id))?;
    let names = names(host, request, there.as_ref(), &result, wanted)?;
    let link = way::link(host, &names)?;
    let lock = host.store.named_lock(LINKS_LOCK, Sharing::Shared)?;
    host.store.write(|transaction| {
        let there = transaction.attachment(&id)?;
        let mut record = there.unwrap_or_else(|| foreign(&id, plugin, &netns));
        record.set_addition(Addition::Names(names.clone()));
        way::record(&mut record, link.as_deref());
        transaction.replace_attachment(&record)?;
        Ok::<_, StoreError>(())
    })?;
    let opened = way::open(host, link.as_deref(), &names);
    // Removing takes it for itself.
    drop(lock);
    if let Err(error) = opened {
        return Err(with_cleanup_failure(error, take_back(host, &id).err()));
    }
    let poked = tell(host);
    match poked {
        Poked::Known => {}
        poked if wanted.is_required => {
            return Err(with_cleanup_failure(
                refusal(poked),
                take_back(host, &id).err(),
            ));
        }
        Poked::Absent | Poked::Late => {
            tracing::info!("weftd does not answer: names are found when it runs");
        }
    }
    say(host, &mut result, id.network.as_str(), &names);
    // An internal network asks nobody else.
    if poked == Poked::Absent && wanted.forwards {
        let servers = hosts_own().into_iter().map(|ip| ip.to_string());
        result.dns.nameservers.extend(servers);
    }
    Ok(result)
}

fn names(
    host: &mut Host,
    request: &Request,
    there: Option<&AttachmentRecord>,
    result: &CniResult,
    wanted: &Names,
) -> Result<NamesRecord, WeftError> {
    let id = request.attachment_id()?;
    let args = request.env.args()?;
    let of_record = there.and_then(|record| record.name.clone());
    let own = args.get("K8S_POD_NAME").map(str::to_owned).or(of_record);
    let mut all: Vec<String> = Vec::new();
    for name in own.iter().chain(&wanted.hostname).chain(&wanted.aliases) {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    let labels = there.map(|record| &record.labels);
    let servers = servers(host, there, result)?;
    Ok(NamesRecord {
        names: all,
        domain: wanted.domain.clone(),
        asks_inside: servers.is_empty(),
        servers,
        addresses: own_addresses(result, id.ifname.as_str())
            .iter()
            .map(IpNetwork::ip)
            .collect(),
        upstreams: wanted.upstreams.clone(),
        zones: wanted.zones.clone(),
        records: wanted.records.clone(),
        services: labels.map(labelled::services).unwrap_or_default(),
        texts: labels.map(labelled::texts).unwrap_or_default(),
        is_internal: !wanted.forwards,
    })
}

/// The server and the domains that names are looked for in; what the plugins before have said comes behind.
fn say(host: &Host, result: &mut CniResult, network: &str, names: &NamesRecord) {
    result.dns.nameservers = match names.asks_inside {
        true => vec![INSIDE.to_string()],
        false => names.servers.iter().map(ToString::to_string).collect(),
    };
    let domain = &host.dns_domain;
    let mut search = match &names.domain {
        Some(own) => vec![own.clone()],
        None => vec![format!("{network}.{domain}"), domain.clone()],
    };
    for domain in std::mem::take(&mut result.dns.search) {
        if !search.contains(&domain) {
            search.push(domain);
        }
    }
    result.dns.search = search;
}

/// Takes the names back.
///
/// # Errors
/// The store's.
pub(crate) fn del(host: &mut Host, request: &Request) -> Result<(), WeftError> {
    let mut errors = Vec::new();
    let mut is_changed = false;
    let recorded = recorded(host, request)?;
    for record in recorded.records {
        if record.names().is_some() {
            is_changed = true;
            errors.extend(take_back(host, &record.id).err());
        }
    }
    // What a DEL that was killed has left to be removed.
    if !is_changed && recorded.has_idle {
        errors.extend(idle::remove_found(host).err());
    }
    if is_changed {
        // Sockets in the container's namespace are closed by now, too.
        tell(host);
    }
    WeftError::collect("taking names back", errors)
}

fn take_back(host: &mut Host, id: &AttachmentId) -> Result<(), WeftError> {
    let take_out = |record: &mut AttachmentRecord| {
        drop(record.take_names());
        way::record(record, None);
    };
    withdraw(host, id, &take_out)
}

/// Compares the record with what is wanted.
///
/// # Errors
/// Code 108 with every difference.
pub(crate) fn check(host: &mut Host, request: &Request, wanted: &Names) -> Result<(), WeftError> {
    let result = require_prev_result(request)?;
    let id = request.attachment_id()?;
    let there = host.store.read(|transaction| transaction.attachment(&id))?;
    let names = names(host, request, there.as_ref(), &result, wanted)?;
    let mut found = Differences::default();
    match there.as_ref().and_then(|record| record.names()) {
        None => found.add("no names of it in Weft's store"),
        Some(there) if *there != names => {
            found.add("the names in Weft's store are not those of the configuration");
        }
        Some(_) => {}
    }
    way::compare(host, there.as_ref(), &mut found)?;
    found.into_result(&id)
}
