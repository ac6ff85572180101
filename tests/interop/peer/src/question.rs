//! What the peers of these tests ask each other, over any transport. The Go side has the same (`rows/question.go`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use adnl::cipher::sha256;
use anyhow::{Context as _, ensure};
use tl::{Error, Object, Reader, Writer};

/// Larger answers are not made.
const MAX_ANSWER: u32 = 1 << 20;

/// Asks for `answer_size` bytes, and whether `data` arrived.
pub struct Ask {
    pub number: u64,
    pub answer_size: u32,
    pub data: Vec<u8>,
}

impl Ask {
    /// The question of this number, with so many bytes of its filler.
    pub fn new(number: u64, answer_size: u32, data_size: usize) -> Self {
        Self { number, answer_size, data: filler(number, data_size) }
    }

    /// How often the question was executed, if the answer is the right one.
    pub fn check(&self, answer: &[u8]) -> anyhow::Result<u32> {
        let told = Told::from_boxed(answer).context("answer")?;
        ensure!(told.number == self.number, "the answer is to {}", told.number);
        ensure!(told.digest == sha256(&self.data), "the question did not arrive as it was sent");
        ensure!(told.data == filler(self.number, self.answer_size as usize), "the answer did not arrive as it should");
        Ok(told.times)
    }
}

impl Object for Ask {
    const ID: u32 = tl::id("interop.ask number:long answer_size:int data:bytes = interop.Told");

    fn write_bare(&self, w: &mut Writer) {
        w.u64(self.number);
        w.u32(self.answer_size);
        w.bytes(&self.data);
    }

    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { number: r.u64("number")?, answer_size: r.u32("answer_size")?, data: r.bytes("data")?.to_vec() })
    }
}

/// The answer: how often this number was asked, the SHA-256 of the data, and filler.
struct Told {
    number: u64,
    times: u32,
    digest: [u8; 32],
    data: Vec<u8>,
}

impl Object for Told {
    const ID: u32 = tl::id("interop.told number:long times:int digest:int256 data:bytes = interop.Told");

    fn write_bare(&self, w: &mut Writer) {
        w.u64(self.number);
        w.u32(self.times);
        w.raw(&self.digest);
        w.bytes(&self.data);
    }

    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            number: r.u64("number")?,
            times: r.u32("times")?,
            digest: r.int256("digest")?,
            data: r.bytes("data")?.to_vec(),
        })
    }
}

/// Executes questions, and counts how often each was.
#[derive(Clone, Default)]
pub struct Teller(Arc<Mutex<HashMap<u64, u32>>>);

impl Teller {
    /// The answer to the bytes of a question; none to anything else.
    pub fn tell(&self, question: &[u8]) -> Option<Vec<u8>> {
        let ask = Ask::from_boxed(question).ok().filter(|ask| ask.answer_size <= MAX_ANSWER)?;
        let mut executed = self.0.lock().expect("no panic while it is held");
        let times = executed.entry(ask.number).or_default();
        *times += 1;
        let data = filler(ask.number, ask.answer_size as usize);
        Some(Told { number: ask.number, times: *times, digest: sha256(&ask.data), data }.to_boxed())
    }
}

/// Bytes without repetition, so that swapped or doubled slices show.
fn filler(number: u64, size: usize) -> Vec<u8> {
    let mut x = number as u32;
    let mut next = || {
        x = x.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        (x >> 16) as u8
    };
    (0..size).map(|_| next()).collect()
}
