//! Answers of other servers, for as long as they may be remembered.
//!
//! They are kept as they came. A client gets one with its own number and question, and with what is left of the
//! lifetimes. Sources: RFC 2308 (answers without data), RFC 9520 (failures), RFC 2181 (lifetimes).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::message::{Section, adopt, outcome, records};
use crate::name::Name;
use crate::query::{Query, kind};

/// What an answer depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    name: Name,
    kind: u16,
    class: u16,
    /// EDNS, DNSSEC OK, checking disabled, authenticated data wanted (RFC 6840, section 5.7).
    flags: u8,
    /// Which servers were asked.
    scope: u64,
}

impl Key {
    /// The key of a question to the servers that `scope` stands for; none if the answer is for this client alone.
    pub fn of(query: &Query<'_>, scope: u64) -> Option<Self> {
        let edns = query.edns;
        if edns.is_some_and(|edns| edns.has_options) {
            return None;
        }
        let dnssec_ok = edns.is_some_and(|edns| edns.dnssec_ok);
        let flags = [
            edns.is_some(),
            dnssec_ok,
            query.checking_disabled,
            query.wants_authenticated,
        ];
        let bits = flags
            .into_iter()
            .fold(0, |all, bit| all << 1 | u8::from(bit));
        Some(Self {
            name: query.name.clone(),
            kind: query.kind,
            class: query.class,
            flags: bits,
            scope,
        })
    }
}

#[derive(Debug)]
struct Entry {
    answer: Box<[u8]>,
    /// Where lifetimes are in it.
    ttls_at: Box<[u16]>,
    since: Duration,
    until: Duration,
    /// Tells it from an earlier one of the same key in the order.
    number: u64,
}

/// Numbers of what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Answers from here.
    pub hits: u64,
    /// Questions that had to be asked.
    pub misses: u64,
    /// Answers that were forgotten for want of room.
    pub evictions: u64,
}

/// A bounded memory. Times are since any fixed moment.
#[derive(Debug)]
pub struct Cache {
    entries: HashMap<Key, Entry>,
    /// The oldest first.
    order: VecDeque<(Key, u64)>,
    most_entries: usize,
    bytes: usize,
    number: u64,
    /// What happened.
    pub statistics: Statistics,
}

/// All answers together are no longer than this, in bytes.
const MOST_BYTES: usize = 8 << 20;
/// A longer lifetime is a mistake more often than not, in seconds.
const LONGEST: u32 = 24 * 3600;
/// For how long a failure is remembered, in seconds: a client's second try comes sooner.
const FAILURE: u32 = 2;

impl Cache {
    /// A memory for so many answers; 0: none.
    pub fn new(most_entries: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            most_entries,
            bytes: 0,
            number: 0,
            statistics: Statistics::default(),
        }
    }

    /// How many answers there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many there may be from now on.
    pub fn set_most(&mut self, most_entries: usize) {
        self.most_entries = most_entries;
        self.make_room();
    }

    /// Writes an answer for this client, if one is remembered that is no longer than `limit`.
    pub fn get(
        &mut self,
        key: &Key,
        query: &Query<'_>,
        limit: usize,
        now: Duration,
        out: &mut Vec<u8>,
    ) -> bool {
        let there = self.entries.get(key);
        let Some(entry) = there.filter(|one| now < one.until && one.answer.len() <= limit) else {
            self.statistics.misses += 1;
            return false;
        };
        self.statistics.hits += 1;
        out.clear();
        out.extend(&entry.answer);
        let age = u32::try_from(now.saturating_sub(entry.since).as_secs()).unwrap_or(u32::MAX);
        for at in &entry.ttls_at {
            let at = usize::from(*at);
            if let Some(place) = out
                .get_mut(at..at + 4)
                .and_then(|four| four.first_chunk_mut())
            {
                *place = u32::from_be_bytes(*place).saturating_sub(age).to_be_bytes();
            }
        }
        adopt(query, out);
        true
    }

    /// Remembers an answer for as long as it says. One that was cut, or is not whole, is not remembered.
    pub fn put(&mut self, key: Key, answer: &[u8], now: Duration) {
        let Some((ttls_at, seconds)) = lifetime(answer, key.kind) else {
            return;
        };
        if seconds == 0 || self.most_entries == 0 {
            return;
        }
        self.number += 1;
        let entry = Entry {
            answer: answer.into(),
            ttls_at: ttls_at.into(),
            since: now,
            until: now + Duration::from_secs(seconds.into()),
            number: self.number,
        };
        self.bytes += answer.len();
        self.order.push_back((key.clone(), self.number));
        if let Some(before) = self.entries.insert(key, entry) {
            self.bytes -= before.answer.len();
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.entries.len() > self.most_entries || self.bytes > MOST_BYTES {
            let Some((key, number)) = self.order.pop_front() else {
                return;
            };
            if self
                .entries
                .get(&key)
                .is_some_and(|one| one.number == number)
            {
                self.remove(&key);
                self.statistics.evictions += 1;
            }
        }
        // Answers that came again leave their earlier places in the order.
        if self.order.len() > 2 * self.most_entries.max(64) {
            let entries = &self.entries;
            let is_current = |(key, number): &(Key, u64)| {
                entries.get(key).is_some_and(|one| one.number == *number)
            };
            self.order.retain(is_current);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.answer.len();
        }
    }

    /// Forgets everything, or a name and those below it. How many answers it were.
    pub fn flush(&mut self, name: Option<&Name>) -> usize {
        let keys = self.entries.keys();
        let is_meant = |key: &&Key| name.is_none_or(|name| key.name.is_within(name));
        let gone: Vec<Key> = keys.filter(is_meant).cloned().collect();
        gone.iter().for_each(|key| self.remove(key));
        gone.len()
    }

    /// What is remembered: name, type, RCODE, and for how many seconds more.
    pub fn list(&self, now: Duration) -> Vec<(&Name, u16, u8, u64)> {
        let alive = (self.entries.iter()).filter(|(_, entry)| now < entry.until);
        let line = |(key, entry): (&'_ Key, &'_ Entry)| {
            (
                entry.until.saturating_sub(now).as_secs(),
                outcome(&entry.answer).0,
                key.kind,
            )
        };
        alive
            .map(|(key, entry)| {
                let (seconds, code, kind) = line((key, entry));
                (&key.name, kind, code, seconds)
            })
            .collect()
    }
}

