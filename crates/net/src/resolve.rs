//! Name resolution that survives an outage of the name servers.
//!
//! Name servers often fail together with the network that a failover is about. An answer is good for
//! [`FRESH`]; when a later look-up fails or takes longer than [`PATIENCE`], the last answer serves on.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jogi_core::Tick;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::boot_now;

/// How long an answer is used without asking again.
const FRESH: Duration = Duration::from_secs(30);
/// How long a look-up may take while there is an older answer.
const PATIENCE: Duration = Duration::from_millis(300);
/// Names remembered; a client knows a handful of hosts.
const MAX_NAMES: usize = 256;

#[derive(Clone, Default)]
pub(crate) struct CachingResolver {
    answers: Arc<Mutex<HashMap<String, Answer>>>,
}

#[derive(Clone)]
struct Answer {
    addresses: Vec<IpAddr>,
    at: Tick,
}

impl CachingResolver {
    fn known(&self, name: &str) -> Option<Answer> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn learn(&self, name: &str, addresses: &[IpAddr]) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MAX_NAMES && !answers.contains_key(name) {
            answers.clear();
        }
        answers.insert(name.to_owned(), Answer { addresses: addresses.to_vec(), at: boot_now() });
    }

    async fn look_up(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        let addresses: Vec<IpAddr> = tokio::net::lookup_host((name, 0)).await?.map(|a| a.ip()).collect();
        if addresses.is_empty() {
            return Err(std::io::Error::other(format!("{name} has no address")));
        }
        self.learn(name, &addresses);
        Ok(addresses)
    }

    async fn addresses(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        let Some(known) = self.known(name) else { return self.look_up(name).await };
        if boot_now().since(known.at) < FRESH {
            return Ok(known.addresses);
        }
        match tokio::time::timeout(PATIENCE, self.look_up(name)).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(_)) | Err(_) => Ok(known.addresses),
        }
    }
}

impl Resolve for CachingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let addresses = this.addresses(name.as_str()).await?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_old_answer_serves_when_the_name_cannot_be_looked_up_any_more() {
        let resolver = CachingResolver::default();
        let gone = "no-such-host.invalid";
        assert!(resolver.addresses(gone).await.is_err());
        let address = IpAddr::from([127, 0, 0, 9]);
        let old = Answer { addresses: vec![address], at: Tick::ZERO };
        resolver.answers.lock().expect("not poisoned").insert(gone.into(), old);
        assert_eq!(resolver.addresses(gone).await.expect("the old answer"), vec![address]);
    }

    #[tokio::test]
    async fn an_address_needs_no_look_up() {
        let resolver = CachingResolver::default();
        assert_eq!(resolver.addresses("127.0.0.1").await.expect("itself"), vec![IpAddr::from([127, 0, 0, 1])]);
    }
}
