//! What the containers of one network may know: names, zones, and the addresses of their subnets.

use std::borrow::Cow;
use std::collections::HashMap;

use ipnetwork::IpNetwork;

use crate::name::Name;
use crate::query::kind;
use crate::reply::Data;

/// A name with what there is of it.
#[derive(Debug, Clone, Default)]
struct Node {
    data: Records,
    /// How many names there are below it: it exists without data of its own then (RFC 8020).
    below: usize,
}

/// The data of a name. Nearly all names have one or two records, and there are many names.
#[derive(Debug, Clone, Default)]
enum Records {
    #[default]
    None,
    One(Data),
    Many(Vec<Data>),
}

impl Records {
    fn as_slice(&self) -> &[Data] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(all) => all,
        }
    }

    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn push(&mut self, data: Data) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(data),
            Self::One(one) => Self::Many(vec![one, data]),
            Self::Many(mut all) => {
                all.push(data);
                Self::Many(all)
            }
        };
    }

    /// Takes one of them out. Whether it was there.
    fn remove(&mut self, data: &Data) -> bool {
        let mut left = self.as_slice().to_vec();
        let Some(place) = left.iter().position(|one| one == data) else {
            return false;
        };
        left.remove(place);
        *self = match left.pop() {
            None => Self::None,
            Some(one) if left.is_empty() => Self::One(one),
            Some(last) => {
                left.push(last);
                Self::Many(left)
            }
        };
        true
    }
}

/// A network as its containers see it.
#[derive(Debug, Clone)]
pub struct View {
    /// Zones that are answered here alone: what is not in them is nowhere.
    zones: Vec<Name>,
    /// The name of this server, for SOA and NS.
    server: Name,
    /// Reverses of these addresses are answered here alone.
    subnets: Vec<IpNetwork>,
    /// Domains with servers of their own, which know reverses too.
    pub delegated: Vec<Name>,
    /// What is in none of the zones is asked elsewhere.
    pub forwards: bool,
    /// Names of one label too.
    pub forwards_single_labels: bool,
    /// How long the data may be remembered, in seconds.
    pub ttl: u32,
    /// Changes with each change.
    serial: u32,
    nodes: HashMap<Name, Node>,
    /// How many of the names begin with `*`.
    wildcards: usize,
}

