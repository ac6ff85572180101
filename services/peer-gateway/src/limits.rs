//! What one ADNL peer may ask of us (design 4.9).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adnl::keys::AdnlId;

use crate::lock;

/// Queries per second, and at once, of an authenticated peer. Far above what two nodes reach with each other today.
const PEER_RATE: Rate = Rate { per_second: 10_000, burst: 20_000 };
/// The same of anybody else: pings, authentication, terms.
const STRANGER_RATE: Rate = Rate { per_second: 20, burst: 50 };
/// Authentications per second: each costs two signatures.
const AUTHENTICATE_RATE: Rate = Rate { per_second: 2, burst: 10 };
/// Unanswered queries of one peer.
const MAX_IN_FLIGHT: usize = 2_048;
/// Bytes of unanswered queries of one peer.
const MAX_IN_FLIGHT_BYTES: usize = 16 << 20;
/// Peers remembered. Beyond it the idle ones are forgotten, which costs nothing once their allowance is full again; if all are busy, new
/// ones are refused.
const MAX_PEERS: usize = 8_192;

#[derive(Clone, Copy)]
struct Rate {
    per_second: u32,
    burst: u32,
}

/// A refilling allowance.
struct Bucket {
    rate: Rate,
    left: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, left: f64::from(rate.burst), at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(self.rate.per_second);
        self.left = (self.left + earned).min(f64::from(self.rate.burst));
        self.at = now;
        let any = self.left >= 1.0;
        if any {
            self.left -= 1.0;
        }
        any
    }
}

/// What kind of query it is, for its allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Peer,
    Stranger,
    Authenticate,
}

struct Load {
    peer: Bucket,
    stranger: Bucket,
    authenticate: Bucket,
    in_flight: usize,
    bytes: usize,
}

impl Load {
    fn new(now: Instant) -> Self {
        Self {
            peer: Bucket::new(PEER_RATE, now),
            stranger: Bucket::new(STRANGER_RATE, now),
            authenticate: Bucket::new(AUTHENTICATE_RATE, now),
            in_flight: 0,
            bytes: 0,
        }
    }
}

/// The load of every peer.
#[derive(Default)]
pub(crate) struct Limits {
    peers: Mutex<HashMap<AdnlId, Arc<Mutex<Load>>>>,
}

/// Why there is no room for a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// It asks too often.
    Rate,
    /// Too many of its queries wait for an answer.
    InFlight,
    /// They have too many bytes.
    Bytes,
    /// Too many other peers ask.
    Peers,
}

impl Limit {
    /// As metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "limited_rate",
            Self::InFlight => "limited_in_flight",
            Self::Bytes => "limited_bytes",
            Self::Peers => "limited_peers",
        }
    }
}

/// Room for one query, given back when dropped.
pub(crate) struct Room {
    load: Arc<Mutex<Load>>,
    bytes: usize,
}

impl Limits {
    /// Room for a query of this size, or why the peer asks too much.
    pub fn admit(&self, peer: AdnlId, kind: Kind, bytes: usize, now: Instant) -> Result<Room, Limit> {
        let load = self.load(peer, now).ok_or(Limit::Peers)?;
        {
            let mut load = lock(&load);
            let bucket = match kind {
                Kind::Peer => &mut load.peer,
                Kind::Stranger => &mut load.stranger,
                Kind::Authenticate => &mut load.authenticate,
            };
            if !bucket.take(now) {
                return Err(Limit::Rate);
            }
            if load.in_flight >= MAX_IN_FLIGHT {
                return Err(Limit::InFlight);
            }
            if load.bytes + bytes > MAX_IN_FLIGHT_BYTES {
                return Err(Limit::Bytes);
            }
            load.in_flight += 1;
            load.bytes += bytes;
        }
        Ok(Room { load, bytes })
    }

    fn load(&self, peer: AdnlId, now: Instant) -> Option<Arc<Mutex<Load>>> {
        let mut peers = lock(&self.peers);
        if peers.len() >= MAX_PEERS && !peers.contains_key(&peer) {
            let idle = Duration::from_secs(10);
            peers.retain(|_, load| {
                let load = lock(load);
                let last = load.peer.at.max(load.stranger.at).max(load.authenticate.at);
                load.in_flight > 0 || now.saturating_duration_since(last) < idle
            });
        }
        if peers.len() >= MAX_PEERS && !peers.contains_key(&peer) {
            return None;
        }
        Some(peers.entry(peer).or_insert_with(|| Arc::new(Mutex::new(Load::new(now)))).clone())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut load = lock(&self.load);
        load.in_flight -= 1;
        load.bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: AdnlId = AdnlId([1; 32]);
    const B: AdnlId = AdnlId([2; 32]);

    #[test]
    fn rates_are_per_peer_and_refill() {
        let (limits, now) = (Limits::default(), Instant::now());
        let authenticate = |peer, now| limits.admit(peer, Kind::Authenticate, 0, now).map(drop);
        for _ in 0..AUTHENTICATE_RATE.burst {
            authenticate(A, now).unwrap();
        }
        assert_eq!(authenticate(A, now), Err(Limit::Rate));
        assert!(limits.admit(A, Kind::Stranger, 0, now).is_ok() && authenticate(B, now).is_ok());
        authenticate(A, now + Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn unanswered_queries_and_bytes_are_bounded() {
        let (limits, now) = (Limits::default(), Instant::now());
        let ask = |bytes| limits.admit(A, Kind::Peer, bytes, now);
        let rooms: Vec<_> = (0..MAX_IN_FLIGHT).map(|_| ask(1).ok().unwrap()).collect();
        assert_eq!(ask(1).err(), Some(Limit::InFlight));
        assert!(limits.admit(B, Kind::Peer, 1, now).is_ok());
        drop(rooms);
        let large = ask(MAX_IN_FLIGHT_BYTES).ok().unwrap();
        assert_eq!(ask(1).err(), Some(Limit::Bytes));
        drop(large);
        assert!(ask(1).is_ok());
    }

    #[test]
    fn peers_are_bounded_and_idle_ones_make_room() {
        let (limits, now) = (Limits::default(), Instant::now());
        let id = |i: usize| AdnlId(std::array::from_fn(|at| (i >> (8 * at.min(7))) as u8));
        let rooms: Vec<_> = (0..MAX_PEERS).map(|i| limits.admit(id(i), Kind::Stranger, 1, now).ok().unwrap()).collect();
        let later = now + Duration::from_secs(11);
        assert_eq!(limits.admit(id(MAX_PEERS), Kind::Stranger, 1, later).err(), Some(Limit::Peers));
        assert!(limits.admit(id(0), Kind::Stranger, 1, later).is_ok());
        drop(rooms);
        assert!(limits.admit(id(MAX_PEERS), Kind::Stranger, 1, later).is_ok());
        assert!(lock(&limits.peers).len() < 10);
    }
}
