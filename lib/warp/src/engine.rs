//! The containers that are known, and what is wanted in each one's namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weft_cni::{IfName, IpFamily};

use crate::classify::{Class, Classifier, GatewaySettings, Wish};
use crate::config::{Answers, Ipv6, OnMissing, WarpConfig};
use crate::container::{Container, ContainerId, Endpoint};
use crate::gateway::{GatewayPlan, Near, ips, subnet};
use crate::rule::RoutingRule;
use crate::target::{Hop, TargetPlan, rules};

/// What is wanted in a container's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing of Weft's: it is no gateway and no target.
    Nothing,
    /// It leads others.
    Gateway(GatewayPlan),
    /// It is led.
    Target(TargetPlan),
}

/// By whom a target is led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Led {
    /// The gateway.
    pub by: ContainerId,
    /// The networks that both may meet in, the preferred one first.
    pub networks: Vec<String>,
}

#[derive(Debug)]
struct Known {
    container: Container,
    class: Class,
    led: Option<Led>,
}

/// All containers.
#[derive(Debug)]
pub struct Engine {
    config: WarpConfig,
    known: BTreeMap<ContainerId, Known>,
}

impl Engine {
    /// Without containers.
    pub const fn new(config: WarpConfig) -> Self {
        Self {
            config,
            known: BTreeMap::new(),
        }
    }

    /// The configuration.
    pub const fn config(&self) -> &WarpConfig {
        &self.config
    }

    /// Another configuration. The containers whose plans may have changed: all.
    pub fn configure(&mut self, config: WarpConfig) -> BTreeSet<ContainerId> {
        self.config = config;
        for known in self.known.values_mut() {
            known.class = Classifier(&self.config).class(&known.container);
        }
        self.pair_all();
        self.known.keys().cloned().collect()
    }

    /// A container is there, or has changed. Those whose plans may have changed, gateways last: what must not reach a
    /// gateway any more is closed first.
    pub fn put(&mut self, id: ContainerId, container: Container) -> BTreeSet<ContainerId> {
        let class = Classifier(&self.config).class(&container);
        let before = self.known.remove(&id);
        let is_gateway = |class: &Class| matches!(class, Class::Gateway(_));
        let concerns_others =
            is_gateway(&class) || before.as_ref().is_some_and(|one| is_gateway(&one.class));
        let led = before.and_then(|one| one.led);
        let known = Known {
            container,
            class,
            led,
        };
        self.known.insert(id.clone(), known);
        self.pair_around(id, concerns_others)
    }

    /// A container is gone. Those whose plans may have changed.
    pub fn remove(&mut self, id: &ContainerId) -> BTreeSet<ContainerId> {
        let Some(known) = self.known.remove(id) else {
            return BTreeSet::new();
        };
        let concerns_others = matches!(known.class, Class::Gateway(_));
        let mut changed = self.pair_around(id.clone(), concerns_others);
        changed.extend(known.led.map(|led| led.by));
        changed
    }

    /// Decides anew for one container, or for all targets of its source too.
    fn pair_around(&mut self, id: ContainerId, with_others: bool) -> BTreeSet<ContainerId> {
        let concerned: Vec<ContainerId> = match with_others {
            false => vec![id],
            true => (self.known.keys())
                .filter(|one| one.source == id.source)
                .cloned()
                .chain([id.clone()])
                .collect(),
        };
        let mut changed = BTreeSet::new();
        for one in concerned {
            let led = self.choose(&one);
            let Some(known) = self.known.get_mut(&one) else {
                changed.insert(one);
                continue;
            };
            let before = std::mem::replace(&mut known.led, led);
            // A gateway's way out depends on where its targets are.
            if before != known.led {
                let both = [before, known.led.clone()];
                changed.extend(both.into_iter().flatten().map(|led| led.by));
            }
            changed.insert(one);
        }
        changed
    }

    fn pair_all(&mut self) {
        let all: Vec<ContainerId> = self.known.keys().cloned().collect();
        for id in all {
            let led = self.choose(&id);
            if let Some(known) = self.known.get_mut(&id) {
                known.led = led;
            }
        }
    }

    /// The gateway of a target: the one that it has, as long as it will do.
    fn choose(&self, id: &ContainerId) -> Option<Led> {
        let known = self.known.get(id)?;
        let Class::Target(wish) = &known.class else {
            return None;
        };
        let led = |by: &ContainerId| {
            let networks = self.meeting(known, wish, self.known.get(by)?);
            let by = by.clone();
            (!networks.is_empty()).then_some(Led { by, networks })
        };
        let mut candidates = self.candidates(id, wish);
        candidates.retain(|by| self.is_serving(by));
        let kept = (known.led.as_ref()).filter(|led| candidates.contains(&&led.by));
        kept.and_then(|kept| led(&kept.by))
            .or_else(|| candidates.into_iter().find_map(led))
    }

