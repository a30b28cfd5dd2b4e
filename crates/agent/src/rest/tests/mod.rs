//! The whole API over a socket, made from fixed snapshots.

mod documents;
mod fixture;
mod health;
mod https;
mod requests;
mod wire;
