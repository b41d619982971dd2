//! Everything is put back from the records while an attachment leaves: whichever is stopped at whichever
//! step, and the other one done meanwhile, nothing stays of what has left.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, HostState, Outcome, SystemCall, stopped_at, system_calls};

use crate::commands::{ok, weft};
use crate::leaving::Net;

impl Net {
    fn at_once(&self, verb: &str, conf: &Value, container: &Container) -> Call {
        let call = Call::new(&self.suite, verb, conf).container(container);
        // Who is stopped may have a lock.
        call.var("WEFT_LOCK_TIMEOUT", "0")
    }

    fn reload(&self) -> Call {
        let call = Call::weft(&self.suite, &["firewall", "reload"]);
        call.var("WEFT_LOCK_TIMEOUT", "0")
    }

    fn portmap(&self, prev: &Value) -> Value {
        let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
        json!({"cniVersion": "1.0.0", "name": "net", "type": "weft-portmap",
            "runtimeConfig": {"portMappings": ports}, "prevResult": prev})
    }

    fn assert_right(&self, when: &str) {
        let difference = ok(&weft(&self.suite, &self.host, &["firewall", "diff"]));
        assert_eq!(difference, "", "{when}");
    }

    /// Stops `victim` where it asks the kernel or the store for something, each time in the state that
    /// `prepare` makes, and does the others meanwhile.
    fn stop_at_each(&self, victim: &Call, others: &[Call], prepare: &dyn Fn(), end: &dyn Fn(&str)) {
        let do_others = || {
            let mut outcomes = others.iter().map(|one| one.on(&self.host));
            outcomes.all(|outcome| outcome.is_success())
        };
        prepare();
        let (outcome, calls) = system_calls(victim, &self.host);
        require(&outcome);
        assert!(do_others());
        end("not stopped");
        let is_step =
            |call: &&SystemCall| ["sendmsg", "sendto", "flock"].contains(&call.name.as_str());
        let calls: Vec<&SystemCall> = calls.iter().filter(is_step).collect();
        let step = match std::env::var_os("WEFT_FEW_CRASHES") {
            Some(_) => (calls.len() / 12).max(1),
            None => 1,
        };
        let mut between = 0;
        let all: Vec<&&SystemCall> = calls.iter().step_by(step).collect();
        for at in &all {
            prepare();
            let (outcome, meanwhile) = stopped_at(victim, &self.host, at, do_others);
            require(&outcome);
            let succeeded = meanwhile == Some(true);
            between += usize::from(succeeded);
            // They waited for a lock in vain.
            assert!(succeeded || do_others(), "{at:?}");
            end(&format!("stopped at {at:?}"));
        }
        // A lock is held in the others.
        assert!(between > 0, "none of {}", all.len());
    }
}

#[track_caller]
fn require(outcome: &Outcome) {
    assert!(outcome.is_success(), "{outcome:?}");
}

#[test]
fn a_del_during_which_everything_is_put_back() {
    let net = Net::new();
    let [stays, leaves] = [net.host.container(), net.host.container()];
    net.at_once("ADD", &net.conf, &stays).on(&net.host).ok();
    let before = HostState::of(&net.host);
    let prepare = || drop(net.at_once("ADD", &net.conf, &leaves).on(&net.host).ok());
    let end = |when: &str| {
        net.assert_right(when);
        before.assert_same(&net.host, when);
    };
    let del = net.at_once("DEL", &net.conf, &leaves);
    net.stop_at_each(&del, &[net.reload()], &prepare, &end);
}

#[test]
fn a_chained_del_during_which_everything_is_put_back() {
    let net = Net::new();
    let container = net.host.container();
    let result = net.at_once("ADD", &net.conf, &container).on(&net.host).ok();
    let portmap = net.portmap(&result);
    let prepare = || drop(net.at_once("ADD", &portmap, &container).on(&net.host).ok());
    let end = |when: &str| {
        net.assert_right(when);
        let ruleset = net.host.sh("nft list ruleset");
        assert!(!ruleset.contains("8080"), "{when}: {ruleset}");
    };
    let del = net.at_once("DEL", &portmap, &container);
    net.stop_at_each(&del, &[net.reload()], &prepare, &end);
}

