//! Loading network configuration lists from a directory.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::conf::{Fields, Problems};
use crate::error::{CniError, Code};
use crate::file;
use crate::version::SpecVersion;

/// A network: plugins that run one after another.
#[derive(Debug, Clone)]
pub struct ConfList {
    /// The network's name.
    pub name: String,
    /// The version chosen among `cniVersion` and `cniVersions`.
    pub version: SpecVersion,
    /// CHECK must not be run.
    pub disable_check: bool,
    /// GC must not be run.
    pub disable_gc: bool,
    /// The plugins' objects.
    pub plugins: Vec<Map<String, Value>>,
    /// The file's text.
    pub text: String,
}

fn invalid(path: &Path, why: impl std::fmt::Display) -> CniError {
    CniError::new(Code::InvalidConfig, format!("{}: {why}", path.display()))
}

/// Finds the network called `name` among the `.conflist`, `.conf` and `.json` files of `dir`.
///
/// # Errors
/// Code 5 if the directory cannot be read; code 7 if no file has the network or the file that has
/// it is wrong. Other broken files are passed over, with a warning in the log.
pub fn load(dir: &Path, name: &str, newest: SpecVersion) -> Result<ConfList, CniError> {
    let mut broken = None;
    for path in configuration_files(dir)? {
        match ConfList::read(&path, newest) {
            Ok(list) if list.name == name => return Ok(list),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "configuration file passed over");
                if names_network(&path, name) {
                    broken.get_or_insert(error);
                }
            }
        }
    }
    Err(broken.unwrap_or_else(|| {
        let text = format!("no network {name:?} in {}", dir.display());
        CniError::new(Code::InvalidConfig, text).with_details("NETCONFPATH names the directory")
    }))
}

/// The files of a directory that can be a network's, by their names: runtimes take them in this order.
///
/// # Errors
/// Code 5 if the directory cannot be read.
pub fn configuration_files(dir: &Path) -> Result<Vec<PathBuf>, CniError> {
    let entries = fs::read_dir(dir)
        .map_err(|error| CniError::new(Code::Io, format!("{}: {error}", dir.display())))?;
    let wanted = |path: &PathBuf| {
        path.extension()
            .is_some_and(|e| e == "conflist" || e == "conf" || e == "json")
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(wanted)
        .collect();
    files.sort();
    Ok(files)
}

fn names_network(path: &Path, name: &str) -> bool {
    file::read_text(path).is_ok_and(|text| text.contains(&format!("{name:?}")))
}

impl ConfList {
    /// Reads one file: a list, or a single plugin's configuration as a list of one.
    ///
    /// # Errors
    /// Code 7 with the path and what is wrong.
    pub fn read(path: &Path, newest: SpecVersion) -> Result<Self, CniError> {
        let text = file::read_text(path).map_err(|error| invalid(path, error))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| invalid(path, error))?;
        let Value::Object(mut object) = value else {
            return Err(invalid(path, "not a JSON object"));
        };
        if !object.contains_key("plugins") && object.contains_key("type") {
            let plugin = object.clone();
            object.insert("plugins".to_owned(), json!([plugin]));
            object.insert("loadOnlyInlinedPlugins".to_owned(), true.into());
        }
        Self::from_object(&object, text, path, newest)
    }

    fn from_object(
        object: &Map<String, Value>,
        text: String,
        path: &Path,
        newest: SpecVersion,
    ) -> Result<Self, CniError> {
        let problems = Problems::default();
        let fields = Fields::open(object, "", &problems);
        let name = fields.string("name").unwrap_or_default().to_owned();
        let flag = |key| fields.boolean(key).unwrap_or(false);
        let inlined_only = flag("loadOnlyInlinedPlugins");
        let (disable_check, disable_gc) = (flag("disableCheck"), flag("disableGC"));
        let mut plugins: Vec<Map<String, Value>> = fields
            .list("plugins")
            .into_iter()
            .filter_map(|(_, plugin)| plugin.as_object().cloned())
            .collect();
        let version = choose_version(&fields, newest).map_err(|why| invalid(path, why))?;
        if !inlined_only && !name.is_empty() {
            plugins.extend(plugins_in_subdirectory(path, &name)?);
        }
        if name.is_empty() {
            problems.conflict("name: missing");
        }
        if plugins.is_empty() {
            problems.conflict("plugins: empty");
        }
        if plugins
            .iter()
            .any(|plugin| !plugin.get("type").is_some_and(Value::is_string))
        {
            problems.conflict("plugins: every plugin needs a type");
        }
        problems
            .into_result(false)
            .map_err(|error| invalid(path, error.msg))?;
        Ok(Self {
            name,
            version,
            disable_check,
            disable_gc,
            plugins,
            text,
        })
    }
}

/// Every `<dir>/<network>/*.conf` is appended, in order of their names.
fn plugins_in_subdirectory(path: &Path, name: &str) -> Result<Vec<Map<String, Value>>, CniError> {
    let Some(dir) = path
        .parent()
        .map(|dir| dir.join(name))
        .filter(|dir| dir.is_dir())
    else {
        return Ok(Vec::new());
    };
    let mut plugins = Vec::new();
    for file in configuration_files(&dir)? {
        if file
            .extension()
            .is_some_and(|extension| extension == "conf")
        {
            let text = file::read_text(&file).map_err(|error| invalid(&file, error))?;
            let plugin = serde_json::from_str(&text).map_err(|error| invalid(&file, error))?;
            plugins.push(plugin);
        }
    }
    Ok(plugins)
}

/// The highest version that both sides know, among `cniVersion` and `cniVersions`; ones newer than
/// `newest` are for other runtimes.
fn choose_version(fields: &Fields<'_>, newest: SpecVersion) -> Result<SpecVersion, String> {
    let single = fields.string("cniVersion").map(str::to_owned);
    let several = fields.list("cniVersions");
    let texts: Vec<String> = several
        .iter()
        .filter_map(|(_, value)| value.as_str().map(str::to_owned))
        .chain(single)
        .collect();
    if texts.is_empty() {
        return Ok(SpecVersion::V0_1_0);
    }
    let known = texts
        .iter()
        .filter_map(|text| SpecVersion::from_literal(text));
    known
        .filter(|version| *version <= newest)
        .max()
        .ok_or_else(|| format!("cniVersion: none of {} is supported", texts.join(", ")))
}
