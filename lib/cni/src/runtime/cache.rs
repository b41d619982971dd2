//! The result cache, in the format of libcni (`kind: cniCacheV1`).

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{CniError, Code};
use crate::file;

/// A directory with one file per attachment, named `<network>-<container id>-<interface>`.
#[derive(Debug, Clone)]
pub struct ResultCache {
    dir: PathBuf,
}

/// What libcni keeps of an attachment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CachedAttachment {
    /// Always `cniCacheV1`.
    pub kind: String,
    /// As the runtime gave it with ADD.
    pub container_id: String,
    /// The list's text, in base 64 (a Go byte slice).
    pub config: String,
    /// The interface.
    pub if_name: String,
    /// As the configuration had it at ADD.
    pub network_name: String,
    /// The network namespace's path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub netns: String,
    /// `CNI_ARGS` as pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni_args: Option<Vec<[String; 2]>>,
    /// Capability arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability_args: Option<Value>,
    /// The final result.
    #[serde(default)]
    pub result: Value,
}

impl ResultCache {
    /// A cache below `dir` (libcni's is `/var/lib/cni`).
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.join("results"),
        }
    }

    fn file(&self, network: &str, container_id: &str, ifname: &str) -> PathBuf {
        self.dir.join(format!("{network}-{container_id}-{ifname}"))
    }

    /// Writes an attachment, by renaming: a reader never sees half a file.
    ///
    /// # Errors
    /// Code 5.
    pub fn write(&self, attachment: &CachedAttachment) -> Result<(), CniError> {
        let path = self.file(
            &attachment.network_name,
            &attachment.container_id,
            &attachment.if_name,
        );
        let temporary = path.with_extension(format!("tmp{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            file::make_own_dir(&self.dir)?;
            file::replace_own(&path, &temporary, &serde_json::to_vec(attachment)?, false)
        };
        write().map_err(|error| CniError::new(Code::Io, format!("{}: {error}", path.display())))
    }

    /// Reads an attachment. One that is missing or broken is `None`: a DEL must go on without.
    pub fn read(
        &self,
        network: &str,
        container_id: &str,
        ifname: &str,
    ) -> Option<CachedAttachment> {
        let bytes = file::read_own(&self.file(network, container_id, ifname)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Forgets an attachment.
    pub fn remove(&self, network: &str, container_id: &str, ifname: &str) {
        let _ = fs::remove_file(self.file(network, container_id, ifname));
    }

    /// What the cache has of a network; files that cannot be read are passed over.
    pub fn list(&self, network: &str) -> Vec<CachedAttachment> {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| file::read_own(&entry.ok()?.path()).ok())
            .filter_map(|bytes| serde_json::from_slice::<CachedAttachment>(&bytes).ok())
            .filter(|attachment| attachment.network_name == network)
            .collect()
    }
}

/// Base 64 as Go's encoding/json writes byte slices (RFC 4648, section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0u32, |group, byte| group << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for position in 0..4usize {
            let index = (group >> (18 - 6 * position) & 63) as usize;
            let digit = ALPHABET.get(index).copied().unwrap_or(b'=');
            text.push(if position <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_follows_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_broken_file_reads_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let cache = ResultCache::new(dir.path());
        fs::create_dir_all(dir.path().join("results")).unwrap();
        fs::write(dir.path().join("results/n-c-eth0"), "{").unwrap();
        assert!(cache.read("n", "c", "eth0").is_none());
        assert!(cache.list("n").is_empty());
        cache.remove("n", "c", "eth0");
        assert!(!dir.path().join("results/n-c-eth0").exists());
    }
}
