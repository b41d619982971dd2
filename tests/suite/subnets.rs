//! Which subnets networks get, and what `weft network create` refuses.

use weft_testkit::Call;

use crate::networks::Vnet;

/// Arguments of `create`, and a part of the error.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["--subnet", "10.9.1.0/24", "x"],
        "the host's route 10.9.0.0/16 by lan0",
    ),
    (
        &["--subnet", "172.20.0.128/25", "x"],
        "172.20.0.128/26 of network first",
    ),
    (&["first"], "exists already"),
    (&["--subnet", "10.1.0.1/24", "x"], "10.1.0.0/24 is meant"),
    (
        &["--subnet", "10.1.0.0/24", "--gateway", "10.2.0.1", "x"],
        "in none of the network's subnets",
    ),
    (
        &[
            "--subnet",
            "10.1.0.0/24",
            "--ip-range",
            "10.1.0.64/25",
            "--ip-range",
            "10.1.0.0/26",
            "x",
        ],
        "second of its family",
    ),
    (
        &["--subnet", "10.1.0.0/24", "--ip-range", "10.5.0.0/24", "x"],
        "in none of",
    ),
    (&["--subnet", "127.1.0.0/24", "x"], "is not for networks"),
    (&["--subnet", "10.1.0.0/31", "x"], "has no room"),
    (
        &["--internal", "--isolation", "none", "x"],
        "would reach the outside",
    ),
    (&["--option", "ipam={}", "x"], "use --subnet"),
    (&["--option", "isolation=peer", "x"], "use --isolation"),
    (
        &[
            "-d",
            "macvlan",
            "--uplink",
            "lan1",
            "--subnet",
            "172.20.0.0/25",
            "x",
        ],
        "the host's route",
    ),
    (
        &["--subnet", "10.1.0.0/24", "--subnet", "10.2.0.0/24", "x"],
        "second of its family",
    ),
    (
        &["--driver", "macvlan", "--uplink", "lan0", "x"],
        "needs --subnet",
    ),
    (
        &[
            "--driver",
            "macvlan",
            "--uplink",
            "lan9",
            "--subnet",
            "10.1.0.0/24",
            "x",
        ],
        "no interface of this name",
    ),
    (
        &[
            "--driver",
            "macvlan",
            "--isolation",
            "full",
            "--subnet",
            "10.1.0.0/24",
            "x",
        ],
        "do not pass",
    ),
    (&["--mesh", "a", "x"], "isolation mesh only"),
    (&["--option", "hairpinmod=true", "x"], "did you mean"),
    (&["--option", "mtu=9", "x"], "mtu"),
    (
        &["--option", "bridge=weft-first", "x"],
        "is that of network first",
    ),
    (&["-x"], "unexpected argument"),
    (&["a b"], "must start with a letter or digit"),
    (&["../x"], "must start with a letter or digit"),
];

#[test]
fn what_is_in_use_is_refused_with_the_reason() {
    let vnet = Vnet::new();
    let host = &vnet.net.host;
    host.sh(
        "ip link add lan0 type veth peer name lan1 && ip link set lan0 up && ip link set lan1 up",
    );
    host.sh("ip addr add 172.20.0.1/25 dev lan0 && ip route add 10.9.0.0/16 via 172.20.0.2");
    // The pool's first free one.
    let text = vnet.ok(&["network", "create", "first"]);
    assert!(text.contains("172.20.0.128/26"), "{text}");
    let refused = |arguments: &[&str]| vnet.error(&[&["network", "create"], arguments].concat());
    for (arguments, part) in REFUSED {
        let text = refused(arguments);
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
    assert_eq!(vnet.files(), ["zz-weft-first.conflist"]);
    // The LAN of a macvlan is the host's too.
    vnet.ok(&[
        "network",
        "create",
        "--driver",
        "macvlan",
        "--uplink",
        "lan0",
        "--subnet",
        "172.20.0.0/25",
        "lan",
    ]);
    let file = host.dir().join("weft.toml");
    std::fs::write(
        &file,
        "[vnet]\nmax_networks = 2\ndefault_subnet = \"172.20.0.0/25\"\n",
    )
    .unwrap();
    let call = |arguments: &[&str]| {
        let call = Call::weft(&vnet.net.suite, arguments);
        call.var("WEFT_CONFIG", file.to_str().unwrap()).on(host)
    };
    let outcome = call(&["network", "create", "third"]);
    assert!(outcome.stderr.contains("max_networks"), "{outcome:?}");
    std::fs::write(&file, "[vnet]\ndefault_subnet = \"172.20.0.0/25\"\n").unwrap();
    let outcome = call(&["network", "create", "third"]);
    assert!(outcome.stderr.contains("default_subnet"), "{outcome:?}");
}

#[test]
fn many_at_once_get_subnets_apart() {
    let vnet = Vnet::new();
    std::thread::scope(|scope| {
        for number in 0..16 {
            let vnet = &vnet;
            scope.spawn(move || vnet.ok(&["network", "create", &format!("net{number}")]));
        }
    });
    let all = vnet.json(&["network", "ls"]);
    let mut subnets: Vec<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["cidr"].as_str().unwrap())
        .collect();
    subnets.sort_unstable();
    subnets.dedup();
    assert_eq!(subnets.len(), 16);
}
