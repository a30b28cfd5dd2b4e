//! "Who may do what": passwords, allowlists, TLS and certificates of clients, asked of a real Patroni and of ours under the
//! same options, each taken over by SIGHUP.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use jogi_testkit::herd::Member;
use jogi_testkit::patroni::Patroni;
use jogi_testkit::process::Signal;
use jogi_testkit::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::compare::{Wanted, check};
use crate::pair::Pair;

/// Patroni takes options over in its next turn, a second later at most.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(10);

/// Everything that needs permission, in a form that changes nothing, and two things that need none.
const REQUESTS: [(&str, &str, &str); 16] = [
    ("GET", "/primary", ""),
    ("GET", "/config", ""),
    ("HEAD", "/replica", ""),
    ("OPTIONS", "/", ""),
    ("PATCH", "/config", "{}"),
    ("PUT", "/config", "{}"),
    ("POST", "/reload", ""),
    ("POST", "/restart", r#"{"role": "king"}"#),
    ("DELETE", "/restart", ""),
    ("POST", "/switchover", "{}"),
    ("POST", "/failover", r#"{"candidate": "n9"}"#),
    ("DELETE", "/switchover", ""),
    ("POST", "/reinitialize", "{}"),
    ("POST", "/sigterm", ""),
    ("POST", "/citus", r#"{"type": "x", "group": 1, "leader": "x", "timeout": 1, "cooldown": 1}"#),
    ("POST", "/failsafe", r#"{"name": "n1", "conn_url": "x", "api_url": "x"}"#),
];

/// The requests above, each with more of the question (see `access.py`).
fn all(more: &Value) -> Vec<Value> {
    REQUESTS.iter().map(|(method, path, body)| ask(method, path, body, more)).collect()
}

/// One request that needs no permission, and one that does.
fn two(more: &Value) -> Vec<Value> {
    vec![ask("GET", "/primary", "", more), ask("POST", "/reload", "", more)]
}

fn ask(method: &str, path: &str, body: &str, more: &Value) -> Value {
    let mut ask = json!({"method": method, "path": path, "body": body});
    for (name, value) in more.as_object().expect("an object") {
        ask[name] = value.clone();
    }
    ask
}

/// Certificates as people make them, with the key in the same file.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Certificates {
        let certificates = Certificates(tempfile::tempdir().expect("a directory"));
        fs::set_permissions(certificates.0.path(), fs::Permissions::from_mode(0o755)).expect("readable for all");
        let own = |name: &str, more: &[&str]| certificates.self_signed(name, "rsa:2048", more);
        own("ca", &["-addext", "basicConstraints=critical,CA:TRUE"]);
        own("foreign-ca", &["-addext", "basicConstraints=critical,CA:TRUE"]);
        // Authority, server and client at once, in the forms in which it is found.
        own("one", &[]);
        own("one-leaf", &["-addext", "basicConstraints=critical,CA:FALSE"]);
        own("one-server", &["-addext", "extendedKeyUsage=serverAuth"]);
        own("one-client", &["-addext", "extendedKeyUsage=clientAuth"]);
        own("one-signs", &["-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
        certificates.self_signed("one-ec", "ec:", &[]);
        for (name, authority, extension) in [
            ("server", "ca", ""),
            ("renewed", "ca", ""),
            ("client", "ca", ""),
            ("client-eku", "ca", "extendedKeyUsage=clientAuth"),
            ("client-server-eku", "ca", "extendedKeyUsage=serverAuth"),
            ("client-foreign", "foreign-ca", ""),
        ] {
            certificates.signed(name, authority, extension, "100");
        }
        certificates.signed("client-expired", "ca", "", "-1");
        let key = certificates.path("server.key");
        for (form, options) in [
            ("pkcs8", ["pkcs8", "-topk8", "-v2", "aes-256-cbc"].as_slice()),
            ("traditional", ["rsa", "-aes256", "-traditional"].as_slice()),
            ("triple", ["rsa", "-des3", "-traditional"].as_slice()),
        ] {
            let out = certificates.path(&format!("{form}.key"));
            let rest = ["-passout", "pass:secret", "-in", &key, "-out", &out];
            openssl(&options.iter().copied().chain(rest).collect::<Vec<_>>());
            readable(Path::new(&out));
        }
        let plain = certificates.path("plain.key");
        openssl(&["rsa", "-traditional", "-in", &key, "-out", &plain]);
        readable(Path::new(&plain));
        certificates
    }

    fn path(&self, file: &str) -> String {
        self.0.path().join(file).display().to_string()
    }

    fn self_signed(&self, name: &str, kind: &str, more: &[&str]) {
        let (key, cert) = (self.path(&format!("{name}.key")), self.path(&format!("{name}.crt")));
        let kind = match kind {
            "ec:" => vec!["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            kind => vec!["-newkey", kind],
        };
        let subject = format!("/CN={name}");
        let mut words =
            vec!["req", "-x509", "-nodes", "-days", "100", "-subj", &subject, "-keyout", &key, "-out", &cert];
        words.extend(kind);
        words.extend(more);
        openssl(&words);
        self.together(name);
    }

    fn signed(&self, name: &str, authority: &str, extension: &str, days: &str) {
        let [key, cert, request, extensions] =
            ["key", "crt", "csr", "ext"].map(|end| self.path(&format!("{name}.{end}")));
        let subject = format!("/CN={name}");
        openssl(&["req", "-newkey", "rsa:2048", "-nodes", "-subj", &subject, "-keyout", &key, "-out", &request]);
        fs::write(&extensions, extension).expect("written");
        let [ca, ca_key] = ["crt", "key"].map(|end| self.path(&format!("{authority}.{end}")));
        openssl(&[
            "x509",
            "-req",
            "-days",
            days,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-extfile",
            &extensions,
            "-in",
            &request,
            "-out",
            &cert,
        ]);
        self.together(name);
    }

    fn together(&self, name: &str) {
        let read = |end: &str| fs::read_to_string(self.path(&format!("{name}.{end}"))).expect("made");
        let pem = PathBuf::from(self.path(&format!("{name}.pem")));
        fs::write(&pem, read("crt") + &read("key")).expect("written");
        readable(&pem);
    }
}

/// The agents run as another user.
fn readable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("its owner's");
}

fn openssl(words: &[&str]) {
    let out = Command::new("openssl").args(words).output().expect("openssl runs");
    assert!(out.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// The options of one round, what is asked under them, and how one gets in to see whether they count.
struct Round {
    name: &'static str,
    options: Value,
    enter: Value,
    asks: Vec<Value>,
}

const OPTIONS: [&str; 9] = [
    "authentication",
    "allowlist",
    "allowlist_include_members",
    "certfile",
    "keyfile",
    "keyfile_password",
    "cafile",
    "verify_client",
    "ciphers",
];

impl Round {
    fn put(&self, number: usize, member: &Member) {
        let mut restapi = json!({"server_tokens": tokens(number)});
        for name in OPTIONS {
            restapi[name] = self.options[name].clone();
        }
        member.change_config(json!({"restapi": restapi}));
        member.signal_agent(Signal::HUP);
    }
}

/// Tells one round's answers from those of the last.
fn tokens(number: usize) -> &'static str {
    if number.is_multiple_of(2) { "minimal" } else { "productonly" }
}

fn rounds(files: &Certificates) -> Vec<Round> {
    let plain = json!({"plain": true});
    let with = |name: &str, value: Value| json!({"plain": true, name: value});
    let round = |name, options, enter: &Value, asks| Round { name, options, enter: enter.clone(), asks };
    let several = |asks: &[Vec<Value>]| asks.concat();
    let pem = |name: &str| files.path(&format!("{name}.pem"));
    let tls = |certificate: &str, authority: Option<&str>, verify: &str| {
        let cafile = authority.map(|name| files.path(&format!("{name}.crt")));
        json!({"certfile": pem(certificate), "cafile": cafile, "verify_client": verify})
    };
    let cert = |name: &str| json!({"cert": name});
    let nobody = json!({});
    let clients = |names: &[&str]| {
        let certified = names.iter().flat_map(|name| two(&cert(name)));
        two(&nobody).into_iter().chain(certified).collect::<Vec<_>>()
    };
    let encrypted = |name, key| {
        let (certificate, key) = (files.path("server.crt"), files.path(key));
        let options = json!({"certfile": certificate, "keyfile": key, "keyfile_password": "secret"});
        round(name, options, &nobody, two(&nobody))
    };
    let known = [
        "client",
        "client-eku",
        "client-server-eku",
        "client-foreign",
        "client-expired",
        "server",
        "ca",
        "foreign-ca",
        "one",
    ];
    let ones = ["one", "one-leaf", "one-server", "one-client", "one-signs", "one-ec"];
    let mut rounds = vec![
        round("open", json!({}), &plain, all(&plain)),
        round(
            "a password",
            json!({"authentication": {"username": "u", "password": "p:ö"}}),
            &plain,
            several(&[
                all(&plain),
                all(&with("auth", json!("u:wrong"))),
                all(&with("auth", json!("u:p:ö"))),
                two(&with("auth", json!("u"))),
                two(&with("bearer", json!("dTpwOsO2"))),
            ]),
        ),
        round("an allowlist without us", json!({"allowlist": ["10.1.0.0/16", "192.0.2.7"]}), &plain, all(&plain)),
        round(
            "an allowlist with a network",
            json!({"allowlist": ["10.1.0.0/16", "127.0.0.0/255.0.0.0"]}),
            &plain,
            all(&plain),
        ),
        round(
            "an allowlist with a name, and nonsense",
            json!({"allowlist": ["no-such-name.invalid", "localhost", "10.0.0.0/99"]}),
            &plain,
            two(&plain),
        ),
        round(
            "members",
            json!({"allowlist_include_members": true}),
            &plain,
            several(&[all(&plain), all(&with("host", json!("OWN")))]),
        ),
        round(
            "members and a network",
            json!({"allowlist_include_members": true, "allowlist": ["10.1.0.0/16"]}),
            &plain,
            several(&[all(&plain), all(&with("host", json!("OWN")))]),
        ),
        round(
            "members and a password",
            json!({"allowlist_include_members": true, "authentication": {"username": "u", "password": "p"}}),
            &plain,
            several(&[two(&with("auth", json!("u:p"))), two(&with("host", json!("OWN")))]),
        ),
        round(
            "TLS",
            json!({"certfile": pem("server")}),
            &nobody,
            several(&[all(&nobody), two(&plain), clients(&["client"])]),
        ),
        round("TLS with a renewed certificate", json!({"certfile": pem("renewed")}), &nobody, two(&nobody)),
        round(
            "a key apart",
            json!({"certfile": files.path("server.crt"), "keyfile": files.path("plain.key")}),
            &nobody,
            two(&nobody),
        ),
        encrypted("an encrypted key", "pkcs8.key"),
        encrypted("a key encrypted in OpenSSL's old way", "traditional.key"),
        encrypted("a key under triple DES", "triple.key"),
        round("certificates are not asked for", tls("server", Some("ca"), "none"), &nobody, clients(&known)),
        round(
            "certificates are asked for",
            tls("server", Some("ca"), "optional"),
            &nobody,
            several(&[all(&nobody), all(&cert("client")), clients(&known)]),
        ),
        round(
            "certificates are demanded",
            tls("server", Some("ca"), "required"),
            &cert("client"),
            several(&[all(&nobody), all(&cert("client")), clients(&known)]),
        ),
        round(
            "certificates that nobody can have",
            tls("server", None, "optional"),
            &nobody,
            clients(&["client", "one"]),
        ),
    ];
    let mut both = tls("server", Some("ca"), "optional");
    both["authentication"] = json!({"username": "u", "password": "p"});
    rounds.push(round(
        "a certificate and a password",
        both,
        &nobody,
        several(&[
            two(&nobody),
            two(&json!({"auth": "u:p"})),
            two(&cert("client")),
            two(&json!({"cert": "client", "auth": "u:p"})),
        ]),
    ));
    for name in ones {
        rounds.push(round(
            "one certificate for everything",
            tls(name, Some(name), "optional"),
            &nobody,
            clients(&ones),
        ));
    }
    for (ciphers, offered) in [
        ("ECDHE-RSA-AES256-GCM-SHA384", ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]),
        ("HIGH:!AES256:!aNULL", ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]),
        ("ECDHE+CHACHA20", ["ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256"]),
        // The last one: Patroni does not come back from it.
        ("NONSENSE", ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]),
    ] {
        let asks = offered.iter().flat_map(|one| two(&json!({"tls": "1.2", "ciphers": one}))).chain(two(&nobody));
        let options = json!({"certfile": pem("server"), "ciphers": ciphers});
        rounds.push(round("ciphers", options, &nobody, asks.collect()));
    }
    rounds
}

/// Differences that shall be.
const WANTED: [Wanted; 1] = [Wanted {
    line: r#""ciphers":"NONSENSE"}"#,
    why: "Patroni closes its listener and then finds nothing to open it with; ours warns and stays with TLS 1.3",
}];

#[test]
fn access_is_as_with_patroni() {
    let Some(pair) = Pair::start(|spec| spec.members(1)) else { return };
    let patroni = Patroni::find().expect("it runs");
    let files = Certificates::new();
    let mut found = Vec::new();
    for (number, round) in rounds(&files).into_iter().enumerate() {
        let members = pair.members("n1");
        let answers = members.map(|member| {
            round.put(number, member);
            let in_force = || {
                let told = told(&patroni, &files, member, &[ask("GET", "/health", "", &round.enter)]);
                let server = if tokens(number) == "minimal" { " Patroni/4.1.5 " } else { " Patroni " };
                told[0].contains(server).then_some(())
            };
            // Patroni's options are in force one after the other, the headers last of all.
            match wait::poll(IN_FORCE_WITHIN, in_force) {
                Some(()) => told(&patroni, &files, member, &round.asks),
                None => vec![format!("not in force within {IN_FORCE_WITHIN:?}"); round.asks.len()],
            }
        });
        for (ask, (theirs, ours)) in round.asks.iter().zip(answers[0].iter().zip(&answers[1])) {
            if theirs != ours {
                let place = format!("{} {}: {ask}", round.name, round.options);
                found.push(format!("{place}: Patroni: {theirs}, ours: {ours}"));
            }
        }
    }
    check(&found, &WANTED);
}

/// What one member answers.
fn told(patroni: &Patroni, files: &Certificates, member: &Member, asks: &[Value]) -> Vec<String> {
    let own = member.read_config()["restapi"]["connect_address"].as_str().unwrap_or_default().to_owned();
    let asks = json!(asks).to_string().replace("\"OWN\"", &format!("\"{own}\""));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/beside_patroni/access.py");
    let mut command = Command::new(patroni.program("python3"));
    command.arg(script).arg(member.rest().to_string()).arg(files.0.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let out = member.run(|| {
        let mut child = command.spawn().expect("Python runs");
        child.stdin.take().expect("piped").write_all(asks.as_bytes()).expect("taken");
        child.wait_with_output().expect("it ends")
    });
    assert!(out.status.success(), "the clients failed");
    String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()
}
