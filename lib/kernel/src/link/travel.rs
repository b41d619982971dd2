//! Links that go to another namespace and come back: by index, because names change on the way.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{LinkAttribute, Prop};

use super::by_index;
use crate::netlink::{Batch, kind};

/// Moves a link to another namespace, where it has another name. The kernel takes it down for that,
/// and its addresses are gone.
pub fn move_to(index: u32, netns: &impl AsFd, name: &str, batch: &mut Batch) {
    let mut link = by_index(index);
    link.attributes = vec![
        LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()),
        LinkAttribute::IfName(name.to_owned()),
    ];
    let words = format!("move link {index} to another namespace as {name}");
    batch.push(kind::SET_LINK, &link, 0, words);
}

/// Renames a link.
pub fn rename(index: u32, name: &str, batch: &mut Batch) {
    let mut link = by_index(index);
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let words = format!("rename link {index} to {name}");
    batch.push(kind::SET_LINK, &link, 0, words);
}

/// Gives a link one more name, which it keeps when it is renamed or moved.
pub fn add_alternative_name(index: u32, name: &str, batch: &mut Batch) {
    let mut link = by_index(index);
    link.attributes = vec![LinkAttribute::PropList(vec![Prop::AltIfName(
        name.to_owned(),
    )])];
    let words = format!("give link {index} the alternative name {name}");
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    batch.push(kind::NEW_PROPERTY, &link, flags, words);
}

/// Takes an alternative name away.
pub fn remove_alternative_name(index: u32, name: &str, batch: &mut Batch) {
    let mut link = by_index(index);
    link.attributes = vec![LinkAttribute::PropList(vec![Prop::AltIfName(
        name.to_owned(),
    )])];
    let words = format!("take the alternative name {name} from link {index}");
    batch.push(kind::DELETE_PROPERTY, &link, 0, words);
}
