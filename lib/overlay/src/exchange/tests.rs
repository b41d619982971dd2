use super::*;
use crate::config::Mode;

const FILE: &str = "[[overlay]]\nvni = 7\nbridge = { name = \"br7\", ipv4 = \"10.7.0.1/24\" }\n\
    routing.import = { accept_all = true }\n\
    [[peer]]\nid = \"a\"\naddress = \"192.0.2.1\"\n[[peer]]\nid = \"b\"\naddress = \"192.0.2.2\"\n\
    [[peer]]\nid = \"c\"\naddress = \"192.0.2.3\"\n";

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn exchange() -> Exchange {
    let mut exchange = Exchange::new("a".to_owned(), 1);
    let own = Own {
        locals: vec!["192.0.2.1".parse().unwrap()],
        ..Own::default()
    };
    exchange.configure("a".to_owned(), toml::from_str(FILE).unwrap(), own);
    exchange
}

fn route(prefix: &str, metric: u32) -> Route {
    Route {
        vni: 7,
        prefix: prefix.parse().unwrap(),
        next_hop: "10.7.0.2".parse().unwrap(),
        metric,
        lease_seconds: 30,
    }
}

fn state(node: &str, sequence: u64, routes: Vec<Route>) -> State {
    State {
        node: node.to_owned(),
        stamp: Some(Stamp {
            generation: 9,
            sequence,
        }),
        routes,
        ends: Vec::new(),
    }
}

/// A peer takes a call as it stands now.
fn done(
    all: &mut Exchange,
    now: Duration,
    peer: &str,
    call: &Call,
    answer: Option<State>,
) -> Result<(), Rejection> {
    let sent = all.state();
    all.called(now, peer, call, &sent, answer)
}

fn prefixes(exchange: &mut Exchange, now: Duration) -> Vec<(String, String)> {
    let learned = exchange.learned(now).routes.into_iter();
    let words = |one: LearnedRoute| (one.route.prefix.to_string(), one.peer);
    learned.map(words).collect()
}

#[test]
fn all_but_this_host_are_called() {
    let exchange = exchange();
    let ids: Vec<&str> = exchange.peers().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["b", "c"]);
    assert_eq!(exchange.next_call(at(0), "b"), Some(Call::Exchange));
}

