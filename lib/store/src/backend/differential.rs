//! A database that is seldom written: changes gather in a small file beside it (a [`Delta`]), and are made
//! in it many at a time.
//!
//! To open redb for writing, to commit and to close it is most of what a short-lived process does with the
//! store. To open it for reading is a third of that, and the small file is read and replaced in less.
//!
//! The database holds a mark, a new one with each change that is made in it, and the small file the mark
//! of the state that it changes. So a process that is killed after the one has been written and before the
//! other is emptied leaves the new state; and what lies beside a database that was put there from elsewhere
//! is not taken for its own.

use std::cell::Cell;
use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::delta::{Delta, length_of};
use super::guarded::Guarded;
use super::redb::Redb;
use super::{Backend, Visitor, Writes};
use crate::error::StoreError;
use crate::transaction::{key, kind};

/// The small file's length in bytes: every process reads it, and one in so many writes to the database.
const LONGEST: usize = 1 << 15;

pub(super) struct Differential {
    path: PathBuf,
    /// None if there is none.
    database: Option<Guarded>,
    /// None if there is no database, or it has no mark, or it has just been written to.
    delta: Option<Delta>,
}

/// The small file of a database.
pub(crate) fn delta_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".delta");
    path.into()
}

fn mark_key() -> Vec<u8> {
    key(kind::META, &["delta"], &[])
}

fn new_mark(last: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = u64::try_from(now.unwrap_or_default().as_nanos()).unwrap_or(0);
    now.max(last.wrapping_add(1))
}

impl Differential {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let database = match path.exists() {
            true => Some(Guarded::open(path, Redb::open_to_read)?),
            false => None,
        };
        let mark = match &database {
            Some(database) => database.get(&mark_key())?,
            None => None,
        };
        let mark = mark.and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
        let delta = mark.map(|mark| Delta::read(delta_of(path), mark));
        Ok(Self {
            path: path.to_owned(),
            database,
            delta: delta.transpose()?,
        })
    }

    /// Makes the gathered changes and these in the database, all together.
    fn make(&mut self, writes: &Writes) -> Result<(), StoreError> {
        let delta = self.delta.take();
        let mut all = Writes::new();
        for (key, value) in delta.iter().flat_map(|delta| delta.changes_from(&[])) {
            all.insert(key.to_vec(), value.map(<[u8]>::to_vec));
        }
        all.extend(writes.clone());
        let mark = new_mark(delta.as_ref().map_or(0, Delta::mark));
        all.insert(mark_key(), Some(mark.to_le_bytes().to_vec()));
        // A process can have it open once.
        if self.database.take().is_some() {
            Guarded::open(&self.path, Redb::open)?.apply(&all)?;
        } else {
            self.create(&all)?;
        }
        // Its mark is an old one, so it says nothing; but every look would read it.
        let _ = fs::remove_file(delta_of(&self.path));
        self.database = Some(Guarded::open(&self.path, Redb::open_to_read)?);
        Ok(())
    }

    /// One that is half made would be a damaged one: it has its name when it is whole.
    fn create(&self, writes: &Writes) -> Result<(), StoreError> {
        let mut unwritten = self.path.as_os_str().to_owned();
        unwritten.push(".new");
        let unwritten = PathBuf::from(unwritten);
        let failed = |source| StoreError::Io {
            path: self.path.clone(),
            operation: "cannot be made",
            source,
        };
        match fs::remove_file(&unwritten) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => Guarded::open(&unwritten, Redb::create)?.apply(writes)?,
        }
        fs::rename(&unwritten, &self.path).map_err(failed)
    }
}

