//! Which steps lead from what is seen to what is desired.

use std::collections::BTreeSet;

use crate::object::{Key, Objects, Value};

/// A change of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is not there.
    Make(Key, Value),
    /// It is another one, and can be changed in its place.
    Change(Key, Value),
    /// It is not wanted, or has to be made anew.
    Remove(Key),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Make(key, _) => write!(f, "make {key}"),
            Self::Change(key, _) => write!(f, "change {key}"),
            Self::Remove(key) => write!(f, "remove {key}"),
        }
    }
}

/// The steps, in the order in which they are taken: what goes first, in the order against that of making. What is on an
/// interface goes and comes with it. Of what is seen, `removable` may go.
pub fn plan(desired: &Objects, seen: &Objects, removable: impl Fn(&Key) -> bool) -> Vec<Step> {
    let is_remade = |key: &Key, there: &Value| {
        desired
            .get(key)
            .is_some_and(|wanted| !there.can_become(wanted))
    };
    let is_unwanted =
        |key: &Key, there: &Value| !desired.contains_key(key) || is_remade(key, there);
    let gone: BTreeSet<&str> = seen
        .iter()
        .filter(|(key, there)| key.is_link() && is_unwanted(key, there) && removable(key))
        .map(|(key, _)| key.link())
        .collect();
    let goes_with_link = |key: &Key| !key.is_link() && gone.contains(key.link());
    let removed = seen
        .iter()
        .rev()
        .filter(|(key, there)| is_unwanted(key, there) && removable(key) && !goes_with_link(key))
        .map(|(key, _)| key.clone());
    // A route that another one takes the place of goes when that is there, and so does what it leads by.
    let wanted: BTreeSet<_> = desired.keys().filter_map(Key::destination).collect();
    let is_replaced = |key: &Key| {
        matches!(key, Key::Nexthop(..))
            || key.destination().is_some_and(|one| wanted.contains(&one))
    };
    let (late, first): (Vec<Key>, Vec<Key>) = removed.partition(is_replaced);
    let mut steps: Vec<Step> = first.into_iter().map(Step::Remove).collect();
    for (key, wanted) in desired {
        let there = seen.get(key).filter(|_| !gone.contains(key.link()));
        match there {
            None => steps.push(Step::Make(key.clone(), wanted.clone())),
            Some(there) if there != wanted => steps.push(Step::Change(key.clone(), wanted.clone())),
            Some(_) => {}
        }
    }
    steps.extend(late.into_iter().map(Step::Remove));
    steps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Overlays;
    use crate::desired::objects;
    use crate::underlay::Chosen;

    use crate::exchange::Learned;

    fn overlay(keys: &str, peers: &[&str]) -> Objects {
        let text = format!(
            "[[overlay]]\nvni = 7\nbridge = {{ name = \"br7\", ipv4 = \"10.7.0.1/24\" }}\n{keys}"
        );
        let mut all = toml::from_str::<Overlays>(&text).unwrap();
        all.peer = peers
            .iter()
            .map(|address| crate::config::Peer {
                id: (*address).to_owned(),
                address: address.parse().unwrap(),
                vnis: None,
                subnets: Vec::new(),
                health: crate::config::Health::default(),
            })
            .collect();
        let chosen = Chosen {
            interface: "eth0".to_owned(),
            local: "192.0.2.1".parse().unwrap(),
            mtu: 1450,
        };
        let mut ids = BTreeSet::new();
        objects(
            &all.overlay[0],
            (&chosen, &[]),
            &all.peer,
            &Learned::default(),
            &mut ids,
        )
        .0
    }

    fn words(desired: &Objects, seen: &Objects) -> Vec<String> {
        let steps = plan(desired, seen, |_| true);
        steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_is_made_in_order_and_goes_against_it() {
        let all = overlay("", &["192.0.2.1", "192.0.2.2"]);
        let nothing = Objects::new();
        assert_eq!(
            words(&all, &nothing),
            [
                "make bridge br7",
                "make VXLAN device vxlan7",
                "make vxlan7 as a port of its bridge",
                "make address 10.7.0.1/24 of br7",
                "make 192.0.2.2 as a receiver of vxlan7",
            ]
        );
        assert_eq!(
            words(&nothing, &all),
            ["remove VXLAN device vxlan7", "remove bridge br7"]
        );
        assert!(words(&all, &all).is_empty());
        assert!(plan(&nothing, &all, |_| false).is_empty());
    }

    #[test]
    fn a_device_that_cannot_be_changed_is_made_anew_with_what_is_on_it() {
        let (before, after) = (
            overlay("", &["192.0.2.2"]),
            overlay("port = 4790", &["192.0.2.2"]),
        );
        assert_eq!(
            words(&after, &before),
            [
                "remove VXLAN device vxlan7",
                "make VXLAN device vxlan7",
                "make vxlan7 as a port of its bridge",
                "make 192.0.2.2 as a receiver of vxlan7",
            ]
        );
        assert_eq!(
            words(&overlay("", &["192.0.2.3"]), &before),
            [
                "remove 192.0.2.2 as a receiver of vxlan7",
                "make 192.0.2.3 as a receiver of vxlan7",
            ]
        );
    }

    /// What the kernel would be like after the steps.
    fn after(steps: &[Step], seen: &Objects) -> Objects {
        let mut all = seen.clone();
        for step in steps {
            match step {
                Step::Make(key, value) => {
                    assert!(
                        all.insert(key.clone(), value.clone()).is_none(),
                        "{key} is there"
                    );
                }
                Step::Change(key, value) => {
                    assert!(
                        all.insert(key.clone(), value.clone()).is_some(),
                        "{key} is not there"
                    );
                }
                Step::Remove(key) => {
                    assert!(all.remove(key).is_some(), "{key} is not there");
                    if key.is_link() {
                        all.retain(|other, _| other.link() != key.link());
                    }
                }
            }
        }
        all
    }

    proptest! {
        #[test]
        fn the_steps_lead_there(
            ports in prop::array::uniform2(4789_u16..4791),
            mtus in prop::array::uniform2(1400_u32..1402),
            peers in prop::array::uniform2(prop::collection::btree_set(2_u8..6, 0..4)),
            lost in prop::collection::vec(any::<bool>(), 12),
        ) {
            let made = |number: usize| {
                let keys = format!("port = {}\nmtu = {}", ports[number], mtus[number]);
                let own: Vec<String> = peers[number].iter().map(|last| format!("192.0.2.{last}")).collect();
                let own: Vec<&str> = own.iter().map(String::as_str).collect();
                overlay(&keys, &own)
            };
            let (mut seen, desired) = (made(0), made(1));
            let keys: Vec<Key> = seen.keys().cloned().collect();
            for (key, _) in keys.iter().zip(&lost).filter(|(_, is_lost)| **is_lost) {
                // What was on an interface is gone with it.
                seen.retain(|other, _| other != key && !(key.is_link() && other.link() == key.link()));
            }
            let steps = plan(&desired, &seen, |_| true);
            prop_assert_eq!(after(&steps, &seen), desired.clone());
            prop_assert!(plan(&desired, &desired, |_| true).is_empty());
        }
    }
}
