//! Certificates: given as contents, given as files, or made here.

use super::{Content, File, Plan, Section, Settings};
use crate::facts::Facts;
use crate::source::Source;
use crate::variables::{Sourced, Values};

/// Of certificates that are made here, as users know it.
const COMMON_NAME: &str = "spilo.example.org";

/// A variable with contents, the variable of its file, the file's name by default, the option.
struct Part {
    content: &'static str,
    file: &'static str,
    name: &'static str,
    option: &'static str,
}

const SERVER: [Part; 4] = [
    Part { content: "SSL_CA", file: "SSL_CA_FILE", name: "ca.crt", option: "ssl_ca_file" },
    Part { content: "SSL_CRL", file: "SSL_CRL_FILE", name: "server.crl", option: "ssl_crl_file" },
    Part { content: "SSL_CERTIFICATE", file: "SSL_CERTIFICATE_FILE", name: "server.crt", option: "ssl_cert_file" },
    Part { content: "SSL_PRIVATE_KEY", file: "SSL_PRIVATE_KEY_FILE", name: "server.key", option: "ssl_key_file" },
];

const REST: [Part; 3] = [
    Part {
        content: "SSL_RESTAPI_CERTIFICATE",
        file: "SSL_RESTAPI_CERTIFICATE_FILE",
        name: "rest-api-server.crt",
        option: "certfile",
    },
    Part {
        content: "SSL_RESTAPI_PRIVATE_KEY",
        file: "SSL_RESTAPI_PRIVATE_KEY_FILE",
        // The name is odd, and people mount over it.
        name: "restapi-api-server.key",
        option: "keyfile",
    },
    Part { content: "SSL_RESTAPI_CA", file: "SSL_RESTAPI_CA_FILE", name: "rest-api-ca.crt", option: "cafile" },
];

const SERVER_PAIR: [&str; 2] = ["SSL_CERTIFICATE", "SSL_PRIVATE_KEY"];
const REST_PAIR: [&str; 2] = ["SSL_RESTAPI_CERTIFICATE", "SSL_RESTAPI_PRIVATE_KEY"];

fn has_pair(values: &Values, pair: [&str; 2]) -> bool {
    pair.iter().all(|name| values.filled(name).is_some())
}

/// The files of the server: option and path, those that are not empty.
pub(super) fn server_files(values: &Values, settings: &Settings) -> Vec<(&'static str, Sourced<String>)> {
    let file = |part: &Part| {
        let is_needed = matches!(part.option, "ssl_cert_file" | "ssl_key_file");
        file_of(values, settings, part, is_needed || values.filled(part.content).is_some())
    };
    SERVER.iter().filter_map(|part| Some((part.option, file(part)?))).collect()
}

/// Those of the REST API.
pub(super) fn rest_files(values: &Values, settings: &Settings) -> Vec<(&'static str, Sourced<String>)> {
    let pair = has_pair(values, REST_PAIR);
    let file = |part: &Part| {
        let by_default = if part.option == "cafile" { values.filled(part.content).is_some() } else { pair };
        file_of(values, settings, part, by_default)
    };
    REST.iter().filter_map(|part| Some((part.option, file(part)?))).collect()
}

fn file_of(values: &Values, settings: &Settings, part: &Part, by_default: bool) -> Option<Sourced<String>> {
    if values.has(part.file) {
        return values.filled(part.file);
    }
    let source = if values.has(part.content) { values.source(part.content) } else { Source::Default };
    by_default.then(|| Sourced::new(format!("{}/certs/{}", settings.rw_dir, part.name), source))
}

pub(super) fn write(values: &Values, settings: &Settings, facts: &Facts, plan: &mut Plan) {
    let server = server_files(values, settings);
    if has_pair(values, SERVER_PAIR) {
        write_parts(values, &SERVER, &server, plan);
    } else {
        warn_of_half(values, SERVER_PAIR, "the server's certificate", plan);
        let path = |option: &str| server.iter().find(|(other, _)| *other == option).map(|(_, file)| file.value.clone());
        if let (Some(certificate), Some(key)) = (path("ssl_cert_file"), path("ssl_key_file")) {
            let common_name = COMMON_NAME.to_owned();
            plan.files.push(File {
                section: Section::Certificate,
                path: certificate,
                content: Content::SelfSigned { common_name, host_name: facts.host_name.clone(), key },
                mode: 0o644,
                source: Source::Default,
                always: false,
            });
        }
    }
    if has_pair(values, REST_PAIR) {
        write_parts(values, &REST, &rest_files(values, settings), plan);
    } else {
        warn_of_half(values, REST_PAIR, "the certificate of the REST API", plan);
    }
}

fn write_parts(values: &Values, parts: &[Part], files: &[(&'static str, Sourced<String>)], plan: &mut Plan) {
    for part in parts {
        let file = files.iter().find(|(option, _)| *option == part.option);
        let (Some((_, file)), Some(content)) = (file, values.filled(part.content)) else { continue };
        let text = if content.value.ends_with('\n') { content.value } else { content.value + "\n" };
        match part.option.contains("key") {
            true => plan.write_secret(Section::Certificate, &file.value, text, 0o600, content.source),
            false => plan.write(Section::Certificate, &file.value, text, 0o644, content.source),
        }
    }
}

fn warn_of_half(values: &Values, pair: [&str; 2], what: &str, plan: &mut Plan) {
    let [certificate, key] = pair.map(|name| values.filled(name).is_some());
    if certificate != key {
        let (there, lacking) = if certificate { (pair[0], pair[1]) } else { (pair[1], pair[0]) };
        plan.warn(format!("{there} is given without {lacking}: {what} is not taken from the environment"));
    }
}
