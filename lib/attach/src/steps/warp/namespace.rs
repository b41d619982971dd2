//! The namespace of a target or gateway: what is there, and what is to be there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use weft_cni::{IpFamily, Mac};
use weft_kernel::netlink::{Batch, RouteSocket};
use weft_kernel::policy_routing::{self, OwnRoute, OwnRule, Via};
use weft_kernel::{KernelError, NetNs, address, link, neighbour, route, sysctl};
use weft_warp::{GatewayPlan, Near, NetnsPlace, TargetPlan, Wiring};

use super::sending;

/// RT_TABLE_MAIN.
const MAIN: u32 = 254;

/// A neighbour whose MAC is set for good: the interface, its address, its MAC.
type Neighbour = (u32, IpAddr, Mac);

type Own = (Vec<OwnRule>, Vec<OwnRoute>, Vec<IpFamily>);

/// EAFNOSUPPORT and EOPNOTSUPP (asm-generic/errno.h).
fn is_unsupported(error: &KernelError) -> bool {
    let errno = error.errno().map(|errno| errno as i32);
    matches!(errno, Some(95 | 97))
}

/// An open namespace. It lives as long as this.
#[derive(Debug)]
pub struct Namespace {
    netns: NetNs,
    home: NetNs,
    socket: RouteSocket,
}

/// What has been done to a namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Rules and routes that were added or removed.
    pub changes: usize,
    /// Rules of Weft's that were there before.
    pub had_rules: bool,
    /// There is a route by the gateway now.
    pub has_gateway: bool,
}

impl Namespace {
    /// Opens one; none if another one, or nothing, is at its path now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(place: &NetnsPlace) -> Result<Option<Self>, KernelError> {
        let netns = match NetNs::open(&place.path) {
            Ok(netns) => netns,
            Err(KernelError::NotANetns { .. }) => return Ok(None),
            Err(KernelError::Netns { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if netns.identity() != (place.dev, place.ino) {
            return Ok(None);
        }
        Self::of(netns).map(Some)
    }

    /// Of one that is open.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of(netns: NetNs) -> Result<Self, KernelError> {
        let home = NetNs::current()?;
        let socket = RouteSocket::open_in(&netns, &home)?;
        Ok(Self {
            netns,
            home,
            socket,
        })
    }

    /// The namespace itself.
    pub const fn netns(&self) -> &NetNs {
        &self.netns
    }

    /// The namespace that this process is in.
    pub const fn home(&self) -> &NetNs {
        &self.home
    }

    /// Interfaces and default routes.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wiring(&mut self) -> Result<Wiring, KernelError> {
        // By an interface that is not up yet there is no route.
        let up: BTreeSet<u32> = (link::list(&mut self.socket)?.iter())
            .filter(|one| one.is_up)
            .map(|one| one.index)
            .collect();
        let addresses = address::list_all(&mut self.socket)?;
        let mut wiring = Wiring {
            addresses: (addresses
                .iter()
                .filter(|one| up.contains(&one.link) && !one.address.ip().is_loopback()))
            .map(|one| (one.link, one.address))
            .collect(),
            defaults: Vec::new(),
        };
        for family in IpFamily::ALL {
            let mut defaults: Vec<_> = (route::list(&mut self.socket, family)?.into_iter())
                .filter(|one| one.dst.prefix() == 0 && one.table == Some(MAIN))
                .filter(|one| family.has(one.dst.ip()))
                .collect();
            defaults.sort_by_key(|one| one.priority.unwrap_or(0));
            let links = defaults.iter().map(|one| (family, one.link));
            wiring.defaults.extend(links);
        }
        Ok(wiring)
    }

    /// Makes it a target's.
    ///
    /// # Errors
    /// The kernel's. What could be done is done then: a target is not opened by an error.
    pub fn lead(&mut self, plan: &TargetPlan) -> Result<Done, KernelError> {
        let wiring = self.wiring()?;
        let routes = plan.routes(&wiring);
        let has_gateway = routes.iter().any(|one| one.link != 0);
        let neighbours = plan.neighbours(&wiring);
        let done = self.put(&plan.rules, &routes, (&neighbours, &wiring))?;
        Ok(Done {
            has_gateway,
            ..done
        })
    }

    /// Makes it a gateway's.
    ///
    /// # Errors
    /// The kernel's.
    pub fn serve(&mut self, plan: &GatewayPlan) -> Result<Done, KernelError> {
        let changes = self.send_on(plan)?;
        let wiring = self.wiring()?;
        let (rules, mut routes) = plan.routing(&wiring);
        let (near, neighbours) = plan.near(&wiring);
        routes.extend(near);
        let mut done = self.put(&rules, &routes, (&neighbours, &wiring))?;
        done.changes += changes;
        Ok(done)
    }

