//! `weft network` and `weft endpoint`: networks made, looked at, joined and removed by command.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_store::{AddressRecord, AttachmentRecord, NetnsRecord};
use weft_testkit::{Call, Container, HostState, Outside, kill_at, system_calls};

use crate::bridge::Net;
use crate::commands::{ok, weft};

/// A host whose networks are made by command.
pub(crate) struct Vnet {
    pub(crate) net: Net,
}

impl Vnet {
    pub(crate) fn new() -> Self {
        let net = Net::new();
        std::fs::create_dir_all(net.host.dir().join("conf")).unwrap();
        Self { net }
    }

    pub(crate) fn conf_dir(&self) -> PathBuf {
        self.net.host.dir().join("conf")
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        weft(&self.net.suite, &self.net.host, arguments)
    }

    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        ok(&self.run(arguments))
    }

    /// What it fails with.
    #[track_caller]
    pub(crate) fn error(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap()
    }

    /// Connects a new container, which policies know by `name`.
    #[track_caller]
    pub(crate) fn connect(&self, network: &str, name: &str) -> Container {
        let container = self.net.host.container();
        let path = container.path().display().to_string();
        self.ok(&["network", "connect", "--name", name, network, &path]);
        container
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.conf_dir()).unwrap().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn address(endpoint: &Value) -> &str {
    endpoint["ip_address"].as_str().unwrap()
}

#[test]
fn a_network_is_made_used_and_leaves_nothing() {
    let vnet = Vnet::new();
    // What the first container would switch on, for good.
    let forwarding = "sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";
    vnet.net.host.sh(forwarding);
    let before = HostState::of(&vnet.net.host);
    let text = vnet.ok(&[
        "network",
        "create",
        "--isolation",
        "none",
        "--ipv6",
        "--label",
        "tier=front",
        "demo",
    ]);
    assert!(text.contains("172.20.0.0/26, gateway 172.20.0.1"), "{text}");
    assert_eq!(vnet.files(), ["zz-weft-demo.conflist"]);

    let (a, b) = (vnet.connect("demo", "a"), vnet.connect("demo", "b"));
    let endpoints = vnet.json(&["endpoint", "ls"]);
    let addresses: Vec<&str> = endpoints.as_array().unwrap().iter().map(address).collect();
    assert_eq!(addresses, ["172.20.0.2", "172.20.0.3"]);
    assert!(a.reaches("172.20.0.3") && b.reaches("172.20.0.2"));
    let state = &vnet.json(&["endpoint", "inspect", "a"])[0]["state"];
    assert_eq!(state["check"]["verdict"], "right", "{state}");
    assert_eq!(state["interface"]["is_up"], true);
    assert_eq!(state["interface"]["has_carrier"], true);
    assert!(
        state["interface"]["received"]["packets"].as_u64() > Some(0),
        "{state}"
    );
    let whole = &vnet.json(&["network", "inspect", "demo"])[0];
    assert_eq!(whole["labels"], json!({"tier": "front"}));
    assert_eq!(whole["driver_type"], "bridge");
    assert_eq!(whole["endpoints"].as_array().unwrap().len(), 2);
    assert!(
        whole["cidr_v6"].as_str().unwrap().starts_with("fd"),
        "{whole}"
    );
    let listed = vnet.json(&["network", "ls", "--filter", "label=tier=front"]);
    assert_eq!(listed[0]["name"], "demo");
    assert_eq!(
        vnet.json(&["network", "ls", "--filter", "driver=macvlan"]),
        json!([])
    );

    is_removed(&vnet, [&a, &b]);
    before.assert_same(&vnet.net.host, "after rm");
}

