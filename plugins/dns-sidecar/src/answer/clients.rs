//! Who asks: containers by their addresses, and how many questions each has open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::channel::Endpoint;

/// Where a question came in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// At an address of the host.
    Host(IpAddr),
    /// On the loopback of this endpoint's container.
    Inside(String),
}

/// Endpoints by what a question shows of them.
#[derive(Debug, Default)]
pub(super) struct Clients {
    by_address: HashMap<IpAddr, Vec<Arc<str>>>,
    by_container: HashMap<String, Vec<Arc<str>>>,
}

impl Clients {
    pub(super) fn insert(&mut self, id: &Arc<str>, endpoint: &Endpoint) {
        for address in &endpoint.addresses {
            self.by_address
                .entry(*address)
                .or_default()
                .push(Arc::clone(id));
        }
        let container = self
            .by_container
            .entry(endpoint.container.clone())
            .or_default();
        container.push(Arc::clone(id));
    }

    pub(super) fn remove(&mut self, endpoint: &Endpoint) {
        let take = |list: Option<&mut Vec<Arc<str>>>| {
            list.is_some_and(|list| {
                list.retain(|id| **id != *endpoint.id);
                list.is_empty()
            })
        };
        for address in &endpoint.addresses {
            if take(self.by_address.get_mut(address)) {
                self.by_address.remove(address);
            }
        }
        if take(self.by_container.get_mut(&endpoint.container)) {
            self.by_container.remove(&endpoint.container);
        }
    }

    /// Endpoints with an address: more than one where networks have the same subnet.
    pub(super) fn at(&self, address: IpAddr) -> &[Arc<str>] {
        self.by_address.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Endpoints of a container.
    pub(super) fn of(&self, container: &str) -> &[Arc<str>] {
        self.by_container.get(container).map_or(&[], Vec::as_slice)
    }
}

/// For whom what is open is counted. Addresses that somebody may take for itself count together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// A container, in one of its networks.
    Endpoint(Arc<str>),
    /// All machines on a network's bridge that are no containers of Weft's.
    Guests(Arc<str>),
    /// This machine.
    Host,
}

/// Questions to other servers that have no answer yet, or streams.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    by_client: HashMap<Client, usize>,
    all: usize,
}

/// Why a question is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooMany {
    OfClient,
    OfAll,
}

impl InFlight {
    pub(super) fn begin(
        &mut self,
        client: &Client,
        most: usize,
        most_of_client: usize,
    ) -> Result<(), TooMany> {
        if self.all >= most {
            return Err(TooMany::OfAll);
        }
        let count = self.by_client.entry(client.clone()).or_default();
        if *count >= most_of_client {
            return Err(TooMany::OfClient);
        }
        *count += 1;
        self.all += 1;
        Ok(())
    }

    pub(super) fn end(&mut self, client: &Client) {
        if let Some(count) = self.by_client.get_mut(client) {
            *count -= 1;
            self.all -= 1;
            if *count == 0 {
                self.by_client.remove(client);
            }
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_and_all_have_so_many() {
        let client = |last: u8| Client::Endpoint(last.to_string().into());
        let mut all = InFlight::default();
        let mut begin = |last| all.begin(&client(last), 3, 2);
        assert_eq!([begin(2), begin(2)], [Ok(()), Ok(())]);
        assert_eq!(begin(2), Err(TooMany::OfClient));
        assert_eq!(begin(3), Ok(()));
        assert_eq!(begin(4), Err(TooMany::OfAll));
        for last in [2, 2, 3, 3] {
            all.end(&client(last));
        }
        assert_eq!((all.count(), all.by_client.len()), (0, 0));
    }
}
