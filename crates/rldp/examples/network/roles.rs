//! What the processes of the bench do.

use crate::child::{Child, bytes32};
use crate::load::{Times, cpu_time};
use adnl::keys::PrivateKey;
use adnl::{Config, Endpoint, Event, Incoming, Node, Now, PeerRecord};
use rldp::Rldp;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Forged root packets, over so long, and how often: 100,000 in all, in five seconds.
pub const FLOOD: u32 = 20_000;
pub const FLOOD_TIME: Duration = Duration::from_secs(1);
pub const FLOODS: u32 = 5;
/// Addresses that the flood comes from: one, which has its limit, and many, which have one together.
pub const FLOOD_SOURCES: [u8; 2] = [1, 200];
/// Peers that connect, from so many addresses.
pub const PEERS: usize = 1000;
const PER_SOURCE: usize = 50;
const CONNECT_TIME: Duration = Duration::from_secs(10);

fn unix() -> u32 {
    UNIX_EPOCH.elapsed().unwrap_or_default().as_secs() as u32
}

pub async fn bind(key: &PrivateKey) -> (Endpoint, Incoming) {
    let config = Config { key: key.clone(), epoch: unix(), listen: ([127, 0, 0, 1], 0).into(), advertise: None };
    Endpoint::bind(config, drop).await.expect("loopback works")
}

/// Ends the process when the bench does.
fn end_with_input() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
}

/// Answers every query with itself.
pub async fn serve() {
    end_with_input();
    let key = PrivateKey::generate();
    let (endpoint, mut incoming) = bind(&key).await;
    let customs = std::mem::replace(&mut incoming.customs, mpsc::channel(1).1);
    let (_rldp, mut rldp_queries) = Rldp::start(endpoint.clone(), customs);
    println!("{:?} {}", key.public(), endpoint.local_addr());
    tokio::spawn(async move {
        while let Some(query) = rldp_queries.recv().await {
            let _ = query.responder.answer(query.data).await;
        }
    });
    while let Some(query) = incoming.queries.recv().await {
        let _ = query.responder.answer(query.data).await;
    }
}

/// Sends every datagram back.
pub fn echo() {
    end_with_input();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback works");
    println!("{}", socket.local_addr().expect("it is bound"));
    let mut buffer = [0; 2048];
    while let Ok((size, from)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(&buffer[..size], from);
    }
}

/// What the machine needs for a datagram there and one back.
pub fn ping_pong(echo: &Child, warm_up: Duration, row: Duration) -> Times {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback works");
    socket.connect(echo.address()).expect("it listens");
    let ask = |span: Duration| {
        let (start, mut times, mut buffer) = (Instant::now(), Vec::new(), [7; 24]);
        while start.elapsed() < span {
            let begin = Instant::now();
            socket.send(&buffer).and_then(|_| socket.recv(&mut buffer)).expect("loopback loses nothing");
            times.push(begin.elapsed());
        }
        times
    };
    ask(warm_up);
    let processes = [std::process::id(), echo.id()];
    let (before, start) = (processes.map(cpu_time), Instant::now());
    let mut times = ask(row);
    let (took, after) = (start.elapsed(), processes.map(cpu_time));
    times.sort_unstable();
    Times { took, times, cpu: [0, 1].map(|i| after[i].saturating_sub(before[i])) }
}

/// Sends root packets that nobody signed, evenly over [`FLOOD_TIME`], from so many addresses in turn.
pub fn flood(id: &str, address: &str, sources: &str) {
    end_with_input();
    let id = bytes32(id).expect("32 bytes in hex");
    let sources: u8 = sources.parse().expect("a number of addresses");
    let bind = |i| UdpSocket::bind(SocketAddr::from(([127, 0, 2, i], 0))).expect("loopback has many addresses");
    let sockets: Vec<_> = (1..=sources).map(bind).collect();
    println!("flooding");
    let mut datagram = [&id[..], PrivateKey::generate().public().as_bytes(), &[7; 300]].concat();
    let start = Instant::now();
    for sent in 0..FLOOD {
        datagram[100..104].copy_from_slice(&sent.to_le_bytes());
        let _ = sockets[sent as usize % sockets.len()].send_to(&datagram, address);
        let due = FLOOD_TIME * sent / FLOOD;
        if sent % 20 == 0 {
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
}

/// Connects many peers, each with a channel; tells how many got there.
pub fn connect(server: &Child, peers: usize) -> u64 {
    let record = PeerRecord { key: server.key(), address: Some(server.address()), channel_date: 0 };
    let start = Instant::now();
    let now = || Now { elapsed: start.elapsed(), unix: unix() };
    let source = |i: usize| {
        let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 1, 1 + i as u8], 0))).expect("loopback has many addresses");
        socket.set_read_timeout(Some(Duration::from_millis(5))).expect("sockets can be asked to wait briefly");
        let nodes = (0..PER_SOURCE.min(peers)).map(|_| (Node::new(PrivateKey::generate(), unix(), None), 0));
        (socket, nodes.collect::<Vec<_>>())
    };
    let mut sources: Vec<_> = (0..peers.div_ceil(PER_SOURCE)).map(source).collect();
    let mut buffer = [0; 2048];
    for (socket, nodes) in &mut sources {
        for (node, answers) in nodes.iter_mut() {
            let peer = node.add_peer(now(), &record, false).expect("there is room");
            // Two answers: one opens the channel, the other comes through it.
            while *answers < 2 && start.elapsed() < CONNECT_TIME {
                node.query(now(), &peer, &[1; 100], CONNECT_TIME).expect("the peer is known");
                let asked = *answers;
                while *answers == asked && start.elapsed() < CONNECT_TIME {
                    node.handle_timers(now());
                    node.flush(now());
                    node.outbox().datagrams().for_each(|(to, bytes)| drop(socket.send_to(bytes, to)));
                    node.outbox().clear();
                    if let Ok((size, from)) = socket.recv_from(&mut buffer) {
                        node.handle_datagram(now(), from, &mut buffer[..size]);
                    }
                    *answers += node.take_events().filter(|event| matches!(event, Event::Answer { .. })).count();
                }
            }
        }
    }
    sources.iter().flat_map(|(_, nodes)| nodes).filter(|(_, answers)| *answers >= 2).count() as u64
}
