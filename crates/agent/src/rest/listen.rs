//! The address that the API listens on.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use jogi_config::HostPort;
use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Connections that may wait to be accepted, at least: a burst of health checks after a stall must not be refused.
const BACKLOG: u32 = 128;

/// Binds. An empty host or `*` is every address, of both families where the system has them; a name is the first of
/// its addresses that can be bound, IPv6 first.
pub(super) async fn bind(address: &HostPort, queue: u32) -> io::Result<TcpListener> {
    let port = address.port;
    let candidates = match address.host.as_str() {
        "" | "*" => {
            vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))]
        }
        host => {
            let mut found: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
            found.sort_by_key(SocketAddr::is_ipv4);
            found.dedup();
            found
        }
    };
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in candidates {
        match listen(candidate, queue) {
            Ok(listener) => return Ok(listener),
            // The other family might be there; another's port is not.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn listen(address: SocketAddr, queue: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.ip().is_unspecified() && address.is_ipv6() {
        set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(queue.max(BACKLOG))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn every_address_is_both_families() {
        let listener = bind(&HostPort::new("*", 0), 5).await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        TcpStream::connect(("127.0.0.1", port)).await.expect("by IPv4");
    }

    #[tokio::test]
    async fn a_port_in_use_is_said() {
        let first = bind(&HostPort::new("127.0.0.1", 0), 5).await.expect("bound");
        let port = first.local_addr().expect("an address").port();
        let second = bind(&HostPort::new("127.0.0.1", port), 5).await.expect_err("taken");
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    }
}