impl Backend for Differential {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let changed = self.delta.as_ref().and_then(|delta| delta.get(key));
        match (changed, &self.database) {
            (Some(value), _) => Ok(value.map(<[u8]>::to_vec)),
            (None, Some(database)) => database.get(key),
            (None, None) => Ok(None),
        }
    }

    fn scan(&self, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        let mark = mark_key();
        let delta = self.delta.iter();
        let mut changes = delta.flat_map(|delta| delta.changes_from(from)).peekable();
        let has_stopped = Cell::new(false);
        let mut show = |key: &[u8], value: Option<&[u8]>| match value {
            Some(value) if key != mark => {
                let flow = visit(key, value);
                has_stopped.set(flow.is_break());
                flow
            }
            _ => ControlFlow::Continue(()),
        };
        if let Some(database) = &self.database {
            database.scan(from, &mut |key, value| {
                while let Some((key, value)) = changes.next_if(|(changed, _)| *changed < key) {
                    show(key, value)?;
                }
                match changes.next_if(|(changed, _)| *changed == key) {
                    Some((_, value)) => show(key, value),
                    None => show(key, Some(value)),
                }
            })?;
        }
        while !has_stopped.get() {
            let Some((key, value)) = changes.next() else {
                break;
            };
            let _ = show(key, value);
        }
        Ok(())
    }

    fn apply(&mut self, writes: &Writes) -> Result<(), StoreError> {
        match &mut self.delta {
            Some(delta) if delta.length() + length_of(writes) <= LONGEST => delta.add(writes),
            _ => self.make(writes),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backend::BackendKind;

    fn write(path: &Path, key: &[u8], value: Option<&[u8]>) {
        let writes = Writes::from([(key.to_vec(), value.map(<[u8]>::to_vec))]);
        Differential::open(path).unwrap().apply(&writes).unwrap();
    }

    fn read(path: &Path, key: &[u8]) -> Option<Vec<u8>> {
        Differential::open(path).unwrap().get(key).unwrap()
    }

    /// What is larger than the small file may be goes into the database, with all else.
    fn fold(path: &Path) {
        write(path, b"large", Some(&vec![0; LONGEST]));
        assert!(!delta_of(path).exists());
    }

    #[test]
    fn a_kill_between_database_and_small_file_undoes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("database");
        write(&path, b"a", Some(b"made"));
        write(&path, b"a", Some(b"gathered"));
        write(&path, b"b", Some(b"gathered"));
        let gathered = fs::read(delta_of(&path)).unwrap();
        write(&path, b"a", Some(b"later"));
        write(&path, b"b", None);
        fold(&path);
        fs::write(delta_of(&path), gathered).unwrap();
        assert_eq!(read(&path, b"a").unwrap(), b"later");
        assert_eq!(read(&path, b"b"), None);
        write(&path, b"c", Some(b"new"));
        assert_eq!(read(&path, b"a").unwrap(), b"later");
        assert_eq!(read(&path, b"b"), None);
        assert_eq!(read(&path, b"c").unwrap(), b"new");
    }

    #[test]
    fn a_new_database_has_none_of_the_old_ones_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("database");
        write(&path, b"a", Some(b"made"));
        write(&path, b"a", Some(b"gathered"));
        fs::remove_file(&path).unwrap();
        assert!(delta_of(&path).exists());
        assert_eq!(read(&path, b"a"), None);
        write(&path, b"b", Some(b"made"));
        assert_eq!(read(&path, b"a"), None);
    }

    #[test]
    fn what_was_not_written_so_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("database");
        write(&path, b"a", Some(b"made"));
        write(&path, b"a", Some(b"gathered"));
        let whole = fs::read(delta_of(&path)).unwrap();
        let damaged = |bytes: &[u8]| {
            fs::write(delta_of(&path), bytes).unwrap();
            let error = Differential::open(&path).err();
            matches!(error, Some(StoreError::Damaged { path, .. }) if path == delta_of(dir.path().join("database").as_path()))
        };
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            assert!(damaged(&bytes), "byte {place}");
            assert!(damaged(&whole[..place]), "{place} bytes");
        }
        assert!(!damaged(&whole));
    }

    #[test]
    fn what_a_killed_process_began_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("database");
        write(&path, b"a", Some(b"made"));
        let unwritten = dir.path().join("database.delta.new");
        fs::write(&unwritten, vec![7; 5000]).unwrap();
        write(&path, b"a", Some(b"gathered"));
        assert_eq!(read(&path, b"a").unwrap(), b"gathered");
        assert!(!unwritten.exists());
    }

    fn batches() -> impl Strategy<Value = Vec<Vec<(u8, Option<u16>)>>> {
        let change = (0u8..20, proptest::option::weighted(0.7, 0u16..6000));
        proptest::collection::vec(proptest::collection::vec(change, 1..8), 1..30)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever is written, in the small file or in the database: what is read is what was written last.
        #[test]
        fn it_reads_as_one_map(batches in batches()) {
            for kind in [BackendKind::Redb, BackendKind::Sled] {
                let dir = tempfile::tempdir().unwrap();
                let mut model = Writes::new();
                for batch in &batches {
                    let value = |length: &u16| vec![7; usize::from(*length)];
                    let writes: Writes = batch
                        .iter()
                        .map(|(key, length)| (vec![b'k', *key], length.as_ref().map(value)))
                        .collect();
                    kind.open(dir.path()).unwrap().apply(&writes).unwrap();
                    model.extend(writes);
                    let backend = kind.open(dir.path()).unwrap();
                    for from in 0..=20 {
                        let key = vec![b'k', from];
                        prop_assert_eq!(backend.get(&key).unwrap(), model.get(&key).cloned().flatten());
                        let mut seen = Vec::new();
                        backend.scan(&key, &mut |key, value| {
                            seen.push((key.to_vec(), value.to_vec()));
                            match seen.len() {
                                5 => ControlFlow::Break(()),
                                _ => ControlFlow::Continue(()),
                            }
                        }).unwrap();
                        let present = model.range(key..).filter_map(|(k, v)| Some((k.clone(), v.clone()?)));
                        prop_assert_eq!(seen, present.take(5).collect::<Vec<_>>());
                    }
                    // The mark is no entry.
                    let mut count = 0;
                    backend.scan(&[], &mut |_, _| { count += 1; ControlFlow::Continue(()) }).unwrap();
                    prop_assert_eq!(count, model.values().flatten().count());
                }
            }
        }
    }
}
