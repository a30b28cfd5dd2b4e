//! Addresses as the configuration writes them: `HOST:PORT`, IPv6 in brackets or bare, comma lists.

use std::fmt;

/// Hosts that a connect address must not have: nobody else can reach this member there.
pub const UNREACHABLE_HOSTS: [&str; 5] = ["127.0.0.1", "0.0.0.0", "*", "::1", "localhost"];

/// One host, or a comma-separated list of them, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Without brackets. A list keeps its commas.
    pub host: String,
    pub port: u16,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("'{0}' has no port: expected HOST:PORT")]
    NoPort(String),
    #[error("'{text}' has no valid port: expected a number from 0 to 65535 after the last colon, found '{port}'")]
    BadPort { text: String, port: String },
}

impl HostPort {
    pub fn new(host: impl Into<String>, port: u16) -> HostPort {
        HostPort { host: host.into(), port }
    }

    /// Splits at the last colon, as Patroni does; without a colon the port is the default.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<HostPort, AddressError> {
        let Some((hosts, port)) = text.rsplit_once(':') else {
            let port = default_port.ok_or_else(|| AddressError::NoPort(text.to_owned()))?;
            return Ok(HostPort::new(text.trim(), port));
        };
        let bad_port = || AddressError::BadPort { text: text.to_owned(), port: port.to_owned() };
        let number = port.trim().parse::<u16>().map_err(|_| bad_port())?;
        let host = match hosts.contains(':') {
            true => hosts.split(',').map(|h| h.trim().trim_matches(['[', ']'])).collect::<Vec<_>>().join(","),
            false => hosts.trim().to_owned(),
        };
        Ok(HostPort { host, port: number })
    }

    /// The hosts of a comma list.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.host.split(',').map(str::trim)
    }

    /// True when other machines cannot reach this address: loopback or a wildcard.
    pub fn is_unreachable_from_others(&self) -> bool {
        UNREACHABLE_HOSTS.contains(&self.host.as_str())
    }
}

/// `HOST:PORT`, IPv6 hosts in brackets.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') && !self.host.contains(',') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_at_the_last_colon() {
        for (text, host, port) in [
            ("127.0.0.1", "127.0.0.1", 5432),
            ("127.0.0.1:5400", "127.0.0.1", 5400),
            ("127.0.0.1,192.168.0.101:5400", "127.0.0.1,192.168.0.101", 5400),
            ("[fe80::1]:8008", "fe80::1", 8008),
            ("fe80:0:0:0:213:72ff:fe3c:21bf:8008", "fe80:0:0:0:213:72ff:fe3c:21bf", 8008),
            ("a,[fe80::1], 0:0:0:0:0:0:0:0:5400", "a,fe80::1,0:0:0:0:0:0:0:0", 5400),
            ("*:0", "*", 0),
        ] {
            assert_eq!(HostPort::parse(text, Some(5432)), Ok(HostPort::new(host, port)), "{text}");
        }
        assert_eq!(HostPort::new("fe80::1", 1).to_string(), "[fe80::1]:1");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_text() {
        assert!(HostPort::parse("host", None).is_err());
        for text in ["host:", "host:x", "host:70000", "host:-1"] {
            let error = HostPort::parse(text, Some(1)).expect_err(text);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
