//! What several attachments need together: it exists while at least one of them does.
//!
//! A count of users, kept in the same transactions as the attachments. What none uses any more
//! is remembered as idle until it has been removed from the kernel, so that a crash in between is
//! found by the next DEL or GC.

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::elements::NftRecord;
use crate::error::StoreError;
use crate::isolation::Isolation;
use crate::transaction::{Entry, Transaction, key, kind};

/// A shared object of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum SharedObject {
    /// A bridge that goes with its last container.
    Bridge {
        /// The bridge's name.
        name: String,
    },
    /// A gateway address on a bridge or on a VLAN gateway.
    GatewayAddress {
        /// The interface.
        link: String,
        /// With the length of its prefix.
        address: IpNetwork,
    },
    /// The interface that holds the gateway addresses of one VLAN of a bridge.
    VlanGateway {
        /// By name.
        bridge: String,
        /// The interface's name.
        link: String,
    },
    /// A host interface that was made a port of a bridge.
    Uplink {
        /// By name.
        bridge: String,
        /// The interface's name.
        link: String,
    },
    /// The mode in which ipvlan or a macvlan in passthru mode uses a parent: there can be only one.
    ParentMode {
        /// The parent's name.
        parent: String,
        /// Driver and mode.
        mode: String,
    },
    /// An interface for the frames of a parent with one tag.
    VlanLink {
        /// The parent's name.
        parent: String,
        /// The interface's name.
        link: String,
    },
    /// The host's own interface on a parent, by which it reaches its containers.
    HostAccess {
        /// The interface's name.
        link: String,
    },
    /// The host's route to one address: of one attachment only.
    HostRoute {
        /// The destination, a container's address.
        address: std::net::IpAddr,
    },
    /// The host's own packets to 127.0.0.0/8 may leave by an interface (`route_localnet`).
    RouteLocalnet {
        /// The interface's name.
        link: String,
    },
    /// How closed the network behind an interface is: there can be only one answer.
    Isolation {
        /// The interface that holds the gateway addresses.
        link: String,
        /// The answer.
        mode: Isolation,
    },
    /// What is known of a closed network.
    Network {
        /// The interface's name.
        name: String,
    },
    /// An element of an nf_tables set that is a network's.
    NftElement {
        /// With its set and its owner.
        element: NftRecord,
    },
    /// An attachment that is to serve ports which another one of its container has published so far. It is
    /// never in use, only idle until that is done.
    PortSuccessor {
        /// The attachment that is to serve them.
        id: weft_cni::AttachmentId,
    },
    /// An interface that came back to the host while another one had its name. It is never in use, only idle
    /// until it has its own name again.
    LostName {
        /// The name that it has besides.
        alternative_name: String,
        /// Its own.
        name: String,
    },
    /// Containers behind an interface are let through other people's chains that drop what is forwarded.
    Admitted {
        /// The interface that holds the gateway addresses.
        link: String,
    },
    /// Questions for names that come by an interface are let through other people's chains that drop what the host is
    /// sent.
    Questions {
        /// The interface that containers ask by.
        link: String,
    },
    /// A bridge that Weft did not make is in the group of those that it makes for containers.
    Grouped {
        /// The bridge's name.
        link: String,
    },
    /// Weft's nf_tables tables, whole.
    Ruleset,
}

impl SharedObject {
    /// The interface whose containers are let through other people's chains, if it says that.
    pub fn admitted(&self) -> Option<&str> {
        if let Self::Admitted { link } = self {
            return Some(link);
        }
        None
    }

    /// The interface whose containers' questions are let through other people's chains, if it says that.
    pub fn questions(&self) -> Option<&str> {
        if let Self::Questions { link } = self {
            return Some(link);
        }
        None
    }

    /// The element, if it is one.
    pub fn nft_element(&self) -> Option<&NftRecord> {
        if let Self::NftElement { element } = self {
            return Some(element);
        }
        None
    }
}

/// A shared object and how many attachments use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedState {
    /// What.
    pub object: SharedObject,
    /// How many attachments need it; 0 is idle.
    pub users: u64,
}

impl Transaction<'_> {
    fn shared_key(&self, object: &SharedObject) -> Result<Vec<u8>, StoreError> {
        let text = serde_json::to_vec(object).map_err(|error| self.damaged(error))?;
        Ok(key(kind::SHARED, &[], &text))
    }

    fn idle_key(shared_key: &[u8]) -> Vec<u8> {
        key(kind::IDLE, &[], shared_key.get(1..).unwrap_or_default())
    }

    pub(crate) fn acquire_shared(&mut self, object: &SharedObject) -> Result<(), StoreError> {
        let key = self.shared_key(object)?;
        let users = self.get::<u64>(&key)?.unwrap_or(0);
        if users == 0 {
            self.delete(Self::idle_key(&key));
        }
        self.put(key, &users.saturating_add(1))
    }

    pub(crate) fn release_shared(&mut self, object: &SharedObject) -> Result<(), StoreError> {
        let key = self.shared_key(object)?;
        let users = self.get::<u64>(&key)?.unwrap_or(0).saturating_sub(1);
        if users == 0 {
            self.put_bytes(Self::idle_key(&key), Vec::new());
        }
        self.put(key, &users)
    }

    /// Remembers that there is something to do, though no attachment has used the object.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn put_idle(&mut self, object: &SharedObject) -> Result<(), StoreError> {
        let key = Self::idle_key(&self.shared_key(object)?);
        self.put_bytes(key, Vec::new());
        Ok(())
    }

    /// How many attachments use an object.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn users_of(&self, object: &SharedObject) -> Result<u64, StoreError> {
        Ok(self.get(&self.shared_key(object)?)?.unwrap_or(0))
    }

    /// Every object that was used and is no more: to be removed from the kernel, and then
    /// forgotten.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn idle_objects(&self) -> Result<Vec<SharedObject>, StoreError> {
        let entries = self.scan(&[kind::IDLE])?;
        entries
            .iter()
            .map(|(key, _)| self.decode(key, key.get(1..).unwrap_or_default()))
            .collect()
    }

    /// Whether there is one.
    ///
    /// # Errors
    /// The database's.
    pub fn has_idle(&self) -> Result<bool, StoreError> {
        Ok(self.first(&[kind::IDLE])?.is_some())
    }

    /// Forgets an object that has been removed, unless it is used again.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn forget_idle(&mut self, object: &SharedObject) -> Result<(), StoreError> {
        let key = self.shared_key(object)?;
        if self.get::<u64>(&key)?.unwrap_or(0) == 0 {
            self.delete(Self::idle_key(&key));
            self.delete(key);
        }
        Ok(())
    }

    /// Every shared object with its users.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn shared_objects(&self) -> Result<Vec<SharedState>, StoreError> {
        let entries = self.scan(&[kind::SHARED])?;
        let state = |(key, value): &Entry| {
            let object = self.decode(key, key.get(1..).unwrap_or_default())?;
            Ok(SharedState {
                object,
                users: self.decode(key, value)?,
            })
        };
        entries.iter().map(state).collect()
    }
}
