//! Three members and a toy store in virtual time: the second driver of the core.
