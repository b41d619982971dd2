//! The interface that another plugin of the chain has made.

use weft_kernel::link::{self, Link};
use weft_node::{Container, Host, WeftError};

/// The interface, and the host's end if it is one of a pair.
#[derive(Debug)]
pub struct Ends {
    /// The interface in the container.
    pub own: Link,
    /// The other end of the pair, if it is on the host.
    pub peer: Option<Link>,
}

impl Ends {
    /// The interface alone.
    ///
    /// # Errors
    /// [`WeftError::Conflict`] if there is none of this name, and the kernel's.
    pub fn of_container(inside: &mut Container, ifname: &str) -> Result<Self, WeftError> {
        let own = link::find(&mut inside.route, ifname)?.ok_or_else(|| WeftError::Conflict {
            key: "CNI_IFNAME",
            name: ifname.to_owned(),
            why:
                "does not exist in the container: this plugin comes after the plugin that makes it"
                    .to_owned(),
        })?;
        Ok(Self { own, peer: None })
    }

    /// The interface with the host's end.
    ///
    /// # Errors
    /// [`WeftError::Conflict`] if there is none of this name, and the kernel's.
    pub fn find(host: &mut Host, inside: &mut Container, ifname: &str) -> Result<Self, WeftError> {
        let Self { own, .. } = Self::of_container(inside, ifname)?;
        let is_pair = own.kind.as_deref() == Some("veth") && own.peer_netns_id.is_some();
        let peer = match own.parent.filter(|_| is_pair) {
            Some(index) => link::find_index(host.route()?, index)?,
            None => None,
        };
        // The other end may be in a third namespace, whose indices mean nothing here.
        let peer = peer
            .filter(|peer| peer.kind.as_deref() == Some("veth") && peer.parent == Some(own.index));
        Ok(Self { own, peer })
    }
}
