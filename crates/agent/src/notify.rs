//! systemd's notifications, when it asked for them (`NOTIFY_SOCKET`).

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;

/// The socket's address, taken once: the variable is not for our children.
static SOCKET: OnceLock<Option<OsString>> = OnceLock::new();

/// Notes where to send notifications.
pub fn set_socket(address: Option<OsString>) {
    let _ = SOCKET.set(address.filter(|address| !address.is_empty()));
}

/// The agent is up, or has read its configuration again.
pub fn ready() {
    send("READY=1\n");
}

/// The configuration is being read again.
pub fn reloading() {
    let micros = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = micros.tv_sec * 1_000_000 + micros.tv_nsec / 1000;
    send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
}

/// The agent is ending.
pub fn stopping() {
    send("STOPPING=1\n");
}

/// A notification that cannot be sent is nothing to stop for.
fn send(message: &str) {
    let Some(Some(address)) = SOCKET.get() else { return };
    if let Err(error) = send_to(address, message) {
        tracing::debug!("systemd cannot be notified: {error}");
    }
}

fn send_to(address: &OsString, message: &str) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(OsString::from_vec(address.as_bytes().to_vec()))?,
    };
    socket.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reaches_both_kinds_of_socket() {
        let path = std::env::temp_dir().join(format!("jogi-notify-{}", std::process::id()));
        let by_path = UnixDatagram::bind(&path).expect("a socket");
        let name = format!("jogi-notify-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(name.as_bytes()).expect("an address");
        let by_name = UnixDatagram::bind_addr(&abstract_address).expect("a socket");
        for (socket, address) in [(by_path, path.clone().into_os_string()), (by_name, format!("@{name}").into())] {
            send_to(&address, "READY=1\n").expect("sent");
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).expect("received");
            assert_eq!(&buffer[..length], b"READY=1\n");
        }
        std::fs::remove_file(path).expect("ours");
    }
}