/// Two containers of a network go with it, the second one before.
fn is_removed(vnet: &Vnet, [a, b]: [&Container; 2]) {
    let text = vnet.error(&["network", "rm", "demo"]);
    assert!(text.contains("has 2 endpoints (a, b)"), "{text}");
    vnet.ok(&["network", "disconnect", "demo", "b"]);
    assert!(!b.has_interface("eth0") && a.has_interface("eth0"));
    vnet.ok(&["network", "rm", "--force", "demo"]);
    assert!(!a.has_interface("eth0"));
    assert_eq!(vnet.files(), Vec::<String>::new());
    assert!(!vnet.net.host.data_dir().join("networks").exists());
    let results = std::fs::read_dir(vnet.net.host.dir().join("cache/results"));
    assert_eq!(results.unwrap().count(), 0);
}

#[test]
fn a_neighbour_is_refused_until_a_policy_allows_it() {
    let vnet = Vnet::new();
    vnet.ok(&["network", "create", "demo"]);
    let (a, _b) = (vnet.connect("demo", "a"), vnet.connect("demo", "b"));
    assert!(a.cannot_reach("172.20.0.3"));
    let text = vnet.ok(&["network", "ls"]);
    assert!(text.contains("full"), "{text}");
    let dir = vnet.net.host.policy_dir();
    std::fs::create_dir_all(&dir).unwrap();
    let rule = "[[allow]]\nfrom = { name = \"a\" }\nto = { name = \"b\" }\n";
    std::fs::write(dir.join("demo.toml"), rule).unwrap();
    vnet.ok(&["policy", "apply"]);
    assert!(a.reaches("172.20.0.3"));
}

#[test]
fn without_isolation_the_outside_is_reached() {
    let vnet = Vnet::new();
    let outside = Outside::join(&vnet.net.host);
    vnet.ok(&["network", "create", "--isolation", "none", "open"]);
    vnet.ok(&[
        "network",
        "create",
        "--isolation",
        "peer",
        "--internal",
        "inner",
    ]);
    let (open, inner) = (vnet.connect("open", "a"), vnet.connect("inner", "b"));
    assert!(open.reaches("192.0.2.1"));
    assert!(inner.cannot_reach("192.0.2.1"));
    // Not by a route that a container sets itself either.
    inner.sh("ip route add default via 172.20.0.65");
    assert!(inner.cannot_reach("192.0.2.1"));
    drop(outside);
}

/// containerd and CRI-O take the first file as the network of pods.
#[test]
fn what_is_made_is_never_the_first_network() {
    let vnet = Vnet::new();
    let list = |name: &str| {
        json!({"cniVersion": "1.0.0", "name": name, "plugins": [{"type": "bridge", "bridge": name,
            "ipam": {"type": "host-local", "subnet": "10.7.0.0/24"}}], "args": {"podman_labels": {"a": "b"}}})
    };
    for (file, name) in [("10-pods.conflist", "pods"), ("zzz-last.conflist", "last")] {
        let text = list(name).to_string();
        std::fs::write(vnet.conf_dir().join(file), text).unwrap();
    }
    vnet.ok(&["network", "create", "demo"]);
    assert_eq!(
        vnet.files(),
        [
            "10-pods.conflist",
            "zzz-last.conflist",
            "zzz-weft-demo.conflist"
        ]
    );
    // Those of others are networks too.
    let pods = &vnet.json(&["network", "inspect", "pods"])[0];
    assert_eq!(pods["driver_type"], "bridge");
    assert_eq!(
        (&pods["cidr"], &pods["is_managed"]),
        (&json!("10.7.0.0/24"), &json!(false))
    );
    assert_eq!(pods["labels"], json!({"a": "b"}));
    let text = vnet.error(&["network", "rm", "pods"]);
    assert!(text.contains("10-pods.conflist"), "{text}");
    vnet.ok(&["network", "prune"]);
    assert_eq!(vnet.files(), ["10-pods.conflist", "zzz-last.conflist"]);
    vnet.ok(&["network", "rm", "--force", "pods"]);
    assert_eq!(vnet.files(), ["zzz-last.conflist"]);
}

