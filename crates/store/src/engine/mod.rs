//! What engines and their API read and write besides commits: loading a shard, tasks, commands, dictionaries of old states, the cluster's identity,
//! the audit. Whoever reads a table that the journal is folded into ([`fold`]) folds first.

mod audit;
mod cluster;
mod dictionary;
mod load;
mod offer;
mod prune;
mod query;
mod request;
mod task;

pub use crate::commit::fold;
pub use audit::{Finding, audit};
pub use cluster::{StartRefused, Started, claim, freeze, frozen, start, thaw};
pub use dictionary::{Signed, Version, dictionary, dictionary_with_resolutions, peer_states, signed};
pub use load::{Loaded, load, load_channel};
pub use offer::{Offer, drop_offer, offer_to, write_offer};
pub use prune::{Pruned, REQUESTS_KEPT_DAYS, prune};
pub use query::{
    ChannelSummary, LegFilter, LegPlace, LegSummary, channel_of, channels, leg_of_request, legs, legs_of, open_channels,
};
pub use request::{ContentHash, Submitted, content_of, results, submit};
pub use task::{Due, due};
