//! Free ports.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// A TCP port of loopback that was free a moment ago. Prefer port 0 where the program tells what it got.
///
/// # Errors
/// No port is free.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A UDP port of loopback that was free a moment ago.
///
/// # Errors
/// No port is free.
pub fn free_udp_port() -> std::io::Result<u16> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