/// What is known of a name and a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<'v> {
    /// Records of the type.
    Found(Vec<Cow<'v, Data>>),
    /// The name is there, and has no record of the type. The zone says so.
    NoData(Cow<'v, Name>),
    /// There is no such name in the zone.
    NoName(Cow<'v, Name>),
    /// It is in none of the zones.
    Elsewhere,
}

impl Lookup<'_> {
    /// The higher, the more is known.
    const fn rank(&self) -> u8 {
        match self {
            Self::Found(_) => 3,
            Self::NoData(_) => 2,
            Self::NoName(_) => 1,
            Self::Elsewhere => 0,
        }
    }
}

/// The first label of a name that stands for all names that are not there (RFC 4592).
const WILDCARD: &[u8] = b"\x01*";

impl View {
    /// An empty view.
    pub fn new(server: Name, zones: Vec<Name>, subnets: Vec<IpNetwork>, forwards: bool) -> Self {
        Self {
            zones,
            server,
            subnets,
            delegated: Vec::new(),
            forwards,
            forwards_single_labels: true,
            ttl: crate::answer::TTL,
            serial: 1,
            nodes: HashMap::new(),
            wildcards: 0,
        }
    }

    /// How many names have data.
    pub fn len(&self) -> usize {
        let has_data = |node: &&Node| !node.data.is_empty();
        self.nodes.values().filter(has_data).count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All records.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Data)> {
        self.nodes
            .iter()
            .flat_map(|(name, node)| node.data.as_slice().iter().map(move |data| (name, data)))
    }

    /// The zone that a name is in, the most particular one.
    fn zone_of(&self, name: &Name) -> Option<&Name> {
        let zones = self.zones.iter().filter(|zone| name.is_within(zone));
        zones.max_by_key(|zone| zone.wire().len())
    }

    /// Adds a record, once more if it is there: several containers may say the same, and each takes its own out. A name
    /// outside of the zones is known all the same, and nothing is said of others there.
    pub fn insert(&mut self, name: &Name, data: Data) {
        self.serial = self.serial.wrapping_add(1);
        let node = self.nodes.entry(name.clone()).or_default();
        let is_new = node.data.is_empty();
        node.data.push(data);
        if is_new {
            self.wildcards += usize::from(name.wire().starts_with(WILDCARD));
            self.each_ancestor(name, |node| node.below += 1);
        }
    }

    /// Takes a record out.
    pub fn remove(&mut self, name: &Name, data: &Data) {
        self.serial = self.serial.wrapping_add(1);
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let is_gone = node.data.remove(data) && node.data.is_empty();
        if is_gone && node.below == 0 {
            self.nodes.remove(name);
        }
        if is_gone {
            self.wildcards -= usize::from(name.wire().starts_with(WILDCARD));
            self.each_ancestor(name, |node| node.below = node.below.saturating_sub(1));
        }
    }

    /// Does something with the names above one, within its zone; what has nothing any more goes.
    fn each_ancestor(&mut self, name: &Name, change: impl Fn(&mut Node)) {
        let Some(zone) = self.zone_of(name).cloned() else {
            return;
        };
        let mut above = name.clone();
        while above != zone
            && let Some(parent) = above.parent()
        {
            let node = self.nodes.entry(parent.clone()).or_default();
            change(node);
            if node.below == 0 && node.data.is_empty() {
                self.nodes.remove(&parent);
            }
            above = parent;
        }
    }

    /// Looks a name up.
    pub fn look_up(&self, name: &Name, wanted: u16) -> Lookup<'_> {
        let zone = self.zone_of(name);
        let node = self.nodes.get(name).or_else(|| self.wildcard(name, zone));
        let mut found: Vec<Cow<'_, Data>> = Vec::new();
        if let Some(node) = node {
            let is_wanted = |one: &&Data| wanted == kind::ANY || one.kind() == wanted;
            let wanted = node.data.as_slice().iter().filter(is_wanted);
            for data in wanted.map(Cow::Borrowed) {
                if !found.contains(&data) {
                    found.push(data);
                }
            }
        }
        match zone {
            Some(zone) if zone == name => found.extend(self.of_apex(wanted).map(Cow::Owned)),
            Some(zone) if node.is_none() => return Lookup::NoName(Cow::Borrowed(zone)),
            None if node.is_none() => return self.reverse(name),
            _ => {}
        }
        if !found.is_empty() {
            return Lookup::Found(found);
        }
        let owned = || Cow::Owned(name.clone());
        Lookup::NoData(zone.map_or_else(owned, Cow::Borrowed))
    }

    /// Looks a name up here and, if it is not known, in other views.
    pub fn look_up_with<'v>(&'v self, others: &[&'v Self], name: &Name, wanted: u16) -> Lookup<'v> {
        let mut best = self.look_up(name, wanted);
        for other in others {
            if best.rank() >= 2 {
                break;
            }
            let found = other.look_up(name, wanted);
            if found.rank() > best.rank() {
                best = found;
            }
        }
        best
    }

    /// What stands for a name that is not there: the wildcard below the nearest name above it that is there.
    fn wildcard(&self, name: &Name, zone: Option<&Name>) -> Option<&Node> {
        if self.wildcards == 0 {
            return None;
        }
        for above in name.suffixes().skip(1) {
            let wildcard = [WILDCARD, above].concat();
            if let Some(node) = self.nodes.get(wildcard.as_slice()) {
                return Some(node);
            }
            if zone.is_some_and(|zone| zone.wire() == above) || self.nodes.contains_key(above) {
                return None;
            }
        }
        None
    }

    /// What each zone has by itself (RFC 1035, section 3.3.13).
    fn of_apex(&self, wanted: u16) -> impl Iterator<Item = Data> {
        let has = |one| wanted == one || wanted == kind::ANY;
        let authority = has(kind::SOA).then(|| self.authority());
        let server = has(kind::NS).then(|| Data::Server(self.server.clone()));
        authority.into_iter().chain(server)
    }

    /// The SOA record of every zone.
    pub fn authority(&self) -> Data {
        Data::Authority {
            server: self.server.clone(),
            serial: self.serial,
        }
    }

    /// An address of the network's that is nobody's has no name, nor has one that is private to somebody else
    /// (RFC 6303): asked elsewhere, it would say what is here. Others are asked elsewhere, and those in domains with
    /// servers of their own.
    fn reverse(&self, name: &Name) -> Lookup<'_> {
        let ip = name.to_address();
        let is_in_subnet = |ip| self.subnets.iter().any(|subnet| subnet.contains(ip));
        let is_own = ip.is_some_and(is_in_subnet);
        let is_delegated = || self.delegated.iter().any(|domain| name.is_within(domain));
        match is_own || (is_of_nobody(name) && !is_delegated()) {
            true => Lookup::NoName(Cow::Owned(name.parent().unwrap_or_default())),
            false => Lookup::Elsewhere,
        }
    }
}

