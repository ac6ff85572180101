use tl::{Error, Reader, Writer};

const PART_V1: u32 = tl::id(
    "rldp.messagePart transfer_id:int256 fec_type:fec.Type part:int total_size:long seqno:int data:bytes = rldp.MessagePart",
);
const PART_V2: u32 = tl::id(
    "rldp2.messagePart transfer_id:int256 fec_type:fec.Type part:int total_size:long seqno:int data:bytes = rldp2.MessagePart",
);
const CONFIRM_V1: u32 = tl::id("rldp.confirm transfer_id:int256 part:int seqno:int = rldp.MessagePart");
const CONFIRM_V2: u32 =
    tl::id("rldp2.confirm transfer_id:int256 part:int max_seqno:int received_mask:int received_count:int = rldp2.MessagePart");
const COMPLETE_V1: u32 = tl::id("rldp.complete transfer_id:int256 part:int = rldp.MessagePart");
const COMPLETE_V2: u32 = tl::id("rldp2.complete transfer_id:int256 part:int = rldp2.MessagePart");
const RAPTORQ: u32 = tl::id("fec.raptorQ data_size:int symbol_size:int symbols_count:int = fec.Type");
const MESSAGE: u32 = tl::id("rldp.message id:int256 data:bytes = rldp.Message");
const QUERY: u32 = tl::id("rldp.query query_id:int256 max_answer_size:long timeout:int data:bytes = rldp.Message");
const ANSWER: u32 = tl::id("rldp.answer query_id:int256 data:bytes = rldp.Message");

/// Bytes of a symbol (network 4.2). Nobody uses another size, and C++ nodes accept no other.
pub const SYMBOL: usize = 768;
/// Bytes of a part: every part but the last has as many.
pub const PART: usize = 2_000_000;
/// Highest symbol number read.
const MAX_SEQNO: u32 = 1 << 20;

/// Names one transfer: 32 random bytes of its first sender. The answer's is its complement (network 4.3).
pub type TransferId = [u8; 32];

/// The version of the protocol that a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Read, and answered in kind.
    V1,
    /// What we begin with.
    V2,
}

/// Number of source symbols of a part.
pub fn symbols(data_size: usize) -> u32 {
    data_size.div_ceil(SYMBOL) as u32
}

/// One symbol of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Bytes of the part.
    pub data_size: usize,
    /// Number of the part.
    pub part: u32,
    /// Bytes of the whole message.
    pub total_size: usize,
    /// Number of the symbol: a source symbol below [`symbols`], a repair symbol from there on.
    pub seqno: u32,
    /// [`SYMBOL`] bytes.
    pub data: &'a [u8],
}

/// What the receiver of a part has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Highest number received, from 0.
    pub highest: u32,
    /// Bit i: the symbol `highest` - i was received. None in version 1.
    pub mask: Option<u32>,
    /// Different symbols received. None in version 1.
    pub count: Option<u32>,
}

/// A message of RLDP between two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// A symbol.
    Symbol(Symbol<'a>),
    /// The part is on its way.
    Confirm {
        /// Number of the part.
        part: u32,
        /// What is there.
        receipt: Receipt,
    },
    /// The part is complete.
    Complete {
        /// Number of the part.
        part: u32,
    },
}

/// A [`Body`] with its version and transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The version.
    pub version: Version,
    /// The transfer.
    pub transfer: TransferId,
    /// The rest.
    pub body: Body<'a>,
}

impl<'a> Packet<'a> {
    /// Parses a boxed message; refuses what no peer sends (network 4.2).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let id = r.u32("rldp")?;
        let version = match id {
            PART_V1 | CONFIRM_V1 | COMPLETE_V1 => Version::V1,
            PART_V2 | CONFIRM_V2 | COMPLETE_V2 => Version::V2,
            id => return Err(Error::UnknownConstructor { field: "rldp", id }),
        };
        let transfer = r.int256("transfer_id")?;
        let body = match id {
            PART_V1 | PART_V2 => Body::Symbol(Symbol::read(&mut r)?),
            CONFIRM_V1 => {
                let part = r.u32("part")?;
                Body::Confirm { part, receipt: Receipt { highest: r.u32("seqno")?, mask: None, count: None } }
            }
            CONFIRM_V2 => {
                let part = r.u32("part")?;
                // Counted from 1 (network 4.4).
                let highest = r.u32("max_seqno")?.saturating_sub(1);
                let (mask, count) = (Some(r.u32("received_mask")?), Some(r.u32("received_count")?));
                Body::Confirm { part, receipt: Receipt { highest, mask, count } }
            }
            _ => Body::Complete { part: r.u32("part")? },
        };
        r.end()?;
        Ok(Self { version, transfer, body })
    }

    /// The boxed bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let v2 = self.version == Version::V2;
        // Exactly: what has no spare room becomes shared bytes without another allocation.
        let size = match self.body {
            Body::Symbol(symbol) => 72 + symbol.data.len(),
            Body::Confirm { .. } => 44 + if v2 { 8 } else { 0 },
            Body::Complete { .. } => 40,
        };
        let mut w = Writer::append_to(Vec::with_capacity(size));
        w.u32(
            match self.body {
                Body::Symbol(_) => [PART_V1, PART_V2],
                Body::Confirm { .. } => [CONFIRM_V1, CONFIRM_V2],
                Body::Complete { .. } => [COMPLETE_V1, COMPLETE_V2],
            }[usize::from(v2)],
        );
        w.raw(&self.transfer);
        match self.body {
            Body::Symbol(symbol) => symbol.write(&mut w),
            Body::Confirm { part, receipt } => {
                w.u32(part);
                w.u32(receipt.highest + u32::from(v2));
                if v2 {
                    w.u32(receipt.mask.unwrap_or(1));
                    w.u32(receipt.count.unwrap_or(1));
                }
            }
            Body::Complete { part } => w.u32(part),
        }
        w.into_bytes()
    }
}

