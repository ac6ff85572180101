//! On what terms others forward: what they told, and when to ask again.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use protocol::Key;
use store::route::Terms;
use wire::fees::{Rate, tunnel_fee};
use wire::message::{ChannelConfig, ProposeChannelConfig};
use wire::{Answer, Request};

use crate::graph::Channel;

/// Terms older than this are asked for again.
const FRESH: Duration = Duration::from_secs(600);
/// After the first failure a node is left alone for this long, then twice as long each time.
const FIRST_BACK_OFF: Duration = Duration::from_secs(5);
/// The longest that a node is left alone.
const MAX_BACK_OFF: Duration = Duration::from_secs(600);

/// What is known of a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Known {
    /// Its terms.
    Terms(Terms),
    /// It gave none, and is left alone for now.
    Silent,
    /// Nothing, or nothing fresh: it may be asked.
    Nothing,
}

#[derive(Debug, Clone, Copy)]
struct Silence {
    failures: u32,
    until: SystemTime,
}

/// Everybody's terms.
#[derive(Debug, Default)]
pub(crate) struct Book {
    told: HashMap<Key, Terms>,
    silent: HashMap<Key, Silence>,
}

impl Book {
    pub fn get(&self, node: &Key, now: SystemTime) -> Known {
        match self.told.get(node) {
            Some(terms) if age(terms.asked_at, now) < FRESH => return Known::Terms(terms.clone()),
            _ => {}
        }
        match self.silent.get(node) {
            Some(silence) if now < silence.until => Known::Silent,
            _ => Known::Nothing,
        }
    }

    /// The last terms, however old.
    pub fn last(&self, node: &Key) -> Option<&Terms> {
        self.told.get(node)
    }

    /// A node told its terms.
    pub fn tell(&mut self, terms: Terms) {
        self.silent.remove(&terms.node);
        match self.told.get(&terms.node) {
            Some(newer) if newer.asked_at > terms.asked_at => {}
            _ => drop(self.told.insert(terms.node, terms)),
        }
    }

    /// A node gave no answer, or no valid one.
    pub fn fail(&mut self, node: Key, now: SystemTime) {
        let silence = self.silent.entry(node).or_insert(Silence { failures: 0, until: now });
        let back_off = FIRST_BACK_OFF.saturating_mul(1u32 << silence.failures.min(16)).min(MAX_BACK_OFF);
        *silence = Silence { failures: silence.failures + 1, until: now + back_off };
    }
}

/// How old a moment is; 0 when the clock went back.
fn age(moment: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(moment).unwrap_or_default()
}

/// What a node keeps for passing on `next` nano (next capacity and next fee); `None` when it does not (payments 5.5.4 to 5.5.6).
pub(crate) fn toll(terms: &Terms, next: u128) -> Option<u128> {
    if !terms.allowed || next > terms.max_capacity {
        return None;
    }
    tunnel_fee(next, terms.min_fee, Rate::from_percent(terms.percent)?)
}

/// The question for a node's terms. It is asked about a channel like one that it has, so that it need not refuse (payments 7.8).
pub(crate) fn question(channel: Option<&Channel>) -> Request {
    let question = match channel {
        None => protocol::opening::config_request(&protocol::Policy::ton(), &contract::CodeKind::LIVE),
        Some(channel) => ProposeChannelConfig {
            jetton_addr: None,
            ec_id: 0,
            excess_fee: channel.storage_fee,
            quarantine_duration: channel.closing.quarantine_duration,
            misbehavior_fine: channel.closing.misbehavior_fine,
            conditional_close_duration: channel.closing.conditional_close_duration,
            node_version: protocol::opening::NODE_VERSION,
            code_hash: channel.code_hash,
        },
    };
    Request::ProposeChannelConfig(question)
}

/// The terms in a node's answer. Whether it would have the channel that was asked about does not matter.
pub(crate) fn read(node: Key, answer: &[u8], now: SystemTime) -> Result<Terms, &'static str> {
    let Ok(Answer::ChannelConfig(config)) = Answer::from_boxed(answer) else { return Err("the answer is no channelConfig") };
    let percent = ChannelConfig::proxy_percent(&config);
    if Rate::from_percent(percent).is_none() {
        return Err("the percentage is no rate");
    }
    Ok(Terms {
        node,
        allowed: config.proxy_allowed,
        min_fee: config.proxy_min_fee,
        percent,
        max_capacity: config.proxy_max_cap,
        asked_at: now,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms(asked_at: SystemTime) -> Terms {
        Terms { node: [1; 32], allowed: true, min_fee: 500, percent: 0.5, max_capacity: 1_000_000, asked_at }
    }

    #[test]
    fn terms_are_asked_again_after_ten_minutes() {
        let now = SystemTime::now();
        let mut book = Book::default();
        assert_eq!(book.get(&[1; 32], now), Known::Nothing);
        book.tell(terms(now));
        book.tell(terms(now - FRESH));
        assert_eq!(book.get(&[1; 32], now), Known::Terms(terms(now)), "the newer ones stay");
        assert_eq!(book.get(&[1; 32], now + FRESH), Known::Nothing);
        assert!(book.last(&[1; 32]).is_some());
    }

    #[test]
    fn a_silent_node_is_left_alone_longer_each_time_until_it_answers() {
        let now = SystemTime::now();
        let mut book = Book::default();
        let silent_for = |book: &Book, time| book.get(&[1; 32], now + time) == Known::Silent;
        book.fail([1; 32], now);
        assert!(silent_for(&book, Duration::from_secs(4)) && !silent_for(&book, FIRST_BACK_OFF));
        book.fail([1; 32], now);
        assert!(silent_for(&book, Duration::from_secs(9)) && !silent_for(&book, Duration::from_secs(10)));
        (0..50).for_each(|_| book.fail([1; 32], now));
        assert!(!silent_for(&book, MAX_BACK_OFF));
        book.tell(terms(now - FRESH));
        assert_eq!(book.get(&[1; 32], now), Known::Nothing);
    }

    #[test]
    fn tolls_follow_the_terms() {
        let terms = terms(SystemTime::now());
        assert_eq!(toll(&terms, 1_000), Some(500));
        assert_eq!(toll(&terms, 1_000_000), Some(5_000));
        assert_eq!(toll(&terms, 1_000_001), None);
        assert_eq!(toll(&Terms { allowed: false, ..terms }, 1), None);
    }

    #[test]
    fn answers_are_read_and_bad_ones_refused() {
        let config = |percent: f64| ChannelConfig {
            ok: false,
            wallet_addr: [0; 32],
            reason: "fine differs".into(),
            proxy_allowed: true,
            proxy_min_fee: 500,
            proxy_max_cap: 1_000_000,
            proxy_percent_fee_float: percent.to_bits(),
        };
        let now = SystemTime::now();
        let read = |percent| read([1; 32], &Answer::ChannelConfig(config(percent)).to_boxed(), now);
        assert_eq!(read(0.5), Ok(terms(now)));
        for percent in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(read(percent).is_err(), "{percent}");
        }
        assert!(super::read([1; 32], &Answer::from(wire::message::Pong { value: 1 }).to_boxed(), now).is_err());
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read([1; 32], &bytes, SystemTime::now());
        }
    }
}
