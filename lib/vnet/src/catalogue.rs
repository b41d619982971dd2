//! The networks of a host: the configurations that its runtimes read.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};
use weft_cni::SpecVersion;
use weft_cni::runtime::{ConfList, configuration_files};

use crate::error::VNetError;

/// A network's configuration.
#[derive(Debug, Clone)]
pub(crate) struct NetworkFile {
    pub(crate) path: PathBuf,
    pub(crate) modified: SystemTime,
    pub(crate) list: ConfList,
}

/// A subnet of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub(crate) prefix: IpNetwork,
    pub(crate) gateway: Option<IpAddr>,
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalogue {
    /// In the order of the files' names; of networks with one name the first counts.
    pub(crate) files: Vec<NetworkFile>,
    /// Files that no runtime can read, and why.
    pub(crate) broken: Vec<String>,
    /// The last name of a file that Weft has not named.
    pub(crate) last_foreign_name: String,
}

/// What the names of Weft's own files have in them, behind letters that put them last.
pub(crate) const MARK: &str = "z-weft-";

impl Catalogue {
    /// Reads a directory. One that is missing is empty.
    pub(crate) fn read(dir: &Path) -> Result<Self, VNetError> {
        let mut found = Self::default();
        let mut names = HashSet::new();
        if !dir.exists() {
            return Ok(found);
        }
        for path in configuration_files(dir)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_own = name.trim_start_matches('z').starts_with(&MARK[1..]);
            if !is_own && *name > *found.last_foreign_name {
                found.last_foreign_name = name.into_owned();
            }
            match NetworkFile::read(&path) {
                Ok(file) if names.insert(file.list.name.clone()) => found.files.push(file),
                Ok(file) => found.broken.push(format!(
                    "{}: another file has a network of the name {}, and only the first counts",
                    path.display(),
                    file.list.name
                )),
                // It has been removed meanwhile.
                Err(_) if !path.exists() => {}
                Err(error) => found.broken.push(error.to_string()),
            }
        }
        Ok(found)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&NetworkFile> {
        self.files.iter().find(|file| file.list.name == name)
    }
}

impl NetworkFile {
    pub(crate) fn read(path: &Path) -> Result<Self, VNetError> {
        let modified = std::fs::metadata(path).and_then(|meta| meta.modified());
        Ok(Self {
            path: path.to_owned(),
            modified: modified.unwrap_or(UNIX_EPOCH),
            list: ConfList::read(path, SpecVersion::NEWEST)?,
        })
    }

    /// The name of the file.
    pub(crate) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The type of the plugin that makes the interface.
    pub(crate) fn first_type(&self) -> &str {
        let first = self.list.plugins.first();
        let kind = first.and_then(|plugin| plugin.get("type")?.as_str());
        kind.unwrap_or_default()
    }

    /// The subnets, those of any IPAM plugin that writes them as the reference's do.
    pub(crate) fn subnets(&self) -> Vec<Subnet> {
        let Some(first) = self.list.plugins.first() else {
            return Vec::new();
        };
        let Some(ipam) = first.get("ipam").and_then(Value::as_object) else {
            return Vec::new();
        };
        let is_gateway = |key: &str| first.get(key).and_then(Value::as_bool) == Some(true);
        let has_gateway = is_gateway("isGateway") || is_gateway("isDefaultGateway");
        let mut found = Vec::new();
        found.extend(subnet(ipam, "subnet", has_gateway));
        let sets = ipam.get("ranges").and_then(Value::as_array);
        for set in sets.into_iter().flatten().filter_map(Value::as_array) {
            let ranges = set.iter().filter_map(Value::as_object);
            found.extend(ranges.filter_map(|range| subnet(range, "subnet", has_gateway)));
        }
        let fixed = ipam.get("addresses").and_then(Value::as_array);
        for one in fixed.into_iter().flatten().filter_map(Value::as_object) {
            found.extend(subnet(one, "address", false));
        }
        found.dedup_by_key(|one| one.prefix);
        found
    }
}

fn subnet(object: &Map<String, Value>, key: &str, has_gateway: bool) -> Option<Subnet> {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    let given: IpNetwork = text(key)?.parse().ok()?;
    let prefix = IpNetwork::new(given.network(), given.prefix()).ok()?;
    let first = || match prefix {
        IpNetwork::V4(v4) => v4.nth(1).map(IpAddr::from),
        IpNetwork::V6(v6) => Some(IpAddr::from(
            u128::from(v6.network()).wrapping_add(1).to_be_bytes(),
        )),
    };
    let gateway = text("gateway").and_then(|text| text.parse().ok());
    let gateway = match has_gateway {
        true => gateway.or_else(first),
        false => gateway,
    };
    Some(Subnet { prefix, gateway })
}
