//! pg_basebackup.
