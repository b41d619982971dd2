//! What the daemon can be told and asked by the superuser: lines of JSON on two sockets in the state directory, one of
//! each of its parts.
//!
//! A plugin only says that something has changed ([`poke`]), and waits a moment for the daemon to know it.

mod poke;

use std::io::{BufRead, BufReader, Error, ErrorKind, Result, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use poke::{Poked, poke};

/// The socket of the part that follows the store.
pub fn control_socket(state_dir: &Path) -> PathBuf {
    state_dir.join("weftd.sock")
}

/// The socket of the part that answers questions for names.
pub fn dns_socket(state_dir: &Path) -> PathBuf {
    state_dir.join("dns.sock")
}

/// The file in which the daemon says which overlays there are: [`OverlayLine`]s. Plugins read it.
pub fn overlays_file(state_dir: &Path) -> PathBuf {
    state_dir.join("overlays.json")
}

/// The socket for everybody's questions about the daemon's state: HTTP.
pub fn status_socket(public_dir: &Path) -> PathBuf {
    public_dir.join("status.sock")
}

/// The socket of the part that leads containers through others.
pub fn warp_socket(state_dir: &Path) -> PathBuf {
    state_dir.join("warp.sock")
}

/// What the part that follows the store can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Control {
    /// The store has changed: answer when all of it is known.
    Poke,
    /// Read weft.toml again.
    Reload,
    /// How overlays are: an [`OverlayLine`] each.
    Overlays,
    /// What would be changed of them: a [`StepLine`] each.
    OverlayPlan,
    /// Change it: a [`StepLine`] each.
    OverlayApply,
    /// Remove all of them, until they are applied again: a [`StepLine`] each.
    OverlayDown,
}

/// An overlay of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverlayLine {
    /// The VXLAN device.
    pub name: String,
    /// VXLAN network identifier.
    pub vni: u32,
    /// l2 or routed.
    pub mode: String,
    /// What is plugged into.
    pub bridge: String,
    /// This host's addresses in it, with prefix lengths.
    pub addresses: Vec<String>,
    /// Prefixes that are reached through it.
    pub networks: Vec<String>,
    /// What of them containers of this host get, where all hosts share a subnet.
    pub containers: Vec<String>,
    /// The interface that carries it.
    pub underlay: String,
    /// This host's tunnel endpoint.
    pub local: Option<IpAddr>,
    /// UDP port.
    pub port: u16,
    /// In bytes.
    pub mtu: u32,
    /// How hosts speak with each other: tls or insecure; none if they do not.
    pub control: Option<String>,
    /// Other hosts, as `id address`.
    pub peers: Vec<String>,
    /// Why it is not as it should be.
    pub troubles: Vec<String>,
}

/// A change of the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepLine {
    /// In words.
    pub step: String,
    /// Why it could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// How it went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// Why it failed, and what stays as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why containers of some networks are not answered, and what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<String>,
}

/// What the part that answers can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DnsRequest {
    /// All names, or those of one network: [`NameLine`]s.
    Names {
        /// Only this one.
        network: Option<String>,
    },
    /// A question as one of a container: an [`Explanation`].
    Query {
        /// Any name.
        name: String,
        /// The type's number.
        kind: u16,
        /// The container's id, the beginning of it, or a name of it.
        from: String,
        /// One of its networks; else its first.
        network: Option<String>,
    },
    /// What is remembered of other servers' answers: [`CacheLine`]s.
    Cache,
    /// Forget it: one [`Flushed`].
    Flush {
        /// Only this name and those below it.
        name: Option<String>,
    },
    /// Each question from now on, as it is answered: [`Seen`], until the connection ends.
    Watch,
    /// Other servers, and how they do: [`UpstreamLine`]s.
    Upstreams,
    /// Other hosts of overlays: [`PeerLine`]s.
    Peers,
    /// Routes between hosts of overlays: [`PeerRouteLine`]s.
    PeerRoutes,
}

/// Another host of an overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerLine {
    /// Its id.
    pub id: String,
    /// Its underlay address.
    pub address: IpAddr,
    /// up; stale: it is not heard of, and its routes are still in force; down.
    pub state: String,
    /// For so long.
    pub seconds: u64,
    /// weft or n-netman; empty as long as it has not spoken.
    pub kind: String,
    /// Routes of it that may be used.
    pub routes: usize,
    /// How often something of it was refused, and the last of that.
    pub refused: u64,
    /// Why.
    pub last_refusal: Option<String>,
    /// How long a packet through the overlay takes there and back.
    pub microseconds: Option<u64>,
    /// Overlays, by VNI, through which no packet comes back.
    pub unreachable: Vec<u32>,
    /// Overlays, by VNI, through which none of full size comes back.
    pub narrow: Vec<u32>,
    /// Why it cannot be spoken with.
    pub trouble: Option<String>,
}

/// A route between hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerRouteLine {
    /// In which overlay.
    pub vni: u32,
    /// The destination.
    pub prefix: String,
    /// The host's address in the overlay.
    pub next_hop: IpAddr,
    /// Lower is better.
    pub metric: u32,
    /// The host that leads there.
    pub peer: String,
    /// exported: it is this host's; installed; stale; standby: another host is nearer.
    pub state: String,
    /// The routing table.
    pub table: Option<u32>,
}

