//! Who reaches whom, by ping.
//!
//! An answer that is to come is waited for, since packets get lost where nothing is wrong: all network
//! namespaces share a processor's queue of arriving packets (`net.core.netdev_max_backlog`), and a
//! flood in another test fills it. An answer that is not to come is waited for only shortly.

use crate::{Container, Host};

fn patient(address: &str) -> String {
    format!("for round in 1 2 3; do ping -n -q -c 1 -i 0.3 -w 3 {address} && exit; done; exit 1")
}

fn impatient(address: &str) -> String {
    format!("ping -n -q -c 2 -i 0.3 -W 1 {address}")
}

impl Container {
    /// Whether an address answers within some seconds.
    pub fn reaches(&self, address: &str) -> bool {
        self.succeeds(&patient(address))
    }

    /// Whether an address leaves two pings unanswered.
    pub fn cannot_reach(&self, address: &str) -> bool {
        !self.succeeds(&impatient(address))
    }

    /// Whether an address is reached, or not, as it should be.
    pub fn reaches_only_if(&self, expected: bool, address: &str) -> bool {
        if expected {
            self.reaches(address)
        } else {
            self.cannot_reach(address)
        }
    }
}

impl Host {
    /// Whether an address answers within some seconds.
    pub fn reaches(&self, address: &str) -> bool {
        self.succeeds(&patient(address))
    }

    /// Whether an address is reached, or not, as it should be.
    pub fn reaches_only_if(&self, expected: bool, address: &str) -> bool {
        if expected {
            self.reaches(address)
        } else {
            !self.succeeds(&impatient(address))
        }
    }
}
