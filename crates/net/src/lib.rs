//! The network edge: TLS, HTTP client and server building blocks, backoff, clocks.
//!
//! - [`tls`]: the only place that names the crypto provider. Everything that speaks TLS gets its `rustls`
//!   configuration here, from PEM files.
//! - [`http`]: one lean HTTP/1.1 client, deaf to the proxy variables of the environment.
//! - [`serve`]: an accept loop for axum over TCP or TLS in which no client can occupy anything for ever.
//! - [`backoff`]: growing pauses between tries.
//! - [`clock`]: the boot clock and the wall clock, read at the edge and handed inwards.

pub mod backoff;
pub mod clock;
pub mod http;
mod random;
mod resolve;
pub mod serve;
pub mod tls;

pub use backoff::Backoff;
pub use clock::{boot_now, now, wall_now};
pub use random::random_u64;
pub use rustls;
