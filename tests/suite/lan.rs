//! A host on a network of its own: a switch that can be told to send frames back where they came
//! from, and a machine on it.

use weft_testkit::{Container, Host};

/// The host has `eth1` on the switch, with [`HOST4`] and [`HOST6`].
pub(crate) struct Lan {
    pub(crate) host: Host,
    switch: Container,
    /// 192.168.60.1 and fd60::1, untagged and in VLAN 100.
    pub(crate) machine: Container,
}

pub(crate) const HOST4: &str = "192.168.60.2";
pub(crate) const HOST6: &str = "fd60::2";
pub(crate) const MACHINE4: &str = "192.168.60.1";
pub(crate) const MACHINE6: &str = "fd60::1";

impl Lan {
    pub(crate) fn new() -> Self {
        let host = Host::new();
        let (switch, machine) = (host.container(), host.container());
        switch.sh("ip link add sw type bridge && ip link set sw up");
        host.sh(&format!(
            "ip link add eth1 type veth peer name tohost netns {} && ip link set eth1 up && \
             ip addr add {HOST4}/24 dev eth1 && ip addr add {HOST6}/64 dev eth1 nodad",
            switch.path().display()
        ));
        switch.sh(&format!(
            "ip link add tolan type veth peer name eth0 netns {} && \
             ip link set tohost master sw up && ip link set tolan master sw up",
            machine.path().display()
        ));
        machine.sh(&format!(
            "ip link set lo up && ip link set eth0 up && ip addr add {MACHINE4}/24 dev eth0 && \
             ip addr add {MACHINE6}/64 dev eth0 nodad"
        ));
        Self {
            host,
            switch,
            machine,
        }
    }

    /// The machine is in VLAN 100 instead.
    pub(crate) fn tag(&self) {
        self.machine.sh(&format!(
            "ip addr flush dev eth0 && ip link add link eth0 name eth0.100 type vlan id 100 && \
             ip link set eth0.100 up && ip addr add {MACHINE4}/24 dev eth0.100 && \
             ip addr add {MACHINE6}/64 dev eth0.100 nodad"
        ));
    }

    /// From now on the switch is reflective (802.1Qbg): it sends frames back to the host's port.
    pub(crate) fn reflect(&self) {
        self.switch.sh("bridge link set dev tohost hairpin on");
    }

    /// Whether the host reaches an address.
    pub(crate) fn host_reaches(&self, address: &str) -> bool {
        self.host
            .succeeds(&format!("ping -n -q -c 2 -i 0.3 -W 1 {address}"))
    }
}

/// Whether a container reaches an address; less patient than its own method where the answer is
/// expected to be no.
pub(crate) fn pings(container: &Container, address: &str) -> bool {
    container.succeeds(&format!("ping -n -q -c 2 -i 0.3 -W 1 {address}"))
}

/// The addresses of a result.
pub(crate) fn addresses(result: &serde_json::Value) -> Vec<String> {
    let ips = result["ips"].as_array().into_iter().flatten();
    ips.map(|ip| {
        let text = ip["address"].as_str().unwrap();
        text.split('/').next().unwrap().to_owned()
    })
    .collect()
}
