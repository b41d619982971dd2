//! Whether one party may begin a connection with another: the same answer as the kernel's, with the reason.

use std::collections::BTreeSet;
use std::net::IpAddr;

use weft_cni::IpFamily;
use weft_kernel::address;
use weft_kernel::conntrack::Connection;
use weft_node::{Host, WeftError};
use weft_store::{AddressRecord, AttachmentRecord, Isolation};

use super::rule::Protocol;
use super::selector::Selector;
use super::state::State;

/// Everything that the answer depends on.
#[derive(Debug, Clone)]
pub struct World {
    state: State,
    records: Vec<AttachmentRecord>,
    own: BTreeSet<IpAddr>,
}

/// One side of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Party<'a> {
    /// The packet's source or destination.
    pub address: IpAddr,
    /// The attachment that has it, if one does.
    pub record: Option<&'a AttachmentRecord>,
    /// An address of the host itself.
    pub is_host: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// It may be begun.
    pub is_allowed: bool,
    /// The rule that says so, or why none does.
    pub reason: String,
}

impl Decision {
    fn allowed(reason: impl Into<String>) -> Self {
        Self {
            is_allowed: true,
            reason: reason.into(),
        }
    }

    fn denied(reason: impl Into<String>) -> Self {
        Self {
            is_allowed: false,
            reason: reason.into(),
        }
    }
}

/// The host's address in a container's network.
pub fn gateway(record: &AttachmentRecord, family: IpFamily) -> Option<IpAddr> {
    record
        .addresses
        .iter()
        .filter(|one| family.has(one.address.ip()))
        .find_map(AddressRecord::gateway_or_first)
}

/// The interface of the host that an attachment is behind.
fn link_of(record: &AttachmentRecord) -> Option<String> {
    record.gateway_link()
}

/// How closed an attachment's network is, by isolation or by weft-firewall.
fn isolation_of(record: &AttachmentRecord) -> Isolation {
    match record.isolation.is_none() && record.is_kept_apart() {
        true => Isolation::Apart,
        false => record.isolation,
    }
}

impl World {
    /// Reads files, stores and the host's addresses.
    ///
    /// # Errors
    /// Code 7 for a file that cannot be read, and the stores' and kernel's.
    pub fn read(host: &mut Host) -> Result<Self, WeftError> {
        Ok(Self {
            state: State::read(host)?,
            records: host.attachments()?,
            own: address::list_all(host.route()?)?
                .into_iter()
                .map(|one| one.address.ip())
                .collect(),
        })
    }

    /// The same of what is known already; the host has no address of its own.
    #[cfg(test)]
    pub(super) fn of(state: State, records: Vec<AttachmentRecord>) -> Self {
        Self {
            state,
            records,
            own: BTreeSet::new(),
        }
    }

    /// The attachments there are.
    pub fn attachments(&self) -> &[AttachmentRecord] {
        &self.records
    }

    /// The rules there are.
    pub fn rules(&self) -> &[super::Rule] {
        &self.state.rules
    }

