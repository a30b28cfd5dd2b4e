//! The Kubernetes store on a real API server.

mod contract;
mod errors;
mod fixture;
mod objects;
