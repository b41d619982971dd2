//! `weft gc`: what dead containers have left, of every network.

use anyhow::Result;
use clap::Args;

use crate::network::manager;
use crate::output;

/// End what dead containers have left, of every network, with or without its configuration.
///
/// Runtimes rarely call GC themselves: contrib/systemd has a timer.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only say what would end
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(gc: &Gc) -> Result<()> {
    let mut vnet = manager()?;
    if gc.dry_run {
        let dead = vnet.garbage()?;
        for record in &dead {
            output::line(&format!("dead: {}", record.id));
        }
        output::line(&format!("{} dead attachments would end", dead.len()));
        return Ok(());
    }
    let ended = vnet.collect_garbage()?;
    for record in &ended {
        output::line(&format!("ended {}", record.id));
        if let Some(delegate) = &record.delegate {
            output::line(&format!(
                "  its addresses are {}'s, which is not told: weft cni gc {}",
                delegate.plugin, record.id.network
            ));
        }
    }
    output::line(&format!("{} dead attachments ended", ended.len()));
    Ok(())
}
