use crate::channel::Channel;
use crate::cipher;
use crate::common::Core;
use crate::keys::PrivateKey;
use crate::message::Message;
use crate::packet::{self, CHANNEL_OVERHEAD, Dates, Head, ROOT_OVERHEAD, RootHead};
use crate::parts;
use crate::peer::Peer;
use crate::time::Now;
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// Largest datagram that we send: C++ nodes assert it (network 3.1).
pub const MAX_DATAGRAM: usize = 1440;
const ROOT_HEADER: usize = 96;
const CHANNEL_HEADER: usize = 64;
/// The larger of the two channel messages.
const CHANNEL_MESSAGE: usize = 72;
/// Room for messages.
const ROOT_ROOM: usize = MAX_DATAGRAM - ROOT_HEADER - ROOT_OVERHEAD - CHANNEL_MESSAGE;
const CHANNEL_ROOM: usize = MAX_DATAGRAM - CHANNEL_HEADER - CHANNEL_OVERHEAD;

/// Silence after a packet that asks for a reaction, until we leave the channel (network 3.4 rule 6): the third try of a query.
const SILENT: Duration = Duration::from_millis(700);
/// The same until a channel message is replaced by the other one (network 3.4 rule 3).
const HANDSHAKE_SILENT: Duration = Duration::from_millis(240);

/// Messages that wait for a packet, per peer.
const MAX_QUEUED: usize = 4096;
const MAX_QUEUED_BYTES: usize = 4 << 20;
const QUEUE_TTL: Duration = Duration::from_secs(10);

struct Queued {
    since: Duration,
    message: Bytes,
    /// It asks for a reaction.
    reply: bool,
}

/// Boxed messages on their way into packets.
#[derive(Default)]
pub(crate) struct Queue {
    messages: VecDeque<Queued>,
    bytes: usize,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.messages.len() >= MAX_QUEUED || self.bytes >= MAX_QUEUED_BYTES
    }

    /// Adds a message. A full queue loses it, as the network might: whoever needs it repeats it.
    pub fn push(&mut self, since: Duration, message: Bytes, reply: bool) {
        if !self.is_full() {
            self.bytes += message.len();
            self.messages.push_back(Queued { since, message, reply });
        }
    }

    fn pop(&mut self) -> Option<Queued> {
        let first = self.messages.pop_front()?;
        self.bytes -= first.message.len();
        Some(first)
    }

    pub fn stale_at(&self) -> Option<Duration> {
        self.messages.front().map(|first| first.since + QUEUE_TTL)
    }

    pub fn drop_stale(&mut self, now: Duration) {
        while self.stale_at().is_some_and(|at| at <= now) {
            self.pop();
        }
    }

    /// Takes the messages that fit into `room`; cuts the first one into parts when it never would. Whether one asks for a reaction.
    fn fill(&mut self, room: usize, packet: &mut Vec<Bytes>) -> bool {
        let (mut left, mut reply) = (room, false);
        while let Some(first) = self.messages.front() {
            if first.message.len() > room {
                self.split_first();
            } else if first.message.len() > left {
                break;
            } else if let Some(first) = self.pop() {
                left -= first.message.len();
                reply |= first.reply;
                packet.push(first.message);
            }
        }
        reply
    }

    fn split_first(&mut self) {
        if let Some(whole) = self.pop() {
            let parts: Vec<_> = parts::split(&whole.message).collect();
            for message in parts.into_iter().rev() {
                self.bytes += message.len();
                self.messages.push_front(Queued { message, ..whole });
            }
        }
    }
}

impl Peer {
    /// Writes everything that may leave now.
    pub fn flush(&mut self, now: Now, core: &mut Core) {
        let Some(to) = self.addr else { return };
        while self.has_output() {
            let outside = !self.is_ready() || self.force_root || self.confirm_once || silent_for(self.waiting_since, now, SILENT);
            if outside && self.root_allowance.take(now.elapsed) {
                self.send_root(now, core, to);
            } else if self.is_ready() {
                self.send_channel(now, core, to);
            } else {
                return;
            }
            self.nop_due = false;
            self.ack_at = None;
        }
    }