impl<'a> Symbol<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, Error> {
        let refuse = |field, rule| Err(Error::Invalid { field, rule });
        match r.u32("fec_type")? {
            RAPTORQ => {}
            id => return Err(Error::UnknownConstructor { field: "fec_type", id }),
        }
        let data_size = r.u32("data_size")? as usize;
        let symbol_size = r.u32("symbol_size")? as usize;
        let count = r.u32("symbols_count")?;
        let part = r.u32("part")?;
        let total_size = r.u64("total_size")?;
        let seqno = r.u32("seqno")?;
        let data = r.bytes("data")?;
        if symbol_size != SYMBOL || data.len() != SYMBOL {
            return refuse("symbol_size", "symbols have 768 bytes");
        }
        if data_size == 0 || data_size > PART || data_size as u64 > total_size {
            return refuse("data_size", "a part has 1 to 2,000,000 bytes and no more than its message");
        }
        // One more is what some peers say when the size is a multiple of the symbol's.
        if count != symbols(data_size) && count != symbols(data_size) + 1 {
            return refuse("symbols_count", "not the number of symbols of the part");
        }
        if seqno >= MAX_SEQNO {
            return refuse("seqno", "symbol number too large");
        }
        let Ok(total_size) = usize::try_from(total_size) else { return refuse("total_size", "too large") };
        Ok(Self { data_size, part, total_size, seqno, data })
    }

    fn write(&self, w: &mut Writer) {
        w.u32(RAPTORQ);
        w.u32(self.data_size as u32);
        w.u32(SYMBOL as u32);
        w.u32(symbols(self.data_size));
        w.u32(self.part);
        w.u64(self.total_size as u64);
        w.u32(self.seqno);
        w.bytes(self.data);
    }
}

/// What a transfer carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// One way. Read, and ignored: nothing that we speak uses it.
    OneWay {
        /// Its name.
        id: [u8; 32],
        /// The content.
        data: &'a [u8],
    },
    /// A question.
    Query {
        /// Echoed by the answer.
        id: [u8; 32],
        /// Largest answer that the asker takes.
        max_answer: u64,
        /// Unix seconds until which the asker waits.
        timeout: u32,
        /// The content.
        data: &'a [u8],
    },
    /// Its answer.
    Answer {
        /// The query's.
        id: [u8; 32],
        /// The content.
        data: &'a [u8],
    },
}

impl<'a> Message<'a> {
    /// Parses a boxed message.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let message = match r.u32("message")? {
            MESSAGE => Self::OneWay { id: r.int256("id")?, data: r.bytes("data")? },
            QUERY => Self::Query {
                id: r.int256("query_id")?,
                max_answer: r.u64("max_answer_size")?,
                timeout: r.u32("timeout")?,
                data: r.bytes("data")?,
            },
            ANSWER => Self::Answer { id: r.int256("query_id")?, data: r.bytes("data")? },
            id => return Err(Error::UnknownConstructor { field: "message", id }),
        };
        r.end()?;
        Ok(message)
    }

    /// The boxed bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        let data = match *self {
            Self::OneWay { id, data } => {
                w.u32(MESSAGE);
                w.raw(&id);
                data
            }
            Self::Query { id, max_answer, timeout, data } => {
                w.u32(QUERY);
                w.raw(&id);
                w.u64(max_answer);
                w.u32(timeout);
                data
            }
            Self::Answer { id, data } => {
                w.u32(ANSWER);
                w.raw(&id);
                data
            }
        };
        w.bytes(data);
        w.into_bytes()
    }
}
