//! Whether packets pass: a datagram to a port of another host, in the overlay, where nobody listens. The kernel there says
//! so, whether a daemon runs or not.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::Peers;

/// Between two probes of a host.
const INTERVAL: Duration = Duration::from_secs(2);
/// The answer comes in this time, or not.
const PATIENCE: Duration = Duration::from_secs(1);
/// discard (RFC 863).
const PORT: u16 = 9;

/// Probes all hosts until the task is ended.
pub(super) async fn probe(peers: Arc<Peers>) {
    let mut tick = tokio::time::interval(INTERVAL);
    let mut told = peers.to_tell.subscribe();
    loop {
        tick.tick().await;
        let targets = peers.exchange().targets();
        if targets.is_empty() && !peers.exchange().overlays().speaks() {
            // Until there is another configuration there is nobody.
            let _ = told.changed().await;
        }
        for (peer, vni, address) in targets {
            let peers = Arc::clone(&peers);
            tokio::spawn(async move {
                if let Some(time) = reach(address, 0).await {
                    peers.exchange().answered(peers.now(), &peer, vni, time);
                    // A second answer within a second may be held back (icmp_ratelimit of ip-sysctl).
                    tokio::time::sleep(PATIENCE).await;
                    let mtu = peers.exchange().mtu(vni);
                    let room = mtu.map(|mtu| mtu.saturating_sub(headers(address)));
                    let room = room.and_then(|room| usize::try_from(room).ok());
                    if let Some(room) = room
                        && reach(address, room).await.is_some()
                    {
                        peers.exchange().answered_full(peers.now(), &peer, vni);
                    }
                }
            });
        }
    }
}

/// IP's and UDP's.
const fn headers(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 20 + 8,
        IpAddr::V6(_) => 40 + 8,
    }
}

/// How long it takes a datagram of so many bytes to be refused.
async fn reach(address: IpAddr, bytes: usize) -> Option<Duration> {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await.ok()?;
    socket.connect(SocketAddr::new(address, PORT)).await.ok()?;
    let started = Instant::now();
    socket.send(&vec![0; bytes]).await.ok()?;
    let mut answer = [0; 1];
    match timeout(PATIENCE, socket.recv(&mut answer)).await.ok()? {
        Err(error) if error.kind() != ErrorKind::ConnectionRefused => None,
        _ => Some(started.elapsed()),
    }
}
