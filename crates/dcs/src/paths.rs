//! Where in the store a cluster's keys are.

/// The base path of a cluster's keys: `/NAMESPACE/SCOPE`, with Citus `/NAMESPACE/SCOPE/GROUP`; runs of
/// slashes count as one (Patroni: `AbstractDCS.client_path`).
pub fn base_path(namespace: &str, scope: &str, group: Option<i64>) -> String {
    let group = group.map(|g| g.to_string()).unwrap_or_default();
    [namespace, scope, &group]
        .iter()
        .flat_map(|part| part.split('/'))
        .filter(|part| !part.is_empty())
        .fold(String::new(), |path, part| path + "/" + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_join_once() {
        for (namespace, scope, group, path) in [
            ("service", "demo", None, "/service/demo"),
            ("/service/", "demo", None, "/service/demo"),
            ("", "demo", None, "/demo"),
            ("/", "demo", None, "/demo"),
            ("//a//b/", "demo", None, "/a/b/demo"),
            ("/service", "demo", Some(0), "/service/demo/0"),
            ("/service", "demo", Some(12), "/service/demo/12"),
        ] {
            assert_eq!(base_path(namespace, scope, group), path, "{namespace:?} {scope:?} {group:?}");
        }
    }
}
