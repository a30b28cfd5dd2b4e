//! TLS, HTTP client and server building blocks, backoff.