#[test]
fn labels_options_and_isolation_can_be_changed() {
    let vnet = Vnet::new();
    vnet.ok(&[
        "network", "create", "--label", "a=1", "--label", "b=2", "demo",
    ]);
    vnet.ok(&[
        "network", "update", "--label", "a=3", "--label", "b-", "--option", "mtu=1400", "demo",
    ]);
    let demo = vnet.json(&["network", "inspect", "demo"])[0].clone();
    assert_eq!(demo["labels"], json!({"a": "3"}));
    assert_eq!(demo["options"]["mtu"], 1400);
    let container = vnet.connect("demo", "a");
    assert!(container.sh("ip link show eth0").contains("mtu 1400"));
    let text = vnet.error(&["network", "update", "--isolation", "peer", "demo"]);
    assert!(text.contains("has 1 endpoint (a)"), "{text}");
    let text = vnet.error(&["network", "update", "--option", "mtu=x", "demo"]);
    assert!(text.contains("mtu"), "{text}");
    assert_eq!(
        vnet.json(&["network", "inspect", "demo"])[0]["options"]["mtu"],
        1400
    );
    vnet.ok(&["network", "disconnect", "demo", "a"]);
    vnet.ok(&[
        "network",
        "update",
        "--isolation",
        "peer",
        "--option",
        "mtu-",
        "demo",
    ]);
    let (a, _b) = (vnet.connect("demo", "a"), vnet.connect("demo", "b"));
    let b = vnet.json(&["endpoint", "inspect", "b"])[0].clone();
    assert!(a.reaches(address(&b)) && a.sh("ip link show eth0").contains("mtu 1500"));
}

#[test]
fn containers_and_networks_are_told_apart() {
    let vnet = Vnet::new();
    for name in ["front", "back", "web"] {
        vnet.ok(&["network", "create", "--isolation", "mesh", name]);
    }
    let web = vnet.connect("front", "web");
    let path = web.path().display().to_string();
    // A second network of the same container: by name, where that is no network's.
    let text = vnet.error(&["network", "connect", "back", "web"]);
    assert!(text.contains("is a network and a container"), "{text}");
    let text = vnet.ok(&[
        "network",
        "connect",
        "--container",
        "--ip",
        "172.20.0.99",
        "back",
        "web",
    ]);
    assert!(text.contains("as eth1 with 172.20.0.99/26"), "{text}");
    let text = vnet.ok(&["network", "connect", "--network", "front", "web"]);
    assert!(text.contains("front and web are connected"), "{text}");
    let text = vnet.ok(&["network", "connect", "front", "back"]);
    assert!(text.contains("front and back are connected"), "{text}");
    let listed = vnet.ok(&["network", "ls"]);
    assert!(
        listed
            .lines()
            .any(|line| line.starts_with("front") && line.contains("back")),
        "{listed}"
    );
    let text = vnet.error(&["network", "connect", "front", "nothing"]);
    assert!(
        text.contains("neither a network nor a running container"),
        "{text}"
    );
    let text = vnet.error(&["network", "connect", "nothing", &path]);
    assert!(text.contains("no network is called"), "{text}");
    vnet.ok(&["network", "disconnect", "back", &path]);
    assert!(!web.has_interface("eth1") && web.has_interface("eth0"));
    vnet.ok(&["network", "disconnect", "front", "back"]);
    // What a network was connected with goes with it.
    vnet.ok(&["network", "rm", "web"]);
    let connections = std::fs::read_to_string(vnet.net.host.data_dir().join("connections.json"));
    assert!(!connections.unwrap().contains("web"));
    vnet.ok(&["network", "create", "closed"]);
    let text = vnet.error(&["network", "connect", "front", "closed"]);
    assert!(text.contains("only isolation mesh"), "{text}");
}

