//! Names that are made at run time.

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Sets, chains and tables are constants almost everywhere, and so are their names. The few that are
/// not (an interface's, a policy's) are kept for the life of the process, each once.
static NAMES: LazyLock<Mutex<BTreeSet<&'static str>>> = LazyLock::new(Mutex::default);

/// A name as good as a constant's.
pub fn interned(name: &str) -> &'static str {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    match names.get(name) {
        Some(known) => known,
        None => {
            let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
            names.insert(kept);
            kept
        }
    }
}
