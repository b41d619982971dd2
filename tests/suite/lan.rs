//! A host on a network of its own: a switch that can be told to send frames back where they came
//! from, and a machine on it.

use serde_json::Value;
use weft_testkit::{Call, Container, Host, HostState, Outcome, Suite};

/// The host has `eth1` on the switch, with [`HOST4`] and [`HOST6`].
pub(crate) struct Lan {
    pub(crate) suite: Suite,
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
            suite: Suite::weft(),
            host,
            switch,
            machine,
        }
    }

    /// A verb for a container's `eth0`.
    pub(crate) fn call(&self, verb: &str, conf: &Value, container: &Container) -> Outcome {
        Call::new(&self.suite, verb, conf)
            .container(container)
            .on(&self.host)
    }

    /// ADD of a new container, which must succeed.
    #[track_caller]
    pub(crate) fn add(&self, conf: &Value) -> (Container, Value) {
        let container = self.host.container();
        let result = self.call("ADD", conf, &container).ok();
        (container, result)
    }

    /// STATUS of a network.
    pub(crate) fn status(&self, conf: &Value) -> Outcome {
        let mut conf = conf.clone();
        conf["cniVersion"] = "1.1.0".into();
        Call::new(&self.suite, "STATUS", &conf).on(&self.host)
    }

    /// ADD must fail with a code and these words, STATUS with 50, and nothing may be changed.
    #[track_caller]
    pub(crate) fn refuses(&self, conf: &Value, code: u64, words: &[&str]) {
        let before = HostState::of(&self.host);
        let error = self.call("ADD", conf, &self.host.container()).error();
        assert_eq!(error["code"], code, "{error}");
        let text = format!("{} {}", error["msg"], error["details"]);
        for word in words {
            assert!(text.contains(word), "{word} is not in {text}");
        }
        let status = self.status(conf).error();
        assert_eq!(status["code"], 50, "{status}");
        before.assert_same(&self.host, "a refused ADD");
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

    /// The host becomes what it was, as soon as the kernel has done its part (the end of a
    /// namespace, duplicate address detection).
    #[track_caller]
    pub(crate) fn becomes(&self, before: &HostState, what: &str) {
        for _ in 0..100 {
            if before.differences(&HostState::of(&self.host)).is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        before.assert_same(&self.host, what);
    }
}

/// The MAC in what `ip -o link` prints.
pub(crate) fn mac_of(link: &str) -> String {
    let rest = link.split("link/ether ").nth(1).unwrap();
    rest.split(' ').next().unwrap().to_owned()
}

/// The addresses of a result.
pub(crate) fn addresses(result: &Value) -> Vec<String> {
    let ips = result["ips"].as_array().into_iter().flatten();
    ips.map(|ip| {
        let text = ip["address"].as_str().unwrap();
        text.split('/').next().unwrap().to_owned()
    })
    .collect()
}
