//! Who may change something: by address, by certificate, by password, in this order (rest-api 2).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jogi_config::local::{RestApi, VerifyClient};
use jogi_core::view::Cluster;
use jogi_net::serve::Peer;
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::answer::Answer;

/// How long a name may take to be resolved; one that takes longer names nobody.
const RESOLVE: Duration = Duration::from_secs(2);

/// The rules in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    allowed: Vec<Network>,
    include_members: bool,
    certificate_needed: bool,
    /// `USER:PASSWORD` in base64, as clients send it.
    key: Option<Vec<u8>>,
}

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Access {
    /// Resolves the names of the allowlist.
    pub async fn new(restapi: &RestApi) -> Access {
        let entries = join_all(restapi.allowlist.iter().map(|entry| networks(entry))).await;
        let key = restapi
            .authentication
            .as_ref()
            .map(|auth| STANDARD.encode(format!("{}:{}", auth.username, auth.password.expose())).into_bytes());
        Access {
            allowed: entries.into_iter().flatten().collect(),
            include_members: restapi.allowlist_include_members,
            certificate_needed: restapi.certfile.is_some() && restapi.verify_client != VerifyClient::None,
            key,
        }
    }

    /// `members`: addresses of members count as allowed, when the configuration says so.
    pub async fn check(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        cluster: Option<&Cluster>,
        members: bool,
    ) -> Result<(), Answer> {
        let members = members && self.include_members;
        if (!self.allowed.is_empty() || members) && !self.is_allowed(peer, cluster.filter(|_| members)).await {
            return Err(Answer::text(403, "Access is denied"));
        }
        if self.certificate_needed && peer.encrypted && !peer.certified {
            return Err(Answer::text(403, "client certificate required"));
        }
        self.check_password(headers)
    }

    async fn is_allowed(&self, peer: &Peer, members_of: Option<&Cluster>) -> bool {
        let from = peer.address.ip().to_canonical();
        if self.allowed.iter().any(|network| network.contains(from)) {
            return true;
        }
        let Some(cluster) = members_of else { return false };
        let hosts = cluster.members.values().filter_map(|member| host(member.data.api_url()?));
        let addresses = join_all(hosts.map(resolve)).await;
        addresses.into_iter().flatten().any(|address| address == from)
    }

    fn check_password(&self, headers: &HeaderMap) -> Result<(), Answer> {
        let Some(key) = &self.key else { return Ok(()) };
        let Some(given) = headers.get(AUTHORIZATION) else {
            return Err(Answer::unauthorized("no auth header received"));
        };
        match given.as_bytes().strip_prefix(b"Basic ") {
            Some(given) if same(given, key) => Ok(()),
            Some(_) | None => Err(Answer::unauthorized("not authenticated")),
        }
    }
}

/// Compares without telling by its time how much was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (x, y)| differs | (x ^ y)) == 0
}

/// The host of a URL.
fn host(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    Some(uri.host()?.trim_matches(['[', ']']).to_owned())
}

async fn resolve(host: String) -> Vec<IpAddr> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return vec![address.to_canonical()];
    }
    match timeout(RESOLVE, lookup_host((host.as_str(), 0))).await {
        Ok(Ok(addresses)) => addresses.map(|address: SocketAddr| address.ip().to_canonical()).collect(),
        Ok(Err(error)) => {
            tracing::error!("REST access: failed to resolve {host}: {error}");
            Vec::new()
        }
        Err(_) => {
            tracing::error!("REST access: failed to resolve {host} within {} s", RESOLVE.as_secs());
            Vec::new()
        }
    }
}

async fn networks(entry: &str) -> Vec<Network> {
    if entry.contains('/') {
        let network = Network::parse(entry);
        if network.is_none() {
            tracing::error!("invalid value {entry:?} in restapi.allowlist: expected ADDRESS/PREFIX");
        }
        return network.into_iter().collect();
    }
    resolve(entry.trim().to_owned()).await.into_iter().map(Network::of).collect()
}

