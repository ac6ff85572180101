use crate::address::AddressList;
use crate::keys::{AdnlId, PrivateKey, PublicKey};
use crate::message::Message;
use std::ops::Range;
use tl::{Error, Object, Reader, Writer};

const PACKET: u32 = tl::id(
    "adnl.packetContents rand1:bytes flags:# from:flags.0?PublicKey from_short:flags.1?adnl.id.short message:flags.2?adnl.Message \
     messages:flags.3?(vector adnl.Message) address:flags.4?adnl.addressList priority_address:flags.5?adnl.addressList \
     seqno:flags.6?long confirm_seqno:flags.7?long recv_addr_list_version:flags.8?int recv_priority_addr_list_version:flags.9?int \
     reinit_date:flags.10?int dst_reinit_date:flags.10?int signature:flags.11?bytes rand2:bytes = adnl.PacketContents",
);

const FROM: u32 = 1;
const FROM_SHORT: u32 = 1 << 1;
const MESSAGE: u32 = 1 << 2;
const MESSAGES: u32 = 1 << 3;
const ADDRESS: u32 = 1 << 4;
const PRIORITY_ADDRESS: u32 = 1 << 5;
const SEQNO: u32 = 1 << 6;
const CONFIRM_SEQNO: u32 = 1 << 7;
const RECV_VERSION: u32 = 1 << 8;
const RECV_PRIORITY_VERSION: u32 = 1 << 9;
const DATES: u32 = 1 << 10;
const SIGNATURE: u32 = 1 << 11;
const KNOWN_FLAGS: u32 = 0x1fff;

/// Each of the two fillers. Constant, so that packets of one transfer are equally long and leave in one segmented send.
const RAND: usize = 7;
/// Random bytes that one packet needs.
pub(crate) const FILLER: usize = 2 * RAND;
/// Where the flags are, behind the constructor and the first filler.
const FLAGS_AT: usize = 4 + RAND + 1;
const SIGNATURE_FIELD: usize = 68;

/// Bytes of a channel packet's plaintext around its messages, with the other side's list version.
pub(crate) const CHANNEL_OVERHEAD: usize = FLAGS_AT + 4 + 4 + 16 + 4 + RAND + 1;
/// The same of a root packet: `from`, one address, dates and signature.
pub(crate) const ROOT_OVERHEAD: usize = CHANNEL_OVERHEAD + 36 + 32 + 8 + SIGNATURE_FIELD;

/// `reinit_date` and `dst_reinit_date` of a root packet (network 3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dates {
    /// The sender's epoch.
    pub own: u32,
    /// The receiver's epoch as far as the sender knows it, else zero.
    pub peer: u32,
}

/// The contents of a packet (network 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The sender's key.
    pub from: Option<PublicKey>,
    /// The sender's id.
    pub from_short: Option<AdnlId>,
    /// The messages, of either field.
    pub messages: Vec<Message<'a>>,
    /// The sender's address list.
    pub address: Option<AddressList>,
    /// The packet's number.
    pub seqno: Option<u64>,
    /// The highest number received by the sender.
    pub confirm_seqno: Option<u64>,
    /// The version of the receiver's list that the sender has: of either field, the larger.
    pub recv_version: Option<u32>,
    /// The epochs.
    pub dates: Option<Dates>,
    /// The signature.
    pub signature: Option<[u8; 64]>,
    signature_at: Range<usize>,
}

impl<'a> Packet<'a> {
    /// Parses a decrypted packet; refuses unknown flags and anything behind it.
    pub fn parse(plaintext: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(plaintext);
        if r.u32("packet")? != PACKET {
            return Err(Error::Invalid { field: "packet", rule: "not packet contents" });
        }
        r.bytes("rand1")?;
        let flags = r.u32("flags")?;
        let has = |bit| flags & bit != 0;
        if flags & !KNOWN_FLAGS != 0 || (has(MESSAGE) && has(MESSAGES)) {
            return Err(Error::Invalid { field: "flags", rule: "unknown or contradicting" });
        }
        let from = has(FROM).then(|| PublicKey::read(&mut r, "from")).transpose()?;
        let from_short = has(FROM_SHORT).then(|| r.int256("from_short").map(AdnlId)).transpose()?;
        let count = match () {
            () if has(MESSAGE) => 1,
            () if has(MESSAGES) => r.count(plaintext.len() / 4, 4, "messages")?,
            () => 0,
        };
        let mut messages = Vec::with_capacity(count);
        for _ in 0..count {
            messages.push(Message::read(&mut r)?);
        }
        let address = has(ADDRESS).then(|| AddressList::read_bare(&mut r)).transpose()?;
        has(PRIORITY_ADDRESS).then(|| AddressList::read_bare(&mut r)).transpose()?;
        let seqno = has(SEQNO).then(|| r.u64("seqno")).transpose()?;
        let confirm_seqno = has(CONFIRM_SEQNO).then(|| r.u64("confirm_seqno")).transpose()?;
        let ordinary = has(RECV_VERSION).then(|| r.u32("recv_addr_list_version")).transpose()?;
        let priority = has(RECV_PRIORITY_VERSION).then(|| r.u32("recv_priority_addr_list_version")).transpose()?;
        let dates = has(DATES).then(|| Ok(Dates { own: r.u32("reinit_date")?, peer: r.u32("dst_reinit_date")? })).transpose()?;
        let start = plaintext.len() - r.rest().len();
        let signature = has(SIGNATURE).then(|| r.signature("signature")).transpose()?;
        let end = plaintext.len() - r.rest().len();
        r.bytes("rand2")?;
        r.end()?;
        let recv_version = ordinary.max(priority);
        Ok(Self {
            from,
            from_short,
            messages,
            address,
            seqno,
            confirm_seqno,
            recv_version,
            dates,
            signature,
            signature_at: start..end,
        })
    }

