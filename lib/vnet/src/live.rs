//! What an endpoint is like at this moment.

use serde::Serialize;
use weft_cni::runtime::Sandbox;
use weft_cni::{CniError, Code};
use weft_kernel::link;
use weft_kernel::netlink::RouteSocket;
use weft_kernel::{KernelError, NetNs};

use crate::endpoint::Endpoint;
use crate::error::VNetError;
use crate::vnet_manager::VNetManager;

/// An endpoint's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointState {
    /// The interface, as the container has it; none if its namespace is gone or it has none of this name.
    pub interface: Option<InterfaceState>,
    /// What CHECK says.
    pub check: Verdict,
}

/// The interface in the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InterfaceState {
    /// Administratively up.
    pub is_up: bool,
    /// Its other end is up too.
    pub has_carrier: bool,
    /// In bytes.
    pub mtu: u32,
    /// What it has received since it was made.
    pub received: Traffic,
    /// What it has sent.
    pub sent: Traffic,
}

/// Of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets that were dropped.
    pub dropped: u64,
}

/// What the plugins' CHECK says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "text")]
pub enum Verdict {
    /// Everything is as it was made.
    Right,
    /// Something is not: what.
    Wrong(String),
    /// It could not be asked: why.
    Unknown(String),
}

/// Errors of CHECK that say nothing of the attachment.
const UNASKED: [Code; 5] = [
    Code::UnknownContainer,
    Code::DelegateFailed,
    Code::TryAgainLater,
    Code::Io,
    Code::Store,
];

impl VNetManager {
    /// What an endpoint is like now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn state_of(&mut self, endpoint: &Endpoint) -> Result<EndpointState, VNetError> {
        Ok(EndpointState {
            interface: interface(endpoint).map_err(weft_node::WeftError::from)?,
            check: self.check(endpoint),
        })
    }

    fn check(&self, endpoint: &Endpoint) -> Verdict {
        let file = match self.find_file(&endpoint.network) {
            Ok(file) => file,
            Err(error) => return Verdict::Unknown(error.to_string()),
        };
        let netns = endpoint
            .netns
            .as_ref()
            .map(|path| path.display().to_string());
        let sandbox = Sandbox {
            container_id: endpoint.container_id.clone(),
            netns: netns.unwrap_or_default(),
            ifname: endpoint.interface_name.clone(),
            ..Sandbox::default()
        };
        match self.chain(&file).check(&sandbox) {
            Ok(()) => Verdict::Right,
            // It could not be asked: no result, no plugin, a lock that is held.
            Err(error) if UNASKED.iter().any(|code| error.code == code.number()) => {
                Verdict::Unknown(error.msg)
            }
            Err(CniError { msg, details, .. }) => Verdict::Wrong(match details.is_empty() {
                true => msg,
                false => format!("{msg}: {details}"),
            }),
        }
    }
}

fn interface(endpoint: &Endpoint) -> Result<Option<InterfaceState>, KernelError> {
    let Some(netns) = endpoint
        .netns
        .as_ref()
        .and_then(|path| NetNs::open(path).ok())
    else {
        return Ok(None);
    };
    let mut socket = RouteSocket::open_in(&netns, &NetNs::current()?)?;
    let name = &endpoint.interface_name;
    let Some(found) = link::find(&mut socket, name)? else {
        return Ok(None);
    };
    let counters = link::counters(&mut socket, name)?.unwrap_or_default();
    Ok(Some(InterfaceState {
        is_up: found.is_up,
        has_carrier: found.is_operational,
        mtu: found.mtu,
        received: Traffic {
            bytes: counters.rx_bytes,
            packets: counters.rx_packets,
            dropped: counters.rx_dropped,
        },
        sent: Traffic {
            bytes: counters.tx_bytes,
            packets: counters.tx_packets,
            dropped: counters.tx_dropped,
        },
    }))
}
