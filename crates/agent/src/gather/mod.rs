//! What happens outside, as events: the store's watch, the guard, the keeper, signals.

pub(crate) mod guard;
pub(crate) mod lease;
pub(crate) mod signals;
pub(crate) mod store;
