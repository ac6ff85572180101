//! Free ports.

use std::collections::HashSet;
use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Mutex, PoisonError};

/// Where ports are looked for: below those that systems give to outgoing connections and to whoever asks for any port. One of these could
/// be gone before the program that it was found for has started, or while it is started again.
const FIRST: u16 = 10_000;
const PORTS: u16 = 20_000;
/// How often another port is tried.
const ATTEMPTS: usize = 1_000;

/// What this process was given, so that it gets no port twice.
static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A TCP port of loopback that was free a moment ago. Prefer port 0 where the program tells what it got.
///
/// # Errors
/// No port is free.
pub fn free_port() -> Result<u16> {
    free(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop))
}

/// A UDP port of loopback that was free a moment ago.
///
/// # Errors
/// No port is free.
pub fn free_udp_port() -> Result<u16> {
    free(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).map(drop))
}

fn free(bind: impl Fn(u16) -> Result<()>) -> Result<u16> {
    let mut last = Error::from(ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        // At random: others look for ports at the same time.
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(|error| Error::other(error.to_string()))?;
        let port = FIRST + u16::from_le_bytes(random) % PORTS;
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        let given = given.get_or_insert_default();
        match bind(port) {
            Ok(()) if given.insert(port) => return Ok(port),
            Ok(()) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_and_none_that_is_in_use() {
        let ports: HashSet<u16> =
            (0..200).map(|_| free_port().unwrap()).chain((0..200).map(|_| free_udp_port().unwrap())).collect();
        assert_eq!(ports.len(), 400);
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, *ports.iter().next().unwrap())).unwrap();
        assert!(free(|_| TcpListener::bind(taken.local_addr().unwrap()).map(drop)).is_err());
    }
}
