//! Preloaded libraries and the extensions that ordinary users may create, by version.

use serde_json::{Map, Value};

use crate::document::Document;
use crate::source::Source;
use crate::variables::Values;

const PRELOADED: [&str; 5] = ["bg_mon", "pg_stat_statements", "pgextwlist", "pg_auth_mon", "set_user"];

const LISTED: [&str; 19] = [
    "btree_gin",
    "btree_gist",
    "citext",
    "extra_window_functions",
    "first_last_agg",
    "hll",
    "hstore",
    "hypopg",
    "intarray",
    "ltree",
    "pgcrypto",
    "pgq",
    "pgq_node",
    "pg_trgm",
    "postgres_fdw",
    "roaringbitmap",
    "tablefunc",
    "uuid-ossp",
    "vector",
];

/// Name, oldest and newest version as major × 100 + minor, preloaded, listed.
const ADDED: [(&str, u32, u32, bool, bool); 5] = [
    ("timescaledb", 906, 1800, true, true),
    ("pg_cron", 905, 1800, true, false),
    ("pg_stat_kcache", 904, 1800, true, false),
    ("pg_partman", 904, 1800, false, true),
    ("pg_mon", 1100, 1800, true, false),
];

/// Sets both lists, each unless the user's mapping sets that very parameter.
pub(super) fn add(values: &Values, version: &str, user: Option<&Map<String, Value>>, config: &mut Document) {
    let number = number(version);
    let mon = values.get("ENABLE_PG_MON") == Some("true");
    let added = || {
        let fits = move |row: &&(&str, u32, u32, bool, bool)| (row.1..=row.2).contains(&number);
        ADDED.iter().filter(fits).filter(move |row| row.0 != "pg_mon" || mon)
    };
    let preloaded: Vec<&str> = PRELOADED.into_iter().chain(added().filter(|row| row.3).map(|row| row.0)).collect();
    let listed: Vec<&str> = LISTED.into_iter().chain(added().filter(|row| row.4).map(|row| row.0)).collect();
    for (key, names) in [("shared_preload_libraries", preloaded), ("extwlist.extensions", listed)] {
        let of_user = user.and_then(|user| user.get("postgresql")?.get("parameters")?.get(key));
        if of_user.is_none_or(Value::is_null) {
            let source = Source::Derived(format!("PostgreSQL {version}"));
            config.put(&["postgresql", "parameters", key], names.join(","), source);
        }
    }
}

fn number(version: &str) -> u32 {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let major = parts.next().unwrap_or(0);
    major * 100 + parts.next().filter(|_| major < 10).unwrap_or(0)
}