    /// The container, host or outside that an address belongs to.
    pub fn party(&self, address: IpAddr) -> Party<'_> {
        let is_own = |record: &&AttachmentRecord| {
            record
                .addresses
                .iter()
                .any(|one| one.address.ip() == address)
        };
        let record = self.records.iter().find(is_own);
        Party {
            address,
            record,
            is_host: record.is_none() && (address.is_loopback() || self.own.contains(&address)),
        }
    }

    /// Whether a connection may be begun, and why.
    pub fn decide(
        &self,
        from: Party<'_>,
        to: Party<'_>,
        protocol: Protocol,
        port: Option<u16>,
    ) -> Decision {
        const DNS: u16 = 53;
        if from.is_host {
            return Decision::allowed("the host reaches its containers");
        }
        if from.address == to.address {
            return Decision::allowed("it is itself");
        }
        if to.is_host && port.is_some_and(|port| self.leads_on(protocol, port, to.address)) {
            return Decision::allowed("that port of the host is published");
        }
        let link = |party: Party<'_>| party.record.and_then(link_of);
        let is_names = port == Some(DNS) && matches!(protocol, Protocol::Tcp | Protocol::Udp);
        if to.is_host && is_names {
            return Decision::allowed("the host's name server is open to its containers");
        }
        let is_neighbour = link(from).is_some() && link(from) == link(to);
        if let (true, Some(record)) = (is_neighbour, to.record) {
            return self.between_neighbours(record, from, to, (protocol, port));
        }
        let (closed_from, closed_to) = (
            from.record.map(isolation_of).unwrap_or_default(),
            to.record.map(isolation_of).unwrap_or_default(),
        );
        for (mode, record) in [(closed_to, to.record), (closed_from, from.record)] {
            let Some(record) = record.filter(|_| !mode.is_none()) else {
                continue;
            };
            let pair = link(from).zip(link(to));
            let is_open = mode != Isolation::Full;
            if is_open && pair.is_some_and(|pair| self.state.pairs.contains(&pair)) {
                return Decision::allowed("the networks are connected");
            }
            if let Some(decision) = self.by_rules(from, to, protocol, port) {
                return decision;
            }
            let both = !closed_from.is_none() && !closed_to.is_none();
            if mode != Isolation::Apart || both {
                return Decision::denied(format!(
                    "network {} has isolation {mode}, and no rule allows it",
                    record.id.network
                ));
            }
        }
        Decision::allowed("no network on the way is closed")
    }

    /// Neither the host nor behind an interface that is closed, by its own network or another one's.
    fn is_outside(&self, party: Party<'_>) -> bool {
        let Some(record) = party.record else {
            return !party.is_host;
        };
        let link = link_of(record);
        let closes = |other: &&AttachmentRecord| {
            !isolation_of(other).is_none() && link_of(other).is_some() && link_of(other) == link
        };
        isolation_of(record).is_none() && self.records.iter().find(closes).is_none()
    }

    fn between_neighbours(
        &self,
        record: &AttachmentRecord,
        from: Party<'_>,
        to: Party<'_>,
        (protocol, port): (Protocol, Option<u16>),
    ) -> Decision {
        let is_alone = |record: &AttachmentRecord| {
            record
                .nft
                .iter()
                .any(|one| one.set == crate::ruleset::ALONE.name)
        };
        let network = &record.id.network;
        let is_isolated =
            |record: &AttachmentRecord| record.link.port().into_iter().any(|one| one.isolated);
        if is_isolated(record) && from.record.is_some_and(is_isolated) {
            return Decision::denied(format!("network {network} has portIsolation"));
        }
        match isolation_of(record) {
            Isolation::Full => self.by_rules(from, to, protocol, port).unwrap_or_else(|| {
                Decision::denied(format!(
                    "network {network} has isolation full, and no rule allows it"
                ))
            }),
            Isolation::Apart if is_alone(record) && from.record.is_some_and(is_alone) => {
                Decision::denied(format!("network {network} keeps its containers apart"))
            }
            mode @ (Isolation::None | Isolation::Peer | Isolation::Mesh | Isolation::Apart) => {
                Decision::allowed(format!("both are of network {network}, isolation {mode}"))
            }
        }
    }

    fn by_rules(
        &self,
        from: Party<'_>,
        to: Party<'_>,
        protocol: Protocol,
        port: Option<u16>,
    ) -> Option<Decision> {
        let matches = |rule: &&super::Rule| {
            let is_port = rule.ports.iter().any(|one| one.covers(protocol, port));
            let is_inside = |record| link_of(record).is_some() || !isolation_of(record).is_none();
            let is_from_outside = !from.record.is_some_and(is_inside);
            rule.from.covers(from.address, from.record)
                && (is_from_outside || !matches!(rule.from, Selector::Addresses(_)))
                && rule.to.covers(to.address, to.record)
                && (rule.to != Selector::Any || self.is_outside(to))
                && (rule.ports.is_empty() || is_port)
        };
        let rule = self.state.rules.iter().find(matches)?;
        Some(Decision::allowed(rule.to_string()))
    }

    /// Whether a port of the host is published.
    fn leads_on(&self, protocol: Protocol, port: u16, address: IpAddr) -> bool {
        let number = protocol.number(IpFamily::of(address));
        self.records
            .iter()
            .flat_map(|record| record.ports())
            .any(|one| {
                (one.protocol, one.host_port) == (number, port)
                    && one.address.is_ipv4() == address.is_ipv4()
                    && one.host_ip.is_none_or(|ip| ip == address)
            })
    }

    /// Whether a port of the host leads to a container's port.
    pub fn is_published(&self, address: IpAddr, protocol: u8, port: u16) -> bool {
        self.records
            .iter()
            .flat_map(|record| record.ports())
            .any(|one| (one.address, one.protocol, one.container_port) == (address, protocol, port))
    }

    fn allows(&self, connection: &Connection) -> bool {
        let protocol = match connection.original.protocol {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            132 => Protocol::Sctp,
            1 | 58 => Protocol::Icmp,
            _ => Protocol::Other,
        };
        let (source, destination) = (connection.original.source, connection.reply.source);
        let port = connection.reply.source_port;
        let is_translated = connection.original.destination != destination;
        if is_translated && self.is_published(destination, connection.original.protocol, port) {
            return true;
        }
        let (from, to) = (self.party(source), self.party(destination));
        // Only the containers' addresses are looked at.
        if from.record.is_none() && to.record.is_none() {
            return true;
        }
        self.decide(from, to, protocol, Some(port)).is_allowed
    }
}

/// Ends connections of closed networks that had begun and may not any more. How many.
pub fn end_denied(host: &mut Host) -> Result<usize, WeftError> {
    let world = World::read(host)?;
    if world
        .records
        .iter()
        .all(|record| isolation_of(record).is_none())
    {
        return Ok(0);
    }
    let mut tracked = host.nft()?.conntrack();
    let denied = tracked.find(&|connection| !world.allows(connection))?;
    tracked.delete(&denied)?;
    Ok(denied.len())
}
