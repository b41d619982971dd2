//! Which program this process is: all of Weft is one file, and each plugin another name of it.

use std::ffi::OsString;
use std::path::Path;

use weft_cni::{CniError, Code, Plugin};

/// The plugins, each called by its own name.
const ALL: [&dyn Plugin; 10] = [
    &weft_bridge::BRIDGE,
    &weft_macvlan::MACVLAN,
    &weft_ipvlan::IPVLAN,
    &weft_host::HOST,
    &weft_ipam::WeftIpam,
    &weft_portmap::PORTMAP,
    &weft_firewall::FIREWALL,
    &weft_tuning::TUNING,
    &weft_bandwidth::BANDWIDTH,
    &weft_loopback::Loopback,
];
/// The command line's own name, whatever the environment says: it may be run inside a plugin's.
const COMMAND_LINE: &str = "weft";

/// What a process is.
pub(crate) enum Program {
    /// A plugin.
    Plugin(&'static dyn Plugin),
    /// A runtime has called it by the name of no plugin: what to answer.
    Unknown(CniError),
    /// The command line.
    CommandLine,
}

/// By the name that the process was called by (its first argument, the file in a path), and by whether a
/// runtime has called it (with `CNI_COMMAND`).
pub(crate) fn program(called: Option<OsString>, is_call: bool) -> Program {
    let called = called.unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default();
    match ALL.into_iter().find(|plugin| name == plugin.name()) {
        Some(plugin) => Program::Plugin(plugin),
        None if is_call && name != COMMAND_LINE => {
            Program::Unknown(unknown(&name.to_string_lossy()))
        }
        None => Program::CommandLine,
    }
}

fn unknown(name: &str) -> CniError {
    let names = ALL.map(Plugin::name).join(", ");
    CniError::new(
        Code::InvalidEnvironment,
        format!("{name}: Weft has no plugin of this name"),
    )
    .with_details(format!(
        "the file is all of Weft, and the name it is called by says which plugin it is: {names}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(name: &str, is_call: bool) -> Program {
        program(Some(name.into()), is_call)
    }

    #[test]
    fn the_name_says_which() {
        for plugin in ALL {
            let path = format!("/opt/cni/bin/{}", plugin.name());
            let Program::Plugin(found) = called(&path, true) else {
                panic!("{path} is not a plugin");
            };
            assert_eq!(found.name(), plugin.name());
        }
        assert!(matches!(called("weft", true), Program::CommandLine));
        assert!(matches!(called("a-copy", false), Program::CommandLine));
        assert!(matches!(program(None, false), Program::CommandLine));
    }

    #[test]
    fn a_runtime_is_told_what_is_wrong_with_a_name() {
        let Program::Unknown(error) = called("/opt/cni/bin/bridge", true) else {
            panic!("a name of nobody");
        };
        let text = error.to_json(weft_cni::SpecVersion::NEWEST);
        assert!(text.contains("bridge: Weft has no plugin"), "{text}");
        assert!(text.contains("weft-bridge, "), "{text}");
    }
}
