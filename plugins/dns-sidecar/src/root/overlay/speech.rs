//! To the part that answers, which speaks with other hosts, and what it has heard of them.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use weft_overlay::Overlays;
use weft_overlay::config::Tls;
use weft_overlay::exchange::{Learned, Own};

use crate::channel;
use crate::channel::peers::{Configuration, Heard, Keys, Looked, Tell};

/// A part that neither takes nor sends for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to it, and what is known by it.
#[derive(Debug)]
pub(super) struct Speech {
    socket: Option<UnixStream>,
    told: Option<Configuration>,
    pub(super) heard: Heard,
    /// What was heard outlives the daemon here, so that its start changes nothing.
    path: PathBuf,
    /// Why nothing is said to other hosts.
    pub(super) trouble: Option<String>,
    /// The way is lost, and another one is to be made.
    is_lost: Arc<AtomicBool>,
}

impl Speech {
    /// Begins with what was heard before.
    pub(super) fn open(data_dir: &Path, is_lost: Arc<AtomicBool>) -> Self {
        let path = data_dir.join("overlay-routes.json");
        let learned = match weft_cni::file::read_own(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!("{}: {error}: other hosts will say it again", path.display());
                Learned::default()
            }),
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!("{}: {error}", path.display());
                }
                Learned::default()
            }
        };
        Self {
            socket: None,
            told: None,
            heard: Heard {
                learned,
                troubles: Vec::new(),
            },
            path,
            trouble: None,
            is_lost,
        }
    }

    /// Another part answers from now on.
    pub(super) fn speak_by(&mut self, socket: UnixStream) -> Result<()> {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        (self.socket, self.told) = (Some(socket), None);
        Ok(())
    }

    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Takes what it says. Whether it is new.
    pub(super) fn hear(&mut self) -> bool {
        let Some(socket) = &self.socket else {
            return false;
        };
        match channel::receive::<Heard>(socket) {
            Ok(Some((heard, _))) => {
                let is_new = heard != self.heard;
                if unstaled(&heard.learned) != unstaled(&self.heard.learned) {
                    self.keep(&heard.learned);
                }
                self.heard = heard;
                is_new
            }
            Ok(None) => {
                self.lose();
                false
            }
            Err(error) => {
                tracing::warn!("overlays: the part that answers: {error}");
                self.lose();
                false
            }
        }
    }

    fn lose(&mut self) {
        self.socket = None;
        self.is_lost.store(true, Ordering::Release);
    }

    /// Whether there is a part that speaks with other hosts.
    pub(super) const fn is_reached(&self) -> bool {
        self.socket.is_some()
    }

    fn keep(&self, learned: &Learned) {
        let by_way_of = self.path.with_extension("new");
        let written = serde_json::to_vec(learned)
            .map_err(std::io::Error::from)
            .and_then(|bytes| weft_cni::file::replace_own(&self.path, &by_way_of, &bytes, true));
        if let Err(error) = written {
            tracing::warn!("{}: {error}", self.path.display());
        }
    }

    /// Tells how to speak, and of what, if that has changed.
    pub(super) fn configure(&mut self, overlays: &Overlays, own: &Own) {
        let plane = overlays.security.control_plane.as_ref();
        let keys = plane
            .and_then(|plane| plane.tls.as_ref())
            .map(keys)
            .transpose();
        let (keys, keys_missing) = match keys {
            Ok(keys) => (keys, None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        self.trouble.clone_from(&keys_missing);
        let configuration = Configuration {
            node: node(overlays),
            overlays: overlays.clone(),
            own: own.clone(),
            remembered: self.heard.learned.clone(),
            keys,
            keys_missing,
        };
        let is_same = self.told.as_ref().is_some_and(|told| {
            let remembered = told.remembered.clone();
            *told
                == Configuration {
                    remembered,
                    ..configuration.clone()
                }
        });
        if !is_same && self.tell(&Tell::Configure(Box::new(configuration.clone()))) {
            self.told = Some(configuration);
        }
    }

    /// Tells how the kernel is.
    pub(super) fn looked(&mut self, looked: Looked) {
        self.tell(&Tell::Looked(looked));
    }

    fn tell(&mut self, tell: &Tell) -> bool {
        let Some(socket) = &self.socket else {
            return false;
        };
        let sent = channel::send::<OwnedFd>(socket, tell, &[]);
        if let Err(error) = &sent {
            // It is told again when there is another one.
            tracing::warn!("overlays: the part that answers takes nothing: {error}");
            self.lose();
        }
        sent.is_ok()
    }
}

/// Without what changes by itself.
fn unstaled(learned: &Learned) -> Learned {
    let mut learned = learned.clone();
    learned
        .routes
        .iter_mut()
        .for_each(|one| one.is_stale = false);
    learned
}

/// This host's id.
fn node(overlays: &Overlays) -> String {
    let named = overlays.node.id.clone();
    named.unwrap_or_else(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
        name.unwrap_or_default().trim().to_owned()
    })
}

fn keys(tls: &Tls) -> Result<Keys> {
    let read = |key: &str, path: &Path| {
        let text = weft_cni::file::read_text(path);
        text.with_context(|| format!("security.control_plane.tls.{key}: {}", path.display()))
    };
    Ok(Keys {
        certificate: read("cert_file", &tls.cert_file)?,
        key: read("key_file", &tls.key_file)?,
        authority: read("ca_file", &tls.ca_file)?,
    })
}
