//! The part that answers: sockets and names come from the root part, questions from containers.

mod clients;
mod control;
mod counters;
mod forward;
mod known;
mod peers;
mod question;
mod serve;
mod served;
mod status;
mod upstream;
mod world;

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nix::sys::prctl::set_no_new_privs;
use nix::unistd::{Gid, Uid, User, setgid, setgroups, setuid};

use crate::channel::{self, Message};
use world::World;

/// The user of daemons that own nothing, where there is no user `weftd`.
const NOBODY: u32 = 65534;

/// Runs until the root part is gone, or says that it is time.
pub(crate) fn run() -> Result<()> {
    let channel = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("the socket to the root part")?;
    let channel = UnixStream::from(channel);
    give_up_rights()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("tokio cannot start")?;
    runtime.block_on(learn(channel))
}

/// Takes in what the root part says.
async fn learn(channel: UnixStream) -> Result<()> {
    const WAITING: usize = 64;
    let mut answers = channel.try_clone().context("the socket to the root part")?;
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<(Message, Vec<OwnedFd>)>(WAITING);
    std::thread::spawn(move || {
        while let Ok(Some(message)) = channel::receive(&channel) {
            if sender.blocking_send(message).is_err() {
                break;
            }
        }
    });
    let world = Arc::new(World::default());
    while let Some((message, sockets)) = receiver.recv().await {
        if let Message::Sync { number } = message {
            world.has_closed().await;
            world.known().is_complete = true;
            // The root part that does not listen any more is gone.
            let _ = answers.write_all(&number.to_be_bytes());
        } else if message == Message::Drain {
            world.drain().await;
            return Ok(());
        } else {
            // Without its sockets this process is of no use to those that ask there: another one may get them.
            let is_place = !sockets.is_empty();
            match world.learn(message, sockets) {
                Err(error) if is_place => return Err(error),
                Err(error) => tracing::warn!("{error:#}"),
                Ok(()) => {}
            }
        }
    }
    Ok(())
}

/// Neither files nor interfaces are this part's to change from now on.
fn give_up_rights() -> Result<()> {
    if !Uid::current().is_root() {
        return Ok(());
    }
    let user = User::from_name("weftd").ok().flatten();
    let (uid, gid) = user.map_or((Uid::from_raw(NOBODY), Gid::from_raw(NOBODY)), |user| {
        (user.uid, user.gid)
    });
    setgroups(&[]).context("groups cannot be given up")?;
    setgid(gid).context("the group cannot be given up")?;
    setuid(uid).context("the user cannot be given up")?;
    set_no_new_privs().context("privileges cannot be given up")?;
    if setuid(Uid::from_raw(0)).is_ok() {
        bail!("the superuser's rights could not be given up");
    }
    Ok(())
}
