//! A network whose containers ask here, and its view: which names there are in it.

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::Result;
use weft_dns::{Data, Name, View};
use weft_store::StaticRecord;

use super::counters::Counters;
use crate::channel::{Endpoint, Network};
use crate::config::Settings;

/// Names of the host that users of Docker and Podman expect.
const HOST_NAMES: [&str; 2] = ["host.containers.internal", "host.docker.internal"];
/// What is answered here for everybody (RFC 6761, RFC 7686).
const LOCAL_ZONES: [&str; 3] = ["localhost", "invalid", "onion"];

/// A network with its names.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) network: Network,
    pub(super) view: View,
    pub(super) counters: Counters,
    /// The zone of its canonical names.
    apex: Name,
    /// The network's name below the host's domain.
    qualified: Name,
    /// Names that no container takes over.
    reserved: HashSet<Name>,
}

impl Served {
    /// A network without endpoints.
    pub(super) fn new(network: Network, settings: &Settings) -> Result<Self> {
        let domain = Name::parse(&settings.domain)?;
        let qualified = Name::parse(&network.name)?.below(&domain)?;
        let apex = match &network.domain {
            Some(own) => Name::parse(own)?,
            None => qualified.clone(),
        };
        let mut zones = vec![domain.clone(), qualified.clone()];
        if apex != qualified {
            zones.push(apex.clone());
        }
        zones.extend(LOCAL_ZONES.iter().filter_map(|zone| Name::parse(zone).ok()));
        let gateway = Name::parse("gateway")?.below(&apex)?;
        let subnets = network.subnets.clone();
        let mut view = View::new(gateway, zones, subnets, !network.is_internal);
        view.forwards_single_labels = settings.forward_single_label;
        view.ttl = settings.ttl;
        let zones = settings.zones.iter().chain(&network.zones);
        view.delegated
            .extend(zones.filter_map(|zone| Name::parse(&zone.domain).ok()));
        let mut served = Self {
            network,
            view,
            counters: Counters::default(),
            apex,
            qualified,
            reserved: HashSet::new(),
        };
        served.add_host(&domain)?;
        served.add_static(settings, &domain);
        Ok(served)
    }

    /// Names of the host, and of this machine's own loopback.
    fn add_host(&mut self, domain: &Name) -> Result<()> {
        let (gateway, host) = (Name::parse("gateway")?, Name::parse("host")?);
        let mut names = vec![gateway.below(&self.apex)?, host.below(&self.apex)?];
        names.extend([gateway.below(&self.qualified)?, host.below(domain)?]);
        names.extend(HOST_NAMES.iter().filter_map(|name| Name::parse(name).ok()));
        let canonical = gateway.below(&self.apex)?;
        for address in self.network.servers.clone() {
            for name in &names {
                self.view.insert(name, Data::Address(address));
            }
            let reverse = Name::of_address(address);
            self.view.insert(&reverse, Data::Pointer(canonical.clone()));
        }
        let localhost = Name::parse("localhost")?;
        for address in ["127.0.0.1", "::1"]
            .iter()
            .filter_map(|text| text.parse::<IpAddr>().ok())
        {
            self.view.insert(&localhost, Data::Address(address));
            self.view
                .insert(&Name::of_address(address), Data::Pointer(localhost.clone()));
        }
        // What is below it is this machine's too (RFC 6761, section 6.3).
        if let Ok(below) = Name::parse("*.localhost") {
            let own = ["127.0.0.1", "::1"].iter();
            for address in own.filter_map(|text| text.parse::<IpAddr>().ok()) {
                self.view.insert(&below, Data::Address(address));
            }
        }
        self.reserved.extend(names);
        self.reserved.insert(localhost);
        Ok(())
    }

    /// Records of the network's configuration, and of the host's.
    fn add_static(&mut self, settings: &Settings, domain: &Name) {
        let own = self.network.records.clone();
        let apex = self.apex.clone();
        let with_base = own.iter().map(|record| (record, &apex));
        let all = with_base.chain(settings.records.iter().map(|record| (record, domain)));
        for (record, base) in all {
            for name in names_of(&record.name, base) {
                for data in data_of(record, base) {
                    self.view.insert(&name, data);
                }
            }
        }
    }

