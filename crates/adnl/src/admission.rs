use crate::recent::Recent;
use crate::time::{Allowance, Now};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Root packets opened per source: at once, and one per interval from then on.
const SOURCE: (u32, Duration) = (64, Duration::from_millis(5));
/// The same of all sources together where nobody is expected, and where somebody is: a tenth and a fifth of a processor.
const STRANGERS: (u32, Duration) = (1024, Duration::from_millis(1));
const EXPECTED: (u32, Duration) = (1024, Duration::from_micros(500));
/// Sources remembered, at most twice as many, and for how long: by then the burst is there again.
const MAX_SOURCES: usize = 8192;
const SOURCE_TTL: Duration = Duration::from_secs(1);

/// Which root packets are opened: each costs a key agreement, and if that gives a packet a signature check, before anything is known of its
/// sender.
///
/// Sources can be forged. So a flood is stopped by the limit of all strangers, and the peers that we were told of have a limit of their own,
/// as long as nobody forges packets of theirs.
pub(crate) struct Admission {
    sources: Recent<IpAddr, Allowance>,
    /// Peers that we were told of, by address.
    expected: HashMap<IpAddr, u32>,
    all_strangers: Allowance,
    all_expected: Allowance,
}

impl Admission {
    pub fn new() -> Self {
        let allowance = |(burst, interval)| Allowance::new(burst, interval, Duration::ZERO);
        Self {
            sources: Recent::new(SOURCE_TTL, MAX_SOURCES),
            expected: HashMap::new(),
            all_strangers: allowance(STRANGERS),
            all_expected: allowance(EXPECTED),
        }
    }

    /// Whether a source may have a root packet opened.
    pub fn admit(&mut self, now: Now, source: IpAddr) -> bool {
        let (source, now) = (canonical(source), now.elapsed);
        let all = match self.expected.contains_key(&source) {
            true => &mut self.all_expected,
            false => &mut self.all_strangers,
        };
        // First: in a flood of many sources it costs the least.
        if all.next(now) > now {
            return false;
        }
        let known = self.sources.remove(&source);
        let mut own = known.unwrap_or_else(|| Allowance::new(SOURCE.0, SOURCE.1, now));
        let admitted = own.take(now) && all.take(now);
        self.sources.insert(now, source, own);
        admitted
    }

    /// A peer that we were told of is at this address.
    pub fn expect(&mut self, address: IpAddr) {
        *self.expected.entry(canonical(address)).or_default() += 1;
    }

    /// It is no longer.
    pub fn expect_no_more(&mut self, address: IpAddr) {
        let address = canonical(address);
        if let Some(peers) = self.expected.get_mut(&address) {
            *peers -= 1;
            if *peers == 0 {
                self.expected.remove(&address);
            }
        }
    }
}

/// Whoever has an address of IPv6 has 2^64 of them.
fn canonical(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Now {
        Now { elapsed: Duration::from_millis(millis), unix: 0 }
    }

    /// How many of `count` packets from different addresses are opened.
    fn admitted(admission: &mut Admission, now: Now, count: u32) -> u32 {
        (0..count).map(|i| u32::from(admission.admit(now, IpAddr::from((0x0a00_0000 + i).to_be_bytes())))).sum()
    }

    #[test]
    fn one_source_and_all_strangers_have_their_limits() {
        let mut admission = Admission::new();
        let one: IpAddr = [1, 2, 3, 4].into();
        assert_eq!((0..1000).filter(|_| admission.admit(at(0), one)).count() as u32, SOURCE.0);
        assert_eq!((0..1000).filter(|_| admission.admit(at(50), one)).count(), 10);
        let mut admission = Admission::new();
        assert_eq!(admitted(&mut admission, at(0), 100_000), STRANGERS.0);
        assert_eq!(admitted(&mut admission, at(100), 100_000), 100);
    }

    #[test]
    fn who_is_expected_is_let_in_during_a_flood() {
        let mut admission = Admission::new();
        let peer: IpAddr = [1, 2, 3, 4].into();
        admission.expect(peer);
        admission.expect(peer);
        admitted(&mut admission, at(0), 10_000);
        assert!(admission.admit(at(0), peer) && !admission.admit(at(0), [1, 2, 3, 5].into()));
        admission.expect_no_more(peer);
        assert!(admission.admit(at(0), peer));
        admission.expect_no_more(peer);
        assert!(!admission.admit(at(0), peer) && admission.expected.is_empty());
        // Not every address of a network that one host has is another source.
        let host = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 7, 0, 0, 0, last]);
        admission.expect(host(1));
        assert!(admission.admit(at(0), host(2)));
    }
}
