//! Names and addresses that derive from an attachment's identity.

use std::net::IpAddr;

use sha2::{Digest, Sha256};
use weft_cni::Mac;
use weft_cni::{AttachmentId, NetworkName};

/// The group of the host's interfaces that containers are behind: what comes by them is never from outside. `ip link
/// show group` shows them.
pub const LINK_GROUP: u32 = 0x7765_6674;

/// The same of closed networks: what has lost its name is closed all the same.
pub const CLOSED_LINK_GROUP: u32 = LINK_GROUP | 1;

/// Whether a group of links is one of these.
pub fn is_link_group(group: u32) -> bool {
    group | 1 == CLOSED_LINK_GROUP
}

/// In front of the identity in a link's alias.
pub const ALIAS_PREFIX: &str = "weft:";

/// The alias of a bridge that Weft made: only such a one is ever removed.
pub const BRIDGE_ALIAS: &str = "weft bridge";

/// The kernel refuses 256 bytes (IFALIASZ, linux/if.h), and an attribute brings its closing zero.
const ALIAS_BYTES: usize = 254;

/// Hexadecimal digits of the identity in a link's name, which hold no more.
const LINK_DIGITS: usize = 11;

/// The host end's name: NetworkManager and friends leave `veth*` alone, and 44 bits of the
/// identity's digest fill what an interface name allows.
pub fn host_link_name(id: &AttachmentId) -> String {
    format!("veth{}", id.short_hash(LINK_DIGITS))
}

/// The host end's alias, by which an attachment is recognised when its record is lost. Names too
/// long for one are told by their digest, and cannot be read back.
pub fn alias(id: &AttachmentId) -> String {
    let alias = format!("{ALIAS_PREFIX}{id}");
    if alias.len() > ALIAS_BYTES {
        format!("{ALIAS_PREFIX}{}", id.short_hash(64))
    } else {
        alias
    }
}

/// Reads [`alias`] back.
pub fn id_of_alias(alias: &str) -> Option<AttachmentId> {
    let mut parts = alias.strip_prefix(ALIAS_PREFIX)?.split('/');
    let (network, container, ifname) = (parts.next()?, parts.next()?, parts.next()?);
    Some(AttachmentId {
        network: network.try_into().ok()?,
        container_id: container.try_into().ok()?,
        ifname: ifname.try_into().ok()?,
    })
}

/// The mark of an attachment on its nf_tables elements, shown by `nft` as their comment: for
/// people the names, for machines (names may be cut off) the digest.
pub fn owner(id: &AttachmentId) -> String {
    let container: String = id.container_id.as_str().chars().take(12).collect();
    let network: String = id.network.as_str().chars().take(64).collect();
    format!(
        "weft {} {network}/{container}/{}",
        id.short_hash(16),
        id.ifname
    )
}

/// The name that the host end of the attachment with this mark has, if it has one.
pub fn host_link_of_owner(owner: &str) -> Option<String> {
    let digest = owner.strip_prefix("weft ")?.split(' ').next()?;
    Some(format!("veth{}", digest.get(..LINK_DIGITS)?))
}

/// The mark of a network on the elements that its attachments share.
pub fn network_owner(network: &NetworkName) -> String {
    let network: String = network.as_str().chars().take(100).collect();
    format!("weft network {network}")
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize().into()
}

/// The host end's MAC.
pub fn host_mac(id: &AttachmentId) -> Mac {
    Mac::from_digest(&digest(&[b"host", &id.digest()]))
}

/// The container's MAC: with an address it derives from that, so that the address's next holder
/// has the same MAC and no ARP cache is stale.
pub fn container_mac(id: &AttachmentId, address: Option<IpAddr>) -> Mac {
    match address {
        Some(ip) => {
            let text = ip.to_string();
            Mac::from_digest(&digest(&[
                b"container",
                id.network.as_str().as_bytes(),
                text.as_bytes(),
            ]))
        }
        None => Mac::from_digest(&digest(&[b"container", &id.digest()])),
    }
}

