//! What an item works with: a host, the suite, and short ways to say the usual things.

use serde_json::Value;
use weft_testkit::{Call, Container, Driver, Host, Outcome, Suite};

use crate::NotApplicable;

/// A fresh host and the suite under test.
#[derive(Debug)]
pub struct World {
    /// The suite.
    pub suite: Suite,
    /// The host.
    pub host: Host,
}

impl World {
    /// A new host for a suite.
    pub fn new(suite: &Suite) -> Self {
        let host = Host::new();
        suite.prepare(&host);
        Self {
            suite: suite.clone(),
            host,
        }
    }

    /// Only of a bridge can this be said.
    pub fn bridge_only(&self) -> Result<(), NotApplicable> {
        match self.suite.driver {
            Driver::Bridge => Ok(()),
            other => Err(NotApplicable(format!("{other:?} has no bridge"))),
        }
    }

    /// The interface of the host that the suite's networks depend on.
    pub fn network_link(&self) -> &'static str {
        match self.suite.driver {
            Driver::Bridge => "wtest0",
            Driver::Macvlan | Driver::Ipvlan => "lan0",
        }
    }

    /// The container's interface in a result.
    pub fn own_interface(result: &Value) -> &Value {
        let all = result["interfaces"].as_array().unwrap();
        all.iter().find(|one| one["name"] == "eth0").unwrap()
    }

    /// The master of the suite's networks goes.
    pub fn lose_master(&self) -> Result<(), NotApplicable> {
        match self.suite.driver {
            Driver::Bridge => Err(NotApplicable("the bridge plugin has no master".into())),
            Driver::Macvlan | Driver::Ipvlan => {
                self.host.sh("ip link del lan0");
                Ok(())
            }
        }
    }

    /// A network called `net`, 10.1.0.0/24, cniVersion 1.0.0.
    pub fn conf(&self) -> Value {
        self.suite
            .network_conf("net", "10.1.0.0/24", self.host.dir())
    }

    /// The same with another version.
    pub fn conf_of(&self, version: &str) -> Value {
        let mut conf = self.conf();
        conf["cniVersion"] = version.into();
        conf
    }

    /// The same with keys added or replaced.
    pub fn conf_with(&self, keys: &Value) -> Value {
        let mut conf = self.conf();
        for (key, value) in keys.as_object().unwrap() {
            conf[key] = value.clone();
        }
        conf
    }

    /// The versions the suite speaks, of those that know CHECK.
    pub fn versions(&self) -> Vec<String> {
        let call = Call::new(&self.suite, "VERSION", &self.conf());
        let answer = call.on(&self.host).ok();
        let all = answer["supportedVersions"].as_array().unwrap().iter();
        let texts = all.map(|version| version.as_str().unwrap().to_owned());
        texts
            .filter(|version| version.as_str() >= "0.4.0")
            .collect()
    }

    /// The newest version the suite speaks.
    pub fn newest(&self) -> String {
        self.versions().pop().unwrap()
    }

    /// The IPAM plugin alone.
    pub fn ipam_conf(&self) -> Value {
        self.suite.ipam_conf("net", "10.1.0.0/24", self.host.dir())
    }

    /// A verb for a container.
    pub fn call(&self, command: &str, conf: &Value, container: &Container) -> Outcome {
        Call::new(&self.suite, command, conf)
            .container(container)
            .on(&self.host)
    }

    /// A verb without a container (GC, STATUS).
    pub fn verb(&self, command: &str, conf: &Value) -> Outcome {
        Call::new(&self.suite, command, conf).on(&self.host)
    }

    /// ADD, which must succeed.
    #[track_caller]
    pub fn add(&self, conf: &Value, container: &Container) -> Value {
        self.call("ADD", conf, container).ok()
    }

    /// DEL, which must succeed and print nothing.
    #[track_caller]
    pub fn del(&self, conf: &Value, container: &Container) {
        let outcome = self.call("DEL", conf, container);
        outcome.ok();
        assert_eq!(outcome.stdout, "", "DEL printed something");
    }

    /// CHECK with a result.
    pub fn check(&self, conf: &Value, result: &Value, container: &Container) -> Outcome {
        let mut conf = conf.clone();
        conf["prevResult"] = result.clone();
        self.call("CHECK", &conf, container)
    }

    /// The first address of a result.
    pub fn address(result: &Value) -> String {
        let text = result["ips"][0]["address"]
            .as_str()
            .unwrap_or_else(|| panic!("{result}"));
        text.split('/').next().unwrap().to_owned()
    }

    /// Another plugin of the suite.
    pub fn plugin(&self, reference_name: &str) -> Result<String, NotApplicable> {
        let name = match self.suite.is_weft() {
            true => format!("weft-{reference_name}"),
            false => reference_name.to_owned(),
        };
        match self.suite.bin_dir.join(&name).exists() {
            true => Ok(name),
            false => Err(NotApplicable(format!("this suite has no {name}"))),
        }
    }

    /// How many leases the network has.
    pub fn leases(&self) -> usize {
        if self.suite.is_weft() {
            let dump = self
                .host
                .store()
                .read(|transaction| transaction.dump())
                .unwrap();
            dump.leases.len()
        } else {
            let dir = self.host.dir().join("networks/net");
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            let is_lease = |name: &str| name.parse::<std::net::IpAddr>().is_ok();
            entries
                .filter(|entry| is_lease(&entry.file_name().to_string_lossy()))
                .count()
        }
    }

    /// Fills a network of eight addresses (five of them free) to the last.
    pub fn exhaust(&self) -> (Value, Vec<Container>) {
        let conf = self
            .suite
            .network_conf("net", "10.1.0.0/29", self.host.dir());
        let containers: Vec<Container> = (0..5).map(|_| self.host.container()).collect();
        for container in &containers {
            self.add(&conf, container);
        }
        (conf, containers)
    }

    /// Where the host's rules name an address, whoever made them.
    pub fn rules_about(&self, address: &str) -> Vec<String> {
        let text = self.ruleset();
        let is_end = |c: char| !c.is_ascii_digit() && c != '.';
        text.split([',', '\n'])
            .filter(|part| {
                part.split(address)
                    .nth(1)
                    .is_some_and(|rest| rest.starts_with(is_end) || rest.is_empty())
            })
            .map(|part| {
                part.trim()
                    .trim_start_matches("elements = {")
                    .trim_end_matches('}')
                    .trim()
                    .to_owned()
            })
            .collect()
    }

    /// Everything the nf_tables ruleset says.
    pub fn ruleset(&self) -> String {
        self.host.sh("nft --stateless list ruleset 2>/dev/null")
    }
}
