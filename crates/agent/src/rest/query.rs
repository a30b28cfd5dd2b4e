//! The query part of a URL, read as Python's `parse_qs` reads it: of several values the first counts, an empty one
//! counts as not given.

/// Decoded names and values in the order of the URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: Option<&str>) -> Query {
        let pairs = text.unwrap_or("").split('&').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.filter(|(_, value)| !value.is_empty());
        Query(pairs.map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    /// The first value of `name`.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Bytes, with or without a unit.
    pub fn bytes(&self, name: &str) -> Option<i64> {
        jogi_config::postgres::units::parse_int_text(self.first(name)?, Some("B"))
    }

    /// Each `tag_NAME=VALUE` as (NAME, VALUE), the first value of each name.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        let tags = self.0.iter().filter_map(|(name, _)| Some((name.as_str(), name.strip_prefix("tag_")?)));
        tags.filter_map(|(name, tag)| Some((tag, self.first(name)?)))
    }
}

/// `+` is a blank, `%XX` a byte; what is no escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = (first == b'%').then(|| tail.get(..2)).flatten();
        match escape.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(if first == b'+' { b' ' } else { first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_python_reads_it() {
        let query = Query::parse(Some("a=1&a=2&b=&c&d%20e=f+g&h=%zz&i=%c3%a9&tag_x=y&tag_x=z"));
        assert_eq!(query.first("a"), Some("1"));
        assert_eq!((query.first("b"), query.first("c")), (None, None));
        assert_eq!(query.first("d e"), Some("f g"));
        assert_eq!((query.first("h"), query.first("i")), (Some("%zz"), Some("é")));
        assert_eq!(query.tags().next(), Some(("x", "y")));
        assert_eq!(Query::parse(None), Query::default());
    }

    #[test]
    fn a_lag_has_postgres_units() {
        for (text, bytes) in [
            ("10", Some(10)),
            ("10MB", Some(10 << 20)),
            ("1kB", Some(1024)),
            ("1.5MB", Some(1_572_864)),
            ("0x10", Some(16)),
            ("10mb", None),
            ("x", None),
        ] {
            assert_eq!(Query::parse(Some(&format!("lag={text}"))).bytes("lag"), bytes, "{text}");
        }
    }
}
