//! Test support: real PostgreSQL, etcd, hosts in network namespaces, temporary directories.

pub mod consul;
pub mod disk;
pub mod etcd;
pub mod freezer;
pub mod herd;
pub mod http;
pub mod kube;
pub mod netns;
pub mod own_store;
pub mod patroni;
pub mod process;
pub mod proxy;
pub mod require;
mod server;
pub mod sql;
pub mod wait;
