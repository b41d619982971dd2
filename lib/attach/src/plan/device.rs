//! What weft-host wants: an interface of the host.

/// Which interface of the host a container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DevicePlan {
    /// All of them: the container is in the host's namespace. The one named here stands for them
    /// in the result; none for the one with the default route.
    Shared(Option<String>),
    /// One, which moves into the container's namespace.
    Moved(DeviceSelector),
}

/// How the interface is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceSelector {
    /// By its name.
    Name(String),
    /// By its MAC.
    Mac(weft_kernel::Mac),
    /// By the path of its device, below `/sys/devices`.
    Path(String),
    /// By its device's address on the PCI bus or the auxiliary bus.
    Bus(String),
}
