//! Connection strings: parsing, and printing in Patroni's order of keys.

use std::collections::BTreeMap;
use std::fmt;

/// The parameters of a connection. `Debug` hides the values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Conninfo(pub BTreeMap<String, String>);

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The keys of a printed string, with the first version that knows them. `passfile` stands for
/// `password` when both are there.
const KEYS: [(&str, u32); 20] = [
    ("dbname", 0),
    ("user", 0),
    ("passfile", 0),
    ("password", 0),
    ("host", 0),
    ("port", 0),
    ("sslmode", 0),
    ("sslcompression", 0),
    ("sslcert", 0),
    ("sslkey", 0),
    ("sslpassword", 130_000),
    ("sslrootcert", 0),
    ("sslcrl", 0),
    ("sslcrldir", 140_000),
    ("application_name", 0),
    ("krbsrvname", 0),
    ("gssencmode", 120_000),
    ("channel_binding", 130_000),
    ("target_session_attrs", 100_000),
    ("sslnegotiation", 170_000),
];

/// What holds when a key is not given.
const DEFAULTS: [(&str, &str, u32); 4] = [
    ("sslmode", "prefer", 0),
    ("gssencmode", "prefer", 120_000),
    ("channel_binding", "prefer", 130_000),
    ("sslnegotiation", "postgres", 170_000),
];

impl Conninfo {
    /// Reads `key=value …` or a `postgres://` URI. `None` when it is neither.
    pub fn parse(text: &str) -> Option<Conninfo> {
        let uri = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let mut map = match uri {
            Some(rest) => parse_uri(rest)?,
            None => parse_pairs(text)?,
        };
        // The old word counts only when the new one is not there.
        if !map.contains_key("sslmode")
            && let Some(required) = map.remove("requiressl")
        {
            map.insert("sslmode".into(), if required == "1" { "require" } else { "prefer" }.into());
        }
        Some(Conninfo(map))
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Adds what Patroni assumes when not given: sslmode, gssencmode, channel_binding `prefer`,
    /// sslnegotiation `postgres`, each from the version on that knows it.
    pub fn with_defaults(mut self, version: u32) -> Conninfo {
        for (key, value, since) in DEFAULTS {
            if version >= since {
                self.0.entry(key.into()).or_insert_with(|| value.into());
            }
        }
        self
    }

    /// `key=value …` in Patroni's order, quotes, backslashes and spaces escaped, without what the version
    /// does not know; `passfile` in place of `password` when there is one.
    pub fn to_dsn(&self, version: u32) -> String {
        let has_passfile = self.get("passfile").is_some_and(|file| !file.is_empty());
        let wanted = |key: &str| match key {
            "passfile" => has_passfile,
            "password" => !has_passfile,
            _ => true,
        };
        let pair = |(key, since): &(&str, u32)| {
            let value = self.0.get(*key).filter(|_| wanted(key) && version >= *since)?;
            Some(format!("{key}={}", escape(value, &['\'', '\\', ' '])))
        };
        KEYS.iter().filter_map(pair).collect::<Vec<_>>().join(" ")
    }

    /// True when every wanted key has the wanted value here.
    pub fn satisfies(&self, wanted: &Conninfo) -> bool {
        wanted.0.iter().all(|(key, value)| self.0.get(key) == Some(value))
    }
}

fn escape(text: &str, special: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if special.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// libpq's `key = value` form: values in single quotes may hold spaces, a backslash takes the next character.
fn parse_pairs(text: &str) -> Option<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let after = after.trim_start().strip_prefix('=')?.trim_start();
        if key.is_empty() || after.is_empty() {
            return None;
        }
        let (value, after) = read_value(after)?;
        map.insert(key.to_owned(), value);
        rest = after.trim_start();
    }
    Some(map)
}

fn read_value(text: &str) -> Option<(String, &str)> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((i, c)) = chars.next() {
        match c {
            '\'' if quoted => return Some((value, &text[i + 1..])),
            c if !quoted && c.is_whitespace() => return Some((value, &text[i..])),
            '\\' => match chars.next() {
                Some((_, next)) => value.push(next),
                None => break,
            },
            c => value.push(c),
        }
    }
    (!quoted).then_some((value, ""))
}

/// What follows `postgres://`: `user:password@host:port,host:port/dbname?key=value`.
fn parse_uri(rest: &str) -> Option<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, dbname) = before_query.split_once('/').unwrap_or((before_query, ""));
    let (user_info, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let (hosts, ports): (Vec<&str>, Vec<&str>) = hosts.split(',').map(split_netloc).unzip();
    let joined = |parts: &[&str]| if parts.iter().all(|p| p.is_empty()) { String::new() } else { parts.join(",") };
    let parts = [
        ("user", user.to_owned()),
        ("password", password.to_owned()),
        ("dbname", dbname.to_owned()),
        ("host", joined(&hosts)),
        ("port", joined(&ports)),
    ];
    for (key, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
        map.insert(key.to_owned(), percent_decode(&value)?);
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=')?;
        map.insert(percent_decode(key)?, percent_decode(value)?);
    }
    if map.get("ssl").is_some_and(|ssl| ssl == "true") {
        map.remove("ssl");
        map.insert("sslmode".into(), "require".into());
    }
    Some(map)
}

