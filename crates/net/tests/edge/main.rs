//! TLS between real sockets, and the accept loop under clients that behave badly.

mod certificates;
mod serve;
mod tls;