/// Whenever it is killed there is a network or none, and the next call works.
#[test]
fn killed_while_it_makes_a_network() {
    let vnet = Vnet::new();
    let host = &vnet.net.host;
    let create = Call::weft(
        &vnet.net.suite,
        &["network", "create", "--isolation", "none", "demo"],
    )
    .var("CNI_PATH", vnet.net.suite.bin_dir.to_str().unwrap());
    let before = HostState::of(host);
    let (outcome, calls) = system_calls(&create, host);
    assert!(outcome.is_success(), "{outcome:?}");
    vnet.ok(&["network", "rm", "demo"]);
    let step = match std::env::var_os("WEFT_FEW_CRASHES") {
        Some(_) => calls.len() / 12,
        None => calls.len() / 60,
    };
    let mut killed = 0;
    for at in calls.iter().step_by(step.max(1)) {
        killed += usize::from(kill_at(&create, host, at));
        match vnet.json(&["network", "ls"]).as_array().unwrap().len() {
            0 => drop(vnet.ok(&["network", "create", "demo"])),
            _ => drop(vnet.json(&["network", "inspect", "demo"])),
        }
        vnet.ok(&["network", "prune"]);
        assert_eq!(vnet.files(), Vec::<String>::new(), "{at:?}");
        assert!(!host.data_dir().join("networks").exists(), "{at:?}");
    }
    assert!(killed > 5, "{killed} of {}", calls.len());
    before.assert_same(host, "after all");
}

/// A failed ADD of a chain leaves nothing.
#[test]
fn an_endpoint_that_cannot_be_made_is_undone() {
    let vnet = Vnet::new();
    vnet.ok(&["network", "create", "--isolation", "none", "demo"]);
    let file = vnet.conf_dir().join("zz-weft-demo.conflist");
    let text = std::fs::read_to_string(&file).unwrap();
    vnet.net.host.sh("sysctl -w net.ipv4.ip_forward=1");
    let before = HostState::of(&vnet.net.host);
    let mut list: Value = serde_json::from_str(&text).unwrap();
    list["plugins"][1] = json!({"type": "weft-tuning", "sysctl": {"kernel.hostname": "x"}});
    std::fs::write(&file, list.to_string()).unwrap();
    let container = vnet.net.host.container();
    let path = container.path().display().to_string();
    let error = vnet.error(&["network", "connect", "demo", &path]);
    assert!(error.contains("kernel.hostname"), "{error}");
    assert!(!container.has_interface("eth0"));
    before.assert_same(&vnet.net.host, "a failed connect");
    assert_eq!(vnet.json(&["endpoint", "ls"]), json!([]));
}

/// The example of lib/vnet's documentation.
#[test]
fn the_documented_example_runs() {
    let vnet = Vnet::new();
    let host = &vnet.net.host;
    let container = host.container();
    // Built with the tests, beside them.
    let program = std::env::current_exe().unwrap();
    let program = program
        .parent()
        .unwrap()
        .with_file_name("examples")
        .join("connect");
    let output = host.run(|| {
        Command::new(&program)
            .arg(container.path())
            .env("WEFT_STATE_DIR", host.state_dir())
            .env("WEFT_DATA_DIR", host.data_dir())
            .env("WEFT_POLICY_DIR", host.policy_dir())
            .env("WEFT_CONFIG", host.dir().join("weft.toml"))
            .env("WEFT_CACHE_DIR", host.dir().join("cache"))
            .env("NETCONFPATH", vnet.conf_dir())
            .env("CNI_PATH", &vnet.net.suite.bin_dir)
            .output()
            .unwrap()
    });
    let text = ok(&output);
    assert!(
        text.contains("example has Some(") && text.contains("check: Right"),
        "{text}"
    );
    assert_eq!(vnet.files(), Vec::<String>::new());
}