fn split_netloc(netloc: &str) -> (&str, &str) {
    if let Some((host, rest)) = netloc.strip_prefix('[').and_then(|n| n.split_once(']')) {
        return (host, rest.strip_prefix(':').unwrap_or(""));
    }
    netloc.rsplit_once(':').unwrap_or((netloc, ""))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                rest = after;
            }
            (byte, tail) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// The lines of a password file for one role at each host of a comma list; `None` without a password. A
/// socket directory is listed as `localhost` as well, under which libpq looks it up.
pub fn pgpass_text(conninfo: &Conninfo) -> Option<String> {
    let special = [':', '\\'];
    let field = |key: &str| match conninfo.get(key).unwrap_or("") {
        "" => "*".to_owned(),
        value => escape(value, &special),
    };
    conninfo.get("password")?;
    let hosts = conninfo.get("host").filter(|host| !host.is_empty()).unwrap_or("*");
    let mut hosts: Vec<String> =
        hosts.split(',').map(str::trim).filter(|h| !h.is_empty()).map(|h| escape(h, &special)).collect();
    if hosts.iter().any(|host| host.starts_with('/')) && !hosts.iter().any(|host| host == "localhost") {
        hosts.push("localhost".into());
    }
    // One port for each host, where they are not the same.
    let port = Some(field("port")).filter(|port| !port.contains(',')).unwrap_or_else(|| "*".to_owned());
    let rest = format!("{port}:*:{}:{}", field("user"), field("password"));
    Some(hosts.iter().map(|host| format!("{host}:{rest}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Conninfo {
        Conninfo(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn both_forms_are_read() {
        for (text, pairs) in [
            (
                " host = 'host' dbname = db\\ name requiressl=1 ",
                &[("dbname", "db name"), ("host", "host"), ("sslmode", "require")][..],
            ),
            ("requiressl = 0\\", &[("sslmode", "prefer")]),
            ("postgresql://foo/postgres", &[("dbname", "postgres"), ("host", "foo")]),
            (
                "postgresql://u%2Fse:pass@:%2f123/db%2Fsdf?application_name=mya%2Fpp&ssl=true",
                &[
                    ("application_name", "mya/pp"),
                    ("dbname", "db/sdf"),
                    ("sslmode", "require"),
                    ("password", "pass"),
                    ("port", "/123"),
                    ("user", "u/se"),
                ],
            ),
            (
                "postgres://u@[::1]:5433,b:5434/db",
                &[("user", "u"), ("host", "::1,b"), ("port", "5433,5434"), ("dbname", "db")],
            ),
            ("", &[]),
        ] {
            assert_eq!(Conninfo::parse(text), Some(of(pairs)), "{text}");
        }
        for text in ["host=a foo = '", "host=a foo = ", "1"] {
            assert_eq!(Conninfo::parse(text), None, "{text}");
        }
    }

    #[test]
    fn printing_has_patronis_order_and_knows_versions() {
        let conninfo = of(&[
            ("user", "rep"),
            ("password", "it's \\ me"),
            ("host", "10.0.0.5"),
            ("port", "5432"),
            ("application_name", "n1"),
            ("dbname", "postgres"),
        ]);
        assert_eq!(
            conninfo.clone().with_defaults(150_000).to_dsn(150_000),
            "dbname=postgres user=rep password=it\\'s\\ \\\\\\ me host=10.0.0.5 port=5432 sslmode=prefer application_name=n1 \
             gssencmode=prefer channel_binding=prefer"
        );
        let mut with_file = conninfo;
        with_file.0.insert("passfile".into(), "/tmp/pgpass".into());
        assert_eq!(
            with_file.with_defaults(110_000).to_dsn(110_000),
            "dbname=postgres user=rep passfile=/tmp/pgpass host=10.0.0.5 port=5432 sslmode=prefer application_name=n1"
        );
    }

    #[test]
    fn password_files_have_a_line_per_host() {
        let conninfo = of(&[("host", "a, /run:x"), ("port", "5432"), ("user", "u:1"), ("password", "p\\:")]);
        let text = pgpass_text(&conninfo).expect("a password");
        assert_eq!(text, "a:5432:*:u\\:1:p\\\\\\:\n/run\\:x:5432:*:u\\:1:p\\\\\\:\nlocalhost:5432:*:u\\:1:p\\\\\\:\n");
        assert_eq!(pgpass_text(&of(&[("password", "x")])).as_deref(), Some("*:*:*:*:x\n"));
        assert_eq!(pgpass_text(&of(&[("host", "a")])), None);
    }

    #[test]
    fn debug_hides_values() {
        assert!(!format!("{:?}", of(&[("password", "hunter2")])).contains("hunter2"));
    }
}
