//! What cannot be undercut: an empty process, and the bare netlink messages of an ADD and a DEL.

use std::time::Instant;

use weft_cni::Mac;
use weft_kernel::link::{self, VethPair};
use weft_kernel::netlink::{Batch, RouteSocket};
use weft_kernel::{NetNs, address};
use weft_testkit::{Call, Host, Suite};

use crate::measure::{median, millis, timed};
use crate::report::Report;

pub(crate) fn measure(report: &mut Report, rounds: usize) {
    let suite = Suite::weft();
    let host = Host::new();
    let conf = serde_json::json!({"type": "weft-bridge", "cniVersion": "1.1.0"});
    let version = Call::new(&suite, "VERSION", &conf);
    let process = median((0..rounds).map(|_| timed(&version, &host).0.wall));
    report.note("floor: a process (VERSION)", process, "ms");
    host.sh("ip link add bench0 type bridge && ip link set bench0 up");
    let (add, del) = bare_messages(&host, "bench0", rounds);
    report.note("floor: bare messages of an ADD", add, "ms");
    report.note("floor: bare message of a DEL", del, "ms");
}

/// What the kernel takes for one attachment to a bridge: medians of making and deleting it.
pub(crate) fn bare_messages(host: &Host, bridge: &str, rounds: usize) -> (f64, f64) {
    let (mut adds, mut dels) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let container = NetNs::create().unwrap();
        let (add, del) = host.run(|| bare(&container, bridge));
        adds.push(add);
        dels.push(del);
    }
    (median(adds), median(dels))
}

/// The pair, its address, up, a route; and its deletion.
fn bare(container: &NetNs, bridge: &str) -> (f64, f64) {
    let start = Instant::now();
    let home = NetNs::current().unwrap();
    let mut socket = RouteSocket::open().unwrap();
    let mut inside = RouteSocket::open_in(container, &home).unwrap();
    let bridge = link::find(&mut socket, bridge).unwrap().unwrap();
    let mut batch = Batch::new();
    let pair = VethPair {
        name: "vethbench",
        mac: Mac([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        controller: Some(bridge.index),
        peer_name: "eth0",
        peer_mac: Mac([2, 0, 0, 0, 0, 2]),
        peer_netns: Some(container),
    };
    pair.create(&mut batch);
    socket.commit(batch).unwrap();
    let own = link::find(&mut inside, "eth0").unwrap().unwrap();
    let mut batch = Batch::new();
    let detection = address::DuplicateDetection::Skip;
    address::add(
        own.index,
        &"10.0.0.2/24".parse().unwrap(),
        detection,
        &mut batch,
    );
    link::set_up(own.index, &mut batch);
    inside.commit(batch).unwrap();
    let add = millis(start.elapsed());
    let start = Instant::now();
    let mut batch = Batch::new();
    link::delete("vethbench", &mut batch);
    socket.commit(batch).unwrap();
    (add, millis(start.elapsed()))
}
