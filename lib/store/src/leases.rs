//! Leases: each address of a pool has at most one holder.
//!
//! Finding a free address takes the same few look-ups however many are leased: a range is first
//! handed out in order (a cursor), then in the order of release (a queue), so that a released
//! address rests as long as can be.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use weft_cni::AttachmentId;

use crate::error::StoreError;
use crate::range::{Range, number};
use crate::transaction::{Transaction, key, kind};

/// The addresses of one network, and the name its leases are kept under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The network's name, or another name that keeps its leases apart.
    pub name: String,
    /// Seconds that a released address rests; 0 only puts it at the end of the queue.
    pub cool_down: u64,
}

/// A lease as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The attachment that holds it.
    pub holder: AttachmentId,
    /// The range it was leased from, which is where it is queued when it is released; empty for
    /// none.
    pub range: String,
}

/// What is wanted of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseRequest {
    /// Any address.
    Any,
    /// This one, else any.
    Prefer(IpAddr),
    /// This one and no other.
    Exactly(IpAddr),
}

/// The attachment that is to hold a lease.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    /// The attachment that gets the lease.
    pub id: &'a AttachmentId,
    /// The bridge or master that its interface is on, where an address is one attachment's alone.
    pub segment: Option<&'a str>,
}

impl<'a> Holder<'a> {
    /// One of whom only the network's own leases are in the way.
    pub fn anywhere(id: &'a AttachmentId) -> Self {
        Self { id, segment: None }
    }
}

/// An address that was leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Without prefix length.
    pub address: IpAddr,
    /// Which of the ranges it is from.
    pub range: usize,
    /// Its last holder had a MAC that no longer holds: neighbours may remember it.
    pub is_remembered: bool,
}

/// An address in a key: fixed length, so that no separator is needed, and in order.
pub(crate) fn address_key(address: IpAddr) -> [u8; 17] {
    let mut bytes = [0; 17];
    let (family, rest) = (
        if address.is_ipv4() { 4 } else { 6 },
        number(address).to_be_bytes(),
    );
    let [first, tail @ ..] = &mut bytes;
    *first = family;
    tail.copy_from_slice(&rest);
    bytes
}

fn lease_key(pool: &str, address: IpAddr) -> Vec<u8> {
    key(kind::LEASE, &[pool], &address_key(address))
}

fn released_key(pool: &str, address: IpAddr) -> Vec<u8> {
    key(kind::RELEASED, &[pool], &address_key(address))
}

fn queue_key(pool: &str, range: &str, sequence: u64) -> Vec<u8> {
    key(kind::FREE, &[pool, range], &sequence.to_be_bytes())
}

/// An entry of the queue of released addresses.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Released {
    /// Whose queue it is in.
    range: String,
    address: IpAddr,
    at: u64,
    sequence: u64,
    /// See [`Granted::is_remembered`].
    #[serde(default)]
    is_remembered: bool,
}

