//! `restapi` and `ctl`: the server side and the client side of the REST API.

use std::path::PathBuf;

use super::section::{Findings, Section};
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

impl BasicAuth {
    /// Both parts are needed; half of it would let nobody in, or everybody.
    fn read(section: &Section<'_>, found: &mut Findings) -> Option<BasicAuth> {
        let authentication = section.section("authentication", found);
        if authentication.map.is_empty() {
            return None;
        }
        let username = authentication.text("username", found);
        let password = authentication.secret("password", found);
        if username.is_none() {
            authentication.missing("username", "a user name beside the password", found);
        }
        if password.is_none() {
            authentication.missing("password", "a password beside the user name", found);
        }
        Some(BasicAuth { username: username?, password: password? })
    }
}

impl RestApi {
    pub(super) fn read(section: &Section<'_>, found: &mut Findings) -> Option<RestApi> {
        let listen = section.address("listen", None, found);
        if listen.is_none() {
            section.missing("listen", "HOST:PORT, for instance 0.0.0.0:8008", found);
        }
        // Members are asked at a URL, and one without a port has these.
        let default_port = if section.get("certfile").is_some() { 443 } else { 80 };
        let given = section.connect_address("connect_address", Some(default_port), found);
        if let (None, Some(listen)) = (&given, listen.as_ref().filter(|listen| listen.is_unreachable_from_others())) {
            found.warn(format!(
                "restapi.connect_address is not given and restapi.listen is {listen}: other members cannot connect there"
            ));
        }
        let verify =
            [("none", VerifyClient::None), ("optional", VerifyClient::Optional), ("required", VerifyClient::Required)];
        let tokens = [
            ("original", ServerTokens::Original),
            ("minimal", ServerTokens::Minimal),
            ("productonly", ServerTokens::ProductOnly),
        ];
        let authentication = BasicAuth::read(section, found);
        let listen = listen?;
        Some(RestApi {
            connect_address: given.unwrap_or_else(|| listen.clone()),
            listen,
            authentication,
            certfile: section.path_value("certfile", found),
            keyfile: section.path_value("keyfile", found),
            keyfile_password: section.secret("keyfile_password", found),
            cafile: section.path_value("cafile", found),
            ciphers: section.text("ciphers", found),
            verify_client: section.choice("verify_client", &verify, VerifyClient::None, found),
            allowlist: section.texts("allowlist", found),
            allowlist_include_members: section.flag("allowlist_include_members", false, found),
            http_extra_headers: section.pairs("http_extra_headers", found),
            https_extra_headers: section.pairs("https_extra_headers", found),
            request_queue_size: u32::try_from(section.number("request_queue_size", 5, 0..=4096, found)).unwrap_or(5),
            server_tokens: section.choice("server_tokens", &tokens, ServerTokens::Original, found),
        })
    }
}

impl Ctl {
    pub(super) fn read(section: &Section<'_>, found: &mut Findings) -> Ctl {
        Ctl {
            authentication: BasicAuth::read(section, found),
            insecure: section.flag("insecure", false, found),
            cacert: section.path_value("cacert", found),
            certfile: section.path_value("certfile", found),
            keyfile: section.path_value("keyfile", found),
            keyfile_password: section.secret("keyfile_password", found),
        }
    }
}
