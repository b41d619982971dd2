//! The container that a call is for, and which gateway leads it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_attach::chained::own_addresses;
use weft_attach::chained::record::foreign;
use weft_attach::steps::warp::{
    by_container, container_of, id_of, id_of_container, namespace_of, near, pair,
};
use weft_attach::{container_labels, container_name};
use weft_cni::{AttachmentId, CniResult, NetworkName, Request};
use weft_node::{Host, WeftError, namespaces};
use weft_store::{Addition, AttachmentRecord, NetnsRecord, StoreError, Transaction, WarpRecord};
use weft_warp::{Class, Classifier, Container, Engine, GatewayPlan, Near, Plan, TargetPlan};

use crate::config::Wanted;

/// The container of a call.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) id: AttachmentId,
    pub(crate) netns: NetnsRecord,
    /// What is to be recorded, without a gateway.
    pub(crate) warp: WarpRecord,
    pub(crate) class: Class,
}

/// A target, with the gateway that leads it.
#[derive(Debug)]
pub(crate) struct Pairing {
    pub(crate) plan: TargetPlan,
    /// There is a gateway for it, in this network or another one of its.
    pub(crate) is_led: bool,
    /// The one of this network.
    pub(crate) gateway: Option<AttachmentRecord>,
    /// The record as it is to be.
    pub(crate) record: AttachmentRecord,
}

impl Pairing {
    /// What the gateway has to be told of the target.
    pub(crate) fn near(&self) -> Vec<Near> {
        let gateway = self.gateway.as_ref();
        gateway.map_or_else(Vec::new, |gateway| near(&self.record, gateway))
    }
}

impl Own {
    /// Of the plugins before, the record if there is one, and the configuration.
    pub(crate) fn look(
        host: &Host,
        request: &Request,
        result: &CniResult,
        wanted: &Wanted,
    ) -> Result<Self, WeftError> {
        let id = request.attachment_id()?;
        let path = request.env.get("CNI_NETNS").unwrap_or_default();
        let netns = namespaces::record_at(path)?;
        let there = host.store.read(|transaction| transaction.attachment(&id))?;
        let name = match there.as_ref().and_then(|record| record.name.clone()) {
            Some(name) => Some(name),
            None => container_name(request)?,
        };
        let mut labels = match &there {
            Some(record) if !record.labels.is_empty() => record.labels.clone(),
            _ => container_labels(request)?,
        };
        // What a container's own labels say counts before what its network's configuration says for all.
        for (key, value) in &wanted.labels {
            let label = labels.entry(key.clone());
            label.or_insert_with(|| value.clone());
        }
        let mut container = Container {
            name: name.unwrap_or_else(|| id.container_id.to_string()),
            labels,
            ..Container::default()
        };
        let mut class = Classifier(&wanted.host).class(&container);
        if let Some(via) = wanted.via.as_ref().filter(|_| class == Class::Other) {
            let label = wanted.host.target_label.clone();
            container.labels.insert(label, via.clone());
            class = Classifier(&wanted.host).class(&container);
        }
        let mut routers: Vec<IpAddr> = result.ips.iter().filter_map(|ip| ip.gateway).collect();
        routers.dedup();
        Ok(Self {
            warp: WarpRecord {
                name: container.name,
                labels: container.labels,
                addresses: own_addresses(result, id.ifname.as_str()),
                routers,
                is_gateway: matches!(class, Class::Gateway(_)),
                ..WarpRecord::default()
            },
            id,
            netns,
            class,
        })
    }

    /// The record as it is, or one for an interface of another suite.
    pub(crate) fn record(
        &self,
        transaction: &Transaction<'_>,
        plugin: &str,
    ) -> Result<AttachmentRecord, StoreError> {
        let there = transaction.attachment(&self.id)?;
        Ok(there.unwrap_or_else(|| foreign(&self.id, plugin, &self.netns)))
    }

