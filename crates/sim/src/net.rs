//! The network: who reaches whom, how long a message takes, which are lost.
//!
//! A cut is silent, as in a real partition: nobody is told, requests hang until their deadline. Links are directed,
//! so that a cut may be one-way.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::rng::Rng;

/// A host with a member on it, by its place in the world.
pub type HostId = usize;

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    Host(HostId),
    Store,
    /// Where the application's clients are.
    Clients,
}

/// The network's state.
#[derive(Clone, Debug)]
pub struct Net {
    cut: BTreeSet<(Node, Node)>,
    /// One way, in milliseconds: between the two.
    pub delay_ms: (u64, u64),
    /// One message in so many is lost; zero loses none.
    pub loss_one_in: u64,
    /// Additional time on every message to or from the store.
    pub store_delay: Duration,
}

/// How long a message takes when nothing is wrong.
const DELAY_MS: (u64, u64) = (0, 2);

impl Default for Net {
    fn default() -> Self {
        Net { cut: BTreeSet::new(), delay_ms: DELAY_MS, loss_one_in: 0, store_delay: Duration::ZERO }
    }
}

impl Net {
    /// Cuts the way from `from` to `to` only.
    pub fn cut_one_way(&mut self, from: Node, to: Node) {
        self.cut.insert((from, to));
    }

    pub fn cut(&mut self, a: Node, b: Node) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    pub fn heal(&mut self, a: Node, b: Node) {
        self.cut.remove(&(a, b));
        self.cut.remove(&(b, a));
    }

    /// Nothing is cut, lost or late.
    pub fn is_well(&self) -> bool {
        let Net { cut, delay_ms, loss_one_in, store_delay } = self;
        cut.is_empty() && *delay_ms == DELAY_MS && *loss_one_in == 0 && store_delay.is_zero()
    }

    pub fn heal_all(&mut self) {
        self.cut.clear();
        self.loss_one_in = 0;
        self.delay_ms = DELAY_MS;
        self.store_delay = Duration::ZERO;
    }

    /// Whether a message from `from` gets to `to`.
    pub fn reaches(&self, from: Node, to: Node) -> bool {
        from == to || !self.cut.contains(&(from, to))
    }

    /// Whether both ways are open.
    pub fn connected(&self, a: Node, b: Node) -> bool {
        self.reaches(a, b) && self.reaches(b, a)
    }

    /// How long one message takes, or `None` when it never arrives.
    pub fn send(&self, from: Node, to: Node, rng: &mut Rng) -> Option<Duration> {
        let lost = rng.one_in(self.loss_one_in);
        let (low, high) = self.delay_ms;
        let mut delay = Duration::from_micros(50) + rng.millis(low, high);
        if from == Node::Store || to == Node::Store {
            delay += self.store_delay;
        }
        (!lost && self.reaches(from, to)).then_some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_directed_and_heal() {
        let (a, b) = (Node::Host(0), Node::Host(1));
        let mut net = Net::default();
        let mut rng = Rng::new(1);
        net.cut_one_way(a, b);
        assert!(net.send(a, b, &mut rng).is_none());
        assert!(net.send(b, a, &mut rng).is_some());
        assert!(!net.connected(a, b));
        net.cut(a, Node::Store);
        net.heal(a, b);
        assert!(net.connected(a, b) && !net.connected(Node::Store, a));
        net.heal_all();
        assert!(net.connected(Node::Store, a));
    }

    #[test]
    fn some_messages_are_lost() {
        let net = Net { loss_one_in: 4, ..Net::default() };
        let mut rng = Rng::new(3);
        let lost = (0..1000).filter(|_| net.send(Node::Store, Node::Host(0), &mut rng).is_none()).count();
        assert!((150..350).contains(&lost), "{lost}");
    }
}
