//! A small file of changes to a database that have not been made in it yet.
//!
//! A head (what it is; which state of the database it changes; its own length; a CRC-32 of all but the first),
//! then the changes in the order of their keys: length of the key, length of the value, key, value. Numbers
//! are little-endian. The file is only ever replaced by a whole one, so no reader sees a part of one.
//!
//! Why it is so: docs/decisions/store.md.

use std::cmp::Ordering;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use weft_cni::file;

use super::Writes;
use crate::error::StoreError;

const MAGIC: [u8; 8] = *b"weftdlt1";
const HEAD: usize = 24;
/// In front of each key: its length, and that of its value.
const LENGTHS: usize = 8;
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
        let mut delta = Self {
            path,
            mark,
            bytes: Vec::new(),
            places: Vec::new(),
        };
        let opened = file::open_own(&delta.path, OpenOptions::new().read(true));
        let bytes = match opened {
            Ok(file) => read_all(&file),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(delta),
            Err(error) => return Err(failed(&delta.path, "cannot be opened", error)),
        };
        let bytes = bytes.map_err(|error| failed(&delta.path, "cannot be read", error))?;
        if mark_in(&bytes).ok_or_else(|| delta.damaged())? == mark {
            delta.places = places_in(&bytes).ok_or_else(|| delta.damaged())?;
            delta.bytes = bytes;
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
            .binary_search_by(|place| order(self.slice(&place.key), key));
        let (_, value) = self.change(self.places.get(found.ok()?)?);
        Some(value)
    }

    /// The changes of the keys from one on, in their order.
    pub(super) fn changes_from(&self, key: &[u8]) -> impl Iterator<Item = Change<'_>> {
        let places = self.places.get(self.first_from(key, 0)..);
        let places = places.unwrap_or_default();
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
        self.places = places_in(&self.bytes).ok_or_else(|| self.damaged())?;
        Ok(())
    }

    fn with(&self, writes: &Writes) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes.len() + length_of(writes) + HEAD);
        bytes.resize(HEAD, 0);
        let mut next = 0;
        for (key, value) in writes {
            let place = self.first_from(key, next);
            bytes.extend(self.changes_at(next..place));
            let is_known = |place: &Place| self.slice(&place.key) == key;
            next = place + usize::from(self.places.get(place).is_some_and(is_known));
            push(&mut bytes, key, value.as_deref());
        }
        bytes.extend(self.changes_at(next..self.places.len()));
        let (head, changes) = bytes.split_at_mut(HEAD);
        head.copy_from_slice(&head_of(self.mark, changes));
        bytes
    }

    /// The first place of a key that is not before this one, of those from a place on.
    fn first_from(&self, key: &[u8], start: usize) -> usize {
        let places = self.places.get(start..).unwrap_or_default();
        start + places.partition_point(|place| order(self.slice(&place.key), key).is_lt())
    }

    /// Changes that follow each other, as they are in the file.
    fn changes_at(&self, places: Range<usize>) -> &[u8] {
        let start = |place: usize| match self.places.get(place) {
            Some(place) => place.key.start - LENGTHS,
            None => self.bytes.len(),
        };
        self.slice(&(start(places.start)..start(places.end)))
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

/// The file, or as much of it as shows that it is none of these.
fn read_all(file: &File) -> std::io::Result<Vec<u8>> {
    const TOO_LONG: u64 = 1 << 20;
    let length = file.metadata()?.len().min(TOO_LONG);
    let mut bytes = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// One that is killed leaves a file beside it, which the next one writes anew.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut unwritten = path.as_os_str().to_owned();
    unwritten.push(".new");
    file::replace_own(path, Path::new(&unwritten), bytes, true)
        .map_err(|error| failed(path, "cannot be written", error))
}

/// How many bytes these changes take at most.
pub(super) fn length_of(writes: &Writes) -> usize {
    let length = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
        LENGTHS + key.len() + value.as_ref().map_or(0, Vec::len)
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

/// The state that a whole file changes. None if the bytes are not as they were written.
fn mark_in(bytes: &[u8]) -> Option<u64> {
    let (head, changes) = bytes.split_at_checked(HEAD)?;
    let mark = u64::from_le_bytes(*head.get(MAGIC.len()..)?.first_chunk()?);
    (head == head_of(mark, changes)).then_some(mark)
}

fn places_in(bytes: &[u8]) -> Option<Vec<Place>> {
    let mut places = Vec::new();
    let mut next = HEAD;
    while next < bytes.len() {
        places.push(place(bytes, &mut next)?);
    }
    Some(places)
}

/// As bytes are ordered. Keys begin alike, often with a hundred bytes; musl compares them one by one.
fn order(one: &[u8], other: &[u8]) -> Ordering {
    let words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    let alike = words.take_while(|(one, other)| one == other).count() * 8;
    one.get(alike..).cmp(&other.get(alike..))
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
