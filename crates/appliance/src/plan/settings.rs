//! Who this member is, and where its files lie.

use std::collections::BTreeMap;

use crate::facts::{Facts, Provider};
use crate::source::Source;
use crate::variables::{Environment, Sourced, Values};

/// Decided once, used by every section.
pub(crate) struct Settings {
    pub kubernetes: bool,
    /// The Kubernetes API is the store.
    pub native: bool,
    pub demo: bool,
    pub scope: Sourced<String>,
    /// Empty for none.
    pub namespace: Sourced<String>,
    pub ip: Sourced<String>,
    /// Host name or the instance's id.
    pub name: Sourced<String>,
    pub provider: Provider,
    pub home: Sourced<String>,
    pub root: Sourced<String>,
    pub data: Sourced<String>,
    pub log: Sourced<String>,
    pub rw_dir: String,
    pub port: Sourced<String>,
    pub api_port: Sourced<String>,
    pub human_role: Sourced<String>,
    pub hourly: bool,
}

/// Where the data directory is, before anything else is decided: the machine is asked what lies there.
pub fn data_directory(environment: &Environment) -> String {
    let values = Values::read(environment);
    let user = super::user::mapping(&values);
    let of_user = user.and_then(|(mapping, _)| Some(mapping.get("postgresql")?.get("data_dir")?.as_str()?.to_owned()));
    of_user.unwrap_or_else(|| places(&values)["PGDATA"].value.clone())
}

/// The image's paths.
fn places(values: &Values) -> BTreeMap<&'static str, Sourced<String>> {
    let home = values.text("PGHOME", "/home/postgres");
    let below = |name: &'static str, parent: &Sourced<String>, rest: &str| match values.has(name) {
        true => values.text(name, ""),
        false => Sourced::new(format!("{}{rest}", parent.value), parent.source.clone()),
    };
    let root = below("PGROOT", &home, "/pgdata/pgroot");
    let data = below("PGDATA", &root, "/data");
    let log = below("PGLOG", &root, "/pg_log");
    BTreeMap::from([("PGHOME", home), ("PGROOT", root), ("PGDATA", data), ("PGLOG", log)])
}

impl Settings {
    pub fn decide(values: &Values, facts: &Facts) -> Settings {
        let kubernetes = values.has("KUBERNETES_SERVICE_HOST");
        let native = kubernetes && values.flag("DCS_ENABLE_KUBERNETES_API", false).value;
        let mut places = places(values);
        let mut place = |name| places.remove(name).unwrap_or_else(|| Sourced::new(String::new(), Source::Default));
        Settings {
            kubernetes,
            native,
            demo: values.is_true("DEMO"),
            scope: values.text("SCOPE", "dummy"),
            namespace: namespace(values, native),
            ip: ip(values, facts, kubernetes),
            name: name(facts, kubernetes),
            provider: facts.provider,
            home: place("PGHOME"),
            root: place("PGROOT"),
            data: place("PGDATA"),
            log: place("PGLOG"),
            rw_dir: values.text("RW_DIR", "/run").value,
            port: values.text("PGPORT", "5432"),
            api_port: values.text("APIPORT", "8008"),
            human_role: values.text("HUMAN_ROLE", "zalandos"),
            hourly: values.is_true("LOG_SHIP_HOURLY"),
        }
    }

    /// `host:port`, with an IPv6 address in brackets.
    pub fn address(&self, port: &Sourced<String>) -> Sourced<String> {
        let ip = &self.ip.value;
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
        Sourced::new(format!("{host}:{}", port.value), Source::of(&[&self.ip.source, &port.source]))
    }

    /// What stands before the scope in derived paths, unless a variable says otherwise.
    pub fn scope_prefix(&self) -> Sourced<String> {
        match self.namespace.value.as_str() {
            "" | "default" => Sourced::new(String::new(), Source::Default),
            namespace => Sourced::new(format!("{namespace}-"), self.namespace.source.clone()),
        }
    }

    /// `$PGROOT/../tmp`
    pub fn tmp(&self) -> Sourced<String> {
        self.root.clone().map(|root| format!("{root}/../tmp"))
    }
}

fn namespace(values: &Values, native: bool) -> Sourced<String> {
    match (values.has("NAMESPACE"), native) {
        (false, true) => values.text("POD_NAMESPACE", "default"),
        (true, _) | (false, false) => values.text("NAMESPACE", ""),
    }
}

/// Inside Kubernetes the pod's; elsewhere the instance's, else that of the host name.
fn ip(values: &Values, facts: &Facts, kubernetes: bool) -> Sourced<String> {
    if let Some(ip) = values.filled("POD_IP").filter(|_| kubernetes) {
        return ip;
    }
    match facts.instance.ip.as_ref().filter(|_| !kubernetes) {
        Some(ip) => Sourced::new(ip.clone(), Source::Machine("the instance's metadata")),
        None => Sourced::new(facts.host_ip.clone(), Source::Machine("the address of the host name")),
    }
}

fn name(facts: &Facts, kubernetes: bool) -> Sourced<String> {
    match facts.instance.id.as_ref().filter(|_| !kubernetes) {
        Some(id) => Sourced::new(id.clone(), Source::Machine("the instance's metadata")),
        None => Sourced::new(facts.host_name.clone(), Source::Machine("the host name")),
    }
}
