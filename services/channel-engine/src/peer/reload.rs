//! Loading a channel again, after a commit that went wrong or of one that was left out.

use std::{collections::HashSet, time::Duration};

use protocol::{Address, Channel, Event};
use tracing::warn;

use super::{Message, Peer};

/// How long to wait before a channel is loaded again after a failed load; doubles each time, up to [`RELOAD_MAX`].
const RELOAD: Duration = Duration::from_millis(500);
const RELOAD_MAX: Duration = Duration::from_secs(60);

impl Peer {
    /// What is in memory may not be what is in the database: forget it, load it again.
    pub(super) fn poison(&mut self, address: Address) {
        self.slots.remove(&address);
        self.load_again(address);
    }

    pub(super) fn load_again(&mut self, address: Address) {
        self.loading.insert(address, 0);
        self.mailbox.send(Message::Reload(address));
    }

    pub(super) async fn reload(&mut self, address: Address) {
        match self.load(&address).await {
            Ok(Some(channel)) => {
                self.loading.remove(&address);
                self.put(channel);
                // What was handed over before is read again.
                self.ctx.tasks.forget_channels(&HashSet::from([address]));
                self.ctx.poke.notify_one();
                self.step(address, Event::Tick).await;
            }
            Ok(None) => {
                self.loading.remove(&address);
            }
            Err(error) => {
                warn!(%error, channel = hex::encode(address), "channel cannot be loaded, trying again");
                let attempts = self.loading.entry(address).or_default();
                let pause = RELOAD.saturating_mul(1 << (*attempts).min(16)).min(RELOAD_MAX);
                *attempts += 1;
                let mailbox = self.mailbox.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    mailbox.send(Message::Reload(address));
                });
            }
        }
    }

    async fn load(&mut self, address: &Address) -> anyhow::Result<Option<Channel>> {
        let mut client = self.ctx.pool.get().await?;
        let Some(loaded) = store::engine::load_channel(&mut client, address).await? else { return Ok(None) };
        let channel = loaded.into_channel()?;
        self.ctx.restore_guard(&channel).await?;
        Ok(Some(channel))
    }
}
