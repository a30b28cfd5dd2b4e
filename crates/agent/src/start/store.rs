//! The store at the start: wait for it as long as it takes, and make sure that nobody has our name.

use std::time::Duration;

use anyhow::bail;
use jogi_config::Local;
use jogi_core::view::Cluster;
use jogi_dcs::{Dcs, DcsError, Freshness, View};
use jogi_net::boot_now;
use jogi_net::http::HttpOptions;
use jogi_net::tls::ClientTls;

use crate::gather::signals::Signals;

/// How long one try to read the store takes at most: this at first, and as much more with each try, up to
/// [`LONGEST_TRY`].
const FIRST_TRY: Duration = Duration::from_secs(1);
const LONGEST_TRY: Duration = Duration::from_secs(5);
/// The pause between tries grows from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// A silent store is named at the first try, then after this long, and then each time after twice as long.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// … but not less often than this.
const SAY_AT_LEAST: Duration = Duration::from_secs(600);
/// How long a member of our name may take to answer (ha-rules 1).
const TWIN: Duration = Duration::from_secs(3);

/// What the first try to read the store brought.
pub(super) enum First {
    View(View),
    Silent(DcsError),
    AskedToEnd,
}

/// One try, short enough that nothing waits for it.
pub(super) async fn first_try(dcs: &dyn Dcs, signals: &mut Signals) -> anyhow::Result<First> {
    let answer = tokio::select! {
        answer = dcs.load(Freshness::Linearizable, FIRST_TRY) => answer,
        () = signals.asked_to_end() => return Ok(First::AskedToEnd),
    };
    match answer {
        Ok(view) => Ok(First::View(view)),
        Err(error @ (DcsError::Denied { .. } | DcsError::Refused { .. })) => bail!("{error}"),
        Err(error) => Ok(First::Silent(error)),
    }
}

/// Reads the cluster, trying until the store answers. The first silence has been said.
pub(super) async fn first_view(dcs: &dyn Dcs) -> anyhow::Result<View> {
    let begin = boot_now();
    let mut pauses = jogi_net::Backoff::new(PAUSES.0, PAUSES.1);
    let (mut say_at, mut interval) = (begin + SAY_AGAIN, SAY_AGAIN * 2);
    loop {
        tokio::time::sleep(pauses.next(jogi_net::random_u64())).await;
        let limit = (FIRST_TRY * (1 + pauses.tries())).min(LONGEST_TRY);
        let error = match dcs.load(Freshness::Linearizable, limit).await {
            Ok(view) => {
                tracing::info!("the store answers, after {} s", boot_now().since(begin).as_secs());
                return Ok(view);
            }
            Err(error @ (DcsError::Denied { .. } | DcsError::Refused { .. })) => bail!("{error}"),
            Err(error) => error,
        };
        let now = boot_now();
        if now >= say_at {
            let waited = now.since(begin).as_secs();
            tracing::error!(
                "the store at {} does not answer (waiting for {waited} s, and trying on): {error}",
                dcs.describe()
            );
            say_at = now + interval;
            interval = (interval * 2).min(SAY_AT_LEAST);
        }
    }
}

/// Refuses to start beside a living member of our name: any HTTP answer at its address means that it lives.
pub(super) async fn refuse_twin(local: &Local, cluster: &Cluster) -> anyhow::Result<()> {
    let Some(member) = cluster.members.get(&local.name) else { return Ok(()) };
    let Some(api_url) = member.data.api_url() else { return Ok(()) };
    let options =
        HttpOptions { tls: Some(ClientTls::insecure().build()?), connect_timeout: TWIN, ..HttpOptions::default() };
    let client = jogi_net::http::client(&options)?;
    let address = liveness(api_url);
    let answered = tokio::time::timeout(TWIN, client.get(&address).send()).await;
    if matches!(answered, Ok(Ok(_))) {
        bail!(
            "Can't start; there is already a node named '{}' running: it answers at {address}; give this member another \
             name, or stop the other one",
            local.name
        );
    }
    Ok(())
}

/// `http://HOST:PORT/patroni` → `http://HOST:PORT/liveness`.
fn liveness(api_url: &str) -> String {
    match api_url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}/liveness", rest.split('/').next().unwrap_or(rest)),
        None => format!("http://{api_url}/liveness"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twin_is_asked_at_its_own_host() {
        assert_eq!(liveness("http://10.0.0.5:8008/patroni"), "http://10.0.0.5:8008/liveness");
        assert_eq!(liveness("https://[fd00::1]:8008/patroni"), "https://[fd00::1]:8008/liveness");
    }
}
