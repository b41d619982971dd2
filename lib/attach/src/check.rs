//! CHECK: the record against the kernel, changing nothing, reporting every difference.

use ipnetwork::IpNetwork;
use weft_cni::result::Route;
use weft_cni::{CniError, CniResult, Code, IpFamily, Mac, Request};
use weft_firewall::ruleset;
use weft_ipam::network_of;
use weft_kernel::route::{self, RouteSpec};
use weft_kernel::{address, link};
use weft_node::names::{network_owner, owner};
use weft_node::{Container, Host, WeftError, namespaces};
use weft_store::{AttachmentRecord, ContainerLink, LinkRecord, NetnsRecord, SharedObject};

use crate::delegate::{DelegateIpam, foreign_type};
use crate::differences::Differences;
use crate::kinds::Checking;
use crate::plan::Settings;
use crate::steps::container::spec;
use crate::steps::source_routes;

/// The result that CHECK is to compare with.
///
/// # Errors
/// Code 7 if the runtime gave none.
pub fn require_prev_result(request: &Request) -> Result<CniResult, CniError> {
    request.conf.prev_result()?.ok_or_else(|| {
        CniError::new(
            Code::InvalidConfig,
            "prevResult: is missing: the result of the plugins before, or for CHECK of the ADD",
        )
    })
}

/// Compares an attachment with its record and with `prev`, which chained plugins may have changed
/// since.
///
/// # Errors
/// [`WeftError::Differs`] with every difference.
pub fn check(host: &mut Host, request: &Request, settings: &Settings) -> Result<(), WeftError> {
    let prev = require_prev_result(request)?;
    let id = request.attachment_id()?;
    if let Some(plugin) = foreign_type(request) {
        DelegateIpam::new(plugin, request).forward("CHECK")?;
    }
    let mut found = Differences::default();
    let record = host.store.read(|transaction| {
        let record = transaction.attachment(&id)?;
        if let Some(record) = &record {
            found.leases(transaction, record)?;
        }
        Ok::<_, WeftError>(record)
    })?;
    let Some(record) = record else {
        found.add("no record of it in Weft's store");
        return found.into_result(&id);
    };
    found.elements(host, &record)?;
    let mut inside = match record.link.own() {
        Some(own) => Some(found.inside(request, own, &record, &prev)?),
        None => None,
    };
    settings.link.kind().check(&mut Checking {
        host,
        record: &record,
        inside: inside.as_mut(),
        found: &mut found,
    })?;
    found.into_result(&id)
}

impl Differences {
    fn leases(
        &mut self,
        transaction: &weft_store::Transaction<'_>,
        record: &AttachmentRecord,
    ) -> Result<(), WeftError> {
        for one in &record.addresses {
            let Some(pool) = &one.pool else { continue };
            let lease = transaction.lease_of(pool, one.address.ip())?;
            if lease.is_none_or(|lease| lease.holder != record.id) {
                self.add(format!("address {} is not leased to it", one.address));
            }
        }
        Ok(())
    }

    fn elements(&mut self, host: &mut Host, record: &AttachmentRecord) -> Result<(), WeftError> {
        let own = owner(&record.id);
        for element in &record.nft {
            if !ruleset::element_is_right(host, element, Some(&own))? {
                self.add(format!(
                    "nft set {} lacks element {}",
                    element.set, element.key
                ));
            }
        }
        for object in &record.shared {
            if let SharedObject::NftElement { element } = object
                && !ruleset::element_is_right(host, element, None)?
            {
                let network = network_owner(&record.id.network);
                self.add(format!(
                    "nft set {} lacks an element of {network}",
                    element.set
                ));
            }
        }
        Ok(())
    }

    /// The container's namespace, and what is in it.
    fn inside(
        &mut self,
        request: &Request,
        own: &ContainerLink,
        record: &AttachmentRecord,
        prev: &CniResult,
    ) -> Result<Container, WeftError> {
        let netns = request.env.get("CNI_NETNS").unwrap_or_default();
        let is_in_host = matches!(record.link, LinkRecord::Host { .. });
        let mut inside = Container::open(netns, is_in_host || request.env.netns_override())?;
        let is_same = |at: &NetnsRecord| namespaces::is_same(&inside.netns, at);
        if record.netns.as_ref().is_some_and(|at| !is_same(at)) {
            self.add(format!("{netns} is not the network namespace of the ADD"));
        }
        self.container(&mut inside, own, record, prev)?;
        self.extend(source_routes::missing(&mut inside, record)?);
        Ok(inside)
    }

