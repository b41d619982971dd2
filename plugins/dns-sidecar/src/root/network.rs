//! A network by what each of its containers says of it.

use std::sync::Arc;

use crate::channel::Network;

/// What the containers of a network say, and how many of them say so. Nearly always they agree.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    all: Vec<(Arc<Network>, usize)>,
}

impl Descriptions {
    /// One container more says this: the same as the others have it, and whether anything is new in it.
    pub(super) fn add(&mut self, network: &Network) -> (Arc<Network>, bool) {
        let Some(place) = self.all.iter().position(|(there, _)| **there == *network) else {
            let network = Arc::new(network.clone());
            self.all.push((Arc::clone(&network), 1));
            return (network, true);
        };
        let (there, count) = self.all.remove(place);
        // Said once more, it is the newest.
        let is_last = place == self.all.len();
        self.all.push((Arc::clone(&there), count + 1));
        (there, !is_last)
    }

    /// One less. Whether nobody says it any more.
    pub(super) fn remove(&mut self, network: &Network) -> bool {
        let Some(place) = self.all.iter().position(|(there, _)| **there == *network) else {
            return false;
        };
        let count = self.all.get_mut(place).map_or(0, |(_, count)| {
            *count = count.saturating_sub(1);
            *count
        });
        if count == 0 {
            self.all.remove(place);
        }
        count == 0
    }

    /// All of it together; none if nobody says anything.
    pub(super) fn together(&self) -> Option<Network> {
        // The newest counts where they differ: the configuration has been changed.
        let (newest, _) = self.all.last()?;
        let mut whole = Network::clone(newest);
        for (other, _) in &self.all {
            add_missing(&mut whole.servers, &other.servers);
            add_missing(&mut whole.subnets, &other.subnets);
            whole.serves_subnets &= other.serves_subnets;
            // Closed for one is closed: nobody is asked for what one container must not get out.
            whole.is_internal |= other.is_internal;
        }
        Some(whole)
    }
}

fn add_missing<T: Clone + PartialEq>(all: &mut Vec<T>, more: &[T]) {
    for one in more {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_what_its_containers_say() {
        let says = |server: &str, is_internal| Network {
            servers: vec![server.parse().unwrap()],
            is_internal,
            ..Network::default()
        };
        let (one, other) = (says("10.1.0.1", false), says("fd00::1", true));
        let mut all = Descriptions::default();
        assert!(all.add(&one).1 && !all.add(&one).1 && all.add(&other).1);
        let whole = all.together().unwrap();
        assert_eq!((whole.servers.len(), whole.is_internal), (2, true));
        assert!(!all.remove(&one) && all.remove(&one) && !all.remove(&one));
        assert_eq!(all.together(), Some(other.clone()));
        assert!(all.remove(&other) && all.together().is_none());
    }
}
