//! `weft gc`: what dead containers have left, of every network.

use anyhow::Result;
use weft_attach::gc_all;
use weft_cni::CniError;
use weft_node::Host;

use crate::cni::environment;
use crate::output;

pub(crate) fn run() -> Result<()> {
    let mut host = Host::of_environment(&environment())?;
    let ended = gc_all(&mut host).map_err(CniError::from)?;
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