    fn container(
        &mut self,
        inside: &mut Container,
        own: &ContainerLink,
        record: &AttachmentRecord,
        prev: &CniResult,
    ) -> Result<(), WeftError> {
        let Some(there) = link::find(&mut inside.route, &own.name)? else {
            self.add(format!(
                "interface {} is missing in the container",
                own.name
            ));
            return Ok(());
        };
        if own.up && !there.is_up {
            self.add(format!("interface {} is down", own.name));
        }
        self.against_result(own, &there, prev);
        if !own.up {
            return Ok(());
        }
        let assigned: Vec<IpNetwork> = address::list(&mut inside.route, there.index)?
            .iter()
            .map(|a| a.address)
            .collect();
        for wanted in wanted_addresses(own, record, prev) {
            if !assigned.contains(&wanted) {
                self.add(format!("address {wanted} is missing on {}", own.name));
            }
        }
        self.routes(inside, there.index, record, prev)
    }

    /// A later plugin of the chain may have changed MAC and MTU, and says so in its result.
    fn against_result(&mut self, own: &ContainerLink, there: &link::Link, prev: &CniResult) {
        let told = prev
            .interfaces
            .iter()
            .find(|i| i.name == own.name && !i.sandbox.is_empty());
        let mac = told.and_then(|i| i.mac.parse().ok()).or(own.mac);
        if there.mac != mac {
            let text =
                |mac: Option<Mac>| mac.map_or_else(|| "none".to_owned(), |mac| mac.to_string());
            self.add(format!(
                "interface {} has MAC {} instead of {}",
                own.name,
                text(there.mac),
                text(mac)
            ));
        }
        let mtu = told.and_then(|i| i.mtu).unwrap_or(own.mtu);
        if there.mtu != mtu && told.is_none_or(|i| i.mtu.is_some()) {
            self.add(format!(
                "interface {} has MTU {} instead of {mtu}",
                own.name, there.mtu
            ));
        }
    }

    fn routes(
        &mut self,
        inside: &mut Container,
        index: u32,
        record: &AttachmentRecord,
        prev: &CniResult,
    ) -> Result<(), WeftError> {
        let wanted = if prev.routes.is_empty() {
            &record.routes
        } else {
            &prev.routes
        };
        let mut there: Vec<RouteSpec> = Vec::new();
        for family in IpFamily::ALL {
            if wanted.iter().any(|route| family.has(route.dst.ip())) {
                there.extend(route::list(&mut inside.route, family)?);
            }
        }
        for one in wanted {
            // Results before version 1.1.0 leave out what the record has: scope, priority, table.
            let is_same =
                |known: &&Route| network_of(known.dst) == network_of(one.dst) && known.gw == one.gw;
            let known = record.routes.iter().find(is_same).unwrap_or(one);
            let wanted = spec(known, index, &record.addresses);
            let matches = |actual: &RouteSpec| {
                actual.dst == wanted.dst
                    && actual.gateway == wanted.gateway
                    && (wanted.table.is_none() || actual.table == wanted.table)
                    && (wanted.priority.is_none() || actual.priority == wanted.priority)
            };
            if !there.iter().any(matches) {
                let via = wanted.gateway.map(|gateway| format!(" via {gateway}"));
                self.add(format!(
                    "route {}{} is missing",
                    wanted.dst,
                    via.unwrap_or_default()
                ));
            }
        }
        Ok(())
    }
}

/// The addresses of the result for this interface; the record's where the result has none.
fn wanted_addresses(
    own: &ContainerLink,
    record: &AttachmentRecord,
    prev: &CniResult,
) -> Vec<IpNetwork> {
    let index = prev
        .interfaces
        .iter()
        .position(|i| i.name == own.name && !i.sandbox.is_empty());
    let told: Vec<IpNetwork> = match index {
        Some(index) => prev.ips_of(index).map(|ip| ip.address).collect(),
        None => prev.ips.iter().map(|ip| ip.address).collect(),
    };
    if told.is_empty() {
        record.addresses.iter().map(|one| one.address).collect()
    } else {
        told
    }
}