#[test]
fn what_is_told_in_order_is_believed() {
    let mut all = exchange();
    let news = |all: &mut Exchange, sequence, prefix: &str| {
        let stamp = Some(Stamp {
            generation: 9,
            sequence,
        });
        all.announced(at(2), "b", stamp, &[route(prefix, 100)])
    };
    assert_eq!(
        news(&mut all, 1, "10.9.0.0/24"),
        Err(Rejection::OutOfOrder),
        "nothing before"
    );
    all.believe(at(1), state("b", 5, vec![route("10.8.0.0/24", 100)]))
        .unwrap();
    assert_eq!(news(&mut all, 6, "10.9.0.0/24"), Ok(1));
    assert_eq!(
        news(&mut all, 4, "10.10.0.0/24"),
        Err(Rejection::OutOfOrder)
    );
    assert_eq!(prefixes(&mut all, at(2)).len(), 2);
    let gone = [
        (Some(7), "10.8.0.0/24".parse().unwrap()),
        (Some(6), "10.9.0.0/24".parse().unwrap()),
    ];
    assert_eq!(all.withdrawn(at(3), "b", None, &gone), Ok(1));
    // A number that is not known means that something was missed.
    let lives = |all: &mut Exchange, sequence| {
        let stamp = Some(Stamp {
            generation: 9,
            sequence,
        });
        all.lives(at(3), "b", stamp)
    };
    assert_eq!(lives(&mut all, 8), Ok(true));
    all.believe(at(3), state("b", 8, Vec::new())).unwrap();
    assert_eq!(lives(&mut all, 8), Ok(false));
    // Started anew, it counts from the beginning.
    let mut anew = state("b", 1, vec![route("10.8.0.0/24", 100)]);
    anew.stamp = Some(Stamp {
        generation: 10,
        sequence: 1,
    });
    all.believe(at(4), anew).unwrap();
    assert_eq!(prefixes(&mut all, at(4)).len(), 1);
    for (node, why) in [("x", "no [[peer]]"), ("a", "two hosts")] {
        let error = all.believe(at(4), state(node, 1, Vec::new())).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    assert!(all.troubles(at(4))[0].contains("node.id"));
}

#[test]
fn routes_go_with_their_lease_or_later_if_containers_answer() {
    let mut all = exchange();
    all.believe(at(0), state("b", 1, vec![route("10.8.0.0/24", 100)]))
        .unwrap();
    assert!(all.peer_reports(at(1))[0].state == PeerState::Up);
    all.expire(at(10));
    assert!(all.learned(at(10)).routes[0].is_stale);
    for second in 10..200 {
        all.answered(at(second), "b", 7, Duration::from_millis(1));
        all.expire(at(second));
        assert_eq!(prefixes(&mut all, at(second)).len(), 1, "{second}");
    }
    assert!(all.expire(at(206)), "it does not answer any more");
    assert_eq!(all.peer_reports(at(206))[0].state, PeerState::Down);
    // Without an answer it is the lease alone; with one it is the hold.
    all.believe(at(300), state("b", 2, vec![route("10.8.0.0/24", 100)]))
        .unwrap();
    all.expire(at(329));
    assert_eq!(prefixes(&mut all, at(329)).len(), 1);
    all.expire(at(331));
    assert!(prefixes(&mut all, at(331)).is_empty());
    all.believe(at(400), state("b", 3, vec![route("10.8.0.0/24", 100)]))
        .unwrap();
    all.answered(at(1001), "b", 7, Duration::from_millis(1));
    all.expire(at(1001));
    assert!(prefixes(&mut all, at(1001)).is_empty());
}

#[test]
fn a_prefix_has_one_owner() {
    let mut all = exchange();
    all.believe(at(0), state("c", 1, vec![route("10.8.0.0/24", 100)]))
        .unwrap();
    assert_eq!(prefixes(&mut all, at(0))[0].1, "c");
    all.believe(at(1), state("b", 1, vec![route("10.8.0.0/24", 100)]))
        .unwrap();
    assert_eq!(prefixes(&mut all, at(1))[0].1, "c", "it had it before");
    all.believe(at(2), state("b", 2, vec![route("10.8.0.0/24", 50)]))
        .unwrap();
    assert_eq!(prefixes(&mut all, at(2))[0].1, "b", "it is nearer");
    let chosen = all.route_reports(at(2));
    assert_eq!(
        chosen.iter().map(|one| one.is_chosen).collect::<Vec<_>>(),
        [true, false]
    );
}

#[test]
fn what_is_known_from_before_stays_until_its_lease_ends() {
    let mut before = exchange();
    before
        .believe(at(0), state("b", 1, vec![route("10.8.0.0/24", 100)]))
        .unwrap();
    let learned = before.learned(at(0));
    let mut all = exchange();
    all.remember(at(100), learned.clone());
    all.expire(at(120));
    assert_eq!(prefixes(&mut all, at(120)).len(), 1);
    assert_eq!(all.peer_reports(at(120))[0].state, PeerState::Stale);
    all.expire(at(131));
    assert!(prefixes(&mut all, at(131)).is_empty());
    let mut all = exchange();
    all.remember(at(100), learned);
    all.believe(at(101), state("b", 1, Vec::new())).unwrap();
    assert!(
        prefixes(&mut all, at(101)).is_empty(),
        "the peer has spoken"
    );
}

#[test]
fn peers_are_told_what_has_changed() {
    let mut all = exchange();
    done(
        &mut all,
        at(0),
        "b",
        &Call::Exchange,
        Some(state("b", 1, Vec::new())),
    )
    .unwrap();
    assert_eq!(all.next_call(at(0), "b"), None);
    let own = Own {
        routes: vec![route("10.1.0.0/24", 100), route("10.2.0.0/24", 100)],
        ..Own::default()
    };
    let overlays: Overlays = toml::from_str(FILE).unwrap();
    all.configure("a".to_owned(), overlays.clone(), own.clone());
    let call = all.next_call(at(1), "b").unwrap();
    assert_eq!(call, Call::Announce(own.routes.clone()));
    done(&mut all, at(1), "b", &call, None).unwrap();
    let fewer = Own {
        routes: vec![route("10.2.0.0/24", 7)],
        ..Own::default()
    };
    all.configure("a".to_owned(), overlays, fewer.clone());
    // Changes of both kinds are told at once.
    assert_eq!(all.next_call(at(2), "b"), Some(Call::Exchange));
    done(
        &mut all,
        at(2),
        "b",
        &Call::Exchange,
        Some(state("b", 1, Vec::new())),
    )
    .unwrap();
    let none = Own::default();
    all.configure("a".to_owned(), toml::from_str(FILE).unwrap(), none);
    let call = all.next_call(at(3), "b").unwrap();
    assert_eq!(call, Call::Withdraw(fewer.routes.clone()));
    done(&mut all, at(3), "b", &call, None).unwrap();
    all.configure("a".to_owned(), toml::from_str(FILE).unwrap(), fewer.clone());
    let call = all.next_call(at(3), "b").unwrap();
    assert_eq!(call, Call::Announce(fewer.routes));
    done(&mut all, at(3), "b", &call, None).unwrap();
    assert_eq!(
        all.next_call(at(20), "b"),
        None,
        "keepalives say that nothing has changed"
    );
    // A host of n-netman's is told again before the lease ends.
    let mut theirs = state("c", 0, Vec::new());
    theirs.stamp = None;
    done(&mut all, at(20), "c", &Call::Exchange, Some(theirs)).unwrap();
    assert_eq!(all.next_call(at(29), "c"), None);
    assert!(matches!(
        all.next_call(at(30), "c"),
        Some(Call::Announce(_))
    ));
    all.opened("b");
    assert_eq!(all.next_call(at(30), "b"), Some(Call::Exchange));
    let answer = state("c", 1, Vec::new());
    assert!(
        done(&mut all, at(31), "b", &Call::Exchange, Some(answer)).is_err(),
        "another host is there"
    );
}

#[test]
fn routed_hosts_need_a_subnet_of_their_own() {
    let file = FILE
        .replace(
            "vni = 7",
            "vni = 7\nmode = \"routed\"\nnetworks = [\"10.7.0.0/16\"]",
        )
        .replace("routing.import = { accept_all = true }", "")
        + "[security.control_plane]\ninsecure = true\n";
    let overlays: Overlays = toml::from_str(&file).unwrap();
    assert_eq!(overlays.problems(), Vec::<String>::new());
    let mut all = Exchange::new("a".to_owned(), 1);
    all.configure("a".to_owned(), overlays, Own::default());
    let theirs = |prefix: &str, gateway: &str| Route {
        next_hop: gateway.parse().unwrap(),
        ..route(prefix, 100)
    };
    let end = |gateway: &str| End {
        vni: 7,
        mode: Mode::Routed,
        mac: Some(weft_cni::Mac([2, 0, 0, 0, 0, 2])),
        gateways: vec![gateway.parse().unwrap()],
        ranges: Vec::new(),
        neighbours: Vec::new(),
    };
    let mut of_b = state("b", 1, vec![theirs("10.7.2.0/24", "10.7.2.0")]);
    all.believe(at(0), of_b.clone()).unwrap();
    assert!(prefixes(&mut all, at(0)).is_empty());
    assert!(all.troubles(at(4))[0].contains("n-netman's hosts can be peers with mode"));
    of_b.ends = vec![end("10.7.2.0")];
    all.believe(at(1), of_b.clone()).unwrap();
    assert_eq!(prefixes(&mut all, at(1)).len(), 1);
    assert!(all.troubles(at(4)).is_empty());
    // The same subnet on two hosts.
    let mut of_c = state("c", 1, vec![theirs("10.7.2.0/25", "10.7.2.0")]);
    of_c.ends = vec![end("10.7.2.0")];
    all.believe(at(2), of_c).unwrap();
    assert!(
        all.troubles(at(4))[0].contains("give each host a subnet of its own"),
        "{:?}",
        all.troubles(at(4))
    );
    // This host's own.
    of_b.routes = vec![theirs("10.7.0.0/24", "10.7.2.0")];
    all.believe(at(3), of_b).unwrap();
    assert!(
        all.troubles(at(4))
            .iter()
            .any(|text| text.contains("overlaps with a prefix of this host"))
    );
}

/// What a part that was taken over says: the file decides what of it may be.
#[test]
fn a_peer_has_its_own_gateway_and_mac_alone() {
    let file = FILE
        .replace(
            "vni = 7",
            "vni = 7\nmode = \"routed\"\nnetworks = [\"10.7.0.0/16\"]",
        )
        .replace("routing.import = { accept_all = true }", "");
    let overlays: Overlays = toml::from_str(&file).unwrap();
    let own = Own {
        ends: vec![end_of(1, 1)],
        ..Own::default()
    };
    fn end_of(mac: u8, subnet: u8) -> End {
        End {
            vni: 7,
            mode: Mode::Routed,
            mac: Some(weft_cni::Mac([2, 0, 0, 0, 0, mac])),
            gateways: vec![format!("10.7.{subnet}.0").parse().unwrap()],
            ranges: Vec::new(),
            neighbours: Vec::new(),
        }
    }
    let said = |of_c: End| {
        let route = |peer: &str, subnet: u8| LearnedRoute {
            peer: peer.to_owned(),
            address: "203.0.113.9".parse().unwrap(),
            route: Route {
                next_hop: format!("10.7.{subnet}.0").parse().unwrap(),
                ..route(&format!("10.7.{subnet}.0/24"), 100)
            },
            is_stale: false,
        };
        let end = |peer: &str, end: End| LearnedEnd {
            peer: peer.to_owned(),
            address: "203.0.113.9".parse().unwrap(),
            end,
        };
        let learned = Learned {
            routes: vec![route("b", 2), route("c", 3), route("stranger", 4)],
            ends: vec![end("b", end_of(2, 2)), end("c", of_c)],
        };
        let trusted = learned.trusted(&overlays, &own);
        assert_eq!(trusted.routes.len(), 2);
        assert!(
            trusted
                .routes
                .iter()
                .all(|one| one.address.to_string().starts_with("192.0.2."))
        );
        let of = |peer: &str| {
            trusted
                .ends
                .iter()
                .find(|one| one.peer == peer)
                .unwrap()
                .end
                .clone()
        };
        (of("b"), of("c"))
    };
    let (b, c) = said(end_of(3, 3));
    assert!(b.mac.is_some() && b.gateways.len() == 1 && c.mac.is_some() && c.gateways.len() == 1);
    // The other's gateway, its MAC, this host's, nobody's.
    assert!(said(end_of(3, 2)).1.gateways.is_empty());
    assert!(said(end_of(2, 3)).1.mac.is_none());
    assert!(said(end_of(1, 3)).1.mac.is_none());
    let mut zero = end_of(3, 3);
    zero.mac = Some(weft_cni::Mac([0; 6]));
    assert!(said(zero).1.mac.is_none());
}
