//! The kernel tells what changes: each kind of event, of real commands.

use std::collections::VecDeque;

use weft_kernel::monitor::{Change, Event, Monitor, Topic};
use weft_testkit::Host;

const TOPICS: [Topic; 4] = [
    Topic::Links,
    Topic::Addresses,
    Topic::Routes,
    Topic::Neighbours,
];

/// A monitor with the events that nobody has asked for yet.
struct Told {
    monitor: Monitor,
    events: VecDeque<Event>,
}

impl Told {
    fn by(monitor: Monitor) -> Self {
        let events = VecDeque::new();
        Self { monitor, events }
    }

    /// The next event that is the wanted one; those before it are passed over.
    #[track_caller]
    fn until(&mut self, is_wanted: impl Fn(&Event) -> bool) -> Event {
        let mut seen = Vec::new();
        for _ in 0..50 {
            while let Some(event) = self.events.pop_front() {
                if is_wanted(&event) {
                    return event;
                }
                seen.push(event);
            }
            self.monitor.wait(100).unwrap();
            self.events.extend(self.monitor.read().unwrap());
        }
        panic!("not among {seen:#?}");
    }
}

#[test]
fn what_changes_is_told() {
    let host = Host::new();
    let mut told = Told::by(host.run(|| Monitor::of_routing(&TOPICS)).unwrap());
    assert!(told.monitor.read().unwrap().is_empty());

    host.sh("ip link add br0 type bridge && ip link set br0 up");
    let event = told.until(|event| matches!(event, Event::Link { change: Change::Present, link } if link.name == "br0" && link.is_up),
    );
    let Event::Link { link: bridge, .. } = event else {
        unreachable!()
    };
    assert_eq!(bridge.kind.as_deref(), Some("bridge"));

    host.sh("ip addr add 10.1.0.1/24 dev br0 && ip route add 10.9.0.0/16 via 10.1.0.9");
    told.until(|event| {
        matches!(event, Event::Address { change: Change::Present, assigned }
            if assigned.link == bridge.index && assigned.address.to_string() == "10.1.0.1/24")
    });
    told.until(|event| {
        matches!(event, Event::Route { change: Change::Present, route }
            if route.dst.to_string() == "10.9.0.0/16" && route.link == bridge.index)
    });

    host.sh("ip neigh add 10.1.0.5 lladdr 02:00:00:00:00:05 dev br0 nud permanent");
    told.until(|event| {
        matches!(event, Event::Neighbour { change: Change::Present, address, mac: Some(mac), .. }
            if address.to_string() == "10.1.0.5" && mac.to_string() == "02:00:00:00:00:05")
    });

    host.sh(
        "ip link add p0 type veth peer name p1 && ip link set p0 master br0 && \
         bridge fdb add 02:00:00:00:00:07 dev p0 master",
    );
    told.until(|event| {
        matches!(event, Event::Forwarding { change: Change::Present, mac, .. }
            if mac.to_string() == "02:00:00:00:00:07")
    });
    host.sh("bridge fdb del 02:00:00:00:00:07 dev p0 master");
    told.until(|event| {
        matches!(
            event,
            Event::Forwarding {
                change: Change::Gone,
                ..
            }
        )
    });

    host.sh("ip link del br0");
    told.until(|event| matches!(event, Event::Link { change: Change::Gone, link } if link.index == bridge.index),
    );
}

#[test]
fn each_commit_to_the_ruleset_is_told_once() {
    let host = Host::new();
    let mut told = Told::by(host.run(Monitor::of_ruleset).unwrap());
    host.sh("nft 'add table ip a; add chain ip a b; add rule ip a b counter'");
    let event = told.until(|event| matches!(event, Event::Ruleset { .. }));
    let Event::Ruleset {
        generation,
        by: Some((_, name)),
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!(name, "nft");
    host.sh("nft flush ruleset");
    let next = told.until(|event| matches!(event, Event::Ruleset { .. }));
    assert!(
        matches!(next, Event::Ruleset { generation: next, .. } if next == generation + 1),
        "{next:?}"
    );
    assert!(told.monitor.read().unwrap().is_empty());
}

/// Who does not read hears that something is lost, and goes on.
#[test]
fn lost_events_are_told() {
    let host = Host::new();
    let mut told = Told::by(host.run(|| Monitor::of_routing(&[Topic::Routes])).unwrap());
    host.sh("ip link set lo up && ip link add d0 type veth peer name d1 && ip link set d0 up");
    let add = "for a in $(seq 0 249); do for b in $(seq 1 250); do \
               echo route replace 10.$a.$b.0/24 dev d0; done; done | ip -batch -";
    host.sh(add);
    told.until(|event| matches!(event, Event::Lost));
    told.events.clear();
    host.sh("ip route add 192.0.2.0/24 dev d0");
    told.until(|event| matches!(event, Event::Route { route, .. } if route.dst.to_string() == "192.0.2.0/24"),
    );
}