/// Whether a name is in a zone of reverses that mean something else in each place (RFC 6303, sections 4.1 to 4.6).
fn is_of_nobody(name: &Name) -> bool {
    /// Without `in-addr.arpa`; 172.16.0.0/12 is apart.
    const V4: [&str; 9] = [
        "10",
        "168.192",
        "0",
        "127",
        "254.169",
        "2.0.192",
        "100.51.198",
        "113.0.203",
        "255.255.255.255",
    ];
    /// Without `ip6.arpa`: fd00::/8, fe80::/10 and 2001:db8::/32; `::` and `::1` are apart.
    const V6: [&str; 6] = ["d.f", "8.e.f", "9.e.f", "a.e.f", "b.e.f", "8.b.d.0.1.0.0.2"];
    let text = name.to_string();
    let ends_with = |text: &str, zone: &str| {
        text.strip_suffix(zone)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if let Some(text) = text.strip_suffix(".in-addr.arpa") {
        let second = |text: &str| text.rsplit('.').nth(1).and_then(|one| one.parse().ok());
        let is_172 = ends_with(text, "172")
            && second(text).is_some_and(|octet: u8| (16..32).contains(&octet));
        return is_172 || V4.iter().any(|zone| ends_with(text, zone));
    }
    let Some(text) = text.strip_suffix(".ip6.arpa") else {
        return false;
    };
    let is_loopback = || {
        name.to_address()
            .is_some_and(|ip| ip.is_loopback() || ip.is_unspecified())
    };
    V6.iter().any(|zone| ends_with(text, zone)) || is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn address(text: &str) -> Data {
        Data::Address(text.parse().unwrap())
    }

    fn view() -> View {
        let mut view = View::new(
            name("ns.demo.weft.internal"),
            vec![name("weft.internal")],
            vec!["10.1.0.0/26".parse().unwrap()],
            true,
        );
        view.insert(&name("web.demo.weft.internal"), address("10.1.0.2"));
        view.insert(&name("web.demo"), address("10.1.0.2"));
        view.insert(&name("web"), address("10.1.0.2"));
        let reverse = Name::of_address("10.1.0.2".parse().unwrap());
        view.insert(&reverse, Data::Pointer(name("web.demo.weft.internal")));
        view
    }

    #[test]
    fn a_name_with_another_type_is_there() {
        let view = view();
        let look = |text: &str, wanted| view.look_up(&name(text), wanted);
        assert_eq!(
            look("web.demo.weft.internal", kind::A),
            Lookup::Found(vec![Cow::Owned(address("10.1.0.2"))])
        );
        assert_eq!(
            look("web.demo.weft.internal", kind::AAAA),
            Lookup::NoData(Cow::Owned(name("weft.internal")))
        );
        assert_eq!(
            look("web", kind::AAAA),
            Lookup::NoData(Cow::Owned(name("web")))
        );
        assert_eq!(
            look("db.demo.weft.internal", kind::A),
            Lookup::NoName(Cow::Owned(name("weft.internal")))
        );
        // It has names below it.
        assert_eq!(
            look("demo.weft.internal", kind::A),
            Lookup::NoData(Cow::Owned(name("weft.internal")))
        );
        // Only exact names outside of the zones are known: a network may be called com.
        for elsewhere in ["db", "db.demo", "demo", "example.com"] {
            assert_eq!(look(elsewhere, kind::A), Lookup::Elsewhere, "{elsewhere}");
        }
        assert!(matches!(look("weft.internal", kind::SOA), Lookup::Found(_)));
        assert!(matches!(look("weft.internal", kind::NS), Lookup::Found(_)));
        assert_eq!(
            look("weft.internal", kind::A),
            Lookup::NoData(Cow::Owned(name("weft.internal")))
        );
    }

    #[test]
    fn reverses_of_the_subnet_are_answered_here() {
        let view = view();
        let look = |text: &str| view.look_up(&Name::of_address(text.parse().unwrap()), kind::PTR);
        let web = Data::Pointer(name("web.demo.weft.internal"));
        assert_eq!(look("10.1.0.2"), Lookup::Found(vec![Cow::Owned(web)]));
        assert!(matches!(look("10.1.0.3"), Lookup::NoName(_)));
        assert!(matches!(look("10.9.0.3"), Lookup::NoName(_)), "private");
        assert!(matches!(look("198.51.100.200"), Lookup::NoName(_)));
        for elsewhere in ["9.9.9.9", "172.32.0.1", "192.0.3.1", "2620:fe::fe"] {
            assert_eq!(look(elsewhere), Lookup::Elsewhere, "{elsewhere}");
        }
        for text in [
            "b._dns-sd._udp.0.0.168.192.in-addr.arpa",
            "10.in-addr.arpa",
            "20.172.in-addr.arpa",
            "1.0.8.e.f.ip6.arpa",
        ] {
            let found = view.look_up(&name(text), kind::SOA);
            assert!(matches!(found, Lookup::NoName(_)), "{text}");
        }
        let mut view = view.clone();
        view.delegated = vec![name("9.10.in-addr.arpa"), name("1.10.in-addr.arpa")];
        let look = |text: &str| view.look_up(&Name::of_address(text.parse().unwrap()), kind::PTR);
        assert_eq!(look("10.9.0.3"), Lookup::Elsewhere, "somebody knows");
        assert!(
            matches!(look("10.1.0.3"), Lookup::NoName(_)),
            "the network's own"
        );
        assert!(matches!(look("10.8.0.3"), Lookup::NoName(_)));
    }

    #[test]
    fn what_two_say_is_there_until_both_are_gone() {
        let mut view = view();
        view.insert(&name("web"), address("10.1.0.2"));
        let found = view.look_up(&name("web"), kind::A);
        assert_eq!(found, Lookup::Found(vec![Cow::Owned(address("10.1.0.2"))]));
        view.remove(&name("web"), &address("10.1.0.2"));
        assert!(matches!(
            view.look_up(&name("web"), kind::A),
            Lookup::Found(_)
        ));
        view.remove(&name("web"), &address("10.1.0.2"));
        assert_eq!(view.look_up(&name("web"), kind::A), Lookup::Elsewhere);
    }

    #[test]
    fn what_is_taken_out_leaves_nothing() {
        let mut view = view();
        let other = address("10.1.0.9");
        view.insert(&name("web.demo.weft.internal"), other.clone());
        view.remove(&name("web.demo.weft.internal"), &other);
        assert_eq!(view.len(), 4);
        view.remove(&name("web.demo.weft.internal"), &address("10.1.0.2"));
        view.remove(&name("web.demo.weft.internal"), &address("10.1.0.2"));
        let gone = view.look_up(&name("demo.weft.internal"), kind::A);
        assert_eq!(gone, Lookup::NoName(Cow::Owned(name("weft.internal"))));
        view.remove(&name("web"), &address("10.1.0.2"));
        view.remove(&name("web.demo"), &address("10.1.0.2"));
        assert_eq!((view.len(), view.nodes.len()), (1, 1));
    }

    #[test]
    fn a_wildcard_stands_for_what_is_not_there() {
        let mut view = view();
        view.insert(&name("*.apps.demo.weft.internal"), address("10.1.0.9"));
        view.insert(&name("db.apps.demo.weft.internal"), address("10.1.0.7"));
        view.insert(&name("*.corp.example"), address("10.9.9.9"));
        let look = |text: &str, wanted| view.look_up(&name(text), wanted);
        let found = |text: &str| Lookup::Found(vec![Cow::Owned(address(text))]);
        assert_eq!(
            look("x.apps.demo.weft.internal", kind::A),
            found("10.1.0.9")
        );
        assert_eq!(
            look("y.x.apps.demo.weft.internal", kind::A),
            found("10.1.0.9")
        );
        assert_eq!(
            look("db.apps.demo.weft.internal", kind::A),
            found("10.1.0.7")
        );
        assert_eq!(look("a.corp.example", kind::A), found("10.9.9.9"));
        assert!(matches!(
            look("x.apps.demo.weft.internal", kind::AAAA),
            Lookup::NoData(_)
        ));
        // A name that is there keeps the wildcard from what is below it.
        assert!(matches!(
            look("x.db.apps.demo.weft.internal", kind::A),
            Lookup::NoName(_)
        ));
        assert!(matches!(
            look("apps.demo.weft.internal", kind::A),
            Lookup::NoData(_)
        ));
        assert_eq!(look("corp.example", kind::A), Lookup::Elsewhere);
    }

    #[test]
    fn other_views_are_asked_for_what_is_not_known() {
        let own = view();
        let mut other = View::new(
            name("ns.b.example"),
            vec![name("weft.internal"), name("b.example")],
            Vec::new(),
            true,
        );
        other.insert(&name("db.b.example"), address("10.2.0.2"));
        other.insert(&name("web"), address("10.2.0.3"));
        let look = |text: &str| own.look_up_with(&[&other], &name(text), kind::A);
        let found = |text: &str| Lookup::Found(vec![Cow::Owned(address(text))]);
        assert_eq!(look("db.b.example"), found("10.2.0.2"));
        assert_eq!(look("web"), found("10.1.0.2"), "its own comes first");
        assert!(matches!(look("no.b.example"), Lookup::NoName(_)));
        assert_eq!(look("example.com"), Lookup::Elsewhere);
    }
}