impl Network {
    fn of(address: IpAddr) -> Network {
        Network { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// `ADDRESS/PREFIX` or `ADDRESS/NETMASK`.
    fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = text.trim().split_once('/')?;
        let widest = Network::of(address.parse().ok()?);
        let prefix = match prefix.parse::<u8>() {
            Ok(prefix) => prefix,
            Err(_) => netmask(prefix)?,
        };
        (prefix <= widest.prefix).then_some(Network { prefix, ..widest })
    }

    fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(network), IpAddr::V4(other)) => {
                let host_bits = 32 - u32::from(self.prefix);
                let network = u64::from(u32::from(network)) >> host_bits;
                network == u64::from(u32::from(other)) >> host_bits
            }
            (IpAddr::V6(network), IpAddr::V6(other)) => {
                let host_bits = 128 - u32::from(self.prefix);
                let cut = |address| u128::from(address).checked_shr(host_bits).unwrap_or(0);
                cut(network) == cut(other)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn netmask(text: &str) -> Option<u8> {
    let mask = u32::from(text.parse::<std::net::Ipv4Addr>().ok()?);
    let prefix = mask.leading_ones();
    (mask.count_ones() == prefix).then(|| u8::try_from(prefix).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use jogi_core::view::{KeyValue, Revision};

    use super::*;

    fn peer(ip: &str) -> Peer {
        Peer { address: SocketAddr::new(ip.parse().expect("an address"), 1), certified: false, encrypted: false }
    }

    fn headers(authorization: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().expect("a header value"));
        }
        headers
    }

    #[test]
    fn networks_contain_their_addresses() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.7/24", "10.0.0.9", true),
            ("10.0.0.0/255.255.255.0", "10.0.1.1", false),
            ("0.0.0.0/0", "192.168.1.1", true),
            ("0.0.0.0/0", "fd00::1", false),
            ("fd00::/8", "fd12::1", true),
            ("::/0", "fd12::1", true),
            ("fd00::1/128", "fd00::2", false),
        ] {
            let parsed = Network::parse(network).expect(network);
            assert_eq!(parsed.contains(address.parse().expect("an address")), inside, "{network} {address}");
        }
        assert!(Network::parse("10.0.0.0/33").is_none() && Network::parse("x/8").is_none());
    }

    #[tokio::test]
    async fn access_is_judged_in_patronis_order() {
        let member = KeyValue {
            path: "members/b".into(),
            value: r#"{"api_url":"http://10.9.9.9:8008/patroni"}"#.into(),
            revision: Revision("1".into()),
            created: Revision("1".into()),
            session: None,
        };
        let cluster = Cluster::from_keys([member]);
        let listed = Access { allowed: networks("10.0.0.0/8").await, ..Access::default() };
        let members = Access { include_members: true, ..Access::default() };
        let locked = Access { key: Some(b"dTpw".to_vec()), ..Access::default() };
        let certified = Access { certificate_needed: true, ..Access::default() };
        let both = Access { allowed: networks("10.0.0.0/8").await, key: Some(b"dTpw".to_vec()), ..Access::default() };
        let tls = |certified| Peer { certified, encrypted: true, ..peer("10.0.0.1") };
        for (access, from, authorization, members_count, expected) in [
            (&Access::default(), peer("1.2.3.4"), None, true, None),
            (&listed, peer("10.0.0.1"), None, true, None),
            (&listed, peer("::ffff:10.0.0.1"), None, true, None),
            (&listed, peer("11.0.0.1"), None, true, Some((403, "Access is denied"))),
            (&members, peer("10.9.9.9"), None, true, None),
            (&members, peer("10.9.9.8"), None, true, Some((403, "Access is denied"))),
            (&members, peer("10.9.9.8"), None, false, None),
            (&locked, peer("1.2.3.4"), None, true, Some((401, "no auth header received"))),
            (&locked, peer("1.2.3.4"), Some("Basic eDp5"), true, Some((401, "not authenticated"))),
            (&locked, peer("1.2.3.4"), Some("Bearer dTpw"), true, Some((401, "not authenticated"))),
            (&locked, peer("1.2.3.4"), Some("Basic dTpw"), true, None),
            (&certified, tls(false), None, true, Some((403, "client certificate required"))),
            (&certified, tls(true), None, true, None),
            (&both, peer("11.0.0.1"), Some("Basic dTpw"), true, Some((403, "Access is denied"))),
        ] {
            let checked = access.check(&from, &headers(authorization), Some(&cluster), members_count).await;
            let shown = match &checked {
                Ok(()) => None,
                Err(Answer::Full { status, body, .. }) => Some((*status, std::str::from_utf8(body).expect("text"))),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(shown, expected, "{access:?} {from:?} {authorization:?}");
        }
    }

    #[tokio::test]
    async fn names_are_resolved_and_nonsense_names_nobody() {
        assert!(networks("localhost").await.iter().any(|n| n.contains("127.0.0.1".parse().expect("an address"))));
        assert!(networks("10.0.0.0/99").await.is_empty());
    }
}