#[test]
fn a_reload_during_which_one_leaves() {
    let net = Net::new();
    let [stays, leaves] = [net.host.container(), net.host.container()];
    net.at_once("ADD", &net.conf, &stays).on(&net.host).ok();
    let before = HostState::of(&net.host);
    let prepare = || {
        net.at_once("ADD", &net.conf, &leaves).on(&net.host).ok();
        net.host.sh("nft flush ruleset");
    };
    let end = |when: &str| {
        net.assert_right(when);
        before.assert_same(&net.host, when);
    };
    let del = net.at_once("DEL", &net.conf, &leaves);
    net.stop_at_each(&net.reload(), &[del], &prepare, &end);
}

#[test]
fn an_add_without_tables_during_which_one_leaves() {
    let net = Net::new();
    let [stays, leaves, comes] = std::array::from_fn(|_| net.host.container());
    net.at_once("ADD", &net.conf, &stays).on(&net.host).ok();
    let before = HostState::of(&net.host);
    let prepare = || {
        net.at_once("ADD", &net.conf, &leaves).on(&net.host).ok();
        net.host.sh("nft flush ruleset");
    };
    let end = |when: &str| {
        net.assert_right(when);
        net.at_once("DEL", &net.conf, &comes).on(&net.host).ok();
        before.assert_same(&net.host, when);
    };
    let [add, del] =
        [("ADD", &comes), ("DEL", &leaves)].map(|(verb, one)| net.at_once(verb, &net.conf, one));
    net.stop_at_each(&add, &[del], &prepare, &end);
}

/// New rules, which find no tables, and an attachment that comes back to the address that it had.
struct NewRules {
    net: Net,
    _stays: Container,
    _leaves: Container,
    add: Call,
    del: Call,
    apply: Call,
}

impl NewRules {
    fn new() -> Self {
        let mut net = Net::new();
        net.conf["isolation"] = "none".into();
        net.conf["antiSpoof"] = true.into();
        net.conf["ipam"] = json!({"type": "weft-ipam",
            "ranges": [[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.8", "rangeEnd": "10.1.0.9"}]]});
        let rules = net.host.policy_dir();
        std::fs::create_dir_all(&rules).unwrap();
        let rule = "[[allow]]\nfrom = { name = \"a\" }\nto = { name = \"b\" }\n";
        std::fs::write(rules.join("rules.toml"), rule).unwrap();
        let [stays, leaves] = [net.host.container(), net.host.container()];
        let [del, add] = ["DEL", "ADD"].map(|verb| net.at_once(verb, &net.conf, &leaves));
        net.at_once("ADD", &net.conf, &stays).on(&net.host).ok();
        let apply = Call::weft(&net.suite, &["policy", "apply"]).var("WEFT_LOCK_TIMEOUT", "0");
        Self {
            net,
            _stays: stays,
            _leaves: leaves,
            add,
            del,
            apply,
        }
    }

    fn prepare(&self) {
        self.del.on(&self.net.host).ok();
        self.add.on(&self.net.host).ok();
        self.net.host.sh("nft flush ruleset");
    }
}

#[test]
fn an_apply_during_which_one_comes_back() {
    let new = NewRules::new();
    let end = |when: &str| new.net.assert_right(when);
    let others = [new.del.clone(), new.add.clone()];
    new.net
        .stop_at_each(&new.apply, &others, &|| new.prepare(), &end);
}

#[test]
fn an_apply_during_which_one_leaves() {
    let new = NewRules::new();
    let end = |when: &str| new.net.assert_right(when);
    let others = std::slice::from_ref(&new.del);
    new.net
        .stop_at_each(&new.apply, others, &|| new.prepare(), &end);
}
