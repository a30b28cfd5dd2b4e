//! One PostgreSQL server: queries, files, control data, programs, postmaster and guard.