    pub(super) fn insert(&mut self, endpoint: &Endpoint) {
        self.each(endpoint, |view, name, data| view.insert(name, data.clone()));
    }

    pub(super) fn remove(&mut self, endpoint: &Endpoint) {
        self.each(endpoint, View::remove);
    }

    /// Every record of an endpoint: each name alone, with the network, and with the domain; its services and texts; and
    /// the reverse of each address, which leads to its canonical name. What is no domain name has none.
    fn each(&mut self, endpoint: &Endpoint, change: impl Fn(&mut View, &Name, &Data)) {
        let names = endpoint.names.iter();
        // A container is no wildcard, whatever it is called.
        let is_plain = |name: &Name| name.labels().all(|label| label != b"*");
        let names = names.filter_map(|name| Name::parse(name).ok());
        let names: Vec<Name> = names.filter(is_plain).collect();
        let Some(canonical) = self.canonical(endpoint) else {
            return;
        };
        let addresses = endpoint
            .addresses
            .iter()
            .map(|address| Data::Address(*address));
        let texts = endpoint.texts.iter().map(|text| Data::Text(text.clone()));
        let own: Vec<Data> = addresses.chain(texts).collect();
        for name in &names {
            for form in self.forms(name) {
                for data in &own {
                    change(&mut self.view, &form, data);
                }
                for service in &endpoint.services {
                    let label = format!("_{}._{}", service.name, service.protocol);
                    let place = Data::Service {
                        priority: 0,
                        weight: 0,
                        port: service.port,
                        target: canonical.clone(),
                    };
                    let owner = Name::parse(&label).and_then(|label| label.below(&form));
                    if let Ok(owner) = owner {
                        change(&mut self.view, &owner, &place);
                    }
                }
            }
        }
        let short = endpoint
            .short_id
            .as_ref()
            .and_then(|id| Name::parse(id).ok());
        for (name, data) in short
            .iter()
            .flat_map(|name| own.iter().map(move |data| (name, data)))
        {
            change(&mut self.view, name, data);
        }
        for address in &endpoint.addresses {
            let reverse = Name::of_address(*address);
            change(&mut self.view, &reverse, &Data::Pointer(canonical.clone()));
        }
    }

    /// What an endpoint's addresses lead back to: the first of its names that a host may have (RFC 1123), else its
    /// first one.
    pub(super) fn canonical(&self, endpoint: &Endpoint) -> Option<Name> {
        let is_host_name = |name: &&String| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
                && !name.starts_with('-')
        };
        let names = || {
            endpoint
                .names
                .iter()
                .filter(|name| Name::parse(name).is_ok())
        };
        let name = names().find(is_host_name).or_else(|| names().next())?;
        Name::parse(name)
            .and_then(|name| name.below(&self.apex))
            .ok()
    }

    /// A name as it is asked for.
    fn forms(&self, name: &Name) -> Vec<Name> {
        let network = Name::parse(&self.network.name);
        let mut forms = vec![Ok(name.clone()), name.below(&self.qualified)];
        forms.extend(network.map(|network| name.below(&network)));
        if self.apex != self.qualified {
            forms.push(name.below(&self.apex));
        }
        let is_free = |form: &Name| !self.reserved.contains(form);
        forms.into_iter().flatten().filter(is_free).collect()
    }
}

/// A name of the configuration: with a dot at its end it stands as it is.
fn names_of(text: &str, base: &Name) -> Vec<Name> {
    let Ok(name) = Name::parse(text) else {
        return Vec::new();
    };
    // A wildcard without its base would stand for names that are none of the network's.
    match text.ends_with('.') || text.starts_with('*') {
        true if !text.ends_with('.') => name.below(base).into_iter().collect(),
        true => vec![name],
        false => name.below(base).into_iter().chain([name]).collect(),
    }
}

