//! A container that is led through another one of its network: exactly these two are opened for each other, and only for
//! frames to one receiver. What the gateway passes on to the target has foreign source addresses.

use weft_cni::Mac;
use weft_kernel::nft::{Expression, Key, Set, SetKind, Verdict};
use weft_store::NftRecord;

use super::guard::{GATEWAYS, MIRRORED};
use super::key::{ifname_bytes, record};
use super::matching::{
    ACCEPT, FIRST, came_by_ethernet, input_name, is_in, link_layer, output_name,
};
use super::tables::{GUARD, NAT, set};

/// A gateway's port, and the MAC of a target that it may send to from any address.
pub(super) const ONWARD: Set = set(GUARD, "onward", &[Key::IfName, Key::Ether], SetKind::Hash);
/// A bridge, and the MACs of a target and its gateway, in both directions. Bridged packets pass the host's rules where
/// br_netfilter is on.
pub(super) const LED: Set = set(
    NAT,
    "led",
    &[Key::IfName, Key::Ether, Key::Ether],
    SetKind::Hash,
);

fn macs(interface: Expression) -> Vec<Expression> {
    vec![
        interface,
        link_layer(6, 6, FIRST + 4),
        link_layer(0, 6, FIRST + 6),
        is_in(&LED),
    ]
}

/// What is bridged between both passes.
pub(super) fn pass() -> Vec<Expression> {
    let mut rule = came_by_ethernet().to_vec();
    rule.extend(macs(input_name(FIRST)));
    rule.push(ACCEPT);
    rule
}

/// What is bridged between both keeps its addresses.
pub(super) fn keep_addresses() -> Vec<Expression> {
    let mut rule = macs(output_name(FIRST));
    rule.push(Expression::Verdict(Verdict::Return));
    rule
}

/// Frames of a gateway's port to a target of its.
pub(super) fn is_onward() -> [Expression; 3] {
    [
        input_name(FIRST),
        link_layer(0, 6, FIRST + 4),
        is_in(&ONWARD),
    ]
}

/// A container's port of a bridge, and its MAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedPort {
    /// On the host.
    pub name: String,
    /// In the container.
    pub mac: Mac,
}

/// That a target and its gateway, on one bridge, are open for each other.
pub fn led_elements(bridge: &str, target: &LedPort, gateway: &LedPort) -> Vec<NftRecord> {
    let padded = |mac: Mac| [mac.0.as_slice(), &[0, 0]].concat();
    let port_and_mac =
        |port: &LedPort, mac: Mac| [ifname_bytes(&port.name).as_slice(), &padded(mac)].concat();
    let ports =
        |from: &LedPort, to: &LedPort| [ifname_bytes(&from.name), ifname_bytes(&to.name)].concat();
    let on_bridge =
        |from: Mac, to: Mac| [ifname_bytes(bridge).as_slice(), &padded(from), &padded(to)].concat();
    vec![
        record(GATEWAYS, &port_and_mac(target, gateway.mac)),
        record(GATEWAYS, &port_and_mac(gateway, target.mac)),
        record(MIRRORED, &ports(target, gateway)),
        record(MIRRORED, &ports(gateway, target)),
        record(ONWARD, &port_and_mac(gateway, target.mac)),
        record(LED, &on_bridge(target.mac, gateway.mac)),
        record(LED, &on_bridge(gateway.mac, target.mac)),
    ]
}
