//! `weft firewall` and `weft doctor`: what is, what should be, and who else decides.

use std::process::Output;

use serde_json::{Value, json};
use weft_testkit::Call;

use crate::bridge::Net;
use crate::commands::{ok, weft};
use crate::isolation::{network, publish};

fn run(net: &Net, arguments: &[&str]) -> Output {
    weft(&net.suite, &net.host, arguments)
}

/// What is printed, whatever the exit status.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Networks of every kind, with everything that can be chained.
fn everything(net: &Net) -> Value {
    let policy = json!({"ingress": [{"name": "shop", "from": {"name": "shop"}, "ports": ["tcp/80"]}],
        "egress": [{"to": {"cidr": ["192.0.2.0/24", "2001:db8::/64"]}, "ports": ["icmp", "udp/1000-2000"]}]});
    let full = network(
        net,
        1,
        &json!({"isolation": "full", "policy": policy, "ipMasq": true}),
    );
    let (container, result) = net.add(&full);
    publish(net, "net1", &container, &result);
    let mesh = json!({"isolation": "mesh", "mesh": "m", "antiSpoof": true});
    let _ = (
        net.add(&network(net, 2, &mesh)),
        net.add(&network(net, 3, &mesh)),
    );
    let (apart, result) = net.add(&network(net, 4, &json!({"ipMasq": true})));
    let chained = json!({"cniVersion": "1.0.0", "name": "net4", "type": "weft-firewall",
        "ingressPolicy": "isolated", "prevResult": result});
    net.call("ADD", &chained, &apart).ok();
    let limits = json!({"cniVersion": "1.0.0", "name": "net4", "type": "weft-bandwidth",
        "limits": {"packetsPerSecond": 100, "connections": 5}, "prevResult": result});
    net.call("ADD", &limits, &apart).ok();
    full
}

#[test]
fn what_is_and_what_should_be_are_compared_and_put_right() {
    let net = Net::new();
    assert_eq!(ok(&run(&net, &["firewall", "diff"])), "");
    let full = everything(&net);
    assert_eq!(ok(&run(&net, &["firewall", "diff"])), "");
    net.host
        .sh("nft add rule inet weft user_pre tcp dport 22 accept comment ours");
    let damages = [
        (
            "nft delete element inet weft networks '{ wtest1 }'",
            "set networks: wtest1",
        ),
        (
            "nft flush chain inet weft mode_full",
            "chain mode_full, rule",
        ),
        ("nft flush chain inet weft policies", "chain policies, rule"),
        ("nft flush set bridge weft port_ipv4", "set port_ipv4: veth"),
        (
            "nft add element inet weft closed '{ theirs }'",
            "+ set closed: theirs",
        ),
        (
            "nft insert rule inet weft mode_full accept",
            "+ inet weft: chain mode_full",
        ),
        (
            "nft add set inet weft sel_0_4 '{ type ipv4_addr; }'",
            "+ inet weft: set sel_0_4",
        ),
        ("nft delete table bridge weft", "- bridge weft: chain guard"),
    ];
    for (damage, word) in damages {
        net.host.sh(damage);
        let output = run(&net, &["firewall", "diff"]);
        assert!(!output.status.success(), "{damage}");
        assert!(text(&output).contains(word), "{damage}: {}", text(&output));
        assert!(ok(&run(&net, &["firewall", "reload"])).contains("put right"));
        assert_eq!(ok(&run(&net, &["firewall", "diff"])), "", "{damage}");
        let theirs = net.host.sh("nft list chain inet weft user_pre");
        assert!(
            theirs.contains("ours"),
            "{damage}: the administrator's rule is gone"
        );
    }
    net.host.sh("nft flush ruleset");
    ok(&run(&net, &["firewall", "reload"]));
    assert_eq!(ok(&run(&net, &["firewall", "diff"])), "");
    // It is not in the way of what comes later.
    let (late, _) = net.add(&full);
    net.del(&full, &late);
    assert_eq!(ok(&run(&net, &["firewall", "diff"])), "");
}

/// Nobody is there but the administrator's rule: everything else becomes as it should be.
#[test]
fn the_administrators_rule_keeps_the_tables() {
    let net = Net::new();
    let conf = network(&net, 1, &json!({"ipMasq": true}));
    let (container, _) = net.add(&conf);
    net.del(&conf, &container);
    net.host.sh(
        "nft add rule inet weft user_pre tcp dport 22 accept comment ours && \
         nft add element inet weft closed '{ theirs }'",
    );
    assert!(ok(&run(&net, &["firewall", "reload"])).contains("put right"));
    let tables = net.host.sh("nft list ruleset");
    assert!(
        tables.contains("ours") && !tables.contains("theirs"),
        "{tables}"
    );
    net.host
        .sh("nft flush chain inet weft user_pre && nft add element inet weft closed '{ theirs }'");
    ok(&run(&net, &["firewall", "reload"]));
    assert!(
        !net.host.sh("nft list ruleset").contains("weft"),
        "nobody needs them"
    );
}

