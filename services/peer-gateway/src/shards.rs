//! Which engine owns which shard, and the fence against former owners (design 3).

use rpc::gateway::v1::ShardEpoch;

/// Names an attachment: a stream of an engine.
pub(crate) type LinkId = u64;

/// Number of shards: the values of one byte.
const SHARDS: usize = 256;

/// The shard of a frame part, if its owner is well formed.
pub(crate) fn shard_of(owner: &ShardEpoch) -> Option<u8> {
    u8::try_from(owner.shard).ok()
}

/// For each shard the highest epoch seen, and who said it owned the shard at that epoch.
pub(crate) struct Shards {
    highest: [u64; SHARDS],
    owners: [Option<(LinkId, u64)>; SHARDS],
}

impl Default for Shards {
    fn default() -> Self {
        Self { highest: [0; SHARDS], owners: [None; SHARDS] }
    }
}

impl Shards {
    /// An engine says what it owns now; this replaces what it said before. Claims below the highest epoch are ignored.
    pub fn own(&mut self, link: LinkId, shards: &[ShardEpoch]) {
        self.release(link);
        for claim in shards {
            if self.passes(claim)
                && let Some(shard) = shard_of(claim)
            {
                self.owners[usize::from(shard)] = Some((link, claim.epoch));
            }
        }
    }

    /// An engine's stream is gone. The epochs stay.
    pub fn release(&mut self, link: LinkId) {
        for owner in &mut self.owners {
            if owner.is_some_and(|(owner, _)| owner == link) {
                *owner = None;
            }
        }
    }

    /// Whether something sent under this ownership may go out. A higher epoch than before shuts out the owner before.
    pub fn passes(&mut self, owner: &ShardEpoch) -> bool {
        let Some(shard) = shard_of(owner) else { return false };
        let highest = &mut self.highest[usize::from(shard)];
        *highest = owner.epoch.max(*highest);
        owner.epoch == *highest && owner.epoch > 0
    }

    /// Who owns a shard, as far as known.
    pub fn owner(&self, shard: u8) -> Option<LinkId> {
        let shard = usize::from(shard);
        self.owners[shard].filter(|(_, epoch)| *epoch == self.highest[shard]).map(|(link, _)| link)
    }

    /// The highest epochs seen, without the shards that nobody spoke of.
    pub fn highest(&self) -> Vec<ShardEpoch> {
        let seen = self.highest.iter().enumerate().filter(|(_, epoch)| **epoch > 0);
        seen.map(|(shard, epoch)| ShardEpoch { shard: shard as u32, epoch: *epoch }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(shard: u32, epoch: u64) -> ShardEpoch {
        ShardEpoch { shard, epoch }
    }

    #[test]
    fn a_former_owner_is_shut_out() {
        let mut shards = Shards::default();
        shards.own(1, &[at(7, 3), at(8, 1)]);
        assert_eq!((shards.owner(7), shards.owner(8), shards.owner(9)), (Some(1), Some(1), None));
        shards.own(2, &[at(7, 4)]);
        assert_eq!((shards.owner(7), shards.owner(8)), (Some(2), Some(1)));
        assert!(!shards.passes(&at(7, 3)) && shards.passes(&at(7, 4)) && shards.passes(&at(8, 1)));
        // A late claim of the former owner changes nothing.
        shards.own(1, &[at(7, 3), at(8, 1)]);
        assert_eq!((shards.owner(7), shards.owner(8)), (Some(2), Some(1)));
        assert_eq!(shards.highest(), [at(7, 4), at(8, 1)]);
    }

    #[test]
    fn a_list_replaces_the_one_before_and_epochs_outlive_streams() {
        let mut shards = Shards::default();
        shards.own(1, &[at(0, 5), at(255, 5)]);
        shards.own(1, &[at(255, 5)]);
        assert_eq!((shards.owner(0), shards.owner(255)), (None, Some(1)));
        shards.release(1);
        assert_eq!(shards.owner(255), None);
        assert!(!shards.passes(&at(255, 4)));
    }

    #[test]
    fn a_higher_epoch_on_a_query_leaves_the_shard_without_known_owner() {
        let mut shards = Shards::default();
        shards.own(1, &[at(7, 3)]);
        assert!(shards.passes(&at(7, 4)));
        assert_eq!(shards.owner(7), None);
        assert!(!shards.passes(&at(7, 3)) && !shards.passes(&at(256, 1)) && !shards.passes(&at(9, 0)));
    }
}
