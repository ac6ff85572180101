//! A peer that says exactly what a test wants, in any of the ways in which other implementations say it.

use adnl::keys::{PrivateKey, PublicKey};
use adnl::{AddressList, Direction, Event, MAX_DATAGRAM, Message, Node, Now, Packet, cipher, derive_channel};
use std::net::SocketAddr;
use std::time::Duration;

pub const UNIX: u32 = 1_700_000_000;

/// What a root packet has beside its messages.
#[derive(Clone)]
pub struct Root {
    /// The key, the id, or both.
    pub from: bool,
    pub from_short: bool,
    pub seqno: u64,
    pub confirm: u64,
    pub dates: (u32, u32),
    /// A bare address list.
    pub address: Option<Vec<u8>>,
    /// The version of the node's list that the peer says it has, in the field of priority lists, as older peers do.
    pub has_version: Option<u32>,
    pub signed: bool,
    /// Whose key encrypts.
    pub encrypts: PrivateKey,
}

/// What a datagram of our node has.
pub struct Heard {
    pub root: bool,
    pub seqno: Option<u64>,
    pub confirm: Option<u64>,
    pub dates: Option<(u32, u32)>,
    pub to: SocketAddr,
    /// Its address list.
    pub address: Option<AddressList>,
    /// The version of the peer's list that it says it has.
    pub has_version: Option<u32>,
    /// Boxed.
    pub messages: Vec<Vec<u8>>,
}

impl Heard {
    pub fn has(&self, test: impl Fn(Message<'_>) -> bool) -> bool {
        self.messages.iter().any(|message| test(Message::parse(message).unwrap()))
    }
}

pub struct Foreign {
    pub key: PrivateKey,
    pub addr: SocketAddr,
    /// The node under test, whose time stands still in its unix seconds.
    pub node: Node,
    node_key: PublicKey,
    pub elapsed: Duration,
    pub channel_key: PrivateKey,
    channel: Option<(Direction, Direction)>,
    sent: u64,
}

impl Foreign {
    pub fn new() -> Self {
        let (key, node_key) = (PrivateKey::from_seed(&[11; 32]), PrivateKey::from_seed(&[22; 32]));
        Self {
            addr: SocketAddr::from(([10, 0, 0, 11], 1111)),
            node: Node::new(node_key.clone(), UNIX, None),
            node_key: node_key.public(),
            elapsed: Duration::ZERO,
            channel_key: PrivateKey::from_seed(&[33; 32]),
            channel: None,
            sent: 0,
            key,
        }
    }

    pub fn now(&self) -> Now {
        Now { elapsed: self.elapsed, unix: UNIX }
    }

    /// A packet as most peers send it.
    pub fn root(&mut self) -> Root {
        self.sent += 1;
        Root {
            from: true,
            from_short: false,
            seqno: self.sent,
            confirm: 0,
            dates: (UNIX, 0),
            address: None,
            has_version: None,
            signed: true,
            encrypts: PrivateKey::generate(),
        }
    }

