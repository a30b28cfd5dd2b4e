//! Where the API server is and as whom we speak: the pod's service account, or a kubeconfig.
//!
//! A service account's token is short-lived and replaced in its file: it is read again every minute, and at once when
//! the API server does not take it. Programs that fetch credentials (`exec`, `auth-provider`) are not run; Patroni
//! runs none either.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{env, fs};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jogi_core::Tick;
use jogi_net::rustls::ClientConfig;
use jogi_net::tls::{ClientTls, Verify};
use jogi_net::{boot_now, random_u64};
use serde_json::Value;

use crate::SetupError;

/// Where Kubernetes puts a pod's service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How old a token from a file may be.
const TOKEN_AGE: Duration = Duration::from_secs(60);
/// Patroni's default context.
const USUAL_CONTEXT: &str = "kind-kind";

/// An API server and our credentials. Not `Debug`: it holds secrets.
#[derive(Clone)]
pub struct Access {
    /// `https://HOST:PORT`.
    pub server: String,
    pub tls: Tls,
    pub credentials: Credentials,
}

/// Files or texts with certificates.
#[derive(Clone, Default)]
pub struct Tls {
    pub ca: Option<Pem>,
    pub cert: Option<Pem>,
    pub key: Option<Pem>,
    pub insecure: bool,
}

#[derive(Clone)]
pub enum Pem {
    File(PathBuf),
    Text(Vec<u8>),
}

#[derive(Clone)]
pub enum Credentials {
    /// A client certificate, or none at all.
    None,
    Token(String),
    TokenFile(Arc<TokenFile>),
    Basic {
        user: String,
        password: String,
    },
}

pub struct TokenFile {
    path: PathBuf,
    read: Mutex<Option<(String, Tick)>>,
}

fn wrong(cause: impl Into<String>) -> SetupError {
    SetupError::Section { section: "kubernetes", cause: cause.into() }
}

impl Access {
    /// For tests and tools: one server with a token, any certificate that `ca` signed.
    pub fn plain(server: String, ca: Option<PathBuf>) -> Access {
        Access { server, tls: Tls { ca: ca.map(Pem::File), ..Tls::default() }, credentials: Credentials::None }
    }

    pub(super) fn find(context: Option<&str>, cacert: Option<&str>) -> Result<Access, SetupError> {
        let cacert = cacert.map(PathBuf::from).or_else(|| env::var_os("PATRONI_KUBERNETES_CACERT").map(PathBuf::from));
        match Access::in_cluster(Path::new(ACCOUNT), cacert) {
            Some(access) => Ok(access),
            None => Access::kubeconfig(&kubeconfig_path(), context),
        }
    }

    /// `None`: this is no pod.
    fn in_cluster(account: &Path, cacert: Option<PathBuf>) -> Option<Access> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
        let token = account.join("token");
        if fs::metadata(&token).map_or(0, |file| file.len()) == 0 {
            return None;
        }
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let ca = cacert.unwrap_or_else(|| account.join("ca.crt"));
        Some(Access {
            server: format!("https://{host}:{port}"),
            tls: Tls { ca: Some(Pem::File(ca)), ..Tls::default() },
            credentials: Credentials::TokenFile(Arc::new(TokenFile { path: token, read: Mutex::default() })),
        })
    }

    /// The context of a kubeconfig; `None`: Patroni's default, else the current one.
    pub fn kubeconfig(path: &Path, context: Option<&str>) -> Result<Access, SetupError> {
        let text = fs::read_to_string(path).map_err(|e| {
            wrong(format!(
                "this is not a pod with a service account (KUBERNETES_SERVICE_HOST and {ACCOUNT}/token), and the kubeconfig {} cannot be read: {e}; set KUBECONFIG, or run in a pod",
                path.display()
            ))
        })?;
        let config = jogi_config::yaml::parse(&text)
            .map_err(|e| wrong(format!("the kubeconfig {} is no YAML: {e}", path.display())))?;
        from_config(&config, path, context)
            .map_err(|cause| wrong(format!("the kubeconfig {}: {cause}", path.display())))
    }
}

