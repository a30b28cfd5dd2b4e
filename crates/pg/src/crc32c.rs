//! CRC-32C (Castagnoli), the checksum of `pg_control` and of WAL records.