    /// Writes the packet; `key` signs.
    pub fn datagram(&self, root: &Root, messages: &[Message<'_>]) -> Vec<u8> {
        let flags = u32::from(root.from) | u32::from(root.from_short) << 1 | 8 | u32::from(root.address.is_some()) << 4 | 0x4c0;
        let flags = flags | u32::from(root.has_version.is_some()) << 9;
        let front = |flags: u32| {
            let mut w = tl::Writer::new();
            w.u32(0xd142_cd89);
            w.bytes(&[5; 15]);
            w.u32(flags);
            if root.from {
                self.key.public().write(&mut w);
            }
            if root.from_short {
                w.raw(self.key.id().as_bytes());
            }
            w.u32(messages.len() as u32);
            messages.iter().for_each(|message| w.raw(&message.to_bytes()));
            root.address.iter().for_each(|address| w.raw(address));
            w.u64(root.seqno);
            w.u64(root.confirm);
            root.has_version.iter().for_each(|version| w.u32(*version));
            w.u32(root.dates.0);
            w.u32(root.dates.1);
            w
        };
        let mut unsigned = front(flags);
        unsigned.bytes(&[6; 7]);
        let mut body = unsigned.into_bytes();
        if root.signed {
            let signature = self.key.sign(&body);
            let mut w = front(flags | 0x800);
            w.bytes(&signature);
            w.bytes(&[6; 7]);
            body = w.into_bytes();
        }
        let secret = root.encrypts.shared_secret(&self.node_key).unwrap();
        let checksum = cipher::seal(&secret, &mut body);
        [self.node_key.id().as_bytes(), root.encrypts.public().as_bytes(), &checksum[..], &body].concat()
    }

    /// The node takes it.
    pub fn send(&mut self, root: &Root, messages: &[Message<'_>]) {
        let mut datagram = self.datagram(root, messages);
        self.take(&mut datagram);
    }

    /// A channel packet.
    pub fn send_in_channel(&mut self, seqno: u64, messages: &[Message<'_>]) {
        self.say_in_channel(seqno, messages, None);
    }

    /// The same, with the version of the node's address list that the peer says it has.
    pub fn say_in_channel(&mut self, seqno: u64, messages: &[Message<'_>], has_version: Option<u32>) {
        let mut w = tl::Writer::new();
        w.u32(0xd142_cd89);
        w.bytes(&[5; 7]);
        w.u32(0xc8 | u32::from(has_version.is_some()) << 8);
        w.u32(messages.len() as u32);
        messages.iter().for_each(|message| w.raw(&message.to_bytes()));
        w.u64(seqno);
        w.u64(0);
        has_version.iter().for_each(|version| w.u32(*version));
        w.bytes(&[6; 7]);
        let mut datagram = self.seal(w.into_bytes());
        self.take(&mut datagram);
    }

    /// A datagram of the channel.
    pub fn seal(&self, mut plaintext: Vec<u8>) -> Vec<u8> {
        let (_, out) = self.channel.as_ref().expect("the channel is open");
        let checksum = cipher::seal(&out.key, &mut plaintext);
        [&out.id, &checksum[..], &plaintext].concat()
    }

    /// The node takes a datagram.
    pub fn take(&mut self, datagram: &mut [u8]) {
        self.node.handle_datagram(self.now(), self.addr, datagram);
    }

    /// Lets time pass in steps of 10 ms and gathers what the node sends.
    pub fn wait(&mut self, pause: Duration) -> Vec<Heard> {
        let (end, mut heard) = (self.elapsed + pause, self.listen());
        while self.elapsed < end {
            self.elapsed += Duration::from_millis(10);
            self.node.handle_timers(self.now());
            heard.extend(self.listen());
        }
        heard
    }

    /// What the node sends now.
    pub fn listen(&mut self) -> Vec<Heard> {
        self.node.flush(self.now());
        let datagrams: Vec<_> = self.node.outbox().datagrams().map(|(to, bytes)| (to, bytes.to_vec())).collect();
        self.node.outbox().clear();
        datagrams.into_iter().map(|(to, datagram)| self.open(to, datagram)).collect()
    }

    /// Bytes that the node sends now, unread.
    pub fn raw_output(&mut self) -> usize {
        self.node.flush(self.now());
        let bytes = self.node.outbox().datagrams().map(|(_, bytes)| bytes.len()).sum();
        self.node.outbox().clear();
        bytes
    }

    fn open(&mut self, to: SocketAddr, mut datagram: Vec<u8>) -> Heard {
        assert!(datagram.len() <= MAX_DATAGRAM);
        let root = datagram[..32] == *self.key.id().as_bytes();
        let (head, body) = datagram.split_at_mut(if root { 96 } else { 64 });
        let (front, checksum) = head.split_last_chunk::<32>().unwrap();
        let secret = match root {
            true => self.key.shared_secret(&PublicKey::from_bytes(front[32..].try_into().unwrap()).unwrap()).unwrap(),
            false => {
                let (inbound, _) = self.channel.as_ref().expect("a channel packet has a channel");
                assert_eq!(front, inbound.id);
                inbound.key
            }
        };
        assert!(cipher::open(&secret, checksum, body));
        let packet = Packet::parse(body).unwrap();
        assert!(!root || packet.is_signed_by(&self.node_key, body));
        for message in &packet.messages {
            if let Message::CreateChannel { key, .. } | Message::ConfirmChannel { key, .. } = message {
                let theirs = PublicKey::from_bytes(key).unwrap();
                self.channel = Some(derive_channel(&self.key.id(), &self.channel_key, &self.node_key.id(), &theirs).unwrap());
            }
        }
        Heard {
            root,
            seqno: packet.seqno,
            confirm: packet.confirm_seqno,
            dates: packet.dates.map(|dates| (dates.own, dates.peer)),
            to,
            has_version: packet.recv_version,
            messages: packet.messages.iter().map(Message::to_bytes).collect(),
            address: packet.address,
        }
    }

    pub fn create(&self, date: u32) -> Message<'static> {
        Message::CreateChannel { key: self.channel_key.public().to_bytes(), date }
    }

    /// Opens the channel: the node has used it afterwards, and so has the peer.
    pub fn open_channel(&mut self) {
        let (root, create) = (self.root(), self.create(UNIX));
        self.send(&root, &[create]);
        let heard = self.wait(Duration::from_millis(50));
        assert!(heard.iter().any(|heard| heard.has(|message| matches!(message, Message::ConfirmChannel { .. }))));
        self.send_in_channel(1, &[Message::Nop]);
        self.sent = 100;
    }

    /// The queries that the node reports.
    pub fn queries(&mut self) -> Vec<Vec<u8>> {
        let queries = self.node.take_events().filter_map(|event| match event {
            Event::Query { data, .. } => Some(data.to_vec()),
            _ => None,
        });
        queries.collect()
    }
}

pub fn query(data: &[u8]) -> Message<'_> {
    Message::Query { id: cipher::sha256(data), data }
}
