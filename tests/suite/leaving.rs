//! DELs that end together: who waits is served by who comes next, and a killed one is by the next.

use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use weft_cni::NetworkName;
use weft_store::{FileLock, Sharing};
use weft_testkit::{Call, Container, Host, HostState, Suite, SystemCall, kill_at, system_calls};

use crate::commands::{ok, weft};

/// A closed network with masquerade, on a host that keeps its bridge and has been used before.
pub(crate) struct Net {
    pub(crate) suite: Suite,
    pub(crate) host: Host,
    pub(crate) conf: Value,
}

impl Net {
    pub(crate) fn new() -> Self {
        let suite = Suite::weft();
        let host = Host::new();
        host.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        suite.prepare(&host);
        let mut conf = suite.network_conf("net", "10.1.0.0/24", host.dir());
        conf["ipMasq"] = true.into();
        conf["isolation"] = "full".into();
        let net = Self { suite, host, conf };
        let warm = net.host.container();
        net.call("ADD", &warm).on(&net.host).ok();
        net.call("DEL", &warm).on(&net.host).ok();
        net
    }

    fn call(&self, verb: &str, container: &Container) -> Call {
        Call::new(&self.suite, verb, &self.conf).container(container)
    }

    fn added(&self) -> Container {
        let container = self.host.container();
        self.add(&container);
        container
    }

    fn add(&self, container: &Container) {
        self.call("ADD", container).on(&self.host).ok();
    }

    /// Keeps every DEL waiting.
    fn busy(&self) -> FileLock {
        let store = self.host.store();
        store.named_lock("delete", Sharing::Exclusive).unwrap()
    }

    fn start(&self, call: &Call) -> Child {
        use std::io::Write;
        let mut child = self.host.run(|| call.command(&self.host).spawn().unwrap());
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(call.input_bytes()).unwrap();
        child
    }

