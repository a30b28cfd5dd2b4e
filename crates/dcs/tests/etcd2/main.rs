//! etcd's v2 API: the contract of every store, several hosts, and passwords.

mod contract;
mod own;
