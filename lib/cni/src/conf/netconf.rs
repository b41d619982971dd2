//! The specification's keys of a plugin's configuration.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::fields::{Fields, KeySpec, lookup};
use super::problem::Problems;
use crate::error::{CniError, Code};
use crate::id::NetworkName;
use crate::result::{CniResult, Dns};
use crate::version::SpecVersion;

/// The keys every plugin takes.
pub const SPEC_KEYS: &[KeySpec] = &[
    KeySpec::new(
        "cniVersion",
        "string",
        "0.1.0",
        "version of the specification to speak",
    ),
    KeySpec::new(
        "cniVersions",
        "list of strings",
        "",
        "for runtimes: versions to choose from",
    ),
    KeySpec::new("name", "string", "required", "the network's name"),
    KeySpec::new("type", "string", "required", "the plugin's file name"),
    KeySpec::new(
        "ipam",
        "object",
        "none: no addresses",
        "address management; its own `type`",
    ),
    KeySpec::new(
        "dns",
        "object",
        "",
        "resolver settings for the result; they replace IPAM's",
    ),
    KeySpec::new(
        "capabilities",
        "object",
        "",
        "for runtimes: what to put in runtimeConfig",
    ),
    KeySpec::new("runtimeConfig", "object", "", "set by runtimes"),
    KeySpec::new(
        "prevResult",
        "object",
        "",
        "set by runtimes: the result so far",
    ),
    KeySpec::new("args", "object", "", "`args.cni`: requests by the runtime"),
    KeySpec::new(
        "disableCheck",
        "boolean",
        "false",
        "for runtimes: never CHECK",
    ),
    KeySpec::new("disableGC", "boolean", "false", "for runtimes: never GC"),
    KeySpec::new(
        "strict",
        "boolean",
        "false",
        "refuse unknown keys instead of reporting them",
    ),
    KeySpec::new(
        "store",
        "string",
        "the host's",
        "refused if it is another one than the host's, which WEFT_STORE or weft.toml says",
    ),
];

/// What GC was told to keep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ValidAttachments {
    /// No key: only what is provably dead may go.
    #[default]
    Absent,
    /// The (container id, interface name) pairs that stay; everything else goes.
    Only(BTreeSet<(String, String)>),
}

/// A parsed configuration: the specification's keys apart, everything else in `object`.
#[derive(Debug, Clone)]
pub struct NetConf {
    /// The version to speak.
    pub version: SpecVersion,
    /// Required by the specification.
    pub name: NetworkName,
    /// The plugin's type as configured.
    pub plugin_type: String,
    /// Unknown keys are errors.
    pub strict: bool,
    /// The whole object as it came.
    pub object: Map<String, Value>,
}

/// Of a network configuration: each key is compared with all that are looked for.
const MOST_KEYS: usize = 1024;

impl NetConf {
    /// Parses standard input.
    ///
    /// # Errors
    /// Code 6: not a JSON object. Code 1: a version Weft does not speak. Code 7: no valid name.
    pub fn parse(input: &[u8]) -> Result<Self, CniError> {
        let value: Value = serde_json::from_slice(input).map_err(|error| {
            CniError::new(Code::Decode, format!("network configuration: {error}"))
        })?;
        let Value::Object(object) = value else {
            return Err(CniError::new(
                Code::Decode,
                format!("network configuration must be a JSON object, not {value}"),
            ));
        };
        if object.len() > MOST_KEYS {
            return Err(CniError::new(
                Code::InvalidConfig,
                format!("{} keys: {MOST_KEYS} are the most", object.len()),
            ));
        }
        let version = Self::version_of(&object)?;
        let problems = Problems::default();
        let fields = Fields::open(&object, "", &problems);
        let name_text = fields.string("name").unwrap_or_default();
        let name = NetworkName::try_from(name_text)
            .map_err(|error| problems.conflict(format!("name: {error}")))
            .ok();
        let plugin_type = fields.string("type").unwrap_or_default().to_owned();
        let strict = fields.boolean("strict").unwrap_or(false);
        problems.into_result(false)?;
        let name = name.ok_or_else(|| CniError::new(Code::InvalidConfig, "name: missing"))?;
        Ok(Self {
            version,
            name,
            plugin_type,
            strict,
            object,
        })
    }

