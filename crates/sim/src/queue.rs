//! What will happen, ordered by time and then by the order in which it was put there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Moment;
use crate::world::Happening;

/// The heap orders small entries; what they stand for stays where it is, since a heap moves its entries a lot.
#[derive(Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<(Moment, u64, usize)>>,
    places: Vec<Option<Happening>>,
    free: Vec<usize>,
    sequence: u64,
}

impl Queue {
    pub fn push(&mut self, at: Moment, what: Happening) {
        self.sequence += 1;
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place] = Some(what);
                place
            }
            None => {
                self.places.push(Some(what));
                self.places.len() - 1
            }
        };
        self.heap.push(Reverse((at, self.sequence, place)));
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Moment> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next thing, with its moment and its number.
    pub fn pop(&mut self) -> Option<(Moment, u64, Happening)> {
        let Reverse((at, sequence, place)) = self.heap.pop()?;
        self.free.push(place);
        Some((at, sequence, self.places[place].take()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Happening;

    #[test]
    fn order_is_that_of_time_then_of_arrival() {
        let mut queue = Queue::default();
        for (at, host) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
            queue.push(Moment(at), Happening::Guard { host });
        }
        let mut order = Vec::new();
        while let Some((at, _, Happening::Guard { host })) = queue.pop() {
            order.push((at.0, host));
            if host == 3 {
                queue.push(Moment(4), Happening::Guard { host: 4 });
            }
        }
        assert_eq!(order, [(3, 1), (3, 3), (4, 4), (5, 0), (5, 2)]);
    }
}
