//! The store as operators meet it: dump, check, damage, rebuild, reboot, a stuck lock.

use std::process::{Command, Output};

use serde_json::{Value, json};
use weft_store::{BackendKind, FileLock, Holder, Store, StoreConfig};
use weft_testkit::{Call, Host, HostState, Suite};

use crate::bridge::Net;

fn weft(net: &Net, arguments: &[&str]) -> Output {
    let mut command = Command::new(net.suite.bin_dir.join("weft"));
    command
        .args(arguments)
        .env("WEFT_STATE_DIR", net.host.state_dir());
    net.host.run(|| command.output().unwrap())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_damaged_store_is_named_moved_aside_and_rebuilt() {
    let net = Net::new();
    let mut conf = net.conf(&json!({"ipMasq": true}));
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]);
    let ((a, _), (b, _)) = (net.add(&conf), net.add(&conf));
    let before: Value = serde_json::from_str(&text(&weft(&net, &["store", "dump"]))).unwrap();
    let path = net.host.store().path();
    std::fs::write(&path, vec![0xa5; 9000]).unwrap();
    let error = net.call("ADD", &conf, &net.host.container()).error();
    assert_eq!(error["code"], 102, "{error}");
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains(path.to_str().unwrap()),
        "{error}"
    );
    assert!(
        error["details"]
            .as_str()
            .unwrap()
            .contains("weft store rebuild"),
        "{error}"
    );
    let check = weft(&net, &["store", "check"]);
    assert!(
        !check.status.success() && text(&check).contains("damaged"),
        "{}",
        text(&check)
    );
    let rebuilt = weft(&net, &["store", "rebuild"]);
    assert!(rebuilt.status.success(), "{}", text(&rebuilt));
    assert!(text(&rebuilt).contains("damaged-1") && text(&rebuilt).contains("2 attachments"));
    let after: Value = serde_json::from_str(&text(&weft(&net, &["store", "dump"]))).unwrap();
    assert_eq!(before["leases"], after["leases"]);
    let nft = |dump: &Value, n: usize| dump["attachments"][n]["nft"].to_string();
    assert_eq!(nft(&before, 0).len(), nft(&after, 0).len());
    assert!(weft(&net, &["store", "check"]).status.success());
    let (_c, result) = net.add(&conf);
    assert_eq!(
        result["ips"][0]["address"], "10.1.0.4/24",
        "no address of a live container"
    );
    net.del(&conf, &a);
    net.del(&conf, &b);
    assert!(!a.succeeds("ip link show eth0"));
    let rules = net.host.sh("nft list set inet weft masq4");
    assert!(
        !rules.contains("10.1.0.2 ") && !rules.contains("10.1.0.3 "),
        "{rules}"
    );
}

/// What the kernel closes is closed in the new store too: no open container comes beside it.
#[test]
fn a_closed_network_is_rebuilt_closed() {
    let net = Net::new();
    let conf = |isolation: &str| net.conf(&json!({"isolation": isolation, "cleanup": true}));
    for (mode, other) in [("full", "peer"), ("peer", "none")] {
        let (a, _) = net.add(&conf(mode));
        std::fs::write(net.host.store().path(), "garbage").unwrap();
        assert!(weft(&net, &["store", "rebuild"]).status.success());
        let shown = text(&weft(&net, &["firewall", "show"]));
        assert!(shown.contains(&format!("isolation {mode}")), "{shown}");
        let (b, _) = net.add(&conf(mode));
        let refused = net.call("ADD", &conf(other), &net.host.container());
        let error = refused.error().to_string();
        assert!(error.contains("isolation"), "{error}");
        assert_eq!(text(&weft(&net, &["firewall", "diff"])), "");
        net.del(&conf(mode), &b);
        net.del(&conf(mode), &a);
    }
}

/// GC finds elements without a record, and a link that they guard: both stay, until both may go.
#[test]
fn a_lost_store_opens_nobody() {
    let net = Net::new();
    let mut conf = net.conf(&json!({"isolation": "full", "cniVersion": "1.1.0"}));
    let (container, result) = net.add(&conf);
    let port = result["interfaces"][1]["name"].as_str().unwrap();
    let elements = || {
        let ruleset = net.host.sh("nft list ruleset");
        // Whose an element is, its comment says.
        ruleset.matches("comment \"weft ").count() + ruleset.matches(port).count()
    };
    let before = elements();
    assert!(before > 3, "the control: {before}");
    let lose = || std::fs::remove_file(net.host.store().path()).unwrap();
    let is_valid = json!([{"containerID": container.id(), "ifname": "eth0"}]);
    for valid in [None, Some(is_valid)] {
        lose();
        let mut conf = conf.clone();
        if let Some(valid) = valid {
            conf["cni.dev/valid-attachments"] = valid;
        }
        Call::new(&net.suite, "GC", &conf).on(&net.host).ok();
        assert_eq!(elements(), before);
        assert!(weft(&net, &["store", "rebuild"]).status.success());
        assert_eq!(text(&weft(&net, &["firewall", "diff"])), "");
    }
    lose();
    conf["cni.dev/valid-attachments"] = json!([]);
    Call::new(&net.suite, "GC", &conf).on(&net.host).ok();
    assert!(!container.succeeds("ip link show eth0"));
    assert_eq!(elements(), 0);
}

