//! Which program this process is: all of Weft is one file, and each plugin another name of it.

use std::ffi::OsString;
use std::path::Path;

use weft_cni::{CniError, Code, Plugin};

use crate::plugins::{by_other_name, by_own_name, names};

/// The command line's own name, whatever the environment says: it may be run inside a plugin's.
const COMMAND_LINE: &str = "weft";

/// What a process is.
pub(crate) enum Program {
    /// By a plugin's name, or a reference plugin's.
    Plugin(&'static dyn Plugin),
    /// A runtime has called it by the name of no plugin: what to answer.
    Unknown(CniError),
    /// As `weft`.
    CommandLine,
}

/// By the name that the process was called by (its first argument, the file in a path), and by whether a
/// runtime has called it (with `CNI_COMMAND`).
pub(crate) fn program(called: Option<OsString>, is_call: bool) -> Program {
    let called = called.unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default();
    let text = name.to_str().unwrap_or_default();
    // Only for a runtime: people may call the command line what they like.
    let other = || by_other_name(text).filter(|_| is_call);
    match by_own_name(text).or_else(other) {
        Some(plugin) => Program::Plugin(plugin),
        None if is_call && name != COMMAND_LINE => {
            Program::Unknown(unknown(&name.to_string_lossy()))
        }
        None => Program::CommandLine,
    }
}

fn unknown(name: &str) -> CniError {
    let names = names().join(", ");
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
    use crate::plugins::ALL;

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
        for (name, plugin) in [("bridge", "weft-bridge"), ("static", "weft-ipam")] {
            let Program::Plugin(found) = called(&format!("/opt/cni/bin/{name}"), true) else {
                panic!("{name} is not a plugin");
            };
            assert_eq!(found.name(), plugin);
        }
        assert!(matches!(called("weft", true), Program::CommandLine));
        assert!(matches!(called("a-copy", false), Program::CommandLine));
        assert!(matches!(program(None, false), Program::CommandLine));
    }

    #[test]
    fn a_runtime_is_told_what_is_wrong_with_a_name() {
        let Program::Unknown(error) = called("/opt/cni/bin/ptp", true) else {
            panic!("a name of no plugin");
        };
        let text = error.to_json(weft_cni::SpecVersion::NEWEST);
        assert!(text.contains("ptp: Weft has no plugin"), "{text}");
        assert!(text.contains("weft-bridge, "), "{text}");
    }
}
