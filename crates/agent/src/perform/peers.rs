//! Questions to the other members' REST API.
//!
//! One client for all, with connections that are kept, so that a question within a race costs one round trip. As
//! Patroni's agents among themselves, it shows the certificate and credentials of `ctl` (else those of `restapi`) and does not
//! verify whom it talks to (rest-api 2): what a peer says is a vote, not an order.

use std::time::Duration;

use jogi_config::Local;
use jogi_config::local::BasicAuth;
use jogi_core::MemberName;
use jogi_core::ha::{Failure, Outcome, Yield};
use jogi_net::http::{HttpError, HttpOptions, describe};
use jogi_net::tls::ClientTls;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

/// A status document is a few kilobytes; a peer that sends more than this is not one.
const LONGEST_ANSWER: usize = 1 << 20;

pub(super) struct Peers {
    client: Client,
    credentials: Option<BasicAuth>,
}

impl Peers {
    pub(super) fn new(local: &Local) -> Result<Peers, HttpError> {
        let tls = ClientTls {
            cert: local.ctl.certfile.clone(),
            key: local.ctl.keyfile.clone(),
            key_password: local.ctl.keyfile_password.as_ref().map(|secret| secret.expose().to_owned()),
            ..ClientTls::insecure()
        };
        let options = HttpOptions { tls: Some(tls.build()?), ..HttpOptions::default() };
        let credentials = local.ctl.authentication.clone().or_else(|| local.restapi.authentication.clone());
        Ok(Peers { client: jogi_net::http::client(&options)?, credentials })
    }

    /// The member's status document, whatever the status it comes with.
    pub(super) async fn ask(&self, member: &MemberName, api_url: &str, limit: Duration) -> Outcome {
        let answer = self.send(self.client.get(api_url), limit).await;
        let (_, body) = answer.map_err(|cause| unreachable(member, api_url, &cause))?;
        match serde_json::from_slice::<Value>(&body) {
            Ok(document) => Ok(Yield::Answered(document)),
            Err(error) => Err(unreachable(member, api_url, &format!("its answer is not JSON ({error})"))),
        }
    }

    /// Whether the member accepts us as leader while the store is silent, and its WAL position.
    pub(super) async fn ask_failsafe(
        &self,
        member: &MemberName,
        api_url: &str,
        body: &Value,
        limit: Duration,
    ) -> Outcome {
        let address = failsafe_address(api_url);
        let answer = self.send(self.client.post(&address).json(body), limit).await;
        let (head, body) = answer.map_err(|cause| unreachable(member, &address, &cause))?;
        let accepted = head.status == 200 && body == b"Accepted";
        Ok(Yield::Answered(json!({"accepted": accepted, "lsn": head.lsn})))
    }

    async fn send(&self, request: RequestBuilder, limit: Duration) -> Result<(Head, Vec<u8>), String> {
        let request = match &self.credentials {
            Some(auth) => request.basic_auth(&auth.username, Some(auth.password.expose())),
            None => request,
        };
        let answered = tokio::time::timeout(limit, async {
            let response = request.send().await.map_err(|error| describe(&error))?;
            let head = Head::of(&response);
            Ok((head, body(response).await?))
        });
        answered.await.unwrap_or_else(|_| Err(format!("no answer within {} ms", limit.as_millis())))
    }
}

struct Head {
    status: u16,
    lsn: Option<u64>,
}

impl Head {
    fn of(response: &Response) -> Head {
        let lsn =
            response.headers().get("lsn").and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        Head { status: response.status().as_u16(), lsn }
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| describe(&error))? {
        if bytes.len() + chunk.len() > LONGEST_ANSWER {
            return Err(format!("its answer is longer than {LONGEST_ANSWER} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn unreachable(member: &MemberName, address: &str, cause: &str) -> Failure {
    Failure::Unreachable(format!("{member} at {address}: {cause}"))
}

/// `http://HOST:PORT/patroni` → `http://HOST:PORT/failsafe`.
fn failsafe_address(api_url: &str) -> String {
    let authority = api_url.find("://").map_or(0, |at| at + 3);
    let end = api_url[authority..].find('/').map_or(api_url.len(), |slash| authority + slash);
    format!("{}/failsafe", &api_url[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failsafe_endpoint_is_on_the_same_host() {
        for (api_url, expected) in [
            ("http://10.0.0.5:8008/patroni", "http://10.0.0.5:8008/failsafe"),
            ("https://[fd00::1]:8008/patroni", "https://[fd00::1]:8008/failsafe"),
            ("http://h:1", "http://h:1/failsafe"),
        ] {
            assert_eq!(failsafe_address(api_url), expected);
        }
    }
}
