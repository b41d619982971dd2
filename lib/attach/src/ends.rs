//! The interface that another plugin of the chain has made.

use weft_kernel::link::{self, Link};

use crate::error::AttachError;
use crate::host::{Container, Host};

/// The interface, and the host's end if it is one of a pair.
pub(crate) struct Ends {
    pub(crate) own: Link,
    pub(crate) peer: Option<Link>,
}

impl Ends {
    /// The interface alone.
    pub(crate) fn of_container(inside: &mut Container, ifname: &str) -> Result<Self, AttachError> {
        let own = link::find(&mut inside.route, ifname)?.ok_or_else(|| AttachError::Conflict {
            key: "CNI_IFNAME",
            name: ifname.to_owned(),
            why:
                "does not exist in the container: this plugin comes after the plugin that makes it"
                    .to_owned(),
        })?;
        Ok(Self { own, peer: None })
    }

    pub(crate) fn find(
        host: &mut Host,
        inside: &mut Container,
        ifname: &str,
    ) -> Result<Self, AttachError> {
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