fn kubeconfig_path() -> PathBuf {
    let listed = env::var("KUBECONFIG").ok().and_then(|list| list.split(':').next().map(PathBuf::from));
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".kube/config");
    listed.filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(home)
}

fn named<'a>(config: &'a Value, list: &str, kind: &str, name: &str) -> Result<&'a Value, String> {
    let entries = config.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let entry = entries.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(name));
    let names = || entries.iter().filter_map(|e| e["name"].as_str()).collect::<Vec<_>>().join(", ");
    entry
        .and_then(|entry| entry.get(kind))
        .ok_or_else(|| format!("there is no {kind} {name:?} (there are: {})", names()))
}

fn from_config(config: &Value, path: &Path, wanted: Option<&str>) -> Result<Access, String> {
    let current = config.get("current-context").and_then(Value::as_str);
    let context = match wanted {
        Some(wanted) => named(config, "contexts", "context", wanted)
            .map_err(|e| format!("{e}; set kubernetes.context to one of them"))?,
        None => match named(config, "contexts", "context", USUAL_CONTEXT) {
            Ok(context) => context,
            Err(e) => named(config, "contexts", "context", current.ok_or(format!("{e}; set kubernetes.context"))?)?,
        },
    };
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    let cluster = named(config, "clusters", "cluster", &text(context, "cluster").unwrap_or_default())?;
    let user = named(config, "users", "user", &text(context, "user").unwrap_or_default())?;
    let near = |file: String| path.parent().unwrap_or(Path::new("")).join(file);
    let pem = |value: &Value, field: &str| -> Result<Option<Pem>, String> {
        if let Some(data) = text(value, &format!("{field}-data")) {
            let bytes = STANDARD.decode(data.trim()).map_err(|e| format!("{field}-data is no base64: {e}"))?;
            return Ok(Some(Pem::Text(bytes)));
        }
        Ok(text(value, field).map(|file| Pem::File(near(file))))
    };
    let credentials = if let Some(token) = text(user, "token") {
        Credentials::Token(token)
    } else if let Some(file) = text(user, "tokenFile") {
        Credentials::TokenFile(Arc::new(TokenFile { path: near(file), read: Mutex::default() }))
    } else if let (Some(user), Some(password)) = (text(user, "username"), text(user, "password")) {
        Credentials::Basic { user, password }
    } else if user.get("exec").or(user.get("auth-provider")).is_some() {
        return Err("its user needs a program that fetches credentials (exec or auth-provider), and none is run: use a token or a client certificate".into());
    } else {
        Credentials::None
    };
    Ok(Access {
        server: text(cluster, "server").ok_or("its cluster has no server")?.trim_end_matches('/').to_owned(),
        tls: Tls {
            ca: pem(cluster, "certificate-authority")?,
            cert: pem(user, "client-certificate")?,
            key: pem(user, "client-key")?,
            insecure: cluster.get("insecure-skip-tls-verify").and_then(Value::as_bool).unwrap_or(false),
        },
        credentials,
    })
}

impl Tls {
    /// `any_name`: the servers are spoken to by addresses that their certificates need not name.
    pub(super) fn build(&self, any_name: bool) -> Result<ClientConfig, SetupError> {
        let written: Vec<Written> = Vec::new();
        let mut files = Files(written);
        let tls = ClientTls {
            ca: files.path(self.ca.as_ref())?,
            cert: files.path(self.cert.as_ref())?,
            key: files.path(self.key.as_ref())?,
            key_password: None,
            verify: match (self.insecure, any_name) {
                (true, _) => Verify::Nothing,
                (false, true) => Verify::ChainOnly,
                (false, false) => Verify::Full,
            },
        };
        Ok(tls.build().map_err(jogi_net::http::HttpError::from)?)
    }
}

