//! Whether the files of networks are right: what each plugin says, and what only all of them together show.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;
use weft_attach::delegate::is_own_type;
use weft_cni::conf::{Fields, NetConf, Problems};
use weft_cni::runtime::{ConfList, configuration_files};
use weft_cni::{CniError, Request, SpecVersion};
use weft_ipam::{IPAM_KEYS, IpamConfig};
use weft_vnet::{Places, overlapping};

use super::chain;
use crate::cni::environment;
use crate::plugins::by_type;

/// Every problem of the files and of those in the directories.
pub(crate) fn problems(wanted: &[PathBuf]) -> Result<Vec<String>> {
    let places = Places::of_environment(&environment());
    let mut files = Vec::new();
    for path in wanted {
        match path.is_dir() {
            true => files.extend(configuration_files(path)?),
            false => files.push(path.clone()),
        }
    }
    // A host without networks has nothing wrong.
    if wanted.is_empty() && places.conf_dir.exists() {
        files = configuration_files(&places.conf_dir)?;
    }
    let mut found = Vec::new();
    let mut names: BTreeMap<String, &Path> = BTreeMap::new();
    for file in &files {
        let list = match ConfList::read(file, SpecVersion::NEWEST) {
            Ok(list) => list,
            Err(error) => {
                found.push(error.msg);
                continue;
            }
        };
        let texts = check(&list)
            .into_iter()
            .chain(chain::problems(&list, &places));
        found.extend(texts.map(|text| format!("{}: {text}", file.display())));
        if let Some(other) = names.insert(list.name.clone(), file) {
            found.push(format!(
                "{}: name: {} has a network of this name too, and only the first file counts",
                file.display(),
                other.display()
            ));
        }
    }
    found.extend(overlapping(&files));
    Ok(found)
}

/// What is wrong with each of its plugins by itself.
fn check(list: &ConfList) -> Vec<String> {
    let mut texts = Vec::new();
    for plugin in &list.plugins {
        let mut object = plugin.clone();
        object.insert("cniVersion".to_owned(), list.version.as_str().into());
        object.insert("name".to_owned(), list.name.clone().into());
        let kind = plugin
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let found = check_plugin(kind, &Value::Object(object));
        texts.extend(found.into_iter().map(|text| format!("{kind}: {text}")));
    }
    texts
}

fn check_plugin(kind: &str, conf: &Value) -> Vec<String> {
    let input = conf.to_string().into_bytes();
    let conf = match NetConf::parse(&input) {
        Ok(conf) => conf,
        Err(error) => return vec![error.msg],
    };
    let mut texts = Vec::new();
    let problems = Problems::default();
    let plugin = by_type(kind);
    if let Some(plugin) = plugin {
        conf.fields(plugin.declaration().keys, &problems);
    }
    let path = Places::of_environment(&environment()).plugin_path;
    if conf
        .ipam_type()
        .is_some_and(|kind| is_own_type(kind, &path))
    {
        if let Some(ipam) = conf.ipam() {
            Fields::new(ipam, "ipam", &[IPAM_KEYS], &problems);
        }
        let values = Problems::default();
        IpamConfig::read(&conf, &weft_cni::args::CniArgs::default(), &values);
        if plugin.is_none() {
            texts.extend(values.invalid_values());
        }
    }
    texts.extend(
        problems
            .unknown_keys()
            .into_iter()
            .map(|key| format!("unknown key {key}")),
    );
    if let Some(plugin) = plugin {
        let request = Request {
            env: weft_cni::env::Env::default(),
            conf,
            input,
        };
        let outcome = plugin.validate(&request);
        texts.extend(outcome.err().map(|error: CniError| error.msg));
    }
    texts
}