    fn candidates(&self, id: &ContainerId, wish: &Wish) -> Vec<&ContainerId> {
        let is_meant = |(other, known): &(&ContainerId, &Known)| {
            other.source == id.source
                && matches!(known.class, Class::Gateway(_))
                && wish.gateway.is(&known.container)
        };
        let all = self.known.iter().filter(is_meant);
        all.map(|(other, _)| other).collect()
    }

    fn is_serving(&self, id: &ContainerId) -> bool {
        let known = self.known.get(id);
        known.is_some_and(|one| one.container.is_running && one.container.netns.is_some())
    }

    /// The networks of a gateway in which a target may meet it. As long as a target has none that is known, it may be
    /// each: its namespace will tell.
    fn meeting(&self, target: &Known, wish: &Wish, gateway: &Known) -> Vec<String> {
        let own = &target.container.networks;
        let is_possible = |name: &&String| {
            let is_own = own.is_empty() || own.contains_key(*name);
            is_own && wish.gateway.network.as_ref().is_none_or(|one| one == *name)
        };
        let mut names: Vec<String> = (gateway
            .container
            .networks
            .iter()
            .filter(|(_, one)| one.is_meeting && !one.addresses.is_empty()))
        .map(|(name, _)| name)
        .filter(is_possible)
        .cloned()
        .collect();
        names.sort_by_key(|name| wish.network.as_ref() != Some(name));
        names
    }

    /// What is wanted in a container's namespace.
    pub fn plan(&self, id: &ContainerId) -> Plan {
        let Some(known) = self.known.get(id) else {
            return Plan::Nothing;
        };
        match &known.class {
            Class::Other => Plan::Nothing,
            Class::Gateway(settings) => Plan::Gateway(self.gateway_plan(id, known, settings)),
            Class::Broken(problems) => {
                let everything = [RoutingRule::default()];
                let mut plan = self.closed(known, &everything, &IpFamily::ALL);
                plan.missing = Some(problems.join("; "));
                Plan::Target(plan)
            }
            Class::Target(wish) => Plan::Target(self.target_plan(id, known, wish)),
        }
    }

    fn closed(&self, known: &Known, wanted: &[RoutingRule], families: &[IpFamily]) -> TargetPlan {
        let none = BTreeSet::new();
        let published = match &known.class {
            Class::Target(wish) if wish.answers == Answers::Direct => &known.container.published,
            Class::Target(_) | Class::Broken(_) | Class::Gateway(_) | Class::Other => &none,
        };
        let of = |family: &IpFamily| rules(&self.config, *family, wanted, published);
        TargetPlan {
            rules: families.iter().flat_map(of).collect(),
            table: self.config.table,
            hops: Vec::new(),
            missing: None,
        }
    }

    fn target_plan(&self, id: &ContainerId, known: &Known, wish: &Wish) -> TargetPlan {
        let led = known.led.as_ref();
        let Some((led, gateway)) = led.and_then(|led| Some((led, self.known.get(&led.by)?))) else {
            let mut plan = match wish.on_missing {
                OnMissing::Direct => self.closed(known, &[], &[]),
                OnMissing::Block | OnMissing::Wait => {
                    self.closed(known, &wish.rules, &IpFamily::ALL)
                }
            };
            plan.missing = Some(self.why_missing(id, known, wish));
            return plan;
        };
        let mut hops = Vec::new();
        for name in &led.networks {
            let own = known.container.networks.get(name);
            let own: Vec<_> = own.into_iter().flat_map(ips).collect();
            let there = gateway.container.networks.get(name);
            let mac = there.and_then(|one| one.mac);
            hops.extend(there.into_iter().flat_map(ips).map(|address| Hop {
                network: name.clone(),
                address,
                own: own.clone(),
                mac,
            }));
        }
        let has = |family: IpFamily| hops.iter().any(|hop| family.has(hop.address));
        let families: &[IpFamily] = match wish.ipv6 == Ipv6::Keep && !has(IpFamily::V6) {
            true => &[IpFamily::V4],
            false => &IpFamily::ALL,
        };
        TargetPlan {
            hops,
            ..self.closed(known, &wish.rules, families)
        }
    }

