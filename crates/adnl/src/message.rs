use crate::keys::AdnlId;
use tl::{Error, Reader, Writer};

const CREATE_CHANNEL: u32 = tl::id("adnl.message.createChannel key:int256 date:int = adnl.Message");
const CONFIRM_CHANNEL: u32 = tl::id("adnl.message.confirmChannel key:int256 peer_key:int256 date:int = adnl.Message");
const CUSTOM: u32 = tl::id("adnl.message.custom data:bytes = adnl.Message");
const NOP: u32 = tl::id("adnl.message.nop = adnl.Message");
const REINIT: u32 = tl::id("adnl.message.reinit date:int = adnl.Message");
const QUERY: u32 = tl::id("adnl.message.query query_id:int256 query:bytes = adnl.Message");
const ANSWER: u32 = tl::id("adnl.message.answer query_id:int256 answer:bytes = adnl.Message");
const PART: u32 = tl::id("adnl.message.part hash:int256 total_size:int offset:int data:bytes = adnl.Message");
const PING: u32 = tl::id("adnl.ping value:long = adnl.Pong");
const PONG: u32 = tl::id("adnl.pong value:long = adnl.Pong");

/// Names one query and its answer: 32 random bytes of the asker.
pub type QueryId = [u8; 32];

/// What a packet carries (network 3.7). The fields are those of the schema.
#[allow(missing_docs, reason = "the schema names them")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Opens a channel: the sender's channel key and its date.
    CreateChannel { key: [u8; 32], date: u32 },
    /// Confirms a channel: the sender's channel key, the receiver's, the date of the sender's.
    ConfirmChannel { key: [u8; 32], peer_key: [u8; 32], date: u32 },
    /// An unanswered message of an upper layer, such as RLDP.
    Custom { data: &'a [u8] },
    /// Keep-alive.
    Nop,
    /// The sender was reinitialised. Read, never sent.
    Reinit { date: u32 },
    /// A question.
    Query { id: QueryId, data: &'a [u8] },
    /// Its answer.
    Answer { id: QueryId, data: &'a [u8] },
    /// A slice of a larger message, which is named by its SHA-256.
    Part { hash: [u8; 32], total_size: u32, offset: u32, data: &'a [u8] },
    /// An extension of the Go library. Answered, never sent.
    Ping { value: u64 },
    /// The answer to a ping.
    Pong { value: u64 },
}

impl<'a> Message<'a> {
    /// Reads a boxed message.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(match r.u32("message")? {
            CREATE_CHANNEL => Self::CreateChannel { key: r.int256("key")?, date: r.u32("date")? },
            CONFIRM_CHANNEL => {
                Self::ConfirmChannel { key: r.int256("key")?, peer_key: r.int256("peer_key")?, date: r.u32("date")? }
            }
            CUSTOM => Self::Custom { data: r.bytes("data")? },
            NOP => Self::Nop,
            REINIT => Self::Reinit { date: r.u32("date")? },
            QUERY => Self::Query { id: r.int256("query_id")?, data: r.bytes("query")? },
            ANSWER => Self::Answer { id: r.int256("query_id")?, data: r.bytes("answer")? },
            PART => Self::Part {
                hash: r.int256("hash")?,
                total_size: r.u32("total_size")?,
                offset: r.u32("offset")?,
                data: r.bytes("data")?,
            },
            PING => Self::Ping { value: r.u64("value")? },
            PONG => Self::Pong { value: r.u64("value")? },
            id => return Err(Error::UnknownConstructor { field: "message", id }),
        })
    }

    /// Parses a boxed message and refuses anything behind it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let message = Self::read(&mut r)?;
        r.end()?;
        Ok(message)
    }

    /// Writes the boxed message.
    pub fn write(&self, w: &mut Writer) {
        match *self {
            Self::CreateChannel { key, date } => {
                w.u32(CREATE_CHANNEL);
                w.raw(&key);
                w.u32(date);
            }
            Self::ConfirmChannel { key, peer_key, date } => {
                w.u32(CONFIRM_CHANNEL);
                w.raw(&key);
                w.raw(&peer_key);
                w.u32(date);
            }
            Self::Custom { data } => {
                w.u32(CUSTOM);
                w.bytes(data);
            }
            Self::Nop => w.u32(NOP),
            Self::Reinit { date } => {
                w.u32(REINIT);
                w.u32(date);
            }
            Self::Query { id, data } => {
                w.u32(QUERY);
                w.raw(&id);
                w.bytes(data);
            }
            Self::Answer { id, data } => {
                w.u32(ANSWER);
                w.raw(&id);
                w.bytes(data);
            }
            Self::Part { hash, total_size, offset, data } => {
                w.u32(PART);
                w.raw(&hash);
                w.u32(total_size);
                w.u32(offset);
                w.bytes(data);
            }
            Self::Ping { value } => {
                w.u32(PING);
                w.u64(value);
            }
            Self::Pong { value } => {
                w.u32(PONG);
                w.u64(value);
            }
        }
    }

    /// The boxed bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Exactly, where it is large: what has no spare room becomes shared bytes without another allocation.
        let size = match self {
            Self::Custom { data } => 4 + padded(data),
            Self::Query { data, .. } | Self::Answer { data, .. } => 36 + padded(data),
            Self::Part { data, .. } => 44 + padded(data),
            _ => 72,
        };
        let mut w = Writer::append_to(Vec::with_capacity(size));
        self.write(&mut w);
        w.into_bytes()
    }
}

/// Length of these bytes as a field.
fn padded(data: &[u8]) -> usize {
    (data.len() + if data.len() < 254 { 1 } else { 4 }).next_multiple_of(4)
}

/// Whose packet is sent or received; only for messages of the log.
pub(crate) fn brief(id: &AdnlId) -> String {
    id.to_string()[..8].to_owned()
}