fn data_of(record: &StaticRecord, base: &Name) -> Vec<Data> {
    let v4 = record
        .a
        .iter()
        .map(|address| Data::Address((*address).into()));
    let v6 = record
        .aaaa
        .iter()
        .map(|address| Data::Address((*address).into()));
    let texts = record.txt.iter().map(|text| Data::Text(text.clone()));
    let places = record.srv.iter().filter_map(|place| {
        Some(Data::Service {
            priority: place.priority,
            weight: place.weight,
            port: place.port,
            target: names_of(&place.target, base).into_iter().next()?,
        })
    });
    v4.chain(v6).chain(texts).chain(places).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_dns::{Lookup, kind};
    use weft_store::Service;

    fn endpoint(names: &[&str]) -> Endpoint {
        Endpoint {
            id: "id".to_owned(),
            container: "c".to_owned(),
            network: "demo".to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            short_id: Some("4f5e6d".to_owned()),
            addresses: vec!["10.1.0.2".parse().unwrap()],
            services: vec![Service {
                name: "http".to_owned(),
                protocol: "tcp".to_owned(),
                port: 80,
            }],
            texts: vec!["blue".to_owned()],
            asks_inside: false,
        }
    }

    fn served(domain: Option<&str>) -> Served {
        let record = |name: &str, target: &str| StaticRecord {
            name: name.to_owned(),
            a: vec!["10.9.0.1".parse().unwrap()],
            srv: vec![weft_store::ServicePlace {
                target: target.to_owned(),
                port: 5432,
                ..Default::default()
            }],
            ..StaticRecord::default()
        };
        let network = Network {
            name: "demo".to_owned(),
            domain: domain.map(str::to_owned),
            servers: vec!["10.1.0.1".parse().unwrap()],
            subnets: vec!["10.1.0.0/24".parse().unwrap()],
            records: vec![record("*.apps", "db"), record("db.corp.example.", "x.")],
            ..Network::default()
        };
        Served::new(network, &Settings::default()).unwrap()
    }

    fn found(served: &Served, name: &str, wanted: u16) -> Vec<String> {
        match served.view.look_up(&Name::parse(name).unwrap(), wanted) {
            Lookup::Found(data) => data.iter().map(ToString::to_string).collect(),
            Lookup::NoData(_) | Lookup::NoName(_) | Lookup::Elsewhere => Vec::new(),
        }
    }

    #[test]
    fn an_endpoint_has_all_forms_of_its_names() {
        let mut served = served(Some("prox.example"));
        let one = endpoint(&["my_app", "web", "host"]);
        let before = served.view.len();
        served.insert(&one);
        for name in [
            "my_app",
            "web",
            "web.demo",
            "web.demo.weft.internal",
            "web.prox.example",
            "host",
            "4f5e6d",
        ] {
            assert_eq!(found(&served, name, kind::A), ["10.1.0.2"], "{name}");
            assert_eq!(found(&served, name, kind::TXT), ["\"blue\""], "{name}");
        }
        let target = ["0 0 80 web.prox.example."];
        assert_eq!(found(&served, "_http._tcp.web.demo", kind::SRV), target);
        // An underscore is looked up, and is no host's name.
        let reverse = "2.0.1.10.in-addr.arpa";
        assert_eq!(found(&served, reverse, kind::PTR), ["web.prox.example."]);
        for name in [
            "host.prox.example",
            "host.weft.internal",
            "gateway.demo.weft.internal",
            "host.docker.internal",
        ] {
            assert_eq!(found(&served, name, kind::A), ["10.1.0.1"], "{name}");
        }
        served.remove(&one);
        assert_eq!(served.view.len(), before);
        assert_eq!(found(&served, "localhost", kind::AAAA), ["::1"]);
    }

    #[test]
    fn static_names_are_below_the_network_or_as_they_stand() {
        let served = served(None);
        for name in [
            "x.apps.demo.weft.internal",
            "y.apps.demo.weft.internal",
            "db.corp.example",
        ] {
            assert_eq!(found(&served, name, kind::A), ["10.9.0.1"], "{name}");
        }
        assert!(
            found(&served, "x.apps", kind::A).is_empty(),
            "a domain of others"
        );
        for name in ["localhost", "app.localhost"] {
            assert_eq!(found(&served, name, kind::AAAA), ["::1"], "{name}");
        }
        let target = "0 0 5432 db.demo.weft.internal.";
        assert_eq!(
            found(&served, "x.apps.demo.weft.internal", kind::SRV),
            [target]
        );
        assert_eq!(
            found(&served, "db.corp.example", kind::SRV),
            ["0 0 5432 x."]
        );
    }
}
