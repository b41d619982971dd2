//! What can go wrong with the store.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use weft_cni::AttachmentId;

/// A failed use of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory of the store.
    #[error("{path}: {operation}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was done with it.
        operation: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Other processes have kept the lock: one of them, or one after the other.
    #[error(
        "{path} is locked by {holder}, and could not be had within {seconds} s (WEFT_LOCK_TIMEOUT)"
    )]
    LockTimeout {
        /// The lock file.
        path: PathBuf,
        /// Process id and command of its holder.
        holder: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The database library failed for a reason of the machine's (no space, no permission).
    #[error("{path}: {reason}")]
    Backend {
        /// The database file.
        path: PathBuf,
        /// The library's words.
        reason: String,
    },
    /// What is in the file cannot be.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The attachment is there already.
    #[error("attachment {id} exists already (made by {plugin})")]
    AttachmentExists {
        /// The attachment that is recorded already.
        id: AttachmentId,
        /// The plugin that made it.
        plugin: String,
    },
    /// All addresses are leased.
    #[error("network {network}: no free address in {ranges}{}", cooling_note(*.cooling))]
    Exhausted {
        /// Whose ranges are full.
        network: String,
        /// As in a message: `10.1.0.0/24, 10.2.0.0/24`.
        ranges: String,
        /// Released addresses that may not be used yet.
        cooling: usize,
    },
    /// The requested address is leased.
    #[error("network {network}: address {address} is leased to {holder}")]
    AddressTaken {
        /// The network that has leased it.
        network: String,
        /// As it was asked for.
        address: IpAddr,
        /// The attachment that has it.
        holder: Box<AttachmentId>,
    },
    /// An attachment of another network has the address, on the same bridge or master.
    #[error(
        "address {address} is that of {holder}, on {segment} too: give the networks different ranges"
    )]
    AddressOnSegment {
        /// The bridge or the master.
        segment: String,
        /// As it was asked for.
        address: IpAddr,
        /// The attachment that has it.
        holder: Box<AttachmentId>,
    },
    /// Another attachment has published the port.
    #[error("portMappings: {port} is published by {holder} already")]
    PortTaken {
        /// Protocol, address and number, as in a message.
        port: String,
        /// By whom.
        holder: Box<AttachmentId>,
    },
    /// The requested address cannot be leased to anybody.
    #[error("network {network}: address {address} {why}")]
    AddressUnusable {
        /// The network whose ranges or reservations exclude it.
        network: String,
        /// As it was asked for.
        address: IpAddr,
        /// Why not.
        why: String,
    },
}

fn cooling_note(count: usize) -> String {
    match count {
        0 => String::new(),
        some => format!(" ({some} released ones are cooling down)"),
    }
}

impl StoreError {
    /// The whole chain of causes as one text.
    pub fn full_text(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}
