//! A herd on one machine.
