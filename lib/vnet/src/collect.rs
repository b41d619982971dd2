//! Ending what dead containers have left.

use std::time::Instant;

use weft_attach::dead::{Patience, find_dead};
use weft_attach::gc_all;
use weft_cni::runtime::ResultCache;
use weft_store::AttachmentRecord;

use crate::error::VNetError;
use crate::vnet_manager::VNetManager;

impl VNetManager {
    /// Ends what is provably dead, of every network, with or without its configuration. What ended.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn collect_garbage(&mut self) -> Result<Vec<AttachmentRecord>, VNetError> {
        let start = Instant::now();
        let outcome = gc_all(&mut self.host).map_err(VNetError::from);
        // The results of ADDs that no runtime asks for any more.
        let cache = ResultCache::new(&self.places.cache_dir);
        for AttachmentRecord { id, .. } in outcome.iter().flatten() {
            let (network, container) = (id.network.as_str(), id.container_id.as_str());
            cache.remove(network, container, id.ifname.as_str());
        }
        self.note("GC", "", start, outcome.as_ref().err());
        outcome
    }

    /// What [`Self::collect_garbage`] would end.
    ///
    /// # Errors
    /// The store's and the kernel's.
    pub fn garbage(&mut self) -> Result<Vec<AttachmentRecord>, VNetError> {
        let records = self.host.attachments()?;
        let dead = find_dead(&mut self.host, &records, Patience::None)?;
        Ok(dead.into_iter().cloned().collect())
    }
}
