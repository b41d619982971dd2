//! Running containers by what people call them: Weft's own records, then the runtimes of the host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use weft_vnet::VNetManager;

use crate::cni::default_id;

/// A container whose network namespace is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    /// As its runtime has it; for a bare namespace derived from its path.
    pub(crate) id: String,
    /// The path of its network namespace.
    pub(crate) netns: PathBuf,
    /// What people call it.
    pub(crate) name: Option<String>,
}

/// The containers that a text can mean: the path of a network namespace, or a name or id. Empty if there is none.
pub(crate) fn find(vnet: &VNetManager, text: &str) -> Result<Vec<Running>> {
    let mut known: BTreeMap<(String, PathBuf), Running> = BTreeMap::new();
    for endpoint in vnet.living_endpoints()? {
        if let Some(netns) = endpoint.netns {
            let key = (endpoint.container_id.clone(), netns.clone());
            known.entry(key).or_insert(Running {
                id: endpoint.container_id,
                netns,
                name: endpoint.name,
            });
        }
    }
    let known: Vec<Running> = known.into_values().collect();
    if text.contains('/') {
        let path = Path::new(text);
        if !path.exists() {
            bail!("{text}: there is no such file; lsns -t net lists network namespaces");
        }
        let own = known.into_iter().find(|one| one.netns == path);
        let bare = || Running {
            id: default_id(text),
            netns: path.to_owned(),
            name: path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
        };
        return Ok(vec![own.unwrap_or_else(bare)]);
    }
    const SHORTEST_ID: usize = 4;
    let is_exact = |one: &&Running| one.id == text || one.name.as_deref() == Some(text);
    let begins = |one: &&Running| text.len() >= SHORTEST_ID && one.id.starts_with(text);
    let exact: Vec<Running> = known.iter().filter(is_exact).cloned().collect();
    if !exact.is_empty() {
        return Ok(exact);
    }
    let mut found: Vec<Running> = known.iter().filter(begins).cloned().collect();
    if found.is_empty() {
        let answers = RUNTIMES.iter().filter_map(|ask| ask(text));
        for one in answers {
            // podman may answer for docker too.
            if found.iter().all(|there| there.id != one.id) {
                found.push(one);
            }
        }
    }
    Ok(found)
}

/// The one that is meant.
pub(crate) fn only(text: &str, mut found: Vec<Running>) -> Result<Running> {
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => bail!("{text:?} is no running container"),
        _ => {
            let all: Vec<String> = found.iter().map(|one| one.id.clone()).collect();
            bail!("{text:?} can be {}: give an id", all.join(" or "))
        }
    }
}

/// What runtimes are asked, by their own commands; one that is not installed knows none.
const RUNTIMES: [fn(&str) -> Option<Running>; 4] = [
    |text| inspected("podman", text),
    |text| inspected("docker", text),
    |text| inspected("nerdctl", text),
    lxc,
];

fn inspected(program: &str, text: &str) -> Option<Running> {
    const FORMAT: &str = "{{.Id}} {{.State.Pid}} {{.Name}}";
    let answer = ask(
        program,
        &["container", "inspect", "--format", FORMAT, "--", text],
    )?;
    let mut words = answer.split_whitespace();
    let (id, pid, name) = (words.next()?, words.next()?, words.next());
    let pid: u32 = pid.parse().ok().filter(|pid| *pid != 0)?;
    Some(Running {
        id: id.to_owned(),
        netns: format!("/proc/{pid}/ns/net").into(),
        name: name.map(|name| name.trim_start_matches('/').to_owned()),
    })
}

fn lxc(text: &str) -> Option<Running> {
    let answer = ask("lxc-info", &["-p", "-H", "-n", text])?;
    let pid: u32 = answer.trim().parse().ok()?;
    Some(Running {
        id: format!("lxc-{text}"),
        netns: format!("/proc/{pid}/ns/net").into(),
        name: Some(text.to_owned()),
    })
}

fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the command line, not a plugin, asks the runtimes of the host"
    )]
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(text)
}
