//! Reading a result of any version, leniently: it comes from other people's plugins.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::Value;

use super::types::{CniResult, Dns, Interface, IpConfig, Route};
use crate::conf::{Fields, Problems};
use crate::error::{CniError, Code};

const ADDRESS: &str = "must be an address with a prefix length";
const PREFIX: &str = "must be a prefix in CIDR notation";
const IP: &str = "must be an IP address";

/// So many interfaces and addresses a result has at most: a call looks at each, and some have elements of nf_tables.
const MOST: usize = 1024;
const MOST_ROUTES: usize = 16_384;

impl CniResult {
    /// Reads a result. Both families of keys are taken, whatever the version says: `ip4`/`ip6`
    /// of 0.1.0 and 0.2.0, and `interfaces`/`ips`/`routes` of all later ones.
    ///
    /// # Errors
    /// Code 6, listing every part that is not what it must be.
    pub fn from_value(value: &Value) -> Result<Self, CniError> {
        let Value::Object(object) = value else {
            return Err(CniError::new(
                Code::Decode,
                format!("result {value} is not an object"),
            ));
        };
        let problems = Problems::default();
        let fields = Fields::open(object, "result", &problems);
        let mut result = Self {
            interfaces: fields
                .objects_open("interfaces")
                .iter()
                .map(interface)
                .collect(),
            ips: fields
                .objects_open("ips")
                .iter()
                .filter_map(ip_config)
                .collect(),
            routes: fields
                .objects_open("routes")
                .iter()
                .filter_map(route)
                .collect(),
            dns: fields
                .object_open("dns")
                .map(|dns| Dns::read(&dns))
                .unwrap_or_default(),
        };
        for (what, count, limit) in [
            ("addresses", result.ips.len(), MOST),
            ("interfaces", result.interfaces.len(), MOST),
            ("routes", result.routes.len(), MOST_ROUTES),
        ] {
            if count > limit {
                problems.conflict(format!("result: {count} {what}: {limit} are the most"));
            }
        }
        for key in ["ip4", "ip6"] {
            if let Some(old) = fields.object_open(key) {
                result.add_old_family(&old);
            }
        }
        let wrong = problems.invalid_values();
        if wrong.is_empty() {
            Ok(result)
        } else {
            Err(CniError::new(Code::Decode, wrong.join("; ")))
        }
    }

    fn add_old_family(&mut self, old: &Fields<'_>) {
        if let Some(address) = old.parsed::<IpNetwork>("ip", ADDRESS) {
            let gateway = old.parsed::<IpAddr>("gateway", IP);
            self.ips.push(IpConfig {
                interface: None,
                address,
                gateway,
            });
        }
        self.routes
            .extend(old.objects_open("routes").iter().filter_map(route));
    }
}

impl<'a> Fields<'a> {
    fn objects_open(&self, key: &str) -> Vec<Self> {
        let mut readers = Vec::new();
        for (path, item) in self.list(key) {
            match item {
                Value::Object(map) => readers.push(Self::open(map, path, self.problems())),
                Value::Null => {}
                other => self.problems().invalid(&path, other, "must be an object"),
            }
        }
        readers
    }

    fn object_open(&self, key: &str) -> Option<Self> {
        Some(Self::open(self.map(key)?, &*self.at(key), self.problems()))
    }
}

fn interface(fields: &Fields<'_>) -> Interface {
    let text = |key| fields.string(key).unwrap_or_default().to_owned();
    Interface {
        name: text("name"),
        mac: text("mac"),
        mtu: fields.number("mtu", 0..=u32::MAX).filter(|mtu| *mtu > 0),
        sandbox: text("sandbox"),
        socket_path: text("socketPath"),
        pci_id: text("pciID"),
    }
}

fn ip_config(fields: &Fields<'_>) -> Option<IpConfig> {
    let address = fields.parsed("address", ADDRESS)?;
    // Go marshals "no interface" as an absent key, and some plugins as -1.
    let interface = fields.value("interface").and_then(Value::as_u64);
    let gateway = fields.parsed("gateway", IP);
    Some(IpConfig {
        interface: interface.and_then(|i| usize::try_from(i).ok()),
        address,
        gateway,
    })
}

fn route(fields: &Fields<'_>) -> Option<Route> {
    let number = |key| fields.number(key, 0..=u32::MAX);
    Some(Route {
        dst: fields.parsed("dst", PREFIX)?,
        gw: fields.parsed("gw", IP),
        mtu: number("mtu").filter(|mtu| *mtu > 0),
        advmss: number("advmss").filter(|advmss| *advmss > 0),
        priority: number("priority").filter(|priority| *priority > 0),
        table: number("table"),
        scope: number("scope"),
    })
}
