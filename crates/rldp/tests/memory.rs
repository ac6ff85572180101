//! What a thousand connected peers cost, counted by the allocator. Alone in its binary: the count is the process's.

use adnl::keys::PrivateKey;
use adnl::{Node, Now, PeerRecord};
use rldp::Transfers;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::net::SocketAddr;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PEERS: u16 = 1000;
const UNIX: u32 = 1_700_000_000;
const LIMIT: isize = 64 << 10;
const TIMEOUT: Duration = Duration::from_secs(10);

fn held() -> isize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as isize - stats.bytes_deallocated as isize
}

struct Stack {
    node: Node,
    transfers: Transfers,
    answered: usize,
}

impl Stack {
    fn new(key: PrivateKey) -> Self {
        Self { node: Node::new(key, UNIX, None), transfers: Transfers::default(), answered: 0 }
    }

    /// Answers everything with itself; gives the datagrams.
    fn settle(&mut self, now: Now) -> Vec<(SocketAddr, Vec<u8>)> {
        for event in self.node.take_events().collect::<Vec<_>>() {
            match event {
                adnl::Event::Custom { peer, data } => self.transfers.handle(now, peer, &data),
                adnl::Event::Query { peer_id, id, data, .. } => self.node.answer(now, &peer_id, &id, &data).unwrap(),
                adnl::Event::Answer { .. } => self.answered += 1,
                _ => {}
            }
        }
        for event in self.transfers.take_events().collect::<Vec<_>>() {
            match event {
                rldp::Event::Query { asker, data } => self.transfers.answer(now, &asker, &data).unwrap(),
                rldp::Event::Answer { .. } => self.answered += 1,
                rldp::Event::Expired { .. } => {}
            }
        }
        for message in self.transfers.take_messages() {
            self.node.custom(now, &message.peer, &message.data, message.reply).unwrap();
        }
        self.node.flush(now);
        let out = self.node.outbox().datagrams().map(|(to, bytes)| (to, bytes.to_vec())).collect();
        self.node.outbox().clear();
        out
    }
}

fn address(peer: u16) -> SocketAddr {
    SocketAddr::from(([10, 1, (peer >> 8) as u8, peer as u8], 1000))
}

/// Client and server talk until both are silent.
fn talk(now: Now, client: &mut Stack, addr: SocketAddr, server: &mut Stack, server_addr: SocketAddr) {
    loop {
        let (to_server, mut quiet) = (client.settle(now), true);
        for (_, mut datagram) in to_server {
            server.node.handle_datagram(now, addr, &mut datagram);
            quiet = false;
        }
        for (to, mut datagram) in server.settle(now) {
            assert_eq!(to, addr);
            client.node.handle_datagram(now, server_addr, &mut datagram);
            quiet = false;
        }
        if quiet {
            return;
        }
    }
}

/// Each has a channel with us, asked ten plain queries of a kilobyte and ten of two over RLDP, all within the last seconds.
#[test]
fn a_thousand_connected_peers_cost_at_most_64_kib_each() {
    let (server_key, server_addr) = (PrivateKey::from_seed(&[1; 32]), SocketAddr::from(([10, 0, 0, 1], 1)));
    let record = PeerRecord { key: server_key.public(), address: Some(server_addr), channel_date: 0 };
    let mut server = Stack::new(server_key);
    let mut clients = Vec::new();
    for peer in 0..PEERS {
        let now = Now { elapsed: Duration::from_millis(peer.into()), unix: UNIX };
        let mut client = Stack::new(PrivateKey::generate());
        let to = client.node.add_peer(now, &record, false).unwrap();
        for turn in 0..10_u8 {
            client.node.query(now, &to, &[turn; 1000], TIMEOUT).unwrap();
            talk(now, &mut client, address(peer), &mut server, server_addr);
            let random = std::array::from_fn(|i| turn ^ i as u8);
            client.transfers.query(now, to, &[turn; 2048], 4096, TIMEOUT, random).unwrap();
            talk(now, &mut client, address(peer), &mut server, server_addr);
        }
        assert_eq!(client.answered, 20);
        clients.push(client);
    }
    assert_eq!(server.node.peers(), usize::from(PEERS));
    let with = held();
    drop(server);
    let each = (with - held()) / PEERS as isize;
    println!("{each} bytes per connected peer");
    assert!((1..=LIMIT).contains(&each), "{each} bytes per peer");
}
