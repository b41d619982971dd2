//! Weft's state: what is attached, which addresses are leased, what is shared.
//!
//! One store per host, in `/run/weft` (containers do not outlive a reboot, so neither does it).
//! Every process opens it under an exclusive file lock for one [`Transaction`] and closes it at
//! once; the lock is never held while the kernel is asked for anything. The attachment record is
//! complete before the first kernel object exists, so whatever a crash leaves can be found.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

mod attachments;
mod backend;
mod changes;
mod elements;
mod error;
mod index;
mod isolation;
mod leases;
mod leaving;
mod lock;
mod maintenance;
mod networks;
mod ports;
mod range;
mod record;
mod shared;
mod sticky;
mod store;
mod transaction;

pub use backend::BackendKind;
pub use changes::{Change, News, Position, Records};
pub use elements::NftRecord;
pub use error::StoreError;
pub use isolation::Isolation;
pub use leases::{Granted, Holder, Lease, LeaseRequest, Pool};
pub use leaving::{LeavingNote, Noted};
pub use lock::{FileLock, LINKS_LOCK, POLICY_LOCK, PlaceLock, RULESET_LOCK};
pub use maintenance::{Dump, Finding};
pub use networks::NetworkRecord;
pub use range::{Range, RangeError};
pub use record::{
    Addition, AddressRecord, AttachmentRecord, BandwidthRecord, ContainerLink, Delegate,
    DeviceIdentity, DevicePeer, DeviceRecord, Ending, FirewallRecord, ForwardZone, HostLink,
    HostRoute, LinkRecord, NamesRecord, NetnsRecord, ParentRecord, PortRecord, Service,
    ServicePlace, StaticRecord, TuningRecord, WarpRecord, segment_of_bridge,
};
pub use shared::{SharedObject, SharedState};
pub use sticky::StickyLeases;
pub use store::{Sharing, Store, StoreConfig};
pub use transaction::Transaction;