    /// The version of a configuration object; absent or empty means 0.1.0.
    ///
    /// # Errors
    /// Code 6: not a string. Code 1: not a version Weft speaks.
    pub fn version_of(object: &Map<String, Value>) -> Result<SpecVersion, CniError> {
        let text = match lookup(object, "cniVersion") {
            None => "",
            Some(Value::String(text)) => text.as_str(),
            Some(other) => {
                return Err(CniError::new(
                    Code::Decode,
                    format!("cniVersion: {other} must be a string"),
                ));
            }
        };
        if text.is_empty() {
            return Ok(SpecVersion::V0_1_0);
        }
        SpecVersion::from_literal(text).ok_or_else(|| {
            CniError::new(
                Code::IncompatibleVersion,
                format!("incompatible CNI versions: cniVersion {text:?} is not supported"),
            )
            .with_details(format!(
                "config is {text:?}, plugin supports [{}]",
                SpecVersion::supported()
            ))
        })
    }

    /// A reader over the whole object with the plugin's table of keys.
    pub fn fields<'a>(&'a self, keys: &[KeySpec], problems: &'a Problems) -> Fields<'a> {
        Fields::new(&self.object, "", &[SPEC_KEYS, keys], problems)
    }

    /// A reader that looks keys up and judges none.
    pub fn open<'a>(&'a self, problems: &'a Problems) -> Fields<'a> {
        Fields::open(&self.object, "", problems)
    }

    /// The `ipam` object unless it is absent, `null`, empty, or of no type: `"type": ""` is what Podman writes for
    /// none.
    pub fn ipam(&self) -> Option<&Map<String, Value>> {
        let object = lookup(&self.object, "ipam")?.as_object()?;
        let is_none = |map: &Map<String, Value>| {
            map.is_empty() || lookup(map, "type").is_some_and(|kind| kind == "")
        };
        Some(object).filter(|map| !is_none(map))
    }

    /// The IPAM plugin's type, when there is one.
    pub fn ipam_type(&self) -> Option<&str> {
        let text = lookup(self.ipam()?, "type")?.as_str()?;
        Some(text).filter(|text| !text.is_empty())
    }

    /// The `dns` object of the configuration.
    pub fn dns(&self, problems: &Problems) -> Dns {
        self.open(problems)
            .map("dns")
            .map_or_else(Dns::default, |map| {
                Dns::read(&Fields::open(map, "dns", problems))
            })
    }

    /// `prevResult`, in whatever version it is written.
    ///
    /// # Errors
    /// Code 6 when it is there and is not a result.
    pub fn prev_result(&self) -> Result<Option<CniResult>, CniError> {
        match lookup(&self.object, "prevResult") {
            None => Ok(None),
            Some(Value::Object(map)) if map.is_empty() => Ok(None),
            Some(value) => CniResult::from_value(value).map(Some),
        }
    }

    /// `runtimeConfig.KEY`.
    pub fn runtime_config(&self, key: &str) -> Option<&Value> {
        lookup(lookup(&self.object, "runtimeConfig")?.as_object()?, key)
    }

    /// A request of the runtime in `args.cni`, unread.
    pub fn args_cni(&self, key: &str) -> Option<&Value> {
        lookup(self.all_args_cni()?, key)
    }

    /// `args.cni`, whole.
    pub fn all_args_cni(&self) -> Option<&Map<String, Value>> {
        let args = lookup(&self.object, "args")?.as_object()?;
        lookup(args, "cni")?.as_object()
    }

