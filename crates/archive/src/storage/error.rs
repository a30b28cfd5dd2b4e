//! What goes wrong with a storage, in words that name the remedy and hold no secret.

use std::io;

/// The kinds that a caller treats differently, or a person mends differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Settings,
    Credentials,
    Denied,
    Clock,
    Region,
    Bucket,
    Certificate,
    Network,
    Busy,
    Full,
    Other,
}

impl Fault {
    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Fault::Settings => "correct the settings",
            Fault::Credentials => "give the key, token or role of an account that exists, or renew it",
            Fault::Denied => "allow this account to read, write, list and delete under this prefix",
            Fault::Clock => "set this machine's clock: the service refuses requests whose time is far off",
            Fault::Region => "set the region in which the bucket lies (AWS_REGION), or its endpoint (AWS_ENDPOINT)",
            Fault::Bucket => "create the bucket, container or directory, or correct its name in the prefix",
            Fault::Certificate => {
                "give the CA file of the server (WALG_S3_CA_CERT_FILE), or correct the endpoint's name"
            }
            Fault::Network => "look at the endpoint's address, at name resolution, at the network and at proxies",
            Fault::Busy => "the service asks for fewer requests, or is unwell: try again later",
            Fault::Full => "make room",
            Fault::Other => "see what the storage said",
        }
    }

    /// From what a service or a library said. Names of errors are those of S3, Google and Azure.
    pub fn of(said: &str) -> Fault {
        let table: [(Fault, &[&str]); 9] = [
            (Fault::Clock, &["RequestTimeTooSkewed", "RequestExpired"]),
            (
                Fault::Region,
                &[
                    "AuthorizationHeaderMalformed",
                    "PermanentRedirect",
                    "IllegalLocationConstraint",
                    "IncorrectEndpoint",
                ],
            ),
            (Fault::Bucket, &["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"]),
            (
                Fault::Credentials,
                &[
                    "InvalidAccessKeyId",
                    "SignatureDoesNotMatch",
                    "ExpiredToken",
                    "InvalidToken",
                    "AuthenticationFailed",
                    "NoAuthenticationInformation",
                    "no valid credential",
                    "failed to load signing credential",
                    "CredentialInvalid",
                    "invalid_grant",
                    "Unauthorized",
                ],
            ),
            (Fault::Certificate, &["certificate", "UnknownIssuer", "NotValidForName"]),
            (Fault::Denied, &["AccessDenied", "AuthorizationPermissionMismatch", "PermissionDenied", "Forbidden"]),
            (Fault::Busy, &["SlowDown", "RateLimited", "ServerBusy", "ServiceUnavailable", "InternalError"]),
            (Fault::Full, &["No space left", "QuotaExceeded", "Disk quota"]),
            (
                Fault::Network,
                &[
                    "dns error",
                    "Connection refused",
                    "timed out",
                    "timeout",
                    "unreachable",
                    "connection",
                    "Connection reset",
                ],
            ),
        ];
        let found = table.iter().find(|(_, words)| words.iter().any(|word| said.contains(word)));
        found.map_or(Fault::Other, |(fault, _)| *fault)
    }
}

/// What was tried where, and what happened.
#[derive(Debug, thiserror::Error)]
#[error("could not {tried} in {place}: {said}; {}", .fault.remedy())]
pub struct StorageError {
    pub fault: Fault,
    pub place: String,
    pub tried: String,
    pub said: String,
}

impl StorageError {
    pub(super) fn settings(place: &str, said: impl Into<String>) -> StorageError {
        let tried = "use the storage".to_owned();
        StorageError { fault: Fault::Settings, place: place.to_owned(), tried, said: said.into() }
    }

    /// An error of a file, of compression or of encryption on our side of the storage.
    pub(crate) fn local(place: &str, verb: &str, key: &str, error: io::Error) -> StorageError {
        let said = without_queries(&error.to_string());
        let fault = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full,
            io::ErrorKind::PermissionDenied => Fault::Denied,
            io::ErrorKind::NotFound => Fault::Bucket,
            _ => Fault::of(&said),
        };
        StorageError { fault, place: place.to_owned(), tried: format!("{verb} {key}"), said }
    }

    pub(super) fn remote(place: &str, verb: &str, key: &str, error: &opendal::Error) -> StorageError {
        let said = describe(error);
        let fault = match (Fault::of(&said), error.kind()) {
            (Fault::Other, opendal::ErrorKind::ConfigInvalid) => Fault::Settings,
            (Fault::Other, opendal::ErrorKind::RateLimited) => Fault::Busy,
            (Fault::Other, opendal::ErrorKind::PermissionDenied) => Fault::Denied,
            (Fault::Other, opendal::ErrorKind::NotFound) => Fault::Bucket,
            (fault, _) => fault,
        };
        StorageError { fault, place: place.to_owned(), tried: format!("{verb} {key}"), said }
    }
}

/// The message and its causes. The context that the library adds is left out: it holds addresses and headers.
pub(super) fn describe(error: &opendal::Error) -> String {
    let mut said = format!("{}: {}", error.kind(), error.message());
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let text = next.to_string();
        if !said.contains(&text) {
            said.push_str(": ");
            said.push_str(&text);
        }
        cause = next.source();
    }
    without_queries(&said)
}

/// Cuts what follows the question mark of an address: signatures stand there.
fn without_queries(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let end = rest[at..].find([' ', ')', '"', '\n']).map_or(rest.len(), |n| at + n);
        let address = &rest[..end];
        let query = address[at..].find('?').map(|n| at + n);
        kept.push_str(&address[..query.unwrap_or(end)]);
        if query.is_some() {
            kept.push_str("?…");
        }
        rest = &rest[end..];
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_in_addresses_are_cut() {
        for (text, cut) in [
            ("no address?", "no address?"),
            ("to (https://a.b/c?sig=SECRET): refused", "to (https://a.b/c?…): refused"),
            ("http://a/ and http://b/?x=SECRET", "http://a/ and http://b/?…"),
        ] {
            assert_eq!(without_queries(text), cut);
        }
    }

    #[test]
    fn what_services_say_is_put_in_words() {
        for (said, fault) in [
            (r#"S3Error { code: "RequestTimeTooSkewed" }"#, Fault::Clock),
            (r#"S3Error { code: "InvalidAccessKeyId" }"#, Fault::Credentials),
            (r#"S3Error { code: "NoSuchBucket", message: "The specified bucket does not exist" }"#, Fault::Bucket),
            ("invalid peer certificate: UnknownIssuer", Fault::Certificate),
            ("tcp connect error: Connection refused (os error 111)", Fault::Network),
            ("AuthorizationHeaderMalformed: expecting 'eu-west-1'", Fault::Region),
            ("something new", Fault::Other),
        ] {
            assert_eq!(Fault::of(said), fault, "{said}");
        }
    }
}
