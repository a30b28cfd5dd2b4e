//! A TCP proxy that harms connections: cuts, stalls, delays them, or loses the answers after the requests arrived.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What the proxy does to connections, those that stand and new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    None,
    /// New connections are closed at once; standing ones are cut.
    Refuse,
    /// Connections are accepted and kept, and nothing passes.
    Stall,
    /// Requests pass, answers are swallowed: the other side has done what was asked, and nobody hears of it.
    SwallowAnswers,
    /// Requests pass; the first byte of an answer cuts the connection.
    CutAtAnswer,
    /// Every piece of an answer comes later by this.
    Delay(Duration),
}

/// How often a standing connection looks for a new harm.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A proxy on a free port of 127.0.0.1.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    target: SocketAddr,
    harm: Mutex<Harm>,
    /// Connections older than this generation are cut.
    generation: AtomicU64,
    connections: AtomicU64,
    stop: AtomicBool,
}

impl Proxy {
    pub fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State {
            target,
            harm: Mutex::new(Harm::None),
            generation: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let shared = state.clone();
        thread::spawn(move || accept(&listener, &shared));
        Proxy { address, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn harm(&self, harm: Harm) {
        *self.state.harm.lock().unwrap_or_else(PoisonError::into_inner) = harm;
    }

    /// Cuts all standing connections.
    pub fn cut(&self) {
        self.state.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        self.cut();
    }
}

impl State {
    fn harm(&self) -> Harm {
        *self.harm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    while !state.stop.load(Ordering::SeqCst) {
        let Ok((client, _)) = listener.accept() else {
            thread::sleep(LOOK_EVERY);
            continue;
        };
        state.connections.fetch_add(1, Ordering::SeqCst);
        if state.harm() == Harm::Refuse {
            continue;
        }
        let Ok(server) = TcpStream::connect_timeout(&state.target, Duration::from_secs(1)) else { continue };
        let generation = state.generation.load(Ordering::SeqCst);
        for (from, to, answers) in [(&client, &server, false), (&server, &client, true)] {
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
            let state = state.clone();
            thread::spawn(move || {
                carry(&from, &to, answers, generation, &state);
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }
}

/// Carries one direction until an end, an error, or a harm that ends it.
fn carry(mut from: &TcpStream, mut to: &TcpStream, answers: bool, generation: u64, state: &State) {
    let _ = from.set_nonblocking(false);
    let _ = from.set_read_timeout(Some(LOOK_EVERY));
    let _ = to.set_nodelay(true);
    let mut buffer = [0u8; 16 * 1024];
    let is_cut = || state.generation.load(Ordering::SeqCst) != generation || state.harm() == Harm::Refuse;
    while !is_cut() {
        if state.harm() == Harm::Stall {
            thread::sleep(LOOK_EVERY);
            continue;
        }
        let read = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => read,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => continue,
            Err(_) => return,
        };
        while state.harm() == Harm::Stall && !is_cut() {
            thread::sleep(LOOK_EVERY);
        }
        match state.harm() {
            Harm::SwallowAnswers if answers => continue,
            Harm::CutAtAnswer if answers => return,
            Harm::Delay(by) if answers => thread::sleep(by),
            Harm::Refuse => return,
            Harm::None | Harm::Stall | Harm::SwallowAnswers | Harm::CutAtAnswer | Harm::Delay(_) => {}
        }
        if is_cut() || to.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}
