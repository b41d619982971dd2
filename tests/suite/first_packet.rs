//! Whoever is told that a container is attached may talk to it at once.

use std::path::PathBuf;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;
use weft_testkit::{Call, Host, Outside};

use crate::bridge::Net;
use crate::isolation::network;
use crate::services::{Server, try_tcp};

/// The host's own view of `/sys`, which answers without waiting for the kernel's lock of interfaces: who waits
/// for that comes after the kernel's worker, and finds everything well.
struct Sysfs(PathBuf);

impl Sysfs {
    fn of(host: &Host) -> Self {
        let path = host.dir().join("sys");
        std::fs::create_dir(&path).unwrap();
        let none: Option<&str> = None;
        host.run(|| mount(none, &path, Some("sysfs"), MsFlags::MS_RDONLY, none))
            .unwrap();
        Self(path)
    }

    /// Whether a link passes packets (`IF_OPER_UP`, RFC 2863).
    fn is_up(&self, link: &str) -> bool {
        let path = self.0.join("class/net").join(link).join("operstate");
        std::fs::read_to_string(path).unwrap().trim() == "up"
    }
}

impl Drop for Sysfs {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// The kernel's worker, which lets a port and its bridge take part once their carrier is there, has had its
/// turn when ADD returns, also where many want it at once. Until then the bridge answers nobody.
#[test]
fn ports_and_bridges_take_part_when_add_returns() {
    const AT_ONCE: u8 = 8;
    const ROUNDS: usize = 16;
    let net = Net::new();
    let sysfs = Sysfs::of(&net.host);
    // Each is the first of its bridge, which has no carrier without it.
    let early = &|number: u8| {
        let conf = network(&net, number, &json!({}));
        let is_early = |_: &usize| {
            let (container, result) = net.add(&conf);
            let port = result["interfaces"][1]["name"].as_str().unwrap();
            let all_up = sysfs.is_up(&format!("wtest{number}")) && sysfs.is_up(port);
            net.del(&conf, &container);
            !all_up
        };
        (0..ROUNDS).filter(is_early).count()
    };
    let early: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..=AT_ONCE)
            .map(|number| scope.spawn(move || early(number)))
            .collect();
        workers.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!(early, 0, "of {}", usize::from(AT_ONCE) * ROUNDS);
}

/// The first container of a bridge, by IPv6 and from beyond the host, which asks for its neighbour by the
/// bridge's link-local address.
#[test]
fn the_first_container_is_reached_by_ipv6() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    let machine = outside.machine();
    machine.sh("ip route add fd00::/8 via 2001:db8::2");
    let tentative = |link: &str| {
        net.host
            .sh(&format!("ip -6 addr show dev {link} tentative"))
    };
    while !tentative("uplink").is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let mut conf = net.conf(&json!({}));
    conf["ipam"]["ranges"] = json!([[{"subnet": "fd01::/64"}]]);
    let container = net.host.container();
    let _server = Server::tcp(&container, 80, "first");
    Call::new(&net.suite, "ADD", &conf)
        .container(&container)
        .on(&net.host)
        .ok();
    assert_eq!(tentative("wtest0"), "");
    // One that got lost for another reason is not repeated within this time, but a second one is there.
    let asked = || machine.run(|| try_tcp("[fd01::2]:80"));
    let answer = asked().or_else(asked);
    assert_eq!(answer.as_deref(), Some("first 2001:db8::1"));
}