#[test]
fn a_thousand_networks_and_five_thousand_endpoints_are_listed_in_a_second() {
    let vnet = Vnet::new();
    let host = &vnet.net.host;
    for network in 0..1000_u16 {
        let [high, low] = network.to_be_bytes();
        let list = json!({"cniVersion": "1.0.0", "name": format!("net{network}"), "plugins": [{
            "type": "weft-bridge", "bridge": format!("weft-net{network}"), "isDefaultGateway": true,
            "ipam": {"type": "weft-ipam", "ranges": [[{"subnet": format!("10.{high}.{low}.0/24")}]]}},
            {"type": "weft-portmap", "capabilities": {"portMappings": true}}]});
        let path = vnet
            .conf_dir()
            .join(format!("zz-weft-net{network}.conflist"));
        std::fs::write(path, list.to_string()).unwrap();
    }
    let records = (0..5000_u16).map(|number| {
        let network = number % 1000;
        let [high, low] = network.to_be_bytes();
        let id = weft_cni::AttachmentId {
            network: format!("net{network}").try_into().unwrap(),
            container_id: format!("container-{number}").try_into().unwrap(),
            ifname: "eth0".try_into().unwrap(),
        };
        let mut record = AttachmentRecord::new(id, "weft-bridge");
        record.netns = Some(NetnsRecord {
            path: format!("/run/netns/{number}"),
            dev: 4,
            ino: number.into(),
            cookie: Some(number.into()),
        });
        let address = format!("10.{high}.{low}.{}/24", 2 + number / 1000);
        record.addresses = vec![AddressRecord {
            address: address.parse().unwrap(),
            gateway: None,
            pool: None,
            subnet_prefix: None,
        }];
        record
    });
    let records: Vec<AttachmentRecord> = records.collect();
    let write = host.store().write(|transaction| {
        records
            .iter()
            .try_for_each(|record| transaction.insert_attachment(record))
    });
    write.unwrap();
    for (what, count) in [("network", 1000), ("endpoint", 5000)] {
        let arguments = [what, "ls", "--quiet"];
        assert_eq!(vnet.ok(&arguments).lines().count(), count);
        let time = |_| {
            let start = Instant::now();
            vnet.ok(&arguments);
            start.elapsed()
        };
        let fastest = (0..5).map(time).min().unwrap();
        println!("weft {what} ls with {count}: {fastest:?}");
        assert!(fastest < Duration::from_secs(1), "{what}: {fastest:?}");
    }
}

/// What is attached stays attached, whatever is asked for then.
#[test]
fn a_connection_that_is_refused_leaves_the_first_one() {
    let vnet = Vnet::new();
    vnet.ok(&["network", "create", "--isolation", "none", "demo"]);
    let container = vnet.connect("demo", "a");
    let path = container.path().display().to_string();
    for arguments in [
        &["network", "connect", "demo", &path][..],
        &["network", "connect", "--interface", "eth0", "demo", &path],
    ] {
        let text = vnet.error(arguments);
        assert!(
            text.contains("is in network demo already, by eth0"),
            "{text}"
        );
        assert!(container.has_interface("eth0"));
    }
    vnet.ok(&["network", "connect", "--interface", "eth1", "demo", &path]);
    // Several at once: one of them counts, and none undoes it.
    let other = vnet.net.host.container();
    let path = other.path().display().to_string();
    let connected: usize = std::thread::scope(|scope| {
        let connect = || {
            vnet.run(&["network", "connect", "demo", &path])
                .status
                .success()
        };
        let all = [(); 4].map(|()| scope.spawn(connect));
        all.map(|one| usize::from(one.join().unwrap())).iter().sum()
    });
    assert_eq!(connected, 1);
    assert!(other.has_interface("eth0"));
    assert_eq!(vnet.json(&["endpoint", "ls"]).as_array().unwrap().len(), 3);
}