    /// Has it send on what targets send it. How many changes that took.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send_on(&self, plan: &GatewayPlan) -> Result<usize, KernelError> {
        for (family, name) in FORWARDING {
            if plan.forwards(family) {
                self.set(name, "1")?;
            }
        }
        Ok(usize::from(sending::put(self, plan)?))
    }

    /// In what a gateway's namespace is not as it should be.
    ///
    /// # Errors
    /// The kernel's.
    pub fn differences_of_gateway(&self, plan: &GatewayPlan) -> Result<Vec<String>, KernelError> {
        let mut found = Vec::new();
        for (name, value) in self.forwarding()? {
            let family = FORWARDING.iter().find(|(_, known)| *known == name);
            let is_wanted = family.is_some_and(|(family, _)| plan.forwards(*family));
            if is_wanted && value.trim() == "0" {
                found.push(format!("{name} is 0 in the container"));
            }
        }
        if !sending::is_right(self, plan)? {
            found.push("no nft table inet weft-warp for its networks in the container".to_owned());
        }
        Ok(found)
    }

    /// Takes all that is Weft's away. `forwarding` is how it was before.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear(&mut self, forwarding: &[(String, String)]) -> Result<Done, KernelError> {
        let wiring = self.wiring()?;
        let mut done = self.put(&[], &[], (&[], &wiring))?;
        done.changes += usize::from(sending::remove(self)?);
        for (name, value) in forwarding {
            self.set(name, value)?;
        }
        Ok(done)
    }

    /// How forwarding is set: name and value of each parameter.
    ///
    /// # Errors
    /// The kernel's.
    pub fn forwarding(&self) -> Result<Vec<(String, String)>, KernelError> {
        let read = || {
            let there = FORWARDING.iter().filter(|(_, name)| sysctl::exists(name));
            there
                .map(|(_, name)| Ok(((*name).to_owned(), sysctl::read(name)?)))
                .collect()
        };
        self.netns.run(&self.home, read)?
    }

    fn set(&self, name: &str, value: &str) -> Result<(), KernelError> {
        self.netns.run(&self.home, || {
            match sysctl::exists(name) && !sysctl::is_same(&sysctl::read(name)?, value) {
                true => sysctl::write(name, value),
                false => Ok(()),
            }
        })?
    }

    fn put_neighbours(
        &mut self,
        wanted: &[Neighbour],
        wiring: &Wiring,
        batch: &mut Batch,
    ) -> Result<(), KernelError> {
        let links: BTreeSet<u32> = wiring.addresses.iter().map(|(link, _)| *link).collect();
        for link in links {
            let there = neighbour::own_of_link(&mut self.socket, link)?;
            let wanted = || wanted.iter().filter(|one| one.0 == link);
            for (_, address, mac) in wanted().filter(|one| !there.contains(&(one.1, one.2))) {
                neighbour::set_own(link, *address, *mac, batch);
            }
            let is_spare = |address: &IpAddr| !wanted().any(|one| one.1 == *address);
            for (address, _) in there.iter().filter(|(address, _)| is_spare(address)) {
                neighbour::delete(link, *address, batch);
            }
        }
        Ok(())
    }

    /// A target is gone: what a gateway was told of its addresses goes.
    ///
    /// # Errors
    /// The kernel's.
    pub fn forget_near(&mut self, addresses: &[IpAddr]) -> Result<(), KernelError> {
        let mut batch = Batch::new();
        for family in IpFamily::ALL {
            for route in policy_routing::routes(&mut self.socket, family)? {
                if addresses.contains(&route.prefix.ip()) && route.prefix.prefix() == family.bits()
                {
                    OwnRoute::delete(route.table, route.prefix, route.metric, &mut batch);
                }
            }
        }
        let wiring = self.wiring()?;
        let links: BTreeSet<u32> = wiring.addresses.iter().map(|(link, _)| *link).collect();
        for link in links {
            for (address, _) in neighbour::own_of_link(&mut self.socket, link)? {
                if addresses.contains(&address) {
                    neighbour::delete(link, address, &mut batch);
                }
            }
        }
        self.socket.commit(batch)
    }

    /// A target is led: a gateway is told how its addresses are reached. What it was told of others stays.
    ///
    /// # Errors
    /// The kernel's.
    pub fn learn_near(&mut self, near: &[Near]) -> Result<(), KernelError> {
        let plan = GatewayPlan {
            near: near.to_vec(),
            ..GatewayPlan::default()
        };
        let (routes, neighbours) = plan.near(&self.wiring()?);
        let mut batch = Batch::new();
        for (link, address, mac) in neighbours {
            neighbour::set_own(link, address, mac, &mut batch);
        }
        routes.iter().for_each(|route| route.put(&mut batch));
        self.socket.commit(batch)
    }

    /// All rules and routes that have Weft's number, and the families that the kernel has: one that was started without
    /// IPv6 has neither.
    fn own(&mut self) -> Result<Own, KernelError> {
        let (mut rules, mut routes, mut families) = (Vec::new(), Vec::new(), Vec::new());
        for family in IpFamily::ALL {
            match policy_routing::rules(&mut self.socket, family) {
                Ok(found) => rules.extend(found),
                Err(error) if is_unsupported(&error) => continue,
                Err(error) => return Err(error),
            }
            let found = policy_routing::routes(&mut self.socket, family)?;
            routes.extend((found.into_iter()).filter(|one| family.has(one.prefix.ip())));
            families.push(family);
        }
        Ok((rules, routes, families))
    }

    /// In what a target's namespace is not as it should be.
    ///
    /// # Errors
    /// The kernel's.
    pub fn differences(&mut self, plan: &TargetPlan) -> Result<Vec<String>, KernelError> {
        let wiring = self.wiring()?;
        let (rules, routes, families) = self.own()?;
        let has = |family: IpFamily| families.contains(&family);
        let mut found = Vec::new();
        let missing = |one: &&OwnRule| has(one.family) && !rules.contains(one);
        for rule in plan.rules.iter().filter(missing) {
            found.push(format!(
                "no routing rule of priority {} to table {} in the container",
                rule.priority, rule.table
            ));
        }
        for route in plan
            .routes(&wiring)
            .iter()
            .filter(|one| has(IpFamily::of(one.prefix.ip())) && !routes.contains(one))
        {
            let way = match route.via {
                Via::Gateway(gateway) => format!("via {gateway}"),
                Via::Nexthop(id) => format!("nexthop {id}"),
                Via::Unreachable => "that leads nowhere".to_owned(),
            };
            found.push(format!(
                "no route {} {way} in table {} of the container",
                route.prefix, route.table
            ));
        }
        Ok(found)
    }

    /// All of Weft's rules and routes become these. Of what closes, routes come before the rules that lead to them; of
    /// what opens, rules go first.
    fn put(
        &mut self,
        rules: &[OwnRule],
        routes: &[OwnRoute],
        (neighbours, wiring): (&[Neighbour], &Wiring),
    ) -> Result<Done, KernelError> {
        let (there, ways, families) = self.own()?;
        let has = |family: IpFamily| families.contains(&family);
        let rules: Vec<&OwnRule> = rules.iter().filter(|one| has(one.family)).collect();
        let has_route = |one: &&OwnRoute| has(IpFamily::of(one.prefix.ip()));
        let routes: Vec<&OwnRoute> = routes.iter().filter(has_route).collect();
        let mut batch = Batch::new();
        self.put_neighbours(neighbours, wiring, &mut batch)?;
        let key = |one: &OwnRoute| (one.table, one.prefix, one.metric);
        let mut spare_ways = ways;
        for route in routes {
            let same = spare_ways.iter().position(|one| one == route);
            if same.is_none() {
                route.put(&mut batch);
            }
            let replaced = || (spare_ways.iter()).position(|one| key(one) == key(route));
            if let Some(place) = same.or_else(replaced) {
                spare_ways.swap_remove(place);
            }
        }
        let mut spare = there.clone();
        for rule in rules {
            match spare.iter().position(|one| one == rule) {
                Some(place) => drop(spare.swap_remove(place)),
                None => rule.add(&mut batch),
            }
        }
        spare.sort();
        spare.iter().rev().for_each(|rule| rule.delete(&mut batch));
        for route in &spare_ways {
            OwnRoute::delete(route.table, route.prefix, route.metric, &mut batch);
        }
        let done = Done {
            changes: batch.len(),
            had_rules: !there.is_empty(),
            has_gateway: false,
        };
        let answers = self.socket.send_all(batch)?;
        // The kernel goes on after one that fails: what closes is not left out for it.
        answers.into_iter().collect::<Result<(), _>>()?;
        Ok(done)
    }
}

const FORWARDING: [(IpFamily, &str); 2] = [
    (IpFamily::V4, "net/ipv4/ip_forward"),
    (IpFamily::V6, "net/ipv6/conf/all/forwarding"),
];
