//! "My checks are a script": the HTTP clients of the field, those that keep connections and those that do not.

use std::path::Path;
use std::process::Command;

use jogi_testkit::patroni::Patroni;

use crate::common;

/// Prints a line per client: its name, the statuses that it saw, and how many connections it took.
const CLIENTS: &str = r#"
import http.client, sys, urllib.error, urllib.request, urllib3
port = int(sys.argv[1])
paths = ["/primary", "/replica?lag=1MB", "/liveness", "/health", "/metrics"]
say = lambda name, codes, n: print(name, ",".join(map(str, codes)), n)

opened = 0
class Counted(http.client.HTTPConnection):
    def connect(self):
        global opened
        opened += 1
        super().connect()
connection, codes = Counted("127.0.0.1", port, timeout=10), []
for path in paths:
    for method in ("GET", "HEAD", "OPTIONS"):
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        assert bool(body) == (method == "GET" and path != "/liveness"), (method, path, body)
        codes.append(answer.status)
say("http.client", codes, opened)

connect = urllib3.connection.HTTPConnection.connect
def counted(self):
    global opened
    opened += 1
    connect(self)
urllib3.connection.HTTPConnection.connect = counted
pool, opened = urllib3.HTTPConnectionPool("127.0.0.1", port, maxsize=1), 0
say("urllib3", [pool.request("GET", path, retries=0).status for path in paths], opened)
pool, opened = urllib3.HTTPConnectionPool("127.0.0.1", port, maxsize=1), 0
say("members'", [pool.request("GET", "/patroni", timeout=2, retries=0).status for _ in range(3)], opened)

def code(path):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10).status
    except urllib.error.HTTPError as refused:
        return refused.code
say("urllib.request", map(code, paths), len(paths))
"#;

/// Checks of a leader, as the clients above ask them.
const CODES: &str = "200,503,200,200,200";

#[test]
fn stock_clients_keep_their_connections_or_do_not() {
    let Some(spec) = common::spec_on_loopback() else { return };
    let Some(patroni) = Patroni::find() else { return };
    let herd = spec.members(1).start();
    let port = herd.member("n1").rest().port().to_string();
    let told = run(patroni.program("python3"), &["-c", CLIENTS, &port]);
    // GET, HEAD and OPTIONS of each; what has an answer of its own only for GET is an unknown path for the others.
    let methods = "200,200,200,503,503,503,200,503,503,200,200,200,200,503,503";
    let expected = [
        format!("http.client {methods} 1"),
        format!("urllib3 {CODES} 1"),
        "members' 200,200,200 3".to_owned(),
        format!("urllib.request {CODES} 5"),
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);

    let [primary, liveness, replica] =
        ["/primary", "/liveness", "/replica"].map(|p| format!("http://127.0.0.1:{port}{p}"));
    for (version, connections) in [("--http1.1", "1,0,0,"), ("--http1.0", "1,1,1,")] {
        // Each with where its answer goes.
        let nowhere = ["-o", "/dev/null"];
        let urls = [&primary, &liveness, &replica].into_iter().flat_map(|url| [url.as_str(), nowhere[0], nowhere[1]]);
        let args: Vec<&str> = ["-s", "-w", "%{num_connects},", version].into_iter().chain(urls).collect();
        assert_eq!(run("curl", &args), connections, "curl {version}");
    }
}

/// What a program says; it must be content.
fn run(program: impl AsRef<Path>, args: &[&str]) -> String {
    let program = program.as_ref();
    let out = Command::new(program).args(args).output();
    let out = out.unwrap_or_else(|e| panic!("{} does not start: {e}", program.display()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{}: {}{}", program.display(), text(&out.stdout), text(&out.stderr));
    text(&out.stdout)
}