    fn send_root(&mut self, now: Now, core: &mut Core, to: SocketAddr) {
        let mut messages = std::mem::take(&mut core.messages);
        messages.extend(self.channel_message(now, core));
        self.fill(now, ROOT_ROOM, &mut messages);
        // A fresh key per packet; the sender shows in `from` and the signature only.
        let ephemeral = PrivateKey::generate();
        let Ok(secret) = ephemeral.shared_secret(&self.key) else { return };
        // A peer may have forgotten us without a restart. Then it has sent nothing that could be confirmed, and C++ nodes refuse what confirms
        // more than they sent (network 3.5); nor does it know our address, without which they do not reply (network 3.3).
        let silent = silent_for(self.waiting_since, now, SILENT) || silent_for(self.root_since, now, HANDSHAKE_SILENT);
        let head = Head {
            seqno: self.next_seqno(),
            confirm_seqno: if silent { 0 } else { self.in_seqno },
            recv_version: self.list_version,
            root: Some(RootHead {
                key: &core.key,
                address: (silent || !self.list_acked).then_some(&core.address),
                dates: Dates { own: core.epoch, peer: self.epoch },
            }),
        };
        let mut out = core.outbox.take();
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(ephemeral.public().as_bytes());
        out = encrypt(out, &secret, &head, &messages, &core.random.bytes());
        core.outbox.put_back(to, out);
        messages.clear();
        core.messages = messages;
        core.stats.sent += 1;
        core.stats.sent_root += 1;
        self.root_since.get_or_insert(now.elapsed);
        (self.force_root, self.confirm_once, self.tell_list_version) = (false, false, false);
    }

    fn send_channel(&mut self, now: Now, core: &mut Core, to: SocketAddr) {
        let mut messages = std::mem::take(&mut core.messages);
        self.fill(now, CHANNEL_ROOM, &mut messages);
        let recv_version = self.list_version.filter(|_| self.tell_list_version);
        self.tell_list_version = false;
        let head = Head { seqno: self.next_seqno(), confirm_seqno: self.in_seqno, recv_version, root: None };
        let Some(Channel { outbound, .. }) = &self.channel else { return };
        let mut out = core.outbox.take();
        out.extend_from_slice(&outbound.id);
        out = encrypt(out, &outbound.key, &head, &messages, &core.random.bytes());
        core.outbox.put_back(to, out);
        messages.clear();
        core.messages = messages;
        core.stats.sent += 1;
    }

    fn fill(&mut self, now: Now, room: usize, messages: &mut Vec<Bytes>) {
        if self.queue.fill(room, messages) {
            self.waiting_since.get_or_insert(now.elapsed);
        }
        if messages.is_empty() {
            messages.push(Bytes::from(Message::Nop.to_bytes()));
        }
    }

    /// The channel message of a root packet (network 3.4): none for a ready channel; else create, or confirm when the peer's key is
    /// known, which changes to create and back while the peer is silent.
    fn channel_message(&mut self, now: Now, core: &mut Core) -> Option<Bytes> {
        let peer_key = match &self.channel {
            Some(channel) if channel.ready && !self.confirm_once => return None,
            channel => channel.as_ref().map(|channel| channel.peer_key),
        };
        self.create_again = silent_for(self.root_since, now, HANDSHAKE_SILENT) && !self.create_again;
        let create_again = self.create_again;
        let own = self.own_key(now, core);
        let (key, date) = (own.key.public().to_bytes(), own.date);
        let message = match peer_key {
            Some(peer_key) if !create_again => Message::ConfirmChannel { key, peer_key, date },
            _ => Message::CreateChannel { key, date },
        };
        Some(Bytes::from(message.to_bytes()))
    }

    fn next_seqno(&mut self) -> u64 {
        self.out_seqno += 1;
        self.out_seqno
    }
}

fn silent_for(since: Option<Duration>, now: Now, limit: Duration) -> bool {
    since.is_some_and(|since| now.elapsed >= since + limit)
}

/// Appends checksum and ciphertext of a packet.
fn encrypt(mut out: Vec<u8>, secret: &[u8; 32], head: &Head<'_>, messages: &[Bytes], filler: &[u8; packet::FILLER]) -> Vec<u8> {
    let checksum_at = out.len();
    out.extend_from_slice(&[0; 32]);
    out = packet::write(out, head, messages, filler);
    let (front, body) = out.split_at_mut(checksum_at + 32);
    front[checksum_at..].copy_from_slice(&cipher::seal(secret, body));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_fits_into_the_fullest_root_packet() {
        let part = parts::split(&[0; 5000]).next().unwrap();
        assert!(part.len() <= ROOT_ROOM && ROOT_ROOM < CHANNEL_ROOM);
    }

    #[test]
    fn a_queue_is_bounded_and_forgets_what_is_old() {
        let mut queue = Queue::default();
        for _ in 0..2 * MAX_QUEUED {
            queue.push(Duration::ZERO, Bytes::from_static(&[0; 2048]), false);
        }
        assert!(queue.bytes <= MAX_QUEUED_BYTES + 2048);
        queue.drop_stale(QUEUE_TTL);
        assert!(queue.is_empty() && queue.bytes == 0);
    }
}
