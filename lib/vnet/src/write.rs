//! Writing a network's configuration, and what runtimes and plugins make of it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use weft_cni::{CniError, Code, file};

use crate::catalogue::{Catalogue, MARK, NetworkFile};
use crate::create::{LONGEST_NAME, invalid};
use crate::error::VNetError;
use crate::state::NetworkState;
use crate::vnet_manager::VNetManager;

impl VNetManager {
    /// Writes configuration and state if the plugins accept the configuration. What they report of the host.
    pub(crate) fn write(
        &self,
        path: &Path,
        name: &str,
        conflist: &Value,
        state: &NetworkState,
    ) -> Result<Vec<String>, VNetError> {
        let dir = &self.places.conf_dir;
        put_back_left_over(dir);
        let text = serde_json::to_string_pretty(conflist).unwrap_or_default() + "\n";
        std::fs::create_dir_all(dir).map_err(VNetError::file(dir, "made"))?;
        let trial = dir.join(format!(".{name}{TRIAL}"));
        let failed = |error| VNetError::file(&trial, "written")(error);
        let mut new = file::create_own(&trial).map_err(failed)?;
        let written = std::io::Write::write_all(&mut new, text.as_bytes())
            .and_then(|()| readable(&new))
            .and_then(|()| new.sync_data());
        let accepted = written
            .map_err(VNetError::file(&trial, "written"))
            .and_then(|()| self.ask_plugins(&trial));
        let renamed = accepted.and_then(|warnings| {
            let before = self.states.read(name)?;
            self.states.write(name, state)?;
            if let Err(error) = std::fs::rename(&trial, path) {
                // As it was before.
                let restored = match before {
                    Some(before) => self.states.write(name, &before),
                    None => self.states.remove(name),
                };
                restored?;
                return Err(VNetError::file(path, "written")(error));
            }
            Ok(warnings)
        });
        renamed.inspect_err(|_| {
            let _ = std::fs::remove_file(&trial);
        })
    }

    /// Lets the plugins read a configuration. Reasons why an ADD would fail now are warnings; what is wrong with the
    /// configuration itself is an error.
    fn ask_plugins(&self, path: &Path) -> Result<Vec<String>, VNetError> {
        let mut file = NetworkFile::read(path)?;
        for plugin in &mut file.list.plugins {
            plugin.insert("strict".to_owned(), true.into());
        }
        let passing = [Code::Unavailable, Code::LimitedConnectivity].map(Code::number);
        match self.chain(&file).status() {
            Ok(()) => Ok(Vec::new()),
            Err(error) if passing.contains(&error.code) => Ok(vec![error.msg]),
            Err(error) if error.code == Code::DelegateFailed.number() => {
                Err(missing_plugin(error, file.first_type()).into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

pub(crate) fn missing_plugin(error: CniError, kind: &str) -> CniError {
    let hint = match kind {
        "weft-overlay" => "this version of Weft has no overlay networks",
        _ => "weft plugins link /opt/cni/bin puts Weft's plugins there",
    };
    error.with_details(hint)
}

/// What a file is called until the plugins have accepted it, behind a dot and the network's name. No runtime reads it.
const TRIAL: &str = ".weft-new";
/// What a configuration is called while its network is removed, behind a dot and its name.
const ASIDE: &str = ".weft-old";

/// The name that a configuration has while its network is removed.
pub(crate) fn hidden(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{ASIDE}"))
}

/// Removes what calls that were killed have left, and puts back what they were about to remove. The lock of networks is
/// held, so no other call is at it.
pub(crate) fn put_back_left_over(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with('.')) else {
            continue;
        };
        // What cannot be changed is in no call's way.
        if name.ends_with(TRIAL) {
            let _ = std::fs::remove_file(entry.path());
        }
        let before = name
            .strip_prefix('.')
            .and_then(|name| name.strip_suffix(ASIDE));
        if let Some(before) = before {
            let _ = std::fs::rename(entry.path(), dir.join(before));
        }
    }
}

/// Runtimes that are not the superuser's read configurations too.
fn readable(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

/// A file name behind all that others have written: a runtime takes the first one as the network of its pods.
pub(crate) fn last_name(
    dir: &Path,
    network: &str,
    catalogue: &Catalogue,
) -> Result<PathBuf, VNetError> {
    const LONGEST: usize = 64;
    let mut name = format!("z{MARK}{network}.conflist");
    while name <= catalogue.last_foreign_name {
        if name.len() > LONGEST + LONGEST_NAME {
            let last = &catalogue.last_foreign_name;
            return Err(invalid(
                format!("{}", dir.join(last).display()),
                "has a name behind which there is none: rename it, so that the network of pods stays the first",
            ));
        }
        name.insert(0, 'z');
    }
    Ok(dir.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_the_last_one() {
        let after = |last: &str| {
            let catalogue = Catalogue {
                last_foreign_name: last.to_owned(),
                ..Catalogue::default()
            };
            last_name(Path::new("/d"), "demo", &catalogue)
        };
        for last in [
            "",
            "10-containerd-net.conflist",
            "zulu.conf",
            "zz-x.conflist",
            "zzzz.conf",
        ] {
            let path = after(last).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(
                name > last && name.ends_with("-weft-demo.conflist"),
                "{name}"
            );
        }
        assert!(after("~.conflist").is_err());
    }
}