/// A bridge's MAC: stable on one machine, different on another that shares its segment.
pub fn bridge_mac(name: &str, machine_id: &str) -> Mac {
    Mac::from_digest(&digest(&[
        b"bridge",
        name.as_bytes(),
        machine_id.as_bytes(),
    ]))
}

/// The bridge-side end of a VLAN gateway.
pub fn vlan_gateway_port(link: &str) -> String {
    format!(
        "veth{}",
        hex(&digest(&[b"vlan gateway", link.as_bytes()]), 11)
    )
}

/// The longest name of an interface (IFNAMSIZ without the closing zero, linux/if.h).
const NAME_BYTES: usize = 15;

fn hex(digest: &[u8], digits: usize) -> String {
    let mut text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    text
}

/// The interface for a parent's frames with one tag, as other programs name it, if that is not too long.
pub fn vlan_link_name(parent: &str, id: u16) -> String {
    let name = format!("{parent}.{id}");
    if name.len() <= NAME_BYTES {
        return name;
    }
    let tail = hex(&digest(&[b"vlan", parent.as_bytes()]), 6);
    format!("vlan{id}-{tail}")
}

/// The host's own interface on a parent.
pub fn host_access_name(parent: &str) -> String {
    let name = format!("weft-{parent}");
    if name.len() <= NAME_BYTES {
        return name;
    }
    format!(
        "weft-{}",
        hex(&digest(&[b"host access", parent.as_bytes()]), 10)
    )
}

/// A name that no other program gives: that of an interface of the host besides its own while it is in a
/// container, and of one on a parent until it is there.
pub fn alternative_name(id: &AttachmentId) -> String {
    format!("weft{}", id.short_hash(11))
}

/// A digest of a configuration, to tell whether it is the same: without the network's name and what is of one call.
pub fn config_digest(input: &[u8]) -> String {
    const OTHERS: [&str; 5] = ["name", "cniVersion", "runtimeConfig", "prevResult", "args"];
    let mut conf: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(input).unwrap_or_default();
    conf.retain(|key, _| {
        let is_other = OTHERS.iter().any(|other| key.eq_ignore_ascii_case(other));
        !is_other && !key.starts_with("cni.dev/")
    });
    let rest = serde_json::Value::Object(conf).to_string();
    hex(&digest(&[rest.as_bytes()]), 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(container: &str) -> AttachmentId {
        AttachmentId {
            network: "net".try_into().unwrap(),
            container_id: container.try_into().unwrap(),
            ifname: "eth0".try_into().unwrap(),
        }
    }

    #[test]
    fn an_alias_names_its_attachment() {
        assert_eq!(id_of_alias(&alias(&id("c1"))), Some(id("c1")));
        for foreign in ["", "weft:", "weft:a/b", "weft bridge", "eth0"] {
            assert_eq!(id_of_alias(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_reused_address_keeps_its_mac() {
        let ip = Some("10.0.0.2".parse().unwrap());
        assert_eq!(container_mac(&id("c1"), ip), container_mac(&id("c2"), ip));
        assert_ne!(
            container_mac(&id("c1"), None),
            container_mac(&id("c2"), None)
        );
        assert_ne!(host_mac(&id("c1")), container_mac(&id("c1"), None));
    }

    #[test]
    fn names_fit_the_kernel() {
        assert_eq!(host_link_name(&id("c1")).len(), 15);
        assert_eq!(vlan_gateway_port("weft0.100").len(), 15);
        assert_eq!(vlan_link_name("eth0", 100), "eth0.100");
        assert_eq!(host_access_name("eth0"), "weft-eth0");
        for long in [
            vlan_link_name("enp0s31f6abcdef", 4094),
            host_access_name("enp0s31f6abcdef"),
            alternative_name(&id("c1")),
        ] {
            assert!(long.len() <= NAME_BYTES, "{long}");
        }
        assert!(owner(&id(&"x".repeat(200))).len() < 128);
        assert!(alias(&id(&"x".repeat(300))).len() <= ALIAS_BYTES);
    }
}