/// What the part that leads containers through others can be told and asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WarpRequest {
    /// Everything: one [`WarpStatus`].
    Status,
    /// Which way packets of a container go: one [`WarpWay`].
    Explain {
        /// Its name, or the beginning of its id.
        container: String,
        /// Where to.
        destination: IpAddr,
        /// IPPROTO_*.
        protocol: Option<u8>,
        /// The destination port.
        port: Option<u16>,
    },
    /// What is counted, in Prometheus' text format: one [`Text`].
    Metrics,
    /// Take all rules and routes away, until `On` or a new start: one [`Done`].
    Off,
    /// Make them again: one [`Done`].
    On,
    /// Read weft.toml again: one [`Done`].
    Reload,
}

/// A text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Text {
    /// Whole.
    pub text: String,
}

/// How warp is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WarpStatus {
    /// `weft warp off` took everything away.
    pub is_off: bool,
    /// Runtimes that are asked.
    pub sources: Vec<WarpSourceLine>,
    /// Gateways.
    pub gateways: Vec<WarpLine>,
    /// Targets.
    pub targets: Vec<WarpLine>,
}

/// A runtime that is asked for its containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WarpSourceLine {
    /// docker, podman or cni.
    pub source: String,
    /// Where it is.
    pub place: String,
    /// The version of the API, while it answers.
    pub version: Option<String>,
    /// Of the circuit breaker: closed; open, if it is asked rarely.
    pub breaker: String,
    /// Why it does not answer.
    pub error: Option<String>,
}

/// A gateway or a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WarpLine {
    /// Whose it is: docker, podman or cni.
    pub source: String,
    /// The runtime's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// serving; led; closed; direct; stopped; error.
    pub state: String,
    /// For so many seconds.
    pub seconds: u64,
    /// A target's gateway.
    pub gateway: Option<String>,
    /// The network in which both meet; a gateway's network to send on by.
    pub network: Option<String>,
    /// A target's next hops; a gateway's addresses.
    pub addresses: Vec<IpAddr>,
    /// What of a target is led.
    pub rules: Vec<String>,
    /// Why it is not as it should be.
    pub problem: Option<String>,
    /// It ran for so many seconds before it was led, and what it sent went as it would without Weft.
    pub exposed_seconds: Option<u64>,
}

/// Which way packets go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WarpWay {
    /// The container.
    pub container: String,
    /// gateway, direct or closed.
    pub way: String,
    /// The gateway's name.
    pub gateway: Option<String>,
    /// Its address.
    pub next_hop: Option<IpAddr>,
    /// Why.
    pub reason: String,
}

/// A name, and one record of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NameLine {
    /// In whose view.
    pub network: String,
    /// With dots.
    pub name: String,
    /// A, AAAA, PTR, and so on.
    pub kind: String,
    /// As in a zone file.
    pub data: String,
}

/// How a question is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The container that asks.
    pub container: String,
    /// In whose network's view it is.
    pub network: String,
    /// Where it would ask.
    pub servers: Vec<IpAddr>,
    /// How the answer ends: NOERROR and so on.
    pub code: String,
    /// Where it is from: local, cache, forward, refused.
    pub source: String,
    /// The server that gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<IpAddr>,
    /// How long it took, in microseconds.
    pub microseconds: u64,
    /// The records, as in a zone file.
    pub records: Vec<String>,
    /// Why it is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An answer that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheLine {
    /// The question's name.
    pub name: String,
    /// A, AAAA and so on.
    pub kind: String,
    /// How it ends.
    pub code: String,
    /// For how many more seconds.
    pub seconds: u64,
}

/// How many answers were forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flushed {
    /// Answers.
    pub entries: usize,
}

/// A question that was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// Who asked.
    pub client: IpAddr,
    /// In which network.
    pub network: String,
    /// What for.
    pub name: String,
    /// A, AAAA and so on.
    pub kind: String,
    /// How the answer ended.
    pub code: String,
    /// Where it was from.
    pub source: String,
    /// How long it took, in microseconds; 0 for what is known here.
    pub microseconds: u64,
}

/// A server that is asked for names of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamLine {
    /// Its address.
    pub address: IpAddr,
    /// up, down, or looping: it asks back here.
    pub state: String,
    /// Smoothed time of its answers, in microseconds.
    pub microseconds: Option<u64>,
    /// Questions.
    pub asked: u64,
    /// Questions without an answer in time.
    pub timeouts: u64,
}

/// Says something to the daemon and calls `each` with every line that comes back, until it returns false.
///
/// # Errors
/// The socket's; [`ErrorKind::NotFound`] or [`ErrorKind::ConnectionRefused`] if no daemon runs;
/// [`ErrorKind::InvalidData`] for what is no answer.
pub fn ask<T: DeserializeOwned>(
    socket: &Path,
    request: &impl Serialize,
    limit: Option<Duration>,
    mut each: impl FnMut(T) -> bool,
) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(limit)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let failed = serde_json::from_str::<Done>(&line)
            .ok()
            .and_then(|done| done.error);
        if let Some(error) = failed {
            return Err(Error::new(ErrorKind::InvalidInput, error));
        }
        if !each(serde_json::from_str(&line)?) {
            break;
        }
    }
    Ok(())
}
