//! Where this machine runs: the instance's metadata.
//!
//! A token is asked for first (IMDSv2) and used for every question of AWS's. A server that refuses the token may still
//! be Google's, or an OpenStack without tokens.

use std::time::Duration;

use jogi_net::http::{HttpOptions, client};
use reqwest::{Client, Method, Response};
use serde_json::Value;

use crate::facts::{Instance, Provider};

/// The link-local address of every cloud's metadata.
pub const DEFAULT_ADDRESS: &str = "http://169.254.169.254";

/// One question; a machine in nobody's cloud has nobody to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

const TOKEN: &str = "X-aws-ec2-metadata-token";

struct Metadata<'a> {
    client: Client,
    address: &'a str,
    token: Option<String>,
}

/// The provider, and what its metadata say. `known` skips the detection.
pub async fn detect(address: &str, known: Option<Provider>) -> (Provider, Instance) {
    let options = HttpOptions { connect_timeout: ANSWER_WITHIN, ..HttpOptions::default() };
    let nowhere = (known.unwrap_or_default(), Instance::default());
    if known == Some(Provider::Local) {
        return nowhere;
    }
    let Ok(client) = client(&options) else { return nowhere };
    let mut metadata = Metadata { client, address: address.trim_end_matches('/'), token: None };
    // Nobody there: nobody's cloud.
    let Some(answer) = metadata.ask(Method::PUT, "/latest/api/token").await else { return nowhere };
    if answer.status().is_success() {
        metadata.token = answer.text().await.ok().map(|token| token.trim().to_owned());
    }
    let provider = match known {
        Some(provider) => provider,
        None => metadata.provider().await,
    };
    let instance = match provider {
        Provider::Aws => metadata.aws().await,
        Provider::Google => metadata.google().await,
        Provider::OpenStack => metadata.openstack().await,
        Provider::Local | Provider::Unsupported => Instance::default(),
    };
    (provider, instance)
}

impl Metadata<'_> {
    async fn ask(&self, method: Method, path: &str) -> Option<Response> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.address)).timeout(ANSWER_WITHIN);
        if method == Method::PUT {
            request = request.header("X-aws-ec2-metadata-token-ttl-seconds", "60");
        }
        if let Some(token) = &self.token {
            request = request.header(TOKEN, token);
        }
        if path.starts_with("/computeMetadata") {
            request = request.header("Metadata-Flavor", "Google");
        }
        request.send().await.ok()
    }

    async fn text(&self, path: &str) -> Option<String> {
        let answer = self.ask(Method::GET, path).await.filter(|answer| answer.status().is_success())?;
        answer.text().await.ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    async fn provider(&self) -> Provider {
        let Some(root) = self.ask(Method::GET, "/").await else { return Provider::Local };
        if root.headers().get("Metadata-Flavor").is_some_and(|flavor| flavor == "Google") {
            return Provider::Google;
        }
        if let Some(text) = self.text(OPENSTACK).await {
            // Somebody answers everything with a page of his own.
            return if serde_json::from_str::<Value>(&text).is_ok() { Provider::OpenStack } else { Provider::Local };
        }
        match (&self.token, self.text("/latest/meta-data/ami-id").await) {
            (None, _) => Provider::Local,
            (Some(_), Some(_)) => Provider::Aws,
            (Some(_), None) => Provider::Unsupported,
        }
    }

    async fn aws(&self) -> Instance {
        Instance {
            zone: self.text("/latest/meta-data/placement/availability-zone").await,
            id: self.text("/latest/meta-data/instance-id").await,
            ip: self.text("/latest/meta-data/local-ipv4").await,
        }
    }

    async fn google(&self) -> Instance {
        let zone = self.text("/computeMetadata/v1/instance/zone").await;
        Instance {
            // projects/1234/zones/europe-west1-b
            zone: zone.and_then(|zone| zone.rsplit('/').next().map(str::to_owned)),
            id: self.text("/computeMetadata/v1/instance/id").await,
            ip: None,
        }
    }

    async fn openstack(&self) -> Instance {
        let described = self.text(OPENSTACK).await.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let of = |key: &str| described.as_ref()?.get(key)?.as_str().map(str::to_owned);
        Instance {
            zone: of("availability_zone"),
            id: match self.text("/latest/meta-data/instance-id").await {
                Some(id) => Some(id),
                None => of("uuid"),
            },
            ip: self.text("/latest/meta-data/local-ipv4").await,
        }
    }
}

const OPENSTACK: &str = "/openstack/latest/meta_data.json";
