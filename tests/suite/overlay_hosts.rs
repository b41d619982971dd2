//! Hosts at a switch, for tests of overlays.

use weft_testkit::{Host, Suite};

use crate::commands::weft;
use crate::daemon::Daemon;

/// A switch, and hosts at it.
pub(crate) struct Hosts {
    pub(crate) suite: Suite,
    pub(crate) switch: Host,
    pub(crate) hosts: Vec<Host>,
}

impl Hosts {
    pub(crate) fn new(count: usize) -> Self {
        let switch = Host::new();
        switch.sh("ip link add sw0 type bridge && ip link set sw0 up");
        let hosts = (1..=count).map(|number| {
            let host = Host::new();
            host.sh(&format!(
                "ip link set lo up && ip link add up0 type veth peer name p{number} netns {}",
                switch.netns_path().display()
            ));
            switch.sh(&format!("ip link set p{number} master sw0 up"));
            host.sh(&format!(
                "ip addr add 192.0.2.{number}/24 dev up0 && ip addr add 2001:db8::{number}/64 dev up0 nodad && \
                 ip link set up0 up"
            ));
            host
        });
        let hosts = hosts.collect();
        Self {
            suite: Suite::weft(),
            switch,
            hosts,
        }
    }

    /// Writes a host's file: overlays, and all hosts as peers.
    pub(crate) fn configure(&self, number: usize, overlays: &str, underlay: &str) {
        let peers = (1..=self.hosts.len()).map(|peer| {
            format!("[[peer]]\nid = \"host-{peer}\"\naddress = \"{underlay}{peer}\"\n")
        });
        let text = format!("{overlays}{}", peers.collect::<String>());
        std::fs::write(self.host(number).dir().join("weft.toml"), text).unwrap();
    }

    /// From 1.
    pub(crate) fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    pub(crate) fn weft(&self, number: usize, words: &[&str]) -> std::process::Output {
        weft(&self.suite, self.host(number), words)
    }

    /// A daemon on each.
    pub(crate) fn start_all(&self) -> Vec<Daemon> {
        let hosts = self.hosts.iter();
        hosts.map(|host| Daemon::start(&self.suite, host)).collect()
    }
}
