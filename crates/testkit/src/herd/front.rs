//! What stands between the agents and the store when a test wants the store to misbehave: it lets everything through, answers
//! by itself, or keeps answers back.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::Store;

/// Between two looks whether the manner has changed.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Nobody sends the store more than this in one request; more ends the connection.
const LARGEST_REQUEST: usize = 4 << 20;
/// How a request begins whose answer is a stream of changes.
const WATCH: &[u8] = b"POST /v3/watch";

/// How requests are treated, from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As the store does.
    Honest,
    /// Every request is answered at once with this status and body, and never reaches the store.
    Answer { status: u16, body: String },
    /// Requests reach the store; each piece of an answer comes this much later.
    Slow(Duration),
    /// Requests reach the store, and no answer comes back.
    Mute,
    /// Everything is answered, and an open watch brings no change any more.
    HeldWatch,
}

/// Listens at the store's address in its stead: see [`super::HerdSpec::store_front`]. Ends when dropped.
pub struct Front {
    shared: Arc<Shared>,
}

struct Shared {
    behind: SocketAddr,
    manner: Mutex<Manner>,
    /// A connection of an earlier generation is cut.
    generation: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    fn manner(&self) -> Manner {
        self.manner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }
}

impl Front {
    /// Begins to listen, honestly.
    pub fn before(store: &Store) -> Front {
        Front::listening(store, store.front())
    }

    /// Beside a store that listens at its own address: for the one member that is told of this one. Returns the address.
    pub fn beside(store: &Store) -> (Front, SocketAddr) {
        let at = SocketAddr::new(store.front().ip(), store.front().port() - 2);
        (Front::listening(store, at), at)
    }

    fn listening(store: &Store, at: SocketAddr) -> Front {
        let shared = Arc::new(Shared {
            behind: store.behind(),
            manner: Mutex::new(Manner::Honest),
            generation: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        store.run(move || {
            let listener = TcpListener::bind(at).unwrap_or_else(|e| panic!("listening at {at}: {e}"));
            listener.set_nonblocking(true).unwrap_or_else(|e| panic!("listening at {at}: {e}"));
            // A thread begun here stays in the store's network.
            thread::spawn(move || accept(&listener, &for_thread));
        });
        Front { shared }
    }

    /// Changes the manner and cuts all connections of the one before.
    pub fn behave(&self, manner: Manner) {
        self.turn(manner);
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Changes the manner of the connections that stand, and of later ones.
    pub fn turn(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stop.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((client, _)) => {
                let shared = Arc::clone(shared);
                thread::spawn(move || {
                    // A connection that breaks is what clients must live with.
                    let _ = serve(&client, &shared);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
}

fn serve(client: &TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let generation = shared.generation();
    match shared.manner() {
        Manner::Answer { status, body } => answer(client, shared, generation, status, &body),
        Manner::Honest | Manner::Slow(_) | Manner::Mute | Manner::HeldWatch => tunnel(client, shared, generation),
    }
}

/// Reads one request and answers it.
fn answer(mut client: &TcpStream, shared: &Shared, generation: u64, status: u16, body: &str) -> io::Result<()> {
    client.set_read_timeout(Some(CONNECT_WITHIN))?;
    let mut reader = BufReader::new(client);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line == "\r\n" {
            break;
        }
    }
    if length > LARGEST_REQUEST {
        return Err(io::Error::other("a request too large"));
    }
    reader.read_exact(&mut vec![0; length])?;
    if shared.generation() != generation {
        return Ok(());
    }
    let head = format!(
        "HTTP/1.1 {status} Error\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    client.write_all(format!("{head}{body}").as_bytes())
}

fn tunnel(client: &TcpStream, shared: &Arc<Shared>, generation: u64) -> io::Result<()> {
    let store = TcpStream::connect_timeout(&shared.behind, CONNECT_WITHIN)?;
    for stream in [client, &store] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK_EVERY))?;
    }
    let watch = Arc::new(AtomicBool::new(false));
    let (requests_from, requests_to, shared_too) = (client.try_clone()?, store.try_clone()?, Arc::clone(shared));
    let watch_too = Arc::clone(&watch);
    thread::spawn(move || {
        let _ = carry(&requests_from, &requests_to, &shared_too, generation, |part| {
            if part.starts_with(WATCH) {
                watch_too.store(true, Ordering::SeqCst);
            }
            true
        });
        let _ = requests_to.shutdown(Shutdown::Both);
    });
    let carried = carry(&store, client, shared, generation, |_| match shared.manner() {
        Manner::Slow(by) => {
            thread::sleep(by);
            true
        }
        Manner::Mute => false,
        Manner::HeldWatch => !watch.load(Ordering::SeqCst),
        Manner::Honest | Manner::Answer { .. } => true,
    });
    let _ = store.shutdown(Shutdown::Both);
    carried
}

/// Carries the bytes that pass `through` one way, until an end or another manner.
fn carry(
    mut from: &TcpStream,
    mut to: &TcpStream,
    shared: &Shared,
    generation: u64,
    through: impl Fn(&[u8]) -> bool,
) -> io::Result<()> {
    let mut part = [0; 16 * 1024];
    while shared.generation() == generation {
        let read = match from.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => continue,
            Err(e) => return Err(e),
        };
        if through(&part[..read]) {
            to.write_all(&part[..read])?;
        }
    }
    Ok(())
}
