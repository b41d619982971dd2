//! Calling a plugin's executable as a runtime does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use weft_store::BackendKind;

use crate::container::Container;
use crate::host::Host;
use crate::suite::Suite;

/// A call in the making.
#[derive(Debug, Clone)]
pub struct Call {
    program: PathBuf,
    arguments: Vec<String>,
    /// In front of the program: a tracer.
    wrapper: Vec<String>,
    variables: Vec<(String, String)>,
    input: Vec<u8>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit status, unless a signal ended the process.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Call {
    /// A verb of the plugin that a configuration names.
    pub fn new(suite: &Suite, command: &str, conf: &Value) -> Self {
        let kind = conf["type"].as_str().unwrap_or(suite.plugin);
        let path = suite.bin_dir.display().to_string();
        Self {
            program: suite.bin_dir.join(kind),
            arguments: Vec::new(),
            wrapper: Vec::new(),
            variables: vec![
                ("CNI_COMMAND".into(), command.into()),
                ("CNI_PATH".into(), path),
            ],
            input: conf.to_string().into_bytes(),
        }
    }

    /// The command line, `weft`.
    pub fn weft(suite: &Suite, arguments: &[&str]) -> Self {
        Self {
            program: suite.bin_dir.join("weft"),
            arguments: arguments.iter().map(|&one| one.to_owned()).collect(),
            wrapper: Vec::new(),
            variables: Vec::new(),
            input: Vec::new(),
        }
    }

    /// For a container, on its `eth0`.
    #[must_use]
    pub fn container(self, container: &Container) -> Self {
        self.id(container.id())
            .netns(container.path())
            .ifname("eth0")
    }

    /// Sets the container id.
    #[must_use]
    pub fn id(self, id: &str) -> Self {
        self.var("CNI_CONTAINERID", id)
    }

    /// Sets the namespace's path.
    #[must_use]
    pub fn netns(self, path: &Path) -> Self {
        self.var("CNI_NETNS", &path.display().to_string())
    }

    /// Sets the interface.
    #[must_use]
    pub fn ifname(self, ifname: &str) -> Self {
        self.var("CNI_IFNAME", ifname)
    }

    /// Sets a variable.
    #[must_use]
    pub fn var(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(there, _)| there != name);
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Leaves a variable unset.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(there, _)| there != name);
        self
    }

    /// Replaces standard input.
    #[must_use]
    pub fn input(mut self, input: &[u8]) -> Self {
        self.input = input.to_vec();
        self
    }

    /// Runs the plugin under another program.
    #[must_use]
    pub fn under(mut self, wrapper: Vec<String>) -> Self {
        self.wrapper = wrapper;
        self
    }

    /// Runs the call on a host.
    pub fn on(&self, host: &Host) -> Outcome {
        host.run(|| self.here(host))
    }

    /// The command with everything set, to be spawned inside a host's namespace.
    pub fn command(&self, host: &Host) -> Command {
        let mut line: Vec<&str> = self.wrapper.iter().map(String::as_str).collect();
        let program = self.program.to_str().unwrap();
        line.push(program);
        let mut command = Command::new(line[0]);
        command
            .args(&line[1..])
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default());
        command
            .env("WEFT_STATE_DIR", host.state_dir())
            .env("WEFT_DATA_DIR", host.data_dir())
            .env("WEFT_POLICY_DIR", host.policy_dir())
            .env("WEFT_CONFIG", host.dir().join("weft.toml"))
            .env("WEFT_CACHE_DIR", host.dir().join("cache"))
            .env("NETCONFPATH", host.dir().join("conf"));
        if host.backend() == BackendKind::Sled {
            command.env("WEFT_STORE", "sled");
        }
        command.envs(self.variables.iter().map(|(k, v)| (k, v)));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// What standard input is fed with.
    pub fn input_bytes(&self) -> &[u8] {
        &self.input
    }

    fn here(&self, host: &Host) -> Outcome {
        let mut child = self.command(host).spawn().unwrap_or_else(|error| {
            panic!("{}: {error}", self.program.display());
        });
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(&self.input));
            child.wait_with_output().unwrap()
        });
        Outcome {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Outcome {
    /// Whether the plugin succeeded.
    pub fn is_success(&self) -> bool {
        self.status == Some(0)
    }

    /// Requires success and returns the document, if there is one.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(self.is_success(), "failed: {} {}", self.stdout, self.stderr);
        if self.stdout.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }

    /// Requires a failure with exactly one error document, and returns its code.
    #[track_caller]
    pub fn code(&self) -> u64 {
        self.error()["code"].as_u64().unwrap()
    }

    /// Requires a failure with exactly one error document, and returns it.
    #[track_caller]
    pub fn error(&self) -> Value {
        let status = self.status.expect("ended by a signal");
        assert_ne!(status, 0, "succeeded: {}", self.stdout);
        let error: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|e| {
            panic!("not one document ({e}): {:?} {}", self.stdout, self.stderr)
        });
        assert!(
            error["code"].is_u64() && error["msg"].is_string(),
            "{error}"
        );
        error
    }
}
