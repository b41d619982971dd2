//! A plugin's process: from environment and standard input to one JSON document and an exit
//! code. The only code that writes to standard output.

use std::io::{ErrorKind, Read, Write};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::conf::NetConf;
use crate::env::Env;
use crate::error::{CniError, Code};
use crate::id::NetworkName;
use crate::phases::{self, Phase};
use crate::plugin::{Plugin, Request};
use crate::version::SpecVersion;

/// A verb that has been answered, for an account of calls.
#[derive(Debug)]
pub struct Completed {
    /// `CNI_COMMAND`.
    pub verb: String,
    /// The network, if the configuration could be read.
    pub network: Option<NetworkName>,
    /// When it began.
    pub began: SystemTime,
    /// From there to the answer.
    pub duration: Duration,
    /// What was answered, if it was an error.
    pub error: Option<CniError>,
    /// Its parts.
    pub phases: Vec<(Phase, Duration)>,
}

/// Runs one verb of `plugin` with the process's environment and standard streams. None where there was no verb.
pub fn run(plugin: &dyn Plugin, env: &Env) -> (ExitCode, Option<Completed>) {
    let (start, began) = (Instant::now(), SystemTime::now());
    let Some(command) = env.get("CNI_COMMAND").map(str::to_owned) else {
        return (banner(plugin), None);
    };
    let (input, read) = read_input();
    let mut network = None;
    let outcome = match (command.as_str(), read) {
        ("VERSION", _) => Ok(Some(versions(&input))),
        (_, Err(error)) => Err(CniError::new(
            Code::Io,
            format!("reading standard input: {error}"),
        )),
        (command, Ok(())) => {
            let _span = tracing::info_span!(
                "verb",
                command,
                plugin = plugin.name(),
                container_id = env.get("CNI_CONTAINERID"),
                ifname = env.get("CNI_IFNAME"),
                trace = env.get("TRACEPARENT"),
            )
            .entered();
            guarded(|| verb(plugin, command, env, &input, &mut network))
        }
    };
    let error = outcome.as_ref().err().cloned();
    let code = finish(outcome, &input);
    let completed = Completed {
        verb: command,
        network,
        began,
        duration: start.elapsed(),
        error,
        phases: phases::take(),
    };
    (code, Some(completed))
}

/// Answers a runtime that no plugin can be run for, in the version that it speaks.
pub fn refuse(error: CniError) -> ExitCode {
    // What cannot be read says no version, and the error is another one.
    let (input, _) = read_input();
    finish(Err(error), &input)
}

/// Standard input, as far as a configuration can be long.
fn read_input() -> (Vec<u8>, std::io::Result<()>) {
    const MIB: u64 = 8;
    const LIMIT: u64 = MIB << 20;
    let mut input = Vec::new();
    let read = std::io::stdin().take(LIMIT + 1).read_to_end(&mut input);
    let read = read.and_then(|length| match u64::try_from(length) {
        Ok(length) if length <= LIMIT => Ok(()),
        _ => {
            let text = format!("a configuration has {MIB} MiB at most");
            Err(std::io::Error::new(ErrorKind::FileTooLarge, text))
        }
    });
    (input, read)
}

/// A panic is a bug; the runtime still gets a document it can read.
fn guarded<T>(work: impl FnOnce() -> Result<T, CniError>) -> Result<T, CniError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(CniError::new(
            Code::Internal,
            format!("panic: {}", text.unwrap_or_default()),
        ))
    })
}

/// The verbs with an attachment need these; DEL's interface may be absent (then every attachment
/// of the container is meant).
fn required_variables(command: &str) -> Option<&'static [&'static str]> {
    match command {
        "ADD" | "CHECK" => Some(&["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        "DEL" => Some(&["CNI_CONTAINERID"]),
        "GC" => Some(&["CNI_PATH"]),
        "STATUS" => Some(&[]),
        _ => None,
    }
}

fn verb(
    plugin: &dyn Plugin,
    command: &str,
    env: &Env,
    input: &[u8],
    network: &mut Option<NetworkName>,
) -> Result<Option<Value>, CniError> {
    let required = required_variables(command).ok_or_else(|| {
        CniError::new(
            Code::InvalidEnvironment,
            format!("CNI_COMMAND: unknown verb {command:?}"),
        )
        .with_details("known verbs: ADD, DEL, CHECK, GC, STATUS, VERSION")
    })?;
    env.require(required)?;
    if matches!(command, "ADD" | "CHECK" | "DEL") {
        env.container()?;
    }
    let conf = NetConf::parse(input)?;
    let version = conf.version;
    *network = Some(conf.name.clone());
    refuse_verb_before_its_version(command, version)?;
    // The process ends with the verb: a configuration of a thousand ports is not taken apart piece by piece before.
    let request = ManuallyDrop::new(Request {
        env: env.clone(),
        conf,
        input: input.to_vec(),
    });
    match command {
        "ADD" => plugin.add(&request)?.to_value(version).map(Some),
        "DEL" => plugin.del(&request).map(|()| None),
        "CHECK" => plugin.check(&request).map(|()| None),
        "GC" => plugin.gc(&request).map(|()| None),
        _ => plugin.status(&request).map(|()| None),
    }
}

fn refuse_verb_before_its_version(command: &str, version: SpecVersion) -> Result<(), CniError> {
    let since = match command {
        "CHECK" if !version.has_check() => SpecVersion::V0_4_0,
        "GC" | "STATUS" if !version.has_gc_and_status() => SpecVersion::V1_1_0,
        _ => return Ok(()),
    };
    Err(CniError::new(
        Code::IncompatibleVersion,
        format!("cniVersion {version}: {command} exists since {since}"),
    )
    .with_details(format!(
        "config is {version}, {command} needs {since} or later"
    )))
}

/// The answer to VERSION: the caller's own `cniVersion` back, whatever it is.
fn versions(input: &[u8]) -> Value {
    let asked = serde_json::from_slice::<Value>(input)
        .ok()
        .and_then(|value| value.get("cniVersion")?.as_str().map(str::to_owned));
    json!({
        "cniVersion": asked.unwrap_or_else(|| SpecVersion::NEWEST.as_str().to_owned()),
        "supportedVersions": SpecVersion::ALL.map(SpecVersion::as_str),
    })
}

/// The version an error is written in: the configuration's if it can be made out.
fn spoken_version(input: &[u8]) -> SpecVersion {
    serde_json::from_slice::<Value>(input)
        .ok()
        .and_then(|value| NetConf::version_of(value.as_object()?).ok())
        .unwrap_or(SpecVersion::NEWEST)
}

fn finish(outcome: Result<Option<Value>, CniError>, input: &[u8]) -> ExitCode {
    let (text, code) = match outcome {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(document)) => (document.to_string(), ExitCode::SUCCESS),
        Err(error) => (error.to_json(spoken_version(input)), ExitCode::FAILURE),
    };
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Without a verb a plugin says on standard error what it is.
fn banner(plugin: &dyn Plugin) -> ExitCode {
    let text = format!(
        "CNI {} plugin v{}\nCNI protocol versions supported: {}\n",
        plugin.name(),
        env!("CARGO_PKG_VERSION"),
        SpecVersion::supported()
    );
    match std::io::stderr().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