/// Where lifetimes are in an answer, and for how long it may be remembered, in seconds.
fn lifetime(answer: &[u8], wanted: u16) -> Option<(Vec<u16>, u32)> {
    const NO_ERROR: u8 = 0;
    const SERVER_FAILURE: u8 = 2;
    const NO_NAME: u8 = 3;
    let (code, is_cut) = outcome(answer);
    let records = records(answer)?;
    let with_ttl = || records.iter().filter(|one| one.kind != kind::OPT);
    let places = with_ttl()
        .map(|one| u16::try_from(one.ttl_at))
        .collect::<Result<_, _>>();
    let answers = || records.iter().filter(|one| one.section == Section::Answer);
    let has_data = answers().next().is_some();
    // Other names that lead to nothing of the type are no answer (RFC 2308, section 2.2).
    let is_wanted = answers().any(|one| one.kind == wanted || wanted == kind::ANY);
    let least = with_ttl().map(|one| one.ttl).min();
    let of_authority = || {
        let authority = records
            .iter()
            .filter(|one| one.section == Section::Authority);
        authority
            .filter_map(super::message::Record::negative_ttl)
            .min()
    };
    let seconds = match (code, has_data) {
        _ if is_cut => None,
        (NO_ERROR, true) if is_wanted => least,
        // A chain of other names that leads to nothing counts by both, and not without an authority.
        (NO_ERROR | NO_NAME, true) => least.min(of_authority()),
        (NO_ERROR | NO_NAME, false) => of_authority(),
        (SERVER_FAILURE, _) => Some(FAILURE),
        _ => None,
    };
    Some((places.ok()?, seconds?.min(LONGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::read;

    fn query(name: &str, edns: &[u8]) -> Vec<u8> {
        let mut message = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0".to_vec();
        message[11] = u8::from(!edns.is_empty());
        message.extend(Name::parse(name).unwrap().wire());
        message.extend(b"\0\0\x01\0\x01");
        message.extend(edns);
        message
    }

    fn answer(query: &[u8], code: u8, records: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = query.to_vec();
        message[2] |= 0x80;
        message[3] = 0x80 | code;
        for (section, record) in records {
            message[usize::from(*section)] += 1;
            message.extend(*record);
        }
        message
    }

    const ANSWER: u8 = 7;
    const AUTHORITY: u8 = 9;
    const ADDRESS: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\x01\x02\x03";
    /// Lives for an hour, its answers without data for ten seconds.
    const AUTHORITY_RECORD: &[u8] =
        b"\0\0\x06\0\x01\0\0\x0e\x10\0\x16\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0a";

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    fn got(cache: &mut Cache, message: &[u8], seconds: u64) -> Option<Vec<u8>> {
        let query = read(message).unwrap();
        let mut out = Vec::new();
        let key = Key::of(&query, 1)?;
        (cache.get(&key, &query, 512, at(seconds), &mut out)).then_some(out)
    }

    fn put(cache: &mut Cache, message: &[u8], answer: &[u8]) {
        let key = Key::of(&read(message).unwrap(), 1).unwrap();
        cache.put(key, answer, at(0));
    }

    #[test]
    fn lifetimes_run_down_and_end() {
        let mut cache = Cache::new(10);
        let asked = query("www.example", b"");
        put(&mut cache, &asked, &answer(&asked, 0, &[(ANSWER, ADDRESS)]));
        let mut later = query("WWW.example", b"");
        later[1] = 9;
        let found = got(&mut cache, &later, 10).unwrap();
        assert_eq!(found[..2], [0, 9], "the client's number");
        assert_eq!(found[12..29], later[12..29], "the question as it is asked");
        assert_eq!(records(&found).unwrap()[0].ttl, 20);
        assert!(got(&mut cache, &later, 30).is_none());
        let other = Key::of(&read(&asked).unwrap(), 2).unwrap();
        let query = read(&asked).unwrap();
        assert!(
            !cache.get(&other, &query, 512, at(1), &mut Vec::new()),
            "other servers"
        );
        assert!(!cache.get(
            &Key::of(&query, 1).unwrap(),
            &query,
            30,
            at(1),
            &mut Vec::new()
        ));
        assert_eq!(cache.flush(Some(&Name::parse("example").unwrap())), 1);
        assert!(got(&mut cache, &later, 1).is_none() && cache.is_empty());
    }

    #[test]
    fn what_is_not_there_and_failures_are_remembered_for_less() {
        let mut cache = Cache::new(10);
        let none = query("no.example", b"");
        put(
            &mut cache,
            &none,
            &answer(&none, 3, &[(AUTHORITY, AUTHORITY_RECORD)]),
        );
        assert!(got(&mut cache, &none, 9).is_some() && got(&mut cache, &none, 10).is_none());
        let failed = query("failed.example", b"");
        put(&mut cache, &failed, &answer(&failed, 2, &[]));
        assert!(got(&mut cache, &failed, 1).is_some() && got(&mut cache, &failed, 2).is_none());
        // Without an authority nothing says for how long.
        for (name, code) in [("a.example", 0), ("b.example", 3), ("c.example", 5)] {
            let asked = query(name, b"");
            put(&mut cache, &asked, &answer(&asked, code, &[]));
            assert!(got(&mut cache, &asked, 0).is_none(), "{name}");
        }
        // Another name that has no record of the type is there for an hour; that there is none counts for ten seconds.
        const OTHER_NAME: &[u8] = b"\xc0\x0c\0\x05\0\x01\0\0\x0e\x10\0\x02\xc0\x0c";
        let other = query("other.example", b"");
        let records = [(ANSWER, OTHER_NAME), (AUTHORITY, AUTHORITY_RECORD)];
        put(&mut cache, &other, &answer(&other, 0, &records));
        assert!(got(&mut cache, &other, 9).is_some() && got(&mut cache, &other, 10).is_none());
        let cut = query("cut.example", b"");
        let mut message = answer(&cut, 0, &[(ANSWER, ADDRESS)]);
        message[2] |= 2;
        put(&mut cache, &cut, &message);
        assert!(got(&mut cache, &cut, 0).is_none());
    }

    #[test]
    fn options_are_for_one_client() {
        let plain = b"\0\0\x29\x10\0\0\0\0\0\0\0";
        let with_cookie = b"\0\0\x29\x10\0\0\0\0\0\0\x05\0\x0a\0\x01\x07";
        let key = |edns: &[u8]| Key::of(&read(&query("a.example", edns)).unwrap(), 1);
        assert!(key(plain).is_some() && key(with_cookie).is_none());
        assert_ne!(key(plain), key(b""));
    }

    #[test]
    fn the_oldest_make_room() {
        let mut cache = Cache::new(3);
        for round in 0..200 {
            let asked = query(&format!("n{}.example", round % 7), b"");
            put(&mut cache, &asked, &answer(&asked, 0, &[(ANSWER, ADDRESS)]));
            assert!(cache.len() <= 3 && cache.order.len() <= 128);
        }
        assert_eq!(cache.list(at(0)).len(), 3);
        assert!(
            got(&mut cache, &query("n3.example", b""), 0).is_some(),
            "the last one"
        );
        let length = cache
            .entries
            .values()
            .map(|one| one.answer.len())
            .sum::<usize>();
        assert_eq!(cache.bytes, length);
        cache.set_most(0);
        assert!(cache.is_empty() && cache.bytes == 0);
    }
}
