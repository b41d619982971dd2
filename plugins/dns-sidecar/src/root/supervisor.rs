//! What starts the daemon and watches over it: systemd, or whatever speaks its protocol (sd_notify(3)). It keeps the
//! sockets while the daemon is replaced.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// Sockets of an earlier process.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    pub(super) datagrams: Vec<UdpSocket>,
    pub(super) streams: Vec<TcpListener>,
}

/// The supervisor, if there is one.
#[derive(Debug)]
pub(super) struct Supervisor {
    /// It ends a daemon that says nothing for so long.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Takes over what it has kept.
    pub(super) fn find() -> (Self, Inherited) {
        let mut inherited = Inherited::default();
        let mut all = ListenFd::from_env();
        for place in 0..all.len() {
            if let Ok(Some(socket)) = all.take_udp_socket(place) {
                inherited.datagrams.push(socket);
            } else if let Ok(Some(socket)) = all.take_tcp_listener(place) {
                inherited.streams.push(socket);
            }
        }
        let watchdog = sd_notify::watchdog_enabled();
        (Self { watchdog }, inherited)
    }

    fn say(states: &[NotifyState<'_>]) {
        // Without a supervisor nothing is said; one that does not listen is no reason to stop.
        let _ = sd_notify::notify(states);
    }

    /// How often it wants to hear something.
    pub(super) fn interval(&self) -> Option<Duration> {
        self.watchdog.map(|most| most / 3)
    }

    pub(super) fn is_ready(&self, status: &str) {
        Self::say(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    pub(super) fn is_alive(&self) {
        if self.watchdog.is_some() {
            Self::say(&[NotifyState::Watchdog]);
        }
    }

    pub(super) fn stops(&self) {
        Self::say(&[NotifyState::Stopping]);
    }

    /// Gives it the sockets of an address to keep.
    pub(super) fn keep(&self, address: IpAddr, sockets: &[OwnedFd; 2]) {
        let name = name_of(address);
        let states = [NotifyState::FdStore, NotifyState::FdName(&name)];
        let all: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        let _ = sd_notify::notify_with_fds(&states, &all);
    }

    /// They are needed no more.
    pub(super) fn forget(&self, address: IpAddr) {
        let name = name_of(address);
        Self::say(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
    }
}

/// A colon ends a name there (sd_listen_fds(3)).
fn name_of(address: IpAddr) -> String {
    format!("dns-{}", address.to_string().replace(':', "-"))
}
