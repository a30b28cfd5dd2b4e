//! `restapi` and `ctl`: the server side and the client side of the REST API.

use std::path::PathBuf;

use crate::{HostPort, Secret};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    pub username: String,
    pub password: Secret,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyClient {
    #[default]
    None,
    Optional,
    Required,
}

/// How much the `Server` header tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerTokens {
    #[default]
    Original,
    Minimal,
    ProductOnly,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestApi {
    pub listen: HostPort,
    pub connect_address: HostPort,
    pub authentication: Option<BasicAuth>,
    pub certfile: Option<PathBuf>,
    pub keyfile: Option<PathBuf>,
    pub keyfile_password: Option<Secret>,
    pub cafile: Option<PathBuf>,
    pub ciphers: Option<String>,
    pub verify_client: VerifyClient,
    /// Addresses, networks and host names; empty allows everyone.
    pub allowlist: Vec<String>,
    pub allowlist_include_members: bool,
    pub http_extra_headers: Vec<(String, String)>,
    pub https_extra_headers: Vec<(String, String)>,
    pub request_queue_size: u32,
    pub server_tokens: ServerTokens,
}

/// How to talk to the REST API of other members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ctl {
    pub authentication: Option<BasicAuth>,
    /// Do not verify server certificates.
    pub insecure: bool,
    pub cacert: Option<PathBuf>,
    pub certfile: Option<PathBuf>,
    pub keyfile: Option<PathBuf>,
    pub keyfile_password: Option<Secret>,
}