    /// Whether the packet, whose plaintext this is, was signed by `key`.
    pub fn is_signed_by(&self, key: &PublicKey, plaintext: &[u8]) -> bool {
        self.signature.is_some_and(|signature| key.verify(&self.signed_bytes(plaintext), &signature))
    }

    /// The bytes that the signature covers: the plaintext without the field and without its flag (network 3.2).
    pub fn signed_bytes(&self, plaintext: &[u8]) -> Vec<u8> {
        let mut bytes = [&plaintext[..self.signature_at.start], &plaintext[self.signature_at.end..]].concat();
        // The flags stand behind the first filler, whatever its length is.
        let mut r = Reader::new(plaintext);
        let _ = r.u32("packet").and_then(|_| r.bytes("rand1"));
        let flags_at = plaintext.len() - r.rest().len();
        if let Some(byte) = bytes.get_mut(flags_at + 1) {
            *byte &= !((SIGNATURE >> 8) as u8);
        }
        bytes
    }
}

/// The fields of a packet to be sent.
pub(crate) struct Head<'a> {
    pub seqno: u64,
    pub confirm_seqno: u64,
    /// The version of the receiver's address list that we have, where it is told.
    pub recv_version: Option<u32>,
    /// Only root packets have these.
    pub root: Option<RootHead<'a>>,
}

pub(crate) struct RootHead<'a> {
    pub key: &'a PrivateKey,
    pub address: Option<&'a AddressList>,
    pub dates: Dates,
}

/// Appends the plaintext of a packet to `out`. `messages` are boxed; there is at least one.
pub(crate) fn write<T: AsRef<[u8]>>(out: Vec<u8>, head: &Head<'_>, messages: &[T], filler: &[u8; FILLER]) -> Vec<u8> {
    let start = out.len();
    let mut flags = SEQNO | CONFIRM_SEQNO | if messages.len() == 1 { MESSAGE } else { MESSAGES };
    flags |= head.recv_version.map_or(0, |_| RECV_VERSION);
    if let Some(root) = &head.root {
        flags |= FROM | DATES | root.address.map_or(0, |_| ADDRESS);
    }
    let mut w = Writer::append_to(out);
    w.u32(PACKET);
    w.bytes(&filler[..RAND]);
    w.u32(flags);
    if let Some(root) = &head.root {
        root.key.public().write(&mut w);
    }
    if messages.len() != 1 {
        w.u32(messages.len() as u32);
    }
    messages.iter().for_each(|message| w.raw(message.as_ref()));
    if let Some(address) = head.root.as_ref().and_then(|root| root.address) {
        address.write_bare(&mut w);
    }
    w.u64(head.seqno);
    w.u64(head.confirm_seqno);
    head.recv_version.iter().for_each(|version| w.u32(*version));
    if let Some(root) = &head.root {
        w.u32(root.dates.own);
        w.u32(root.dates.peer);
    }
    w.bytes(&filler[RAND..]);
    let mut out = w.into_bytes();
    if let Some(root) = &head.root {
        // Signed without the field and its flag; both are put in afterwards.
        let signature = root.key.sign(&out[start..]);
        out[start + FLAGS_AT + 1] |= (SIGNATURE >> 8) as u8;
        out.truncate(out.len() - (RAND + 1));
        let mut w = Writer::append_to(out);
        w.bytes(&signature);
        w.bytes(&filler[RAND..]);
        out = w.into_bytes();
    }
    out
}