#[test]
fn del_does_without_a_store() {
    let net = Net::new();
    let conf = net.conf(&json!({"ipMasq": true, "macspoofchk": true}));
    let database = net.host.store().path();
    let changes = net.host.state_dir().join("store.redb.delta");
    let lose = || std::fs::remove_file(&database).unwrap();
    let damage = || std::fs::write(&database, "garbage").unwrap();
    let damage_changes = || {
        // The first ADD made the database.
        let (other, _) = net.add(&conf);
        net.del(&conf, &other);
        assert!(changes.exists(), "the control");
        std::fs::write(&changes, "garbage").unwrap();
        let error = text(&weft(&net, &["store", "check"]));
        assert!(error.contains("store.redb.delta is damaged"), "{error}");
    };
    let ends: [&dyn Fn(); 3] = [&damage, &lose, &damage_changes];
    for end in ends {
        let (container, result) = net.add(&conf);
        end();
        let mut with_result = conf.clone();
        with_result["prevResult"] = result;
        // A runtime stops at the first plugin of a list that fails.
        for chained in [
            "weft-tuning",
            "weft-bandwidth",
            "weft-firewall",
            "weft-portmap",
        ] {
            let mut conf = with_result.clone();
            conf["type"] = chained.into();
            net.del(&conf, &container);
        }
        net.del(&with_result, &container);
        assert!(!container.succeeds("ip link show eth0"));
        let rules = net.host.sh("nft list ruleset");
        assert!(
            !rules.contains(container.id()) && !rules.contains("10.1.0.2 "),
            "{rules}"
        );
        let _ = std::fs::remove_file(&database);
    }
}

/// A container that gives itself the network's other addresses gets none of them by a rebuild.
#[test]
fn a_rebuild_does_not_believe_containers() {
    for keys in [
        json!({"isolation": "full"}),
        json!({"ipMasq": true}),
        json!({}),
    ] {
        let net = Net::new();
        let mut conf = net.conf(&keys);
        conf["ipam"] = json!({"type": "weft-ipam", "subnet": "10.1.0.0/28"});
        let ((evil, _), (_other, _)) = (net.add(&conf), net.add(&conf));
        evil.sh("for i in $(seq 3 14); do ip addr add 10.1.0.$i/32 dev eth0; done");
        std::fs::write(net.host.store().path(), "damaged").unwrap();
        let rebuilt = text(&weft(&net, &["store", "rebuild"]));
        assert!(
            rebuilt.contains("has 10.1.0.9, which nothing on the host confirms"),
            "{rebuilt}"
        );
        let dump: Value = serde_json::from_str(&text(&weft(&net, &["store", "dump"]))).unwrap();
        for one in dump["attachments"].as_array().unwrap() {
            assert_eq!(
                one["addresses"].as_array().unwrap().len(),
                1,
                "{keys}: {one}"
            );
        }
        let leased = dump["leases"].to_string();
        assert!(
            leased.contains("10.1.0.2") && leased.contains("10.1.0.3"),
            "{leased}"
        );
        let (_third, result) = net.add(&conf);
        assert!(
            result["ips"][0]["address"]
                .as_str()
                .unwrap()
                .starts_with("10.1.0.4/"),
            "{result}"
        );
    }
}

/// A rebuild of a store that can be read keeps what the kernel does not tell.
#[test]
fn a_rebuild_loses_nothing_that_lives() {
    let net = Net::new();
    let mut conf = net.conf(&json!({"cleanup": true, "ipMasq": {"exclude": ["10.77.0.0/16"]}}));
    conf["ipam"]["dataDir"] = "/x".into();
    let ((a, result), (_b, _)) = (net.add(&conf), net.add(&conf));
    let before = HostState::of(&net.host);
    assert!(weft(&net, &["store", "rebuild"]).status.success());
    before.assert_same(&net.host, "a rebuild");
    let (c, third) = net.add(&conf);
    assert_eq!(third["ips"][0]["address"], "10.1.0.4/24");
    net.del(&conf, &c);
    assert!(a.reaches("10.1.0.1"));
    let mut check = conf.clone();
    check["prevResult"] = result;
    net.call("CHECK", &check, &a).ok();
}