    fn wait_for_notes(&self, count: usize) {
        let start = Instant::now();
        while self.host.store().leaving().len() < count {
            assert!(start.elapsed() < Duration::from_secs(20), "no note");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A DEL that was killed while it waited.
    fn killed_waiting(&self, container: &Container) {
        self.kill_waiting(&self.call("DEL", container));
    }

    fn kill_waiting(&self, del: &Call) {
        let lock = self.busy();
        let mut child = self.start(del);
        self.wait_for_notes(1);
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        drop(lock);
    }

    fn recorded(&self) -> Vec<String> {
        let network = NetworkName::try_from("net").unwrap();
        let records = self.host.store().read(|t| t.attachments_of(&network));
        let id = |record: &weft_store::AttachmentRecord| record.id.container_id.to_string();
        records.unwrap().iter().map(id).collect()
    }

    fn notes(&self) -> Vec<PathBuf> {
        let notes = self.host.state_dir().join("store.redb.leaving");
        let entries = std::fs::read_dir(notes).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    fn assert_no_notes(&self, when: &str) {
        assert_eq!(self.notes(), Vec::<PathBuf>::new(), "{when}");
    }
}

#[test]
fn many_that_wait_are_ended_together() {
    let net = Net::new();
    let before = HostState::of(&net.host);
    let containers: Vec<Container> = (0..8).map(|_| net.added()).collect();
    let lock = net.busy();
    let start = |one: &Container| net.start(&net.call("DEL", one));
    let children: Vec<Child> = containers.iter().map(start).collect();
    net.wait_for_notes(containers.len());
    assert_eq!(net.recorded().len(), containers.len());
    drop(lock);
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    assert_eq!(net.recorded(), Vec::<String>::new());
    net.assert_no_notes("after all");
    before.assert_same(&net.host, "after all");
}

#[test]
fn the_next_del_ends_what_a_killed_one_noted() {
    let net = Net::new();
    let before = HostState::of(&net.host);
    let [killed, next] = [net.added(), net.added()];
    net.killed_waiting(&killed);
    assert_eq!(net.recorded().len(), 2);
    net.call("DEL", &next).on(&net.host).ok();
    assert_eq!(net.recorded(), Vec::<String>::new());
    net.assert_no_notes("after the next DEL");
    before.assert_same(&net.host, "after the next DEL");
    // The runtime calls the killed one again.
    net.call("DEL", &killed).on(&net.host).ok();
    before.assert_same(&net.host, "after all");
}

#[test]
fn gc_ends_what_a_killed_del_noted() {
    let net = Net::new();
    let [killed, stays] = [net.added(), net.added()];
    net.killed_waiting(&killed);
    let mut conf = net.conf.clone();
    conf["cniVersion"] = "1.1.0".into();
    conf["cni.dev/valid-attachments"] = json!([{"containerID": stays.id(), "ifname": "eth0"}]);
    Call::new(&net.suite, "GC", &conf).on(&net.host).ok();
    assert_eq!(net.recorded(), [stays.id()]);
    net.assert_no_notes("after GC");
    assert!(stays.succeeds("ip link show eth0"));
}

/// What a record names is put back as long as there is the record: by new rules, by a reload.
#[test]
fn what_was_put_back_meanwhile_goes_too() {
    let net = Net::new();
    let before = HostState::of(&net.host);
    let [killed, next] = [net.added(), net.added()];
    net.killed_waiting(&killed);
    ok(&weft(&net.suite, &net.host, &["firewall", "reload"]));
    net.call("DEL", &next).on(&net.host).ok();
    let differences = ok(&weft(&net.suite, &net.host, &["firewall", "diff"]));
    assert_eq!(differences, "");
    before.assert_same(&net.host, "after the next DEL");
}

/// The note of a DEL that somebody has ended, and whose container has come back since.
#[test]
fn a_note_that_is_done_ends_nobody() {
    let net = Net::new();
    let [back, other] = [net.added(), net.added()];
    net.killed_waiting(&back);
    let note = net.notes().pop().unwrap();
    let bytes = std::fs::read(&note).unwrap();
    net.call("DEL", &back).on(&net.host).ok();
    net.assert_no_notes("after its DEL");
    net.add(&back);
    std::fs::write(&note, bytes).unwrap();
    net.call("DEL", &other).on(&net.host).ok();
    assert_eq!(net.recorded(), [back.id()]);
    assert!(back.succeeds("ip link show eth0"));
    net.assert_no_notes("after another's DEL");
}

/// Half a note, as a crash leaves it, keeps nobody from its end.
#[test]
fn a_damaged_note_is_passed_over() {
    let net = Net::new();
    let before = HostState::of(&net.host);
    let [one, next] = [net.added(), net.added()];
    net.killed_waiting(&one);
    let note = net.notes().pop().unwrap();
    std::fs::write(&note, b"[{\"id\":").unwrap();
    net.call("DEL", &next).on(&net.host).ok();
    assert_eq!(net.recorded(), [one.id()]);
    net.call("DEL", &one).on(&net.host).ok();
    assert_eq!(net.recorded(), Vec::<String>::new());
    before.assert_same(&net.host, "after its own DEL");
    // Nobody knows whose it is; once nobody can be waiting for it any more, it goes.
    let file = std::fs::File::options().write(true).open(&note).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(7200))
        .unwrap();
    net.call("DEL", &one).on(&net.host).ok();
    net.assert_no_notes("when it is old");
    before.assert_same(&net.host, "after all");
}

/// Another's IPAM plugin gives an address away as soon as it has it back: not before nothing names it.
#[test]
fn an_address_is_free_when_nothing_names_it() {
    let net = Net::new();
    let [leaves, next] = [net.host.container(), net.host.container()];
    let mut conf = net.conf.clone();
    conf["ipam"] = json!({"type": "host-local", "dataDir": net.host.dir().join("host-local"),
        "ranges": [[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.9"}]]});
    let path = format!("{}:/usr/lib/cni", net.suite.bin_dir.display());
    let call = |verb: &str, container: &Container| {
        let call = Call::new(&net.suite, verb, &conf).container(container);
        call.var("CNI_PATH", &path)
    };
    call("ADD", &leaves).on(&net.host).ok();
    let lock = net.busy();
    let del = net.start(&call("DEL", &leaves));
    net.wait_for_notes(1);
    let error = call("ADD", &next).on(&net.host).error().to_string();
    assert!(error.contains("no IP addresses available"), "{error}");
    drop(lock);
    let output = del.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    call("ADD", &next).on(&net.host).ok();
    call("DEL", &next).on(&net.host).ok();
}

/// A waiter whose end fails, here because its note cannot be removed.
#[test]
fn anothers_fault_keeps_nobody_from_its_end() {
    let net = Net::new();
    let stays = net.added();
    let before = HostState::of(&net.host);
    let [fails, next] = [net.added(), net.added()];
    net.killed_waiting(&fails);
    let note = net.notes().pop().unwrap();
    let mount = format!("mount --bind '{0}' '{0}'", note.display());
    net.host.sh(&mount);
    net.call("DEL", &next).on(&net.host).ok();
    assert_eq!(net.recorded(), [stays.id()]);
    assert_eq!(net.notes().len(), 1, "the note that cannot be removed");
    net.call("DEL", &fails).on(&net.host).ok();
    assert_eq!(net.notes().len(), 1, "its own DEL cannot either");
    net.host.sh(&format!("umount '{}'", note.display()));
    net.call("DEL", &fails).on(&net.host).ok();
    net.assert_no_notes("when it is mended");
    before.assert_same(&net.host, "when it is mended");
}

/// As long as a link is there, so is what guards it, wherever its DEL is killed.
#[test]
fn a_killed_del_leaves_no_open_port() {
    let net = Net::new();
    let container = net.host.container();
    net.add(&container);
    let (outcome, calls) = system_calls(&net.call("DEL", &container), &net.host);
    outcome.ok();
    let asks = |call: &&SystemCall| ["sendto", "sendmsg", "flock"].contains(&call.name.as_str());
    let guarded = |port: &str| {
        ["ports", "alone_ports", "bound_ports"].iter().all(|set| {
            let listing = net.host.sh(&format!("nft list set bridge weft {set}"));
            listing.contains(port)
        })
    };
    let mut there = 0;
    for at in calls.iter().filter(asks) {
        let result = net.call("ADD", &container).on(&net.host).ok();
        let port = result["interfaces"][1]["name"].as_str().unwrap().to_owned();
        assert!(guarded(&port), "the control");
        kill_at(&net.call("DEL", &container), &net.host, at);
        if net.host.succeeds(&format!("ip link show {port}")) {
            there += 1;
            assert!(guarded(&port), "killed at {at:?}");
        }
        net.call("DEL", &container).on(&net.host).ok();
        assert!(!guarded(&port), "the second control");
    }
    assert!(there > 1, "killed {there} times while the link was there");
}

/// Killed at each system call of what one does for another.
#[test]
fn killed_while_it_ends_anothers() {
    let net = Net::new();
    let before = HostState::of(&net.host);
    let [waits, ends] = [net.host.container(), net.host.container()];
    let prepare = || {
        net.add(&waits);
        net.add(&ends);
        net.killed_waiting(&waits);
    };
    prepare();
    let (outcome, calls) = system_calls(&net.call("DEL", &ends), &net.host);
    outcome.ok();
    before.assert_same(&net.host, "not killed");
    let step = match std::env::var_os("WEFT_FEW_CRASHES") {
        Some(_) => calls.len() / 12,
        None => 1,
    };
    // The first half is its own alone, and killed elsewhere.
    let calls: Vec<_> = calls[calls.len() / 2..].iter().step_by(step).collect();
    let mut killed = 0;
    for at in &calls {
        prepare();
        killed += usize::from(kill_at(&net.call("DEL", &ends), &net.host, at));
        for container in [&ends, &waits] {
            net.call("DEL", container).on(&net.host).ok();
        }
        assert_eq!(net.recorded(), Vec::<String>::new(), "killed at {at:?}");
        net.assert_no_notes(&format!("killed at {at:?}"));
        before.assert_same(&net.host, &format!("killed at {at:?}"));
    }
    assert!(killed * 5 >= calls.len() * 4, "{killed} of {}", calls.len());
}
