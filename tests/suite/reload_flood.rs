//! Closed stays closed while the rules change: a container floods its closed neighbour, and nothing arrives, however often
//! the ruleset is reloaded, rules are applied, and those calls are killed half-way.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use weft_testkit::Call;

use crate::bridge::Net;
use crate::frames::{Hearing, script};
use crate::isolation::network;
use crate::lan::mac_of;

/// How often: `make soak-closed` says 5,000.
fn rounds() -> u32 {
    let text = std::env::var("WEFT_FLOOD_ROUNDS").unwrap_or_default();
    text.parse().unwrap_or(120)
}

#[test]
fn nothing_passes_while_the_rules_change() {
    let net = Net::new();
    let conf = network(&net, 1, &json!({"isolation": "full"}));
    let ((sender, _), (neighbour, _)) = (net.add(&conf), net.add(&conf));
    let script = script();
    let mac = |container: &weft_testkit::Container| mac_of(&container.sh("ip -o link show eth0"));
    let mut command = Command::new("python3");
    command.arg(script.path()).args(["flood", "eth0"]).args([
        format!("mac={}", mac(&sender)),
        format!("peer_mac={}", mac(&neighbour)),
        format!(
            "gateway_mac={}",
            mac_of(&net.host.sh("ip -o link show wtest1"))
        ),
        "ip4=10.1.0.2".to_owned(),
        "peer_ip4=10.1.0.3".to_owned(),
    ]);
    let hearing = Hearing::begin(&neighbour, &script);
    let mut flood = sender.run(|| command.spawn()).unwrap();
    std::fs::create_dir_all(net.host.policy_dir()).unwrap();
    let weft = |arguments: &[&str], killed_after: Option<u32>| {
        let call = Call::weft(&net.suite, arguments);
        let seconds = killed_after.map(|millis| format!("0.{:03}", millis));
        let call = match &seconds {
            Some(seconds) => {
                let wrapper = ["timeout", "-s", "KILL", seconds].map(str::to_owned);
                call.under(wrapper.to_vec())
            }
            None => call,
        };
        call.on(&net.host)
    };
    for round in 0..rounds() {
        // Something to put right.
        net.host.sh("nft add element inet weft closed '{ theirs }'");
        let killed_after = (round % 3 == 1).then_some(2 + round % 17);
        weft(&["firewall", "reload"], killed_after);
        let rule = format!(
            "[[allow]]\nfrom = {{ network = \"net{}\" }}\nto = {{ network = \"net1\" }}\nports = [\"udp/{}\"]\n",
            2 + round % 5,
            10 + round % 7
        );
        std::fs::write(net.host.policy_dir().join("a.toml"), rule).unwrap();
        let killed_after = (round % 3 == 2).then_some(2 + round % 17);
        weft(&["policy", "apply"], killed_after);
    }
    assert!(weft(&["firewall", "reload"], None).is_success());
    std::thread::sleep(Duration::from_millis(300));
    flood.kill().unwrap();
    flood.wait().unwrap();
    let heard = hearing.end();
    assert!(
        heard.is_empty(),
        "{} arrived: {:?}",
        heard.len(),
        heard.first()
    );
    // The control: the flood was there.
    let counters = net.host.sh("nft list chain inet weft refuse");
    let dropped = counters.split("packets ").nth(1).unwrap().split(' ').next();
    assert!(dropped.unwrap().parse::<u64>().unwrap() > 100, "{counters}");
}
