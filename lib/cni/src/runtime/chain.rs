//! Running a list's plugins for one verb.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::cache::{CachedAttachment, ResultCache, base64};
use super::conflist::ConfList;
use crate::delegate::{Execution, find};
use crate::error::{CniError, Code};
use crate::version::SpecVersion;

/// The container's side of a call.
#[derive(Debug, Clone, Default)]
pub struct Sandbox {
    /// Its id, passed as `CNI_CONTAINERID`.
    pub container_id: String,
    /// The network namespace's path; may be empty on DEL.
    pub netns: String,
    /// The interface.
    pub ifname: String,
    /// `CNI_ARGS`.
    pub args: String,
    /// Capability arguments, by capability.
    pub capability_args: Map<String, Value>,
}

/// A network ready to run.
#[derive(Debug, Clone)]
pub struct Network {
    /// The plugins that are called, in order.
    pub list: ConfList,
    /// Where plugins are searched.
    pub path: Vec<PathBuf>,
    /// Where results are cached.
    pub cache: ResultCache,
    /// Further variables for the plugins.
    pub variables: Vec<(String, String)>,
}

impl Network {
    /// Attaches the container: every plugin in order, each with the result so far.
    ///
    /// # Errors
    /// The first plugin's error; nothing is rolled back, that is what DEL is for.
    pub fn add(&self, sandbox: &Sandbox) -> Result<Value, CniError> {
        let mut result = None;
        for plugin in &self.list.plugins {
            result = self.execute("ADD", plugin, sandbox, result.as_ref(), &[])?;
        }
        let result = result.unwrap_or_else(|| json!({"cniVersion": self.list.version.as_str()}));
        self.cache.write(&self.cached(sandbox, result.clone()))?;
        Ok(result)
    }

    /// Detaches it: every plugin in reverse order, each with the final result.
    ///
    /// # Errors
    /// The first plugin's error; the cache then stays, so that DEL can be repeated.
    pub fn del(&self, sandbox: &Sandbox) -> Result<(), CniError> {
        let (name, id, ifname) = self.key(sandbox);
        let cached = self.cache.read(name, id, ifname);
        // Before 0.4.0 DEL had no prevResult.
        let result = cached
            .map(|c| c.result)
            .filter(|_| self.list.version.has_check());
        for plugin in self.list.plugins.iter().rev() {
            self.execute("DEL", plugin, sandbox, result.as_ref(), &[])?;
        }
        self.cache.remove(name, id, ifname);
        Ok(())
    }

    /// Whether every plugin is there.
    ///
    /// # Errors
    /// Code 109 for the first that is not.
    pub fn require_plugins(&self) -> Result<(), CniError> {
        let mut plugins = self.list.plugins.iter();
        plugins.try_for_each(|plugin| find(type_of(plugin), &self.path).map(drop))
    }

    /// Compares the attachment with its result.
    ///
    /// # Errors
    /// The first plugin's error; code 7 if nothing is cached.
    pub fn check(&self, sandbox: &Sandbox) -> Result<(), CniError> {
        if self.list.disable_check {
            return Ok(());
        }
        let (name, id, ifname) = self.key(sandbox);
        let cached = self.cache.read(name, id, ifname).ok_or_else(|| {
            CniError::new(
                Code::UnknownContainer,
                format!("no cached result for {name}/{id}/{ifname}"),
            )
        })?;
        for plugin in &self.list.plugins {
            self.execute("CHECK", plugin, sandbox, Some(&cached.result), &[])?;
        }
        Ok(())
    }

    /// DELs every cached attachment that is not in `valid` (pairs of container id and interface),
    /// then lets the plugins collect the rest. `None` leaves the decision to the plugins. A list of a version before
    /// the verb does not keep plugins that know it from being asked.
    ///
    /// # Errors
    /// All errors together: of plugins that do not know the verb, too, and if the list forbids it.
    pub fn gc(&self, valid: Option<&[(String, String)]>) -> Result<(), CniError> {
        if self.list.disable_gc {
            return Err(CniError::new(
                Code::InvalidConfig,
                format!("{}: disableGC is set: nothing is collected", self.list.name),
            ));
        }
        let mut errors = Vec::new();
        let mut injected = Vec::new();
        if let Some(valid) = valid {
            for cached in self.cache.list(&self.list.name) {
                let key = (cached.container_id.clone(), cached.if_name.clone());
                if !valid.contains(&key) {
                    errors.extend(self.del(&sandbox_of(&cached)).err());
                }
            }
            let list: Vec<Value> = valid
                .iter()
                .map(|(id, ifname)| json!({"containerID": id, "ifname": ifname}))
                .collect();
            injected.push(("cni.dev/valid-attachments", Value::from(list.clone())));
            injected.push(("cni.dev/attachments", Value::from(list)));
        }
        for plugin in &self.list.plugins {
            errors.extend(self.ask_anyhow("GC", plugin, &injected).err());
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(CniError::from_list(
                Code::Incomplete,
                "garbage collection",
                &errors,
            ))
        }
    }

    /// Asks every plugin whether it is ready.
    ///
    /// # Errors
    /// The first plugin's error.
    pub fn status(&self) -> Result<(), CniError> {
        for plugin in &self.list.plugins {
            self.ask_anyhow("STATUS", plugin, &[])?;
        }
        Ok(())
    }

