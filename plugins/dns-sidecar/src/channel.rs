//! What the root part tells the part that answers: messages of JSON behind their length, with sockets beside them.

pub(crate) mod peers;

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Read, Result, Write};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use ipnetwork::IpNetwork;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use weft_store::{ForwardZone, Service, StaticRecord};

use crate::config::Settings;

/// A network whose containers ask here, as one of its containers describes it, or all of them together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) name: String,
    /// Its own domain.
    pub(crate) domain: Option<String>,
    /// The host's addresses at which they ask.
    pub(crate) servers: Vec<IpAddr>,
    pub(crate) subnets: Vec<IpNetwork>,
    /// Whoever has an address in the subnets may ask: they are behind a bridge of Weft's. Else containers alone.
    pub(crate) serves_subnets: bool,
    /// What is asked for other names; empty: the host's servers.
    pub(crate) upstreams: Vec<IpAddr>,
    pub(crate) zones: Vec<ForwardZone>,
    pub(crate) records: Vec<StaticRecord>,
    pub(crate) is_internal: bool,
}

/// A container in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// Tells it from all others.
    pub(crate) id: String,
    /// The same in all its networks.
    pub(crate) container: String,
    pub(crate) network: String,
    /// Its names without a domain; its addresses lead back to the first that a host may have.
    pub(crate) names: Vec<String>,
    /// The beginning of its container's id: a name without any domain.
    pub(crate) short_id: Option<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) services: Vec<Service>,
    pub(crate) texts: Vec<String>,
    /// It asks at an address of its own loopback.
    pub(crate) asks_inside: bool,
}

/// One thing that is to be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "tell")]
pub(crate) enum Message {
    /// How to answer.
    Settings(Settings),
    /// A network that is new or has changed.
    Network(Network),
    /// It has no containers any more.
    NetworkGone { name: String },
    /// An endpoint that is new or has changed.
    Endpoint(Endpoint),
    /// It is gone.
    EndpointGone { id: String },
    /// Which networks a network reaches, for all that reach any.
    Reaches {
        reaches: BTreeMap<String, Vec<String>>,
    },
    /// Sockets for an address of the host: a datagram's and a listening stream's are beside it.
    Listen { address: IpAddr },
    /// Nobody asks there any more.
    Unlisten { address: IpAddr },
    /// Sockets in a container's namespace, for this endpoint.
    ListenInside { endpoint: String },
    /// They are to be closed: the names are gone, or the namespace's path.
    UnlistenInside { endpoint: String },
    /// A listening socket for the superuser's questions is beside it.
    Control,
    /// A listening socket for everybody's questions is beside it.
    Status,
    /// A socket is beside it by which the root part tells of overlays, and hears of other hosts: see [`peers`].
    Peers,
    /// The host's own servers.
    Upstreams { servers: Vec<IpAddr> },
    /// What is wrong on the root part's side.
    Troubles { texts: Vec<String> },
    /// Say this number when all that came before is known.
    Sync { number: u64 },
    /// Take no more questions, answer those that there are, and end.
    Drain,
}

/// Sockets beside one message.
const MOST_SOCKETS: usize = 2;
/// A message is no longer than this, in bytes.
const LONGEST: u32 = 64 << 20;

/// Sends a message with sockets beside it.
pub(crate) fn send<S: AsFd>(
    channel: &UnixStream,
    message: &impl Serialize,
    sockets: &[S],
) -> Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(Error::new(ErrorKind::InvalidInput, "too many sockets"));
    }
    let sent = sendmsg(
        channel,
        &[IoSlice::new(&length)],
        &mut beside,
        SendFlags::NOSIGNAL,
    )?;
    let mut stream = channel;
    stream.write_all(length.get(sent..).unwrap_or_default())?;
    stream.write_all(&text)
}

/// Receives a message with the sockets beside it; none if the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(
    channel: &UnixStream,
) -> Result<Option<(T, Vec<OwnedFd>)>> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut length)];
    let got = recvmsg(channel, &mut parts, &mut beside, RecvFlags::CMSG_CLOEXEC)?.bytes;
    if got == 0 {
        return Ok(None);
    }
    let mut sockets = Vec::new();
    for one in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = one {
            sockets.extend(received);
        }
    }
    let mut stream = channel;
    stream.read_exact(length.get_mut(got..).unwrap_or_default())?;
    let length = u32::from_be_bytes(length);
    if length > LONGEST {
        return Err(Error::new(ErrorKind::InvalidData, "a message without end"));
    }
    let mut text = vec![0; usize::try_from(length).unwrap_or_default()];
    stream.read_exact(&mut text)?;
    Ok(Some((serde_json::from_slice(&text)?, sockets)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_as_they_were_sent_with_their_sockets() {
        let (one, other) = UnixStream::pair().unwrap();
        let listen = Message::Listen {
            address: "192.0.2.1".parse().unwrap(),
        };
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let gone = Message::EndpointGone {
            id: "x".repeat(100_000),
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                send(&one, &listen, &[socket]).unwrap();
                send::<OwnedFd>(&one, &gone, &[]).unwrap();
                drop(one);
            });
            let (message, mut sockets) = receive(&other).unwrap().unwrap();
            assert_eq!((message, sockets.len()), (listen.clone(), 1));
            let socket: std::net::UdpSocket = sockets.remove(0).into();
            assert_eq!(socket.local_addr().unwrap(), address);
            let (message, sockets) = receive(&other).unwrap().unwrap();
            assert_eq!((message, sockets.len()), (gone.clone(), 0));
            assert!(receive::<Message>(&other).unwrap().is_none());
        });
    }
}