#[test]
fn a_word_for_several_containers_disconnects_none() {
    let vnet = Vnet::new();
    vnet.ok(&["network", "create", "--isolation", "none", "demo"]);
    let containers = [vnet.connect("demo", "web"), vnet.connect("demo", "web")];
    for word in ["web", "cnitool-"] {
        let text = vnet.error(&["network", "disconnect", "demo", word]);
        assert!(text.contains("give an id"), "{text}");
    }
    assert!(containers.iter().all(|one| one.has_interface("eth0")));
    let path = containers[0].path().display().to_string();
    vnet.ok(&["network", "disconnect", "demo", &path]);
    assert!(!containers[0].has_interface("eth0") && containers[1].has_interface("eth0"));
}

/// A configuration that somebody else has written under the name of a network of Weft's is theirs.
#[test]
fn only_weft_s_own_files_are_removed() {
    let vnet = Vnet::new();
    vnet.ok(&["network", "create", "pod"]);
    std::fs::remove_file(vnet.conf_dir().join("zz-weft-pod.conflist")).unwrap();
    let theirs = json!({"cniVersion": "1.0.0", "name": "pod", "plugins": [{"type": "bridge", "bridge": "p0"}]});
    std::fs::write(vnet.conf_dir().join("10-pod.conflist"), theirs.to_string()).unwrap();
    vnet.ok(&["network", "prune"]);
    let text = vnet.error(&["network", "rm", "pod"]);
    assert!(text.contains("was not made by weft"), "{text}");
    assert_eq!(vnet.files(), ["10-pod.conflist"]);
}

/// What is left when a configuration is gone can be seen and removed.
#[test]
fn a_network_without_a_configuration_is_removed_by_force() {
    let vnet = Vnet::new();
    vnet.ok(&["network", "create", "--isolation", "none", "demo"]);
    vnet.ok(&["network", "create", "unused"]);
    let container = vnet.connect("demo", "a");
    for name in ["demo", "unused"] {
        std::fs::remove_file(vnet.conf_dir().join(format!("zz-weft-{name}.conflist"))).unwrap();
    }
    let text = vnet.error(&["network", "create", "demo"]);
    assert!(text.contains("weft network rm --force"), "{text}");
    assert!(
        vnet.error(&["network", "rm", "demo"])
            .contains("has 1 endpoint (a)")
    );
    vnet.ok(&["network", "rm", "--force", "demo"]);
    assert!(!container.has_interface("eth0"));
    // As doctor says.
    let doctor = vnet.run(&["doctor"]);
    let doctor = String::from_utf8_lossy(&doctor.stdout);
    assert!(doctor.contains("weft network rm unused"), "{doctor}");
    vnet.ok(&["network", "rm", "unused"]);
    assert_eq!(vnet.ok(&["doctor"]).trim(), "nothing found");
}

/// Nothing is lost with it but labels, and doctor says so.
#[test]
fn a_damaged_state_is_no_obstacle() {
    let vnet = Vnet::new();
    vnet.ok(&["network", "create", "demo"]);
    let state = vnet.net.host.data_dir().join("networks/demo.json");
    let late = r#"{"file":"zz-weft-demo.conflist","createdAt":18446744073709551615,"updatedAt":1}"#;
    std::fs::write(&state, late).unwrap();
    let demo = vnet.json(&["network", "inspect", "demo"])[0].clone();
    assert_eq!(demo["created_at"], "9999-12-31T23:59:59Z");
    let strange =
        json!({"cniVersion": "1.0.0", "name": "n".repeat(300), "plugins": [{"type": "bridge"}]});
    std::fs::write(vnet.conf_dir().join("s.conflist"), strange.to_string()).unwrap();
    for text in ["", "{"] {
        std::fs::write(&state, text).unwrap();
        assert!(vnet.ok(&["network", "ls"]).contains("demo"));
        vnet.ok(&["metrics"]);
        let doctor = vnet.run(&["doctor"]);
        let said = String::from_utf8_lossy(&doctor.stdout);
        assert!(said.contains("demo.json"), "{said}");
    }
    vnet.ok(&["network", "rm", "--force", "demo"]);
    assert!(!state.exists());
}
