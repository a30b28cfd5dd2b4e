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
        Ok(Yield::Answered(json!({"accepted": accepted, "status": head.status, "lsn": head.lsn})))
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
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const YAML: &str = "
scope: demo
name: a
restapi: {listen: '0.0.0.0:8008', connect_address: '10.0.0.5:8008', authentication: {username: u, password: p}}
etcd3: {host: '10.0.0.1:2379'}
postgresql:
  listen: '*:5433'
  data_dir: /var/lib/pg
  authentication: {replication: {username: r, password: x}, superuser: {username: s, password: y}}
";

    fn peers() -> Peers {
        let files = [("test.yml".to_owned(), YAML.to_owned())];
        let local = Local::load(&files, &BTreeMap::new()).expect("a configuration").local;
        Peers::new(&local).expect("a client")
    }

    /// A member that answers every request with `answer`; the requests come through the channel.
    async fn member(answer: &'static str) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}/patroni", listener.local_addr().expect("bound"));
        let (sender, requests) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let length = client.read(&mut request).await.unwrap_or(0);
                let _ = sender.send(String::from_utf8_lossy(&request[..length]).into_owned());
                if answer.is_empty() {
                    // A member that hangs: the connection stays open.
                    std::mem::forget(client);
                } else {
                    let _ = client.write_all(answer.as_bytes()).await;
                }
            }
        });
        (address, requests)
    }

    fn limit() -> Duration {
        Duration::from_secs(5)
    }

    #[tokio::test]
    async fn a_document_counts_whatever_its_status() {
        let (address, mut requests) =
            member("HTTP/1.0 503 Service Unavailable\r\nServer: x\r\n\r\n{\"state\": \"running\"}").await;
        let answer = peers().ask(&"b".into(), &address, limit()).await;
        assert_eq!(answer, Ok(Yield::Answered(json!({"state": "running"}))));
        let request = requests.recv().await.expect("it was asked").to_lowercase();
        assert!(request.starts_with("get /patroni ") && request.contains("authorization: basic"), "{request}");
    }

    #[tokio::test]
    async fn a_member_that_hangs_or_talks_nonsense_is_unreachable_in_time() {
        let (hanging, _requests) = member("").await;
        let begin = jogi_net::boot_now();
        let answer = peers().ask(&"b".into(), &hanging, Duration::from_millis(100)).await;
        assert!(matches!(&answer, Err(Failure::Unreachable(why)) if why.contains("100 ms")), "{answer:?}");
        assert!(jogi_net::boot_now().since(begin) < limit());
        let (garbled, _requests) = member("HTTP/1.0 200 OK\r\n\r\nhello").await;
        let answer = peers().ask(&"b".into(), &garbled, limit()).await;
        assert!(matches!(&answer, Err(Failure::Unreachable(why)) if why.contains("not JSON")), "{answer:?}");
    }

    #[tokio::test]
    async fn failsafe_is_accepted_by_exactly_one_answer() {
        let ask = |answer: &'static str| async move {
            let (address, _requests) = member(answer).await;
            peers().ask_failsafe(&"b".into(), &address, &json!({"name": "a"}), limit()).await
        };
        let accepted = ask("HTTP/1.0 200 OK\r\nlsn: 77\r\n\r\nAccepted").await;
        assert_eq!(accepted, Ok(Yield::Answered(json!({"accepted": true, "status": 200, "lsn": 77}))));
        let refused = ask("HTTP/1.0 500 No\r\n\r\nRunning as a leader").await;
        assert_eq!(refused, Ok(Yield::Answered(json!({"accepted": false, "status": 500, "lsn": null}))));
    }

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
