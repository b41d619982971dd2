//! What the containers of one network may know: names, zones, and the addresses of their subnets.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::name::Name;
use crate::query::kind;
use crate::reply::Data;

/// A name with what there is of it.
#[derive(Debug, Clone, Default)]
struct Node {
    data: Vec<Data>,
    /// How many names there are below it: it exists without data of its own then (RFC 8020).
    below: usize,
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
    /// What is in none of the zones is asked elsewhere.
    pub forwards: bool,
    /// Changes with each change.
    serial: u32,
    nodes: HashMap<Name, Node>,
}

/// What is known of a name and a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Records of the type.
    Found(Vec<Data>),
    /// The name is there, and has no record of the type. The zone says so.
    NoData(Name),
    /// There is no such name in the zone.
    NoName(Name),
    /// It is in none of the zones.
    Elsewhere,
}

impl View {
    /// An empty view.
    pub fn new(server: Name, zones: Vec<Name>, subnets: Vec<IpNetwork>, forwards: bool) -> Self {
        Self {
            zones,
            server,
            subnets,
            forwards,
            serial: 1,
            nodes: HashMap::new(),
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

    /// The zone that a name is in, the most particular one.
    fn zone_of(&self, name: &Name) -> Option<&Name> {
        let zones = self.zones.iter().filter(|zone| name.is_within(zone));
        zones.max_by_key(|zone| zone.wire().len())
    }

    /// Adds a record. A name outside of the zones is known all the same, and nothing is said of others there.
    pub fn insert(&mut self, name: &Name, data: Data) {
        self.serial = self.serial.wrapping_add(1);
        let node = self.nodes.entry(name.clone()).or_default();
        if node.data.contains(&data) {
            return;
        }
        let is_new = node.data.is_empty();
        node.data.push(data);
        if is_new {
            self.each_ancestor(name, |node| node.below += 1);
        }
    }

    /// Takes a record out.
    pub fn remove(&mut self, name: &Name, data: &Data) {
        self.serial = self.serial.wrapping_add(1);
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let before = node.data.len();
        node.data.retain(|one| one != data);
        let is_gone = before > 0 && node.data.is_empty();
        if is_gone && node.below == 0 {
            self.nodes.remove(name);
        }
        if is_gone {
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
    pub fn look_up(&self, name: &Name, wanted: u16) -> Lookup {
        let zone = self.zone_of(name);
        if let Some(node) = self.nodes.get(name) {
            let is_wanted = |one: &&Data| wanted == kind::ANY || one.kind() == wanted;
            let mut found: Vec<Data> = node.data.iter().filter(is_wanted).cloned().collect();
            found.extend(self.of_apex(name, wanted));
            return match found.is_empty() {
                false => Lookup::Found(found),
                true => Lookup::NoData(zone.unwrap_or(name).clone()),
            };
        }
        match zone {
            Some(zone) if zone == name => match self.of_apex(name, wanted) {
                found if !found.is_empty() => Lookup::Found(found),
                _ => Lookup::NoData(zone.clone()),
            },
            Some(zone) => Lookup::NoName(zone.clone()),
            None => self.reverse(name),
        }
    }

    /// What each zone has by itself (RFC 1035, section 3.3.13).
    fn of_apex(&self, name: &Name, wanted: u16) -> Vec<Data> {
        let mut found = Vec::new();
        if self.zones.contains(name) {
            if matches!(wanted, kind::SOA | kind::ANY) {
                found.push(self.authority());
            }
            if matches!(wanted, kind::NS | kind::ANY) {
                found.push(Data::Server(self.server.clone()));
            }
        }
        found
    }

    /// The SOA record of every zone.
    pub fn authority(&self) -> Data {
        Data::Authority {
            server: self.server.clone(),
            serial: self.serial,
        }
    }

    /// An address of the network's that is nobody's has no name; others are asked elsewhere.
    fn reverse(&self, name: &Name) -> Lookup {
        let is_own = |ip: IpAddr| self.subnets.iter().any(|subnet| subnet.contains(ip));
        match name.to_address().filter(|ip| is_own(*ip)) {
            Some(_) => Lookup::NoName(name.parent().unwrap_or_default()),
            None => Lookup::Elsewhere,
        }
    }
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
            Lookup::Found(vec![address("10.1.0.2")])
        );
        assert_eq!(
            look("web.demo.weft.internal", kind::AAAA),
            Lookup::NoData(name("weft.internal"))
        );
        assert_eq!(look("web", kind::AAAA), Lookup::NoData(name("web")));
        assert_eq!(
            look("db.demo.weft.internal", kind::A),
            Lookup::NoName(name("weft.internal"))
        );
        // It has names below it.
        assert_eq!(
            look("demo.weft.internal", kind::A),
            Lookup::NoData(name("weft.internal"))
        );
        // Only exact names outside of the zones are known: a network may be called com.
        for elsewhere in ["db", "db.demo", "demo", "example.com"] {
            assert_eq!(look(elsewhere, kind::A), Lookup::Elsewhere, "{elsewhere}");
        }
        assert!(matches!(look("weft.internal", kind::SOA), Lookup::Found(_)));
        assert!(matches!(look("weft.internal", kind::NS), Lookup::Found(_)));
        assert_eq!(
            look("weft.internal", kind::A),
            Lookup::NoData(name("weft.internal"))
        );
    }

    #[test]
    fn reverses_of_the_subnet_are_answered_here() {
        let view = view();
        let look = |text: &str| view.look_up(&Name::of_address(text.parse().unwrap()), kind::PTR);
        let web = Data::Pointer(name("web.demo.weft.internal"));
        assert_eq!(look("10.1.0.2"), Lookup::Found(vec![web]));
        assert!(matches!(look("10.1.0.3"), Lookup::NoName(_)));
        assert_eq!(look("10.1.0.200"), Lookup::Elsewhere);
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
        assert_eq!(gone, Lookup::NoName(name("weft.internal")));
        view.remove(&name("web"), &address("10.1.0.2"));
        view.remove(&name("web.demo"), &address("10.1.0.2"));
        assert_eq!((view.len(), view.nodes.len()), (1, 1));
    }
}