    /// Chooses a gateway among those of the network that live, and says what the target's namespace and the ruleset are to
    /// be like.
    pub(crate) fn pair(
        &self,
        transaction: &Transaction<'_>,
        plugin: &str,
        wanted: &Wanted,
    ) -> Result<Pairing, StoreError> {
        let mut record = self.record(transaction, plugin)?;
        let before = record.take_warp();
        let is_old = |element: &_| before.iter().any(|warp| warp.nft.contains(element));
        record.nft.retain(|element| !is_old(element));
        record.set_addition(Addition::Warp(self.warp.clone()));
        // The container may be led in another of its networks: there is one gateway for all of it.
        let mut all = transaction.attachments_of_id(&self.id.container_id)?;
        all.retain(|one| one.id != self.id && one.is_beside(&record));
        all.push(record.clone());
        let mut engine = Engine::new(wanted.host.clone());
        let id = id_of(&record);
        engine.put(id.clone(), container_of(&all).unwrap_or_default());
        let networks: BTreeSet<&NetworkName> = (all.iter())
            .filter(|one| one.warp().is_some())
            .map(|one| &one.id.network)
            .collect();
        let mut gateways = Vec::new();
        for network in networks {
            gateways.extend(transaction.gateways_of(network)?);
        }
        let lives = |one: &AttachmentRecord| one.netns.as_ref().is_some_and(namespaces::is_there);
        let living = gateways.iter().filter(|one| lives(one)).cloned();
        for (gateway, records) in by_container(living) {
            if let Some(container) = container_of(&records).filter(|_| gateway != id) {
                engine.put(gateway, container);
            }
        }
        let led = engine.led(&id).cloned();
        let is_here = |one: &AttachmentRecord| {
            let network = led.as_ref().and_then(|led| led.networks.first());
            one.id.network == self.id.network
                && network.is_some_and(|name| name == one.id.network.as_str())
                && led.as_ref().is_some_and(|led| led.by == id_of(one))
        };
        let is_led = led.is_some();
        let gateway = gateways.into_iter().find(is_here);
        let plan = match engine.plan(&id) {
            Plan::Target(plan) => plan,
            Plan::Nothing | Plan::Gateway(_) => TargetPlan::default(),
        };
        if let Some(gateway) = &gateway {
            let elements = pair(&record, gateway);
            record.nft.extend(elements.iter().cloned());
            record.set_addition(Addition::Warp(WarpRecord {
                led_by: Some(gateway.id.clone()),
                nft: elements,
                ..self.warp.clone()
            }));
        }
        Ok(Pairing {
            plan,
            is_led,
            gateway,
            record,
        })
    }

    /// What a gateway's namespace is to be like, for all its networks.
    pub(crate) fn gateway_plan(
        &self,
        host: &Host,
        wanted: &Wanted,
    ) -> Result<GatewayPlan, StoreError> {
        let records = host.store.read(|transaction| {
            let mut all = transaction.attachments_of_id(&self.id.container_id)?;
            if !all.iter().any(|one| one.id == self.id) {
                all.push(self.record(transaction, "")?);
            }
            Ok::<_, StoreError>(all)
        })?;
        let mut engine = Engine::new(wanted.host.clone());
        let id = id_of_container(&self.id);
        engine.put(id.clone(), container_of(&records).unwrap_or_default());
        Ok(match engine.plan(&id) {
            Plan::Gateway(plan) => plan,
            Plan::Nothing | Plan::Target(_) => GatewayPlan::default(),
        })
    }

    /// The addresses of the container in this network.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.warp.addresses.iter().map(IpNetwork::ip).collect()
    }
}

/// The gateway is told how a target is reached, where it would not be by itself.
pub(crate) fn tell_gateway(pairing: &Pairing) -> Result<(), WeftError> {
    let near = pairing.near();
    let gateway = pairing.gateway.as_ref().filter(|_| !near.is_empty());
    let namespace = gateway.map(namespace_of).transpose()?.flatten();
    if let Some(mut namespace) = namespace {
        namespace.learn_near(&near)?;
    }
    Ok(())
}
