//! netplan's files, as far as overlays announce what stands there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use ipnetwork::IpNetwork;

/// The destinations of all routes in files and directories; what is not there has none.
///
/// # Errors
/// The file that cannot be read.
pub(crate) fn static_routes(paths: &[PathBuf]) -> Result<Vec<IpNetwork>> {
    let mut found = Vec::new();
    for path in paths {
        for file in files(path) {
            let what = || file.display().to_string();
            let text = weft_cni::file::read_text(&file).with_context(what)?;
            let routes = weft_overlay::netplan::static_routes(&text);
            found.extend(routes.map_err(|error| anyhow!(error)).with_context(what)?);
        }
    }
    Ok(found)
}

fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return path
            .is_file()
            .then(|| path.to_owned())
            .into_iter()
            .collect();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "yaml"));
    files.sort();
    files
}