#[test]
fn the_ruleset_is_shown_and_rendered() {
    let net = Net::new();
    let full = everything(&net);
    let shop = net.host.container();
    Call::new(&net.suite, "ADD", &full)
        .container(&shop)
        .var("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=shop")
        .on(&net.host)
        .ok();
    let shown = ok(&run(&net, &["firewall", "show", "net1"]));
    for word in [
        "net1: isolation full, 2 containers",
        "shop 10.1.0.3 fd01::3",
        "frames are checked, 0 dropped",
        "port 8080/tcp of the host leads to 80",
        "network net1, ingress, \"shop\": from name shop to network net1: tcp/80",
    ] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert!(!shown.contains("net2"), "{shown}");
    assert!(ok(&run(&net, &["firewall", "show"])).contains("net3: isolation mesh"));
    assert!(!run(&net, &["firewall", "show", "none"]).status.success());
    // What should be is what is.
    let without_counts = |listing: String| -> Vec<String> {
        let mut lines: Vec<String> = listing
            .replace(',', "")
            .lines()
            .map(|line| {
                line.replace("elements = {", "")
                    .replace(" }", "")
                    .trim()
                    .to_owned()
            })
            .collect();
        lines.sort();
        lines
    };
    let actual = net.host.sh("nft --stateless list ruleset");
    let rendered = ok(&run(&net, &["firewall", "render"]));
    assert_eq!(without_counts(rendered), without_counts(actual));
    let rendered: Value =
        serde_json::from_str(&ok(&run(&net, &["firewall", "render", "--json"]))).unwrap();
    assert!(rendered["nftables"].as_array().unwrap().len() > 40);
}

#[test]
fn another_firewalls_drop_is_reported_with_the_remedy() {
    let net = Net::new();
    let conf = network(&net, 1, &json!({"cniVersion": "1.1.0"}));
    let status = |conf: &Value| Call::new(&net.suite, "STATUS", conf).on(&net.host);
    status(&conf).ok();
    assert!(ok(&run(&net, &["doctor"])).contains("nothing found"));
    net.host.sh(
        "nft add table ip filter && \
         nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }' && \
         nft add chain ip filter DOCKER-USER && nft add rule ip filter FORWARD jump DOCKER-USER",
    );
    // Nobody suffers yet.
    let outcome = status(&conf);
    outcome.ok();
    assert!(outcome.stderr.contains("DOCKER-USER"), "{}", outcome.stderr);
    let (container, _) = net.add(&conf);
    let error = status(&conf).error();
    assert_eq!(error["code"], 51, "{error}");
    let remedy =
        "iptables -I DOCKER-USER -i wtest1 -j ACCEPT; iptables -I DOCKER-USER -o wtest1 -j ACCEPT";
    assert!(error["msg"].as_str().unwrap().contains(remedy), "{error}");
    let output = run(&net, &["doctor"]);
    assert!(
        !output.status.success() && text(&output).contains(remedy),
        "{}",
        text(&output)
    );
    let mut ignoring = conf.clone();
    ignoring["ignoreForeignFirewall"] = true.into();
    status(&ignoring).ok();
    // What it says to do helps.
    net.host.sh(
        "nft insert rule ip filter DOCKER-USER iifname wtest1 accept && \
         nft insert rule ip filter DOCKER-USER oifname wtest1 accept",
    );
    status(&conf).ok();
    assert!(ok(&run(&net, &["doctor"])).contains("nothing found"));
    net.host.sh("nft delete table inet weft 2>/dev/null; true");
    net.del(&conf, &container);
}

/// iptables-nft and its rules are neighbours: what Weft does leaves them, what they do leaves Weft.
#[test]
fn iptables_is_a_neighbour() {
    let net = Net::new();
    let host = &net.host;
    host.sh("iptables-nft -A FORWARD -i wtest1 -j ACCEPT && iptables-nft -A FORWARD -o wtest1 -j ACCEPT && \
             iptables-nft -P FORWARD DROP && iptables-nft -t nat -A POSTROUTING -s 10.99.0.0/16 -j MASQUERADE");
    let before = host.sh("iptables-nft-save | grep -v '^#'");
    let full = everything(&net);
    let (late, _) = net.add(&full);
    net.del(&full, &late);
    assert_eq!(
        host.sh(
            "iptables-nft-save | grep -v -e '^#' -e 'weft admits' | sed 's/\\[[0-9:]*\\]/[0:0]/'"
        ),
        before
            .lines()
            .map(|line| {
                let end = line.find('[').unwrap_or(line.len());
                match line.starts_with(':') {
                    true => format!("{}[0:0]\n", &line[..end]),
                    false => format!("{line}\n"),
                }
            })
            .collect::<String>()
    );
    // Of what weft-firewall has there the flush takes its admission, which a reload brings again.
    host.sh("iptables-nft -F && iptables-nft -t nat -F");
    let shown = run(&net, &["firewall", "diff"]);
    assert!(
        text(&shown).contains("a rule that lets wtest4 through"),
        "{}",
        text(&shown)
    );
    ok(&run(&net, &["firewall", "reload"]));
    assert_eq!(ok(&run(&net, &["firewall", "diff"])), "");
}
