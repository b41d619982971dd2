//! How full the pools of addresses are.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;
use weft_cni::IpFamily;
use weft_cni::args::CniArgs;
use weft_cni::conf::{NetConf, Problems};
use weft_ipam::IpamConfig;

use crate::catalogue::{Catalogue, NetworkFile};
use crate::error::VNetError;
use crate::vnet_manager::VNetManager;

/// A leased address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeaseView {
    /// The address.
    pub address: IpAddr,
    /// What its leases are kept under: the network's name, if nothing else is configured.
    pub pool: String,
    /// The network of the endpoint that has it.
    pub network: String,
    /// Its container.
    pub container_id: String,
    /// The interface.
    pub interface_name: String,
    /// What the runtime calls the container.
    pub name: Option<String>,
}

/// The addresses of a network and one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolUse {
    /// The network.
    pub network: String,
    /// `v4` or `v6`.
    pub family: &'static str,
    /// How many can be leased.
    pub capacity: u128,
    /// How many are.
    pub used: u128,
}

impl PoolUse {
    /// Whether it needs attention: nine tenths of it are leased.
    pub fn is_nearly_full(&self) -> bool {
        const FULL: f64 = 0.9;
        self.share() >= FULL
    }

    /// How much of it is leased, 0 to 1.
    pub fn share(&self) -> f64 {
        let part = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        match self.capacity {
            0 => 1.0,
            capacity => to_float(part(self.used)) / to_float(part(capacity)),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "metrics are floating-point numbers"
)]
pub(crate) fn to_float(number: u64) -> f64 {
    number as f64
}

impl VNetManager {
    /// Leases, by pool and address.
    ///
    /// # Errors
    /// The store's.
    pub fn leases(&self) -> Result<Vec<LeaseView>, VNetError> {
        let (leases, records) = self.host.store.read(|transaction| {
            Ok::<_, weft_store::StoreError>((transaction.leases()?, transaction.attachments()?))
        })?;
        let names: BTreeMap<_, _> = records.iter().map(|one| (&one.id, &one.name)).collect();
        let view = |(pool, address, lease): (String, IpAddr, weft_store::Lease)| LeaseView {
            address,
            pool,
            network: lease.holder.network.to_string(),
            container_id: lease.holder.container_id.to_string(),
            interface_name: lease.holder.ifname.to_string(),
            name: names.get(&lease.holder).and_then(|name| (*name).clone()),
        };
        Ok(leases.into_iter().map(view).collect())
    }

    /// How full the pools are of the networks whose addresses Weft gives.
    ///
    /// # Errors
    /// The store's and the system's.
    pub fn pools(&self) -> Result<Vec<PoolUse>, VNetError> {
        let leases = self.host.store.read(|transaction| transaction.leases())?;
        let mut used: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
        for (pool, address, _) in &leases {
            used.entry(pool.as_str()).or_default().push(*address);
        }
        let catalogue = Catalogue::read(&self.places.conf_dir)?;
        let mut found = Vec::new();
        for file in &catalogue.files {
            let Some(ipam) = own_ipam(file) else { continue };
            let pool = ipam.pool().name;
            let leased = used.get(pool.as_str()).map_or(&[][..], Vec::as_slice);
            for (family, name) in [(IpFamily::V4, "v4"), (IpFamily::V6, "v6")] {
                let ranges = || {
                    let all = ipam.sets.iter().flatten();
                    all.filter(move |range| IpFamily::of(range.subnet().ip()) == family)
                };
                let capacity: u128 = ranges().map(weft_store::Range::capacity).sum();
                let is_its = |ip: &&IpAddr| ranges().any(|range| range.contains(**ip));
                if capacity > 0 {
                    found.push(PoolUse {
                        network: file.list.name.clone(),
                        family: name,
                        capacity,
                        used: leased.iter().filter(is_its).count() as u128,
                    });
                }
            }
        }
        Ok(found)
    }
}

/// The addresses of a network, if Weft gives them.
pub(crate) fn own_ipam(file: &NetworkFile) -> Option<IpamConfig> {
    let first = file.list.plugins.first()?;
    let kind = first.get("ipam")?.get("type")?.as_str()?;
    if !matches!(kind, "weft-ipam" | "host-local" | "static") {
        return None;
    }
    // Where the reference's plugins are beside Weft's, theirs is asked.
    let is_own = kind == "weft-ipam" || first.get("type")?.as_str()?.starts_with("weft-");
    let mut object = first.clone();
    object.insert("name".to_owned(), file.list.name.clone().into());
    object.insert("cniVersion".to_owned(), file.list.version.as_str().into());
    let conf = NetConf::parse(&serde_json::to_vec(&Value::Object(object)).ok()?).ok()?;
    let problems = Problems::default();
    let config = IpamConfig::read(&conf, &CniArgs::default(), &problems);
    (is_own && problems.invalid_values().is_empty()).then_some(config)
}
