//! Port 53 of the addresses at which containers ask. The root part keeps the sockets it has opened: whoever answers
//! next gets the same ones, with the questions that wait in them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::child::Child;
use super::supervisor::{Inherited, Supervisor};
use crate::channel::Message;

const DNS: u16 = 53;
/// A network whose last container goes often has one again soon: its sockets stay for so long.
const LINGER: Duration = Duration::from_secs(60);

/// Sockets by address.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: BTreeMap<IpAddr, [OwnedFd; 2]>,
    told: BTreeSet<IpAddr>,
    /// Since when nobody asks at an address.
    idle: BTreeMap<IpAddr, Instant>,
    /// Addresses that cannot be had, and why.
    pub(super) refused: BTreeMap<IpAddr, String>,
}

impl Sockets {
    /// With those that an earlier process has left.
    pub(super) fn with(inherited: Inherited) -> Self {
        let mut streams: BTreeMap<IpAddr, TcpListener> = BTreeMap::new();
        let address_of = |outcome: std::io::Result<SocketAddr>| {
            outcome
                .ok()
                .filter(|address| address.port() == DNS)
                .map(|address| address.ip())
        };
        for stream in inherited.streams {
            if let Some(address) = address_of(stream.local_addr()) {
                streams.insert(address, stream);
            }
        }
        let mut open = BTreeMap::new();
        for datagrams in inherited.datagrams {
            let address = address_of(datagrams.local_addr());
            if let Some((address, streams)) =
                address.and_then(|address| Some((address, streams.remove(&address)?)))
            {
                open.insert(address, [datagrams.into(), streams.into()]);
            }
        }
        Self {
            open,
            ..Self::default()
        }
    }

    /// Another process answers from now on.
    pub(super) fn forget_told(&mut self) {
        self.told.clear();
    }

    /// Opens what is missing, closes what nobody has asked at for a while, and tells of both.
    pub(super) fn be(
        &mut self,
        wanted: &BTreeSet<IpAddr>,
        child: &Child,
        supervisor: &Supervisor,
    ) -> Result<()> {
        let is_wanted = |address: &IpAddr| wanted.contains(address);
        self.idle.retain(|address, _| !is_wanted(address));
        for address in self.open.keys().filter(|one| !is_wanted(one)) {
            self.idle.entry(*address).or_insert_with(Instant::now);
        }
        let is_over = |since: &Instant| since.elapsed() >= LINGER;
        let over: Vec<IpAddr> = (self.idle.iter())
            .filter(|(_, since)| is_over(since))
            .map(|(address, _)| *address)
            .collect();
        for address in over {
            self.idle.remove(&address);
            self.open.remove(&address);
            supervisor.forget(address);
            if self.told.remove(&address) {
                child.tell(&Message::Unlisten { address })?;
            }
        }
        self.refused.retain(|address, _| is_wanted(address));
        for address in wanted.iter().chain(self.idle.clone().keys()) {
            self.open_one(*address, supervisor);
            if let Some(sockets) = self.open.get(address)
                && !self.told.contains(address)
            {
                let address = *address;
                child.hand_over(&Message::Listen { address }, sockets)?;
                self.told.insert(address);
            }
        }
        Ok(())
    }

    /// One that cannot be had now is tried again at the next look.
    fn open_one(&mut self, address: IpAddr, supervisor: &Supervisor) {
        if self.open.contains_key(&address) {
            return;
        }
        match open(address) {
            Ok(sockets) => {
                self.refused.remove(&address);
                supervisor.keep(address, &sockets);
                self.open.insert(address, sockets);
            }
            Err(error) => {
                let text = format!(
                    "{error:#}: containers that ask there get no answer: ss -lntup 'sport = 53' tells whose it is"
                );
                if self.refused.get(&address) != Some(&text) {
                    tracing::warn!("{text}");
                }
                self.refused.insert(address, text);
            }
        }
    }
}

/// A datagram socket and one that listens. The address need not be there yet, and may go and come back: a bridge that is
/// made anew has it again.
pub(super) fn open(address: IpAddr) -> Result<[OwnedFd; 2]> {
    let open = |kind| {
        open_one(SocketAddr::new(address, DNS), kind)
            .with_context(|| format!("port {DNS} of {address} cannot be had"))
    };
    let (datagrams, streams) = (open(SocketType::DGRAM)?, open(SocketType::STREAM)?);
    const WAITING: i32 = 128;
    listen(&streams, WAITING).context("listening")?;
    Ok([datagrams, streams])
}

fn open_one(address: SocketAddr, kind: SocketType) -> rustix::io::Result<OwnedFd> {
    /// Questions wait here while a process that answers is replaced.
    const WAITING_BYTES: usize = 1 << 20;
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, kind, flags, None)?;
    match address {
        SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
        SocketAddr::V6(_) => {
            sockopt::set_ipv6_v6only(&socket, true)?;
            sockopt::set_ipv6_freebind(&socket, true)?;
        }
    }
    match kind {
        // Only for streams: connections of an earlier process do not keep the port. Datagrams would be shared.
        SocketType::STREAM => sockopt::set_socket_reuseaddr(&socket, true)?,
        _ => sockopt::set_socket_recv_buffer_size(&socket, WAITING_BYTES)?,
    }
    bind(&socket, &address)?;
    Ok(socket)
}
