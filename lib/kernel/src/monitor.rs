//! What changes in a namespace, told by the kernel: links, addresses, routes, neighbours, forwarding entries of
//! bridges, and the ruleset of nf_tables.
//!
//! The kernel drops messages for a reader that does not keep up, and says so: [`Event::Lost`]. What has changed
//! meanwhile has to be looked up then. Source: rtnetlink(7), linux/netfilter/nf_tables.h.

mod event;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use crate::error::KernelError;
use crate::netlink::{Transport, Wait};
use crate::netns::NetNs;

pub use event::{Change, Event};

/// What is listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Interfaces that come, go or change.
    Links,
    /// Addresses of interfaces.
    Addresses,
    /// Routes, every table.
    Routes,
    /// Neighbours, and the entries of bridges' and VXLAN devices' forwarding databases.
    Neighbours,
    /// Routing rules.
    Rules,
    /// Nexthop objects.
    Nexthops,
    /// The ruleset, each commit once.
    Ruleset,
}

impl Topic {
    /// RTNLGRP_* (linux/rtnetlink.h).
    const fn route_groups(self) -> &'static [u32] {
        match self {
            Self::Links => &[1],
            Self::Addresses => &[5, 9],
            Self::Routes => &[7, 11],
            Self::Neighbours => &[3],
            Self::Rules => &[8, 19],
            Self::Nexthops => &[32],
            Self::Ruleset => &[],
        }
    }
}

/// NFNLGRP_NFTABLES (linux/netfilter/nfnetlink.h).
const RULESET_GROUP: u32 = 7;
/// Room for a storm: a thousand containers that start at once make some 20,000 messages.
const BUFFER_BYTES: usize = 8 << 20;

/// Listens. Its descriptor is readable when there is something to read.
#[derive(Debug)]
pub struct Monitor {
    transport: Transport,
    is_ruleset: bool,
}

impl Monitor {
    /// Listens, in the calling thread's namespace, to what rtnetlink tells of.
    ///
    /// # Errors
    /// [`KernelError::Socket`].
    pub fn of_routing(topics: &[Topic]) -> Result<Self, KernelError> {
        let groups = topics.iter().flat_map(|topic| topic.route_groups());
        Self::open(NETLINK_ROUTE, groups.copied(), false)
    }

    /// Listens, in the calling thread's namespace, to commits of nf_tables.
    ///
    /// # Errors
    /// [`KernelError::Socket`].
    pub fn of_ruleset() -> Result<Self, KernelError> {
        Self::open(NETLINK_NETFILTER, [RULESET_GROUP].into_iter(), true)
    }

    /// The same as [`Self::of_routing`] in another namespace.
    ///
    /// # Errors
    /// [`KernelError::Socket`], [`KernelError::Netns`].
    pub fn of_routing_in(
        topics: &[Topic],
        netns: &NetNs,
        home: &NetNs,
    ) -> Result<Self, KernelError> {
        netns.run(home, || Self::of_routing(topics))?
    }

    fn open(
        protocol: isize,
        groups: impl Iterator<Item = u32>,
        is_ruleset: bool,
    ) -> Result<Self, KernelError> {
        let mut transport = Transport::open_unconnected(protocol)?;
        for group in groups {
            transport.join(group)?;
        }
        // Without CAP_NET_ADMIN the usual size has to do.
        let _ = setsockopt(&transport.socket(), sockopt::RcvBufForce, &BUFFER_BYTES);
        Ok(Self {
            transport,
            is_ruleset,
        })
    }

    /// Everything that has come so far, in order; nothing is waited for.
    ///
    /// # Errors
    /// [`KernelError::Socket`].
    pub fn read(&mut self) -> Result<Vec<Event>, KernelError> {
        let mut events = Vec::new();
        loop {
            match self.transport.receive(Wait::No) {
                Ok(Some(messages)) => {
                    let read = |message| match self.is_ruleset {
                        true => Event::of_ruleset(message),
                        false => Event::of_routing(message),
                    };
                    events.extend(messages.iter().filter_map(read));
                }
                Ok(None) => return Ok(events),
                Err(KernelError::Socket { source, .. })
                    if source.raw_os_error() == Some(nix::libc::ENOBUFS) =>
                {
                    events.push(Event::Lost);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until there is something to read, or for so many milliseconds. Whether there is.
    ///
    /// # Errors
    /// [`KernelError::Socket`].
    pub fn wait(&self, milliseconds: u16) -> Result<bool, KernelError> {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(milliseconds)) {
            Ok(count) => Ok(count > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(errno) => Err(KernelError::Socket {
                operation: "wait",
                source: errno.into(),
            }),
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.socket().as_fd()
    }
}

impl AsRawFd for Monitor {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.as_fd().as_raw_fd()
    }
}
