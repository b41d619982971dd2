//! Which process listens on a port of the host.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};

use crate::socket_diag::local_addresses;

/// A transport protocol whose ports can be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Streams that listen.
    Tcp,
    /// Sockets that are bound and not connected.
    Udp,
}

/// Whether a process of this namespace has the port. A try to bind it tells, because nothing else
/// knows of all address families and wildcards.
pub fn is_taken(transport: Transport, address: SocketAddr) -> bool {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let kind = match transport {
        Transport::Tcp => SockType::Stream,
        Transport::Udp => SockType::Datagram,
    };
    let Ok(socket) = socket(family, kind, SockFlag::SOCK_CLOEXEC, None) else {
        return false;
    };
    if transport == Transport::Tcp {
        // Connections that are about to end (TIME_WAIT) belong to no process any more.
        let _ = setsockopt(&socket, sockopt::ReuseAddr, &true);
    }
    if address.is_ipv6() {
        let _ = setsockopt(&socket, sockopt::Ipv6V6Only, &true);
    }
    let outcome = bind(socket.as_fd().as_raw_fd(), &SockaddrStorage::from(address));
    outcome == Err(Errno::EADDRINUSE)
}

/// The ports of this namespace that a process waits on, where the kernel lists them. A TCP socket that is
/// bound and does not listen is not among them.
pub fn open_ports(transport: Transport) -> Option<BTreeSet<u16>> {
    let listed = match transport {
        Transport::Tcp => local_addresses(6, &[LISTEN]),
        Transport::Udp => local_addresses(17, &[CLOSE, ESTABLISHED]),
    };
    Some(listed.ok()?.iter().map(SocketAddr::port).collect())
}

// include/net/tcp_states.h.
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

/// Whether the sockets that have a port have it at addresses of 127.0.0.0/8 other than 127.0.0.1 only, as far as the kernel
/// lists them: a resolver at 127.0.0.53 for example.
pub fn is_taken_on_loopback_only(transport: Transport, address: SocketAddr) -> bool {
    let listed = match transport {
        Transport::Tcp => local_addresses(6, &[LISTEN]),
        Transport::Udp => local_addresses(17, &[CLOSE, ESTABLISHED]),
    };
    let mut there = listed.unwrap_or_default();
    there.retain(|one| one.port() == address.port());
    let is_other_loopback = |one: &SocketAddr| match one.ip().to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() && v4 != Ipv4Addr::LOCALHOST,
        IpAddr::V6(_) => false,
    };
    !there.is_empty() && there.iter().all(is_other_loopback)
}

/// A process that has a socket on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its id.
    pub pid: u32,
    /// Its command line, words separated by spaces.
    pub command: String,
}

/// The process that has a port; `None` if it cannot be found out. Of several that share the socket (a
/// server and its workers, a process between fork and exec) it is one whose parent has it not. For an error
/// message: it looks at every process.
pub fn holder(transport: Transport, address: SocketAddr) -> Option<Listener> {
    let sockets = sockets_on(transport, address.port());
    let holders: BTreeSet<u32> = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| has_one_of(*pid, &sockets))
        .collect();
    let is_first = |pid: &&u32| parent(**pid).is_none_or(|parent| !holders.contains(&parent));
    let pid = *holders.iter().find(is_first).or_else(|| holders.first())?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&command).replace('\0', " ");
    Some(Listener {
        pid,
        command: words.trim_end().to_owned(),
    })
}

/// The sockets of this namespace that are on a port and not connected, as links of `/proc/PID/fd` name them.
fn sockets_on(transport: Transport, port: u16) -> Vec<String> {
    let table = match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    ["", "6"]
        .iter()
        .filter_map(|suffix| fs::read_to_string(format!("/proc/net/{table}{suffix}")).ok())
        .flat_map(|text| inodes_of(&text, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect()
}

fn has_one_of(pid: u32, sockets: &[String]) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    files.into_iter().flatten().flatten().any(|file| {
        fs::read_link(file.path())
            .is_ok_and(|target| sockets.iter().any(|one| target.as_os_str() == one.as_str()))
    })
}

/// The parent of a process (proc_pid_stat, the second field after the name in brackets).
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// Inode numbers in a table of sockets (proc_net_tcp): those with the local port that are not
/// connected.
fn inodes_of(table: &str, port: u16) -> Vec<String> {
    let ending = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, remote, inode) = (fields.get(1)?, fields.get(2)?, fields.get(9)?);
            let is_open = local.ends_with(&ending) && remote.ends_with(":0000");
            is_open.then(|| (*inode).to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn listeners_are_found() {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        assert!(is_taken(Transport::Tcp, address));
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        assert!(is_taken(Transport::Tcp, any));
        let open = open_ports(Transport::Tcp).unwrap();
        assert!(open.contains(&address.port()) && !open.contains(&0));
        let inherited = nix::unistd::dup(&tcp).unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "a process that inherits the socket"
        )]
        let mut child = std::process::Command::new("sleep")
            .arg("9")
            .spawn()
            .unwrap();
        drop(inherited);
        let holder = holder(Transport::Tcp, address).unwrap();
        assert_eq!(holder.pid, std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        drop(tcp);
        assert!(!is_taken(Transport::Tcp, address));
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = udp.local_addr().unwrap();
        assert!(is_taken(Transport::Udp, address));
        assert!(
            open_ports(Transport::Udp)
                .unwrap()
                .contains(&address.port())
        );
    }
}
