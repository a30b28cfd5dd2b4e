//! Test support: real PostgreSQL, etcd, hosts in network namespaces, temporary directories.
