//! Does a connection come through? Asked of the kernel, with a packet.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use weft_kernel::NetNs;
use weft_node::{WeftError, namespaces};
use weft_store::AttachmentRecord;

use super::decide::Party;
use super::rule::Protocol;

/// Long enough for an answer on one host, and for a lost packet to be sent again.
const PATIENCE: Duration = Duration::from_millis(2500);

fn namespace(record: &AttachmentRecord) -> Result<NetNs, WeftError> {
    let found = record.netns.as_ref().and_then(namespaces::find);
    found.ok_or_else(|| WeftError::Conflict {
        key: "--probe",
        name: record.id.to_string(),
        why: "has no network namespace that could be found".to_owned(),
    })
}

fn inside<T>(
    party: Party<'_>,
    work: impl FnOnce() -> std::io::Result<T>,
) -> Result<std::io::Result<T>, WeftError> {
    let home = NetNs::current()?;
    match party.record {
        Some(record) => Ok(namespace(record)?.run(&home, work)?),
        None => Ok(work()),
    }
}

fn refuse(why: &str) -> WeftError {
    WeftError::Conflict {
        key: "--probe",
        name: "this connection".to_owned(),
        why: why.to_owned(),
    }
}

/// Sends a packet from where one party is and sees whether it arrives at the other; where nothing
/// listens, the probe does for the moment.
///
/// # Errors
/// What cannot be tried from here: a party beyond the host, ICMP.
pub fn probe(
    from: Party<'_>,
    to: Party<'_>,
    protocol: Protocol,
    port: u16,
) -> Result<bool, WeftError> {
    if from.record.is_none() && !from.is_host {
        return Err(refuse("begins beyond this host: try it there"));
    }
    let target = SocketAddr::new(to.address, port);
    let local = SocketAddr::new(from.address, 0);
    let is_here = to.record.is_some() || to.is_host;
    match protocol {
        Protocol::Tcp => {
            let listener = match is_here {
                true => inside(to, || TcpListener::bind(target))?.ok(),
                false => None,
            };
            let outcome = inside(from, || TcpStream::connect_timeout(&target, PATIENCE))?;
            drop(listener);
            Ok(match outcome {
                Ok(_) => true,
                Err(error) => error.kind() == ErrorKind::ConnectionRefused,
            })
        }
        Protocol::Udp => {
            if !is_here {
                return Err(refuse(
                    "ends beyond this host, where its arrival cannot be seen",
                ));
            }
            let receiver = inside(to, || UdpSocket::bind(target))?
                .map_err(|error| refuse(&format!("cannot listen at {target}: {error}")))?;
            receiver
                .set_read_timeout(Some(PATIENCE))
                .map_err(|error| refuse(&error.to_string()))?;
            // A socket of any address: that of the loopback interface would reach no other.
            let local = if from.is_host {
                SocketAddr::new(unspecified(local), 0)
            } else {
                local
            };
            let sent = inside(from, || {
                UdpSocket::bind(local)?.send_to(b"weft policy explain --probe", target)
            })?;
            Ok(sent.is_ok() && receiver.recv(&mut [0; 64]).is_ok())
        }
        Protocol::Sctp | Protocol::Icmp | Protocol::Other => {
            Err(refuse("only tcp and udp can be tried"))
        }
    }
}

fn unspecified(address: SocketAddr) -> std::net::IpAddr {
    if address.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    }
}