/// Whatever page of the file is damaged: no verb ends by a signal, and DEL removes the interface.
#[test]
fn a_damaged_page_ends_no_verb() {
    use std::os::unix::fs::FileExt;
    let net = Net::new();
    let conf = net.conf(&json!({"cniVersion": "1.1.0", "ipMasq": true, "cleanup": true}));
    for page in 0..14 {
        let (container, _) = net.add(&conf);
        let (_stays, _) = net.add(&conf);
        let path = net.host.store().path();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_at(&[0; 4096], page * 4096).unwrap();
        for verb in ["STATUS", "GC"] {
            let outcome = Call::new(&net.suite, verb, &conf).on(&net.host);
            assert!(
                outcome.status.is_some(),
                "{verb} with page {page}: {}",
                outcome.stderr
            );
        }
        let outcome = net.call("DEL", &conf, &container);
        assert!(
            outcome.status.is_some(),
            "DEL with page {page}: {}",
            outcome.stderr
        );
        assert!(
            !container.succeeds("ip link show eth0"),
            "page {page}: {}",
            outcome.stdout
        );
        let _ = std::fs::remove_file(&path);
        net.host.sh("nft flush ruleset; ip -o link show type veth | cut -d: -f2 | cut -d@ -f1 | xargs -rn1 ip link del");
    }
}

#[test]
fn check_finds_what_does_not_fit() {
    let net = Net::new();
    let conf = net.conf(&json!({"ipMasq": true}));
    let (_c, _) = net.add(&conf);
    assert!(weft(&net, &["store", "check"]).status.success());
    let stray = weft_cni::AttachmentId {
        network: "net".try_into().unwrap(),
        container_id: "stray".try_into().unwrap(),
        ifname: "eth0".try_into().unwrap(),
    };
    let pool = weft_store::Pool {
        name: "net".into(),
        cool_down: 0,
    };
    net.host
        .store()
        .write(|t| {
            t.lease_static(
                &pool,
                "10.1.0.99".parse().unwrap(),
                Holder::anywhere(&stray),
            )
        })
        .unwrap();
    let output = weft(&net, &["store", "check"]);
    assert!(!output.status.success());
    assert!(text(&output).contains("10.1.0.99") && text(&output).contains("stray"));
}

#[test]
fn another_boot_begins_afresh() {
    let host = Host::on_disk();
    let suite = Suite::weft();
    let conf = suite.ipam_conf("net", "10.1.0.0/24", host.dir());
    let call = |id: &str| {
        Call::new(&suite, "ADD", &conf)
            .id(id)
            .netns("/n".as_ref())
            .ifname("eth0")
    };
    call("old").on(&host).ok();
    // What the store would be if the machine had been started again since.
    let earlier = Store::new(StoreConfig {
        dir: host.state_dir(),
        backend: BackendKind::Redb,
        lock_timeout: std::time::Duration::from_secs(5),
        boot_id: Some("an earlier boot".into()),
    });
    earlier.write(|t| t.attachments()).unwrap();
    call("before").on(&host).ok();
    earlier.write(|t| t.attachments()).unwrap();
    let result = call("old").on(&host).ok();
    assert_eq!(
        result["ips"][0]["address"], "10.1.0.2/24",
        "no lease of before the reboot"
    );
}

#[test]
fn a_stuck_lock_is_reported_with_its_holder() {
    let net = Net::new();
    let conf = net.conf(&json!({}));
    let (_c, _) = net.add(&conf);
    let path = net.host.state_dir().join("lock");
    let _held = FileLock::exclusive(&path, std::time::Duration::from_secs(1)).unwrap();
    let container = net.host.container();
    let call = Call::new(&net.suite, "ADD", &conf).container(&container);
    let error = call.var("WEFT_LOCK_TIMEOUT", "1").on(&net.host).error();
    assert_eq!(error["code"], 11, "{error}");
    let holder = format!("process {}", std::process::id());
    assert!(error["msg"].as_str().unwrap().contains(&holder), "{error}");
    assert!(!container.succeeds("ip link show eth0"));
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let net = Net::new();
    std::fs::write(net.host.state_dir(), "a file").unwrap();
    let error = net
        .call("ADD", &net.conf(&json!({})), &net.host.container())
        .error();
    assert_eq!(error["code"], 101, "{error}");
    assert!(error["msg"].as_str().unwrap().contains("state"), "{error}");
}

#[test]
fn sled_does_the_same_work() {
    let suite = Suite::weft();
    let host = Host::with_backend(BackendKind::Sled);
    let mut conf = suite.network_conf("net", "10.1.0.0/24", host.dir());
    conf["ipMasq"] = true.into();
    let container = host.container();
    let call = |verb: &str, conf: &Value| {
        Call::new(&suite, verb, conf)
            .container(&container)
            .on(&host)
    };
    call("ADD", &conf).ok();
    call("DEL", &conf).ok();
    let before = HostState::of(&host);
    let mut with_result = conf.clone();
    with_result["prevResult"] = call("ADD", &conf).ok();
    call("CHECK", &with_result).ok();
    assert!(host.state_dir().join("store.sled").is_dir());
    call("DEL", &conf).ok();
    before.assert_same(&host, "ADD and DEL on sled");
}