impl Transaction<'_> {
    /// Leases an address of the first of `ranges` that has one, none that another network's attachment has
    /// on the same segment.
    ///
    /// # Errors
    /// [`StoreError::Exhausted`]; for [`LeaseRequest::Exactly`] [`StoreError::AddressTaken`],
    /// [`StoreError::AddressOnSegment`] and [`StoreError::AddressUnusable`].
    pub fn lease(
        &mut self,
        pool: &Pool,
        ranges: &[Range],
        request: LeaseRequest,
        Holder { id, segment }: Holder<'_>,
    ) -> Result<Granted, StoreError> {
        if let LeaseRequest::Exactly(address) = request {
            let index = self.usable_range(pool, ranges, address)?;
            self.refuse_taken_address(pool, address, segment)?;
            return self.grant(pool, ranges, index, address, id);
        }
        if let LeaseRequest::Prefer(address) = request
            && let Some(index) = ranges.iter().position(|range| range.contains(address))
            && self.lease_of(&pool.name, address)?.is_none()
            && self.is_free_on(segment, address)?
        {
            return self.grant(pool, ranges, index, address, id);
        }
        for (index, range) in ranges.iter().enumerate() {
            if let Some(address) = self.next_free(pool, range, segment)? {
                return self.grant(pool, ranges, index, address, id);
            }
        }
        Err(self.exhausted(pool, ranges)?)
    }

    fn refuse_taken_address(
        &self,
        pool: &Pool,
        address: IpAddr,
        segment: Option<&str>,
    ) -> Result<(), StoreError> {
        if let Some(lease) = self.lease_of(&pool.name, address)? {
            return Err(StoreError::AddressTaken {
                network: pool.name.clone(),
                address,
                holder: Box::new(lease.holder),
            });
        }
        if let Some(segment) = segment
            && let Some(holder) = self.holder_on_segment(segment, address)?
        {
            return Err(StoreError::AddressOnSegment {
                segment: segment.to_owned(),
                address,
                holder: Box::new(holder),
            });
        }
        Ok(())
    }

    /// Puts addresses that a pod may come back for at the end of the queue, in ranges that
    /// nothing was ever leased from (a fresh store). `addresses` is asked only then.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn set_aside(
        &mut self,
        pool: &Pool,
        ranges: &[Range],
        addresses: &dyn Fn() -> Vec<IpAddr>,
    ) -> Result<(), StoreError> {
        for range in ranges {
            let cursor_key = key(kind::CURSOR, &[&pool.name, &range.cursor_name()], &[]);
            if self.get_bytes(&cursor_key)?.is_some() {
                continue;
            }
            self.put_bytes(cursor_key, 0u128.to_be_bytes().to_vec());
            for address in addresses()
                .into_iter()
                .filter(|address| range.contains(*address))
            {
                if self.lease_of(&pool.name, address)?.is_none() {
                    self.queue(&pool.name, &range.cursor_name(), address, 0, false)?;
                }
            }
        }
        Ok(())
    }

    /// Leases an address that belongs to no range (a static one).
    ///
    /// # Errors
    /// [`StoreError::AddressTaken`], [`StoreError::AddressOnSegment`].
    pub fn lease_static(
        &mut self,
        pool: &Pool,
        address: IpAddr,
        Holder { id, segment }: Holder<'_>,
    ) -> Result<(), StoreError> {
        self.refuse_taken_address(pool, address, segment)?;
        self.grant(pool, &[], 0, address, id).map(drop)
    }

    /// The lease of an address.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn lease_of(&self, pool: &str, address: IpAddr) -> Result<Option<Lease>, StoreError> {
        self.get(&lease_key(pool, address))
    }

    /// Ends a lease, if `holder` has it, and queues the address.
    pub(crate) fn release(
        &mut self,
        pool: &str,
        address: IpAddr,
        holder: &AttachmentId,
        is_remembered: bool,
    ) -> Result<(), StoreError> {
        let Some(lease) = self
            .lease_of(pool, address)?
            .filter(|l| l.holder == *holder)
        else {
            return Ok(());
        };
        self.delete(lease_key(pool, address));
        let now = self.now;
        self.queue(pool, &lease.range, address, now, is_remembered)
    }

    fn queue(
        &mut self,
        pool: &str,
        range: &str,
        address: IpAddr,
        at: u64,
        is_remembered: bool,
    ) -> Result<(), StoreError> {
        let sequence = self.count_up("released")?;
        let range = range.to_owned();
        let released = Released {
            range,
            address,
            at,
            sequence,
            is_remembered,
        };
        self.put(queue_key(pool, &released.range, sequence), &released)?;
        self.put(released_key(pool, address), &released)
    }

    fn unqueue(&mut self, pool: &str, released: &Released) {
        self.delete(queue_key(pool, &released.range, released.sequence));
        self.delete(released_key(pool, released.address));
    }

    /// Every lease: pool, address, lease.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn leases(&self) -> Result<Vec<(String, IpAddr, Lease)>, StoreError> {
        let mut leases = Vec::new();
        for (key, value) in self.scan(&[kind::LEASE])? {
            let parsed = parse_lease_key(&key);
            let (pool, address) = parsed.ok_or_else(|| self.damaged("a lease without address"))?;
            leases.push((pool, address, self.decode(&key, &value)?));
        }
        Ok(leases)
    }

    fn usable_range(
        &self,
        pool: &Pool,
        ranges: &[Range],
        address: IpAddr,
    ) -> Result<usize, StoreError> {
        let unusable = |why: String| StoreError::AddressUnusable {
            network: pool.name.clone(),
            address,
            why,
        };
        if ranges.iter().any(|range| range.gateway() == Some(address)) {
            return Err(unusable("is the gateway's".to_owned()));
        }
        ranges
            .iter()
            .position(|range| range.contains(address))
            .ok_or_else(|| {
                let texts: Vec<String> = ranges.iter().map(ToString::to_string).collect();
                unusable(format!("is not in {} or is excluded", texts.join(", ")))
            })
    }

    fn grant(
        &mut self,
        pool: &Pool,
        ranges: &[Range],
        range: usize,
        address: IpAddr,
        holder: &AttachmentId,
    ) -> Result<Granted, StoreError> {
        let released = self.get::<Released>(&released_key(&pool.name, address))?;
        if let Some(released) = &released {
            self.unqueue(&pool.name, released);
        }
        let name = ranges
            .get(range)
            .map(Range::cursor_name)
            .unwrap_or_default();
        let lease = Lease {
            holder: holder.clone(),
            range: name,
        };
        self.put(lease_key(&pool.name, address), &lease)?;
        let is_remembered = released.is_some_and(|released| released.is_remembered);
        Ok(Granted {
            address,
            range,
            is_remembered,
        })
    }

    fn next_free(
        &mut self,
        pool: &Pool,
        range: &Range,
        segment: Option<&str>,
    ) -> Result<Option<IpAddr>, StoreError> {
        if let Some(address) = self.next_never_used(pool, range, segment)? {
            return Ok(Some(address));
        }
        if let Some(address) = self.longest_released(pool, range, segment)? {
            return Ok(Some(address));
        }
        self.released_elsewhere(pool, range, segment)
    }

    fn next_never_used(
        &mut self,
        pool: &Pool,
        range: &Range,
        segment: Option<&str>,
    ) -> Result<Option<IpAddr>, StoreError> {
        let cursor_key = key(kind::CURSOR, &[&pool.name, &range.cursor_name()], &[]);
        let cursor = self.get_bytes(&cursor_key)?;
        let mut position = cursor
            .and_then(|b| Some(u128::from_be_bytes(b.try_into().ok()?)))
            .unwrap_or(0);
        let started_at = position;
        let mut found = None;
        // Addresses ahead of the cursor are taken only by request: each is passed over once. One
        // that another range has released (the configuration has changed) is free here.
        while let Some(address) = range.next_at(position) {
            let Some(next) = number(address).checked_add(1) else {
                break;
            };
            position = next;
            let released = self.get::<Released>(&released_key(&pool.name, address))?;
            let is_queued_here = released.is_some_and(|r| r.range == range.cursor_name());
            if !is_queued_here && self.get_bytes(&lease_key(&pool.name, address))?.is_none() {
                if self.is_free_on(segment, address)? {
                    found = Some(address);
                    break;
                }
                // Another network's at the moment: its turn comes again.
                self.queue(&pool.name, &range.cursor_name(), address, 0, false)?;
            }
        }
        if position != started_at {
            self.put_bytes(cursor_key, position.to_be_bytes().to_vec());
        }
        Ok(found)
    }

    fn longest_released(
        &mut self,
        pool: &Pool,
        range: &Range,
        segment: Option<&str>,
    ) -> Result<Option<IpAddr>, StoreError> {
        let queue = key(kind::FREE, &[&pool.name, &range.cursor_name()], &[]);
        while let Some((entry_key, value)) = self.first(&queue)? {
            let released: Released = self.decode(&entry_key, &value)?;
            if range.contains(released.address) {
                if self.now.saturating_sub(released.at) < pool.cool_down {
                    return Ok(None);
                }
                return match self.is_free_on(segment, released.address)? {
                    true => Ok(Some(released.address)),
                    // It looks at each of those behind it, too.
                    false => self.first_released(&queue, pool, range, segment),
                };
            }
            // Excluded since: it is put with those of no range, for a range that may have it again.
            self.unqueue(&pool.name, &released);
            let Released {
                address,
                at,
                is_remembered,
                ..
            } = released;
            self.queue(&pool.name, "", address, at, is_remembered)?;
        }
        Ok(None)
    }

    /// The way of last resort, for ranges that have changed: an address of this range that another
    /// range, or none, has released. It looks at each of them.
    fn released_elsewhere(
        &self,
        pool: &Pool,
        range: &Range,
        segment: Option<&str>,
    ) -> Result<Option<IpAddr>, StoreError> {
        let all = key(kind::FREE, &[&pool.name], &[]);
        self.first_released(&all, pool, range, segment)
    }

    /// The first address of a range in a queue, or in several, that may be given away now.
    fn first_released(
        &self,
        queue: &[u8],
        pool: &Pool,
        range: &Range,
        segment: Option<&str>,
    ) -> Result<Option<IpAddr>, StoreError> {
        for (entry_key, value) in self.scan(queue)? {
            let released: Released = self.decode(&entry_key, &value)?;
            let rested = self.now.saturating_sub(released.at) >= pool.cool_down;
            if rested
                && range.contains(released.address)
                && self.is_free_on(segment, released.address)?
            {
                return Ok(Some(released.address));
            }
        }
        Ok(None)
    }

    fn exhausted(&self, pool: &Pool, ranges: &[Range]) -> Result<StoreError, StoreError> {
        let mut cooling = 0;
        for range in ranges {
            let queue = key(kind::FREE, &[&pool.name, &range.cursor_name()], &[]);
            cooling += self.scan(&queue)?.len();
        }
        let texts: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        let (network, ranges) = (pool.name.clone(), texts.join(", "));
        Ok(StoreError::Exhausted {
            network,
            ranges,
            cooling,
        })
    }
}

fn parse_lease_key(key: &[u8]) -> Option<(String, IpAddr)> {
    let (_, rest) = key.split_first()?;
    let (pool, address) = rest.split_last_chunk::<17>()?;
    let pool = String::from_utf8(pool.strip_suffix(&[0])?.to_vec()).ok()?;
    let [family, digits @ ..] = *address;
    let number = u128::from_be_bytes(digits);
    let address = match family {
        4 => IpAddr::from(u32::try_from(number).ok()?.to_be_bytes()),
        _ => IpAddr::from(number.to_be_bytes()),
    };
    Some((pool, address))
}
