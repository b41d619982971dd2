//! Elements by their set: those of one go in one message, for the kernel's answers have to fit a buffer.

use weft_kernel::nft::{Element, Set, owner_mark};
use weft_store::NftRecord;

use super::elements::element_of;
use super::skeleton::set_of;

/// Elements by their set, sets in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct BySet(Vec<(Set, Vec<Element>)>);

impl BySet {
    /// The elements of records. Of a set that is not Weft's there are none.
    pub(crate) fn add_records(&mut self, records: &[NftRecord], owner: &str) {
        let owner = owner_mark(owner);
        for group in records.chunk_by(|one, next| one.set == next.set) {
            let Some(set) = group.first().and_then(|first| set_of(&first.set)) else {
                continue;
            };
            let elements = group.iter().filter_map(|one| element_of(one, &owner));
            self.add(set, elements, group.len());
        }
    }

    /// Elements of one set, of which there are `count` at most.
    fn add(&mut self, set: Set, elements: impl Iterator<Item = Element>, count: usize) {
        match self.0.iter_mut().find(|(there, _)| *there == set) {
            Some((_, list)) => list.extend(elements),
            None => {
                let mut list = Vec::with_capacity(count);
                list.extend(elements);
                self.0.push((set, list));
            }
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|(_, elements)| elements.is_empty())
    }

    /// Sets that have elements, with them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Set, &[Element])> {
        let sets = self.0.iter().filter(|(_, elements)| !elements.is_empty());
        sets.map(|(set, elements)| (set, elements.as_slice()))
    }
}

impl FromIterator<(Set, Element)> for BySet {
    fn from_iter<T: IntoIterator<Item = (Set, Element)>>(elements: T) -> Self {
        let mut all = Self::default();
        for (set, element) in elements {
            all.add(set, std::iter::once(element), 1);
        }
        all
    }
}