    fn why_missing(&self, id: &ContainerId, known: &Known, wish: &Wish) -> String {
        let asked = &wish.gateway;
        let candidates = self.candidates(id, wish);
        if candidates.is_empty() {
            let mut all = self.known.iter();
            let other = all.find(|(other, one)| {
                other.source == id.source && *other != id && asked.is(&one.container)
            });
            return match other {
                Some((_, one)) => format!(
                    "{} is no gateway: its name does not match warp_container_name_pattern, and it has no label {}",
                    one.container.name, self.config.gateway_label
                ),
                None => format!("there is no gateway {asked}"),
            };
        }
        let serving: Vec<&ContainerId> =
            (candidates.iter().copied().filter(|by| self.is_serving(by))).collect();
        let Some(first) = serving.first().and_then(|by| self.known.get(*by)) else {
            return format!("the gateway {asked} does not run");
        };
        let names = |one: &Known| {
            let all: Vec<&str> = one.container.networks.keys().map(String::as_str).collect();
            all.join(", ")
        };
        match &first.container.borrows {
            Some(of) => {
                format!("the gateway {asked} has no namespace of its own, but that of {of}")
            }
            None => format!(
                "the gateway {asked} is in no network with it: it is in {}, this container in {}",
                names(first),
                names(known)
            ),
        }
    }

    fn gateway_plan(
        &self,
        id: &ContainerId,
        known: &Known,
        settings: &GatewaySettings,
    ) -> GatewayPlan {
        let networks = &known.container.networks;
        let mut shared = BTreeSet::new();
        let mut near = Vec::new();
        for target in self.known.values() {
            let Some(led) = target.led.as_ref().filter(|led| led.by == *id) else {
                continue;
            };
            let Some(name) = led.networks.first() else {
                continue;
            };
            shared.insert(name.as_str());
            let own: Vec<IpAddr> = networks.get(name).into_iter().flat_map(ips).collect();
            near.extend(
                target
                    .container
                    .networks
                    .get(name)
                    .into_iter()
                    .flat_map(|one| near_of(one, &own)),
            );
        }
        let has_way = |(_, one): &(&String, &Endpoint)| !one.gateways.is_empty();
        let (egress, problem) = match &settings.egress {
            Some(name) => match networks.get_key_value(name) {
                Some(found) => (Some(found), None),
                None => (
                    None,
                    Some(format!("label weft.warp.egress: it is not in {name}")),
                ),
            },
            None if shared.is_empty() => (None, None),
            None => {
                let mut others = networks.iter().filter(has_way);
                let other = others.find(|(name, _)| !shared.contains(name.as_str()));
                (other, None)
            }
        };
        let endpoint = |name: &&str| networks.get(*name).cloned();
        let wrong_name = (settings.interface.as_ref())
            .filter(|name| IfName::try_from(name.as_str()).is_err())
            .map(|name| {
                format!(
                    "label weft.warp.interface: {name:?} is no name of an interface: nothing leaves"
                )
            });
        GatewayPlan {
            interface: settings.interface.clone(),
            subnets: (networks.values().filter(|one| one.is_meeting))
                .flat_map(|one| &one.addresses)
                .filter_map(subnet)
                .collect(),
            shared: shared.iter().filter_map(endpoint).collect(),
            near,
            egress: egress.map(|(name, one)| (name.clone(), one.clone())),
            problem: problem.or(wrong_name),
        }
    }

    /// All containers that are gateways or targets.
    pub fn concerned(
        &self,
    ) -> impl Iterator<Item = (&ContainerId, &Container, &Class, Option<&Led>)> {
        let all = self.known.iter();
        all.filter(|(_, known)| known.class != Class::Other)
            .map(|(id, known)| (id, &known.container, &known.class, known.led.as_ref()))
    }

    /// A container.
    pub fn container(&self, id: &ContainerId) -> Option<&Container> {
        self.known.get(id).map(|known| &known.container)
    }

    /// What a container is.
    pub fn class(&self, id: &ContainerId) -> Option<&Class> {
        self.known.get(id).map(|known| &known.class)
    }

    /// By whom a target is led.
    pub fn led(&self, id: &ContainerId) -> Option<&Led> {
        self.known.get(id)?.led.as_ref()
    }

    /// All containers of a source.
    pub fn ids(&self) -> impl Iterator<Item = &ContainerId> {
        self.known.keys()
    }
}

/// What a gateway has to be told of a target that hears no questions for its MAC.
fn near_of(endpoint: &Endpoint, own: &[IpAddr]) -> Vec<Near> {
    let Some(mac) = endpoint.mac.filter(|_| endpoint.is_alone) else {
        return Vec::new();
    };
    ips(endpoint)
        .map(|address| Near {
            address,
            mac,
            own: own.to_vec(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