/// Certificates that stand in the kubeconfig itself, in files for as long as they are read.
struct Files(Vec<Written>);

struct Written(PathBuf);

impl Drop for Written {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Files {
    fn path(&mut self, pem: Option<&Pem>) -> Result<Option<PathBuf>, SetupError> {
        let bytes = match pem {
            None => return Ok(None),
            Some(Pem::File(path)) => return Ok(Some(path.clone())),
            Some(Pem::Text(bytes)) => bytes,
        };
        let path = env::temp_dir().join(format!("jogi-{:016x}.pem", random_u64()));
        let failed = |e| wrong(format!("{} cannot be written: {e}", path.display()));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        self.0.push(Written(path.clone()));
        file.write_all(bytes).map_err(failed)?;
        Ok(Some(path))
    }
}

impl TokenFile {
    /// An empty text when the file cannot be read: the API server then says that it does not know us.
    fn token(&self) -> String {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = boot_now();
        if let Some((token, at)) = read.as_ref().filter(|(_, at)| now.since(*at) < TOKEN_AGE) {
            let _ = at;
            return token.clone();
        }
        match fs::read_to_string(&self.path) {
            Ok(text) => {
                let token = text.trim().to_owned();
                *read = Some((token.clone(), now));
                token
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the service account's token cannot be read");
                read.as_ref().map(|(token, _)| token.clone()).unwrap_or_default()
            }
        }
    }

    fn forget(&self) {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Credentials {
    /// The header `Authorization`.
    pub(super) fn header(&self) -> Option<String> {
        match self {
            Credentials::None => None,
            Credentials::Token(token) => Some(format!("Bearer {token}")),
            Credentials::TokenFile(file) => Some(format!("Bearer {}", file.token())),
            Credentials::Basic { user, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
        }
    }

    /// They were refused; whether others may be there now.
    pub(super) fn refused(&self) -> bool {
        match self {
            Credentials::TokenFile(file) => {
                file.forget();
                true
            }
            Credentials::None | Credentials::Token(_) | Credentials::Basic { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
current-context: here
clusters: [{name: c, cluster: {server: 'https://k:6443/', certificate-authority: ca.crt}}]
users: [{name: u, user: {token: t}}, {name: x, user: {exec: {command: aws}}}, {name: b, user: {username: a, password: b}}]
contexts:
- {name: here, context: {cluster: c, user: u}}
- {name: other, context: {cluster: c, user: x}}
- {name: basic, context: {cluster: c, user: b}}
";

    fn read(context: Option<&str>) -> Result<Access, String> {
        from_config(&jogi_config::yaml::parse(CONFIG).expect("YAML"), Path::new("/etc/kube/config"), context)
    }

    #[test]
    fn a_kubeconfig_is_read() {
        let access = read(None).expect("the current context");
        assert_eq!(access.server, "https://k:6443");
        assert!(matches!(&access.tls.ca, Some(Pem::File(ca)) if ca == Path::new("/etc/kube/ca.crt")));
        assert_eq!(access.credentials.header().as_deref(), Some("Bearer t"));
        assert_eq!(read(Some("basic")).expect("there").credentials.header().as_deref(), Some("Basic YTpi"));
        let missing = read(Some("nowhere")).err().expect("refused");
        assert!(missing.contains("nowhere") && missing.contains("here, other"), "{missing}");
        assert!(read(Some("other")).err().expect("refused").contains("exec"));
    }

    #[test]
    fn a_token_is_read_again_when_it_was_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        fs::write(&path, "one\n").expect("written");
        let credentials = Credentials::TokenFile(Arc::new(TokenFile { path: path.clone(), read: Mutex::default() }));
        assert_eq!(credentials.header().as_deref(), Some("Bearer one"));
        fs::write(&path, "two\n").expect("written");
        assert_eq!(credentials.header().as_deref(), Some("Bearer one"), "it is not read for every request");
        assert!(credentials.refused());
        assert_eq!(credentials.header().as_deref(), Some("Bearer two"));
    }
}
