//! The erasure code, behind a seam: it is needed only where source symbols were lost.

use crate::message::{SYMBOL, symbols};
use everscale_raptorq::{EncodingPacket, ObjectTransmissionInformation, PayloadId, SourceBlockDecoder, SourceBlockEncoder};

/// Makes repair symbols of one part.
pub trait Encoder: Send {
    /// The symbols numbered from `first`, which is at least the number of source symbols.
    fn repair(&self, first: u32, count: u32) -> Vec<Vec<u8>>;
}

/// A code whose first symbols are the data itself.
pub trait Fec: Send {
    /// Prepares a part for [`Encoder::repair`]. Costs 30 µs to 6 ms.
    fn encoder(&self, part: &[u8]) -> Box<dyn Encoder>;
    /// Rebuilds a part of `size` bytes from any different symbols, numbered, each of [`SYMBOL`] bytes. None when they do not suffice.
    fn decode(&self, size: usize, symbols: &mut dyn Iterator<Item = (u32, &[u8])>) -> Option<Vec<u8>>;
}

/// RaptorQ in the dialect of the network (network 4.2), which differs from RFC 6330 in repair symbols from 49 source symbols on.
#[derive(Debug, Clone, Copy, Default)]
pub struct RaptorQ;

fn configuration() -> ObjectTransmissionInformation {
    ObjectTransmissionInformation::new(0, SYMBOL as u16, 1, 1, 1)
}

impl Encoder for SourceBlockEncoder {
    fn repair(&self, first: u32, count: u32) -> Vec<Vec<u8>> {
        self.repair_packets(first, count).into_iter().map(|packet| packet.split().1).collect()
    }
}

impl Fec for RaptorQ {
    fn encoder(&self, part: &[u8]) -> Box<dyn Encoder> {
        let mut padded = part.to_vec();
        padded.resize(symbols(part.len()) as usize * SYMBOL, 0);
        Box::new(SourceBlockEncoder::new2(0, &configuration(), &padded))
    }

    fn decode(&self, size: usize, symbols: &mut dyn Iterator<Item = (u32, &[u8])>) -> Option<Vec<u8>> {
        let mut decoder = SourceBlockDecoder::new2(0, &configuration(), size as u64);
        let packets = symbols.map(|(seqno, data)| EncodingPacket::new(PayloadId::new(0, seqno), data.to_vec()));
        let mut data = decoder.decode(packets)?;
        data.truncate(size);
        Some(data)
    }
}
