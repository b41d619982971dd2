//! A small file of changes to a database that have not been made in it yet.
//!
//! A head (what it is; which state of the database it changes; its own length; a CRC-32 of all but the first),
//! then the changes in the order of their keys: length of the key, length of the value, key, value. Numbers
//! are little-endian. The file is only ever replaced by another one, so nobody sees a part of it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Writes;
use crate::error::StoreError;

const MAGIC: [u8; 8] = *b"weftdlt1";
const HEAD: usize = 24;
/// In the place of a value's length: the key is deleted.
const DELETED: u32 = u32::MAX;

/// A key and its value; none where it is deleted.
pub(super) type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// The last change of one key, as places in the file's bytes.
struct Place {
    key: Range<usize>,
    value: Option<Range<usize>>,
}

/// Changes to one state of a database.
pub(super) struct Delta {
    path: PathBuf,
    /// The state.
    mark: u64,
    /// The file; nothing if it is not there or changes another state.
    bytes: Vec<u8>,
    /// In the order of keys.
    places: Vec<Place>,
}

impl Delta {
    /// Reads the changes to a state. A file of changes to another state is as good as none.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Io`].
    pub(super) fn read(path: PathBuf, mark: u64) -> Result<Self, StoreError> {
        let bytes = match File::open(&path) {
            Ok(file) => read_all(&file).map_err(|error| failed(&path, "cannot be read", error))?,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(&path, "cannot be opened", error)),
        };
        let mut delta = Self {
            path,
            mark,
            bytes,
            places: Vec::new(),
        };
        match delta.find_places() {
            Some(places) => delta.places = places,
            None => return Err(delta.damaged()),
        }
        Ok(delta)
    }

    /// The state that it changes.
    pub(super) fn mark(&self) -> u64 {
        self.mark
    }

    /// The length of the file in bytes.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// What it says of a key: nothing, its value, or that it is deleted.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let found = self
            .places
            .binary_search_by(|place| self.slice(&place.key).cmp(key));
        let (_, value) = self.change(self.places.get(found.ok()?)?);
        Some(value)
    }

    /// The changes of the keys from one on, in their order.
    pub(super) fn changes_from(&self, key: &[u8]) -> impl Iterator<Item = Change<'_>> {
        let is_before = |place: &Place| self.slice(&place.key) < key;
        let start = self.places.partition_point(is_before);
        let places = self.places.get(start..).unwrap_or_default();
        places.iter().map(|place| self.change(place))
    }

    /// Adds changes: they are made when this returns, and otherwise not.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn add(&mut self, writes: &Writes) -> Result<(), StoreError> {
        let bytes = self.with(writes);
        replace(&self.path, &bytes)?;
        self.bytes = bytes;
        self.places = self.find_places().ok_or_else(|| self.damaged())?;
        Ok(())
    }

    fn with(&self, writes: &Writes) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes.len() + length_of(writes) + HEAD);
        bytes.resize(HEAD, 0);
        let mut old = self.changes_from(&[]).peekable();
        for (key, value) in writes {
            while let Some((key, value)) = old.next_if(|(old, _)| *old < key.as_slice()) {
                push(&mut bytes, key, value);
            }
            let _ = old.next_if(|(old, _)| *old == key.as_slice());
            push(&mut bytes, key, value.as_deref());
        }
        old.for_each(|(key, value)| push(&mut bytes, key, value));
        let (head, changes) = bytes.split_at_mut(HEAD);
        head.copy_from_slice(&head_of(self.mark, changes));
        bytes
    }

    /// Where the changes are; nowhere, and the bytes are forgotten, if they are to another state. None if the
    /// bytes are not as they were written.
    fn find_places(&mut self) -> Option<Vec<Place>> {
        let mut places = Vec::new();
        if self.bytes.is_empty() {
            return Some(places);
        }
        let (head, changes) = self.bytes.split_at_checked(HEAD)?;
        let mark = head.get(MAGIC.len()..)?.first_chunk()?;
        if head != head_of(u64::from_le_bytes(*mark), changes) {
            return None;
        }
        if u64::from_le_bytes(*mark) != self.mark {
            self.bytes.clear();
            return Some(places);
        }
        let mut next = HEAD;
        while next < self.bytes.len() {
            places.push(place(&self.bytes, &mut next)?);
        }
        Some(places)
    }

    fn slice(&self, place: &Range<usize>) -> &[u8] {
        self.bytes.get(place.clone()).unwrap_or_default()
    }

    fn change(&self, place: &Place) -> Change<'_> {
        let value = place.value.as_ref().map(|value| self.slice(value));
        (self.slice(&place.key), value)
    }

    fn damaged(&self) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            reason: "its bytes are not those that were written".to_owned(),
        }
    }
}

fn failed(path: &Path, operation: &'static str, source: std::io::Error) -> StoreError {
    StoreError::Io {
        path: path.to_owned(),
        operation,
        source,
    }
}

fn read_all(file: &File) -> std::io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut bytes = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// One that is killed leaves a file beside it, which the next one writes anew.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut unwritten = path.as_os_str().to_owned();
    unwritten.push(".new");
    let write = || {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&unwritten)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&unwritten, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&unwritten);
        failed(path, "cannot be written", error)
    })
}

/// How many bytes these changes take at most.
pub(super) fn length_of(writes: &Writes) -> usize {
    let length = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
        2 * size_of::<u32>() + key.len() + value.as_ref().map_or(0, Vec::len)
    };
    writes.iter().map(length).sum()
}

fn head_of(mark: u64, changes: &[u8]) -> [u8; HEAD] {
    let mark = mark.to_le_bytes();
    let length = number_of(HEAD + changes.len()).to_le_bytes();
    let mut sum = crc32fast::Hasher::new();
    for part in [&mark[..], &length, changes] {
        sum.update(part);
    }
    let sum = sum.finalize().to_le_bytes();
    let mut head = [0; HEAD];
    let parts = MAGIC.into_iter().chain(mark).chain(length).chain(sum);
    for (place, byte) in head.iter_mut().zip(parts) {
        *place = byte;
    }
    head
}

fn push(bytes: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    bytes.extend(number_of(key.len()).to_le_bytes());
    bytes.extend(
        value
            .map_or(DELETED, |value| number_of(value.len()))
            .to_le_bytes(),
    );
    bytes.extend(key);
    bytes.extend(value.unwrap_or_default());
}

/// Lengths are of what fits into a small file.
fn number_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(DELETED)
}

fn place(bytes: &[u8], next: &mut usize) -> Option<Place> {
    let key = number(bytes, next)?;
    let value = number(bytes, next)?;
    Some(Place {
        key: take(bytes, next, key)?,
        value: match value {
            DELETED => None,
            length => Some(take(bytes, next, length)?),
        },
    })
}

fn number(bytes: &[u8], next: &mut usize) -> Option<u32> {
    let digits = take(bytes, next, 4)?;
    Some(u32::from_le_bytes(bytes.get(digits)?.try_into().ok()?))
}

/// The places of the next bytes, if there are as many.
fn take(bytes: &[u8], next: &mut usize, length: u32) -> Option<Range<usize>> {
    let start = *next;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    if end > bytes.len() {
        return None;
    }
    *next = end;
    Some(start..end)
}
