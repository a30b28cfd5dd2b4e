//! Validity of parameters per version.
