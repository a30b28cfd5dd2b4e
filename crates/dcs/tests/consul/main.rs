//! Consul: the contract of every store, and what is Consul's own.

mod contract;
mod own;