    /// Runs a verb of 1.1.0, in that version where the list's is older: neither verb has a result.
    fn ask_anyhow(
        &self,
        command: &str,
        plugin: &Map<String, Value>,
        injected: &[(&str, Value)],
    ) -> Result<(), CniError> {
        let none = Sandbox::default();
        if self.list.version.has_gc_and_status() {
            return self
                .execute(command, plugin, &none, None, injected)
                .map(drop);
        }
        let wanted = SpecVersion::V1_1_0;
        let answer = self.execute("VERSION", plugin, &none, None, &[])?;
        let knows = answer
            .as_ref()
            .and_then(|answer| answer.get("supportedVersions")?.as_array())
            .is_some_and(|versions| versions.iter().any(|one| one == wanted.as_str()));
        if !knows {
            return Err(CniError::new(
                Code::IncompatibleVersion,
                format!(
                    "plugin {:?} knows no {command}: it exists since {wanted}, which the plugin does not speak",
                    type_of(plugin)
                ),
            ));
        }
        let mut injected = injected.to_vec();
        injected.push(("cniVersion", wanted.as_str().into()));
        self.execute(command, plugin, &none, None, &injected)
            .map(drop)
    }

    /// Asks every plugin for its versions; pairs of type and answer.
    ///
    /// # Errors
    /// The first plugin's error.
    pub fn version(&self) -> Result<Vec<(String, Value)>, CniError> {
        let ask = |plugin: &Map<String, Value>| {
            let answer = self.execute("VERSION", plugin, &Sandbox::default(), None, &[])?;
            Ok((type_of(plugin).to_owned(), answer.unwrap_or_default()))
        };
        self.list.plugins.iter().map(ask).collect()
    }

    fn key<'a>(&'a self, sandbox: &'a Sandbox) -> (&'a str, &'a str, &'a str) {
        (&self.list.name, &sandbox.container_id, &sandbox.ifname)
    }

    fn cached(&self, sandbox: &Sandbox, result: Value) -> CachedAttachment {
        let pairs = || {
            sandbox
                .args
                .split(';')
                .filter_map(|pair| pair.split_once('='))
        };
        let args: Vec<[String; 2]> = pairs().map(|(k, v)| [k.to_owned(), v.to_owned()]).collect();
        CachedAttachment {
            kind: "cniCacheV1".to_owned(),
            container_id: sandbox.container_id.clone(),
            config: base64(self.list.text.as_bytes()),
            if_name: sandbox.ifname.clone(),
            network_name: self.list.name.clone(),
            netns: sandbox.netns.clone(),
            cni_args: Some(args).filter(|args| !args.is_empty()),
            capability_args: Some(sandbox.capability_args.clone())
                .filter(|args| !args.is_empty())
                .map(Value::Object),
            result,
        }
    }

    fn execute(
        &self,
        command: &str,
        plugin: &Map<String, Value>,
        sandbox: &Sandbox,
        result: Option<&Value>,
        injected: &[(&str, Value)],
    ) -> Result<Option<Value>, CniError> {
        let program = find(type_of(plugin), &self.path)?;
        let mut conf = request_configuration(&self.list, plugin, sandbox, result);
        for (key, value) in injected {
            conf.insert((*key).to_owned(), value.clone());
        }
        let mut variables = vec![
            ("CNI_CONTAINERID", sandbox.container_id.clone()),
            ("CNI_NETNS", sandbox.netns.clone()),
            ("CNI_IFNAME", sandbox.ifname.clone()),
            ("CNI_ARGS", sandbox.args.clone()),
            ("CNI_PATH", join_paths(&self.path)),
        ];
        variables.extend(self.variables.iter().map(|(k, v)| (k.as_str(), v.clone())));
        let input = Value::Object(conf).to_string();
        Execution {
            program: &program,
            command,
            input: input.as_bytes(),
            variables: &variables,
        }
        .run()
    }
}

/// A plugin's object with what the runtime adds: version, name, result so far, and those capability
/// arguments that the plugin asks for.
fn request_configuration(
    list: &ConfList,
    plugin: &Map<String, Value>,
    sandbox: &Sandbox,
    result: Option<&Value>,
) -> Map<String, Value> {
    let mut conf = plugin.clone();
    conf.insert("cniVersion".to_owned(), list.version.as_str().into());
    conf.insert("name".to_owned(), list.name.clone().into());
    if let Some(result) = result {
        conf.insert("prevResult".to_owned(), result.clone());
    }
    let wanted = |name: &String| {
        plugin
            .get("capabilities")
            .and_then(|c| c.get(name))
            .and_then(Value::as_bool)
            == Some(true)
    };
    let arguments: Map<String, Value> = sandbox
        .capability_args
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if !arguments.is_empty() {
        conf.insert("runtimeConfig".to_owned(), arguments.into());
    }
    conf
}

fn type_of(plugin: &Map<String, Value>) -> &str {
    plugin
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn sandbox_of(cached: &CachedAttachment) -> Sandbox {
    let pairs = cached
        .cni_args
        .iter()
        .flatten()
        .map(|[key, value]| format!("{key}={value}"));
    Sandbox {
        container_id: cached.container_id.clone(),
        netns: cached.netns.clone(),
        ifname: cached.if_name.clone(),
        args: pairs.collect::<Vec<_>>().join(";"),
        capability_args: cached
            .capability_args
            .as_ref()
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default(),
    }
}

fn join_paths(paths: &[PathBuf]) -> String {
    let texts: Vec<String> = paths.iter().map(|path: &PathBuf| text(path)).collect();
    texts.join(":")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
