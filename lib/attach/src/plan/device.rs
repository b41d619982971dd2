//! What weft-host wants: an interface of the host, or the host's network itself.

use weft_cni::Mac;

/// An interface of the host that moves into the container's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedPlan {
    /// The keys by which the device is found.
    pub selector: DeviceSelector,
}

/// The container is in the host's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPlan {
    /// The interface that stands for the host in the result; none for the one with the default route.
    pub interface: Option<String>,
}

/// How an interface of the host is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceSelector {
    /// By its name.
    Name(String),
    /// By its MAC.
    Mac(Mac),
    /// By the path of its device, below `/sys/devices`.
    Path(String),
    /// By its device's address on the PCI bus or the auxiliary bus.
    Bus(String),
}