    /// The attachments GC must keep: `cni.dev/valid-attachments`, else `cni.dev/attachments`
    /// (libcni sends both). `null` is an empty list: Go's nil slice.
    ///
    /// # Errors
    /// Code 6 when the list is not one of attachments: guessing would delete live ones.
    pub fn valid_attachments(&self) -> Result<ValidAttachments, CniError> {
        let key = ["cni.dev/valid-attachments", "cni.dev/attachments"]
            .into_iter()
            .find(|key| self.object.contains_key(*key));
        let Some((key, value)) = key.and_then(|key| Some((key, self.object.get(key)?))) else {
            return Ok(ValidAttachments::Absent);
        };
        let wrong = |what: &Value| {
            CniError::new(
                Code::Decode,
                format!("{key}: {what} is not a list of attachments"),
            )
        };
        let mut valid = BTreeSet::new();
        match value {
            Value::Null => {}
            Value::Array(items) => {
                for item in items {
                    let map = item.as_object().ok_or_else(|| wrong(item))?;
                    let text = |name| lookup(map, name).and_then(Value::as_str);
                    match (text("containerID"), text("ifname")) {
                        (Some(id), Some(ifname)) => {
                            valid.insert((id.to_owned(), ifname.to_owned()));
                        }
                        _ => return Err(wrong(item)),
                    }
                }
            }
            other => return Err(wrong(other)),
        }
        Ok(ValidAttachments::Only(valid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NetConf, CniError> {
        NetConf::parse(text.as_bytes())
    }

    #[test]
    fn bad_input_has_the_specifications_codes() {
        for (text, code) in [
            ("", 6),
            ("{", 6),
            ("[]", 6),
            (r#"{"cniVersion": 1, "name": "a"}"#, 6),
            (r#"{"cniVersion": "1.2.0", "name": "a"}"#, 1),
            (r#"{"cniVersion": "1.0", "name": "a"}"#, 1),
            (r#"{"cniVersion": "1.0.0"}"#, 7),
            (r#"{"cniVersion": "1.0.0", "name": "../x"}"#, 7),
        ] {
            assert_eq!(parse(text).unwrap_err().code, code, "{text}");
        }
        assert_eq!(
            parse(r#"{"name": "a"}"#).unwrap().version,
            SpecVersion::V0_1_0
        );
    }

    #[test]
    fn empty_and_null_objects_are_absent() {
        let conf =
            parse(r#"{"name":"a","ipam":{},"dns":null,"prevResult":null,"runtimeConfig":null}"#)
                .unwrap();
        assert!(conf.ipam().is_none());
        let of_podman = parse(r#"{"name":"a","IPAM":{"type":""}}"#).unwrap();
        assert!(of_podman.ipam().is_none());
        assert!(conf.prev_result().unwrap().is_none());
        assert!(conf.runtime_config("mac").is_none());
    }

    #[test]
    fn attachments_are_read_from_either_key() {
        let absent = parse(r#"{"name":"a"}"#)
            .unwrap()
            .valid_attachments()
            .unwrap();
        assert_eq!(absent, ValidAttachments::Absent);
        for text in [
            r#"{"name":"a","cni.dev/valid-attachments":null}"#,
            r#"{"name":"a","cni.dev/attachments":[]}"#,
        ] {
            let none = parse(text).unwrap().valid_attachments().unwrap();
            assert_eq!(none, ValidAttachments::Only(BTreeSet::new()));
        }
        let one = parse(
            r#"{"name":"a","cni.dev/attachments":[{"containerID":"c","ifname":"eth0"}],
                "cni.dev/valid-attachments":[{"containerID":"d","ifname":"eth1"}]}"#,
        );
        let expected = BTreeSet::from([("d".to_owned(), "eth1".to_owned())]);
        assert_eq!(
            one.unwrap().valid_attachments().unwrap(),
            ValidAttachments::Only(expected)
        );
        let wrong = parse(r#"{"name":"a","cni.dev/valid-attachments":[{"containerID":1}]}"#);
        assert_eq!(wrong.unwrap().valid_attachments().unwrap_err().code, 6);
    }
}
