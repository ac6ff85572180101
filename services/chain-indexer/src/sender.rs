//! The wallet's one sender: one signed message at a time, written before it is sent, sent again unchanged until its fate is known, and followed
//! until each of its orders has ended (design 3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use liteapi::Client;
use protocol::{NewTask, Task};
use signer::Signer;
use store::Pool;
use store::chain::{self, Cursor, MessageEnd, NewOrder, OrderEnd, Progress, WalletMessage};
use tracing::{debug, info, warn};
use wallet::Wallet;

use crate::follow::Follow;
use crate::metrics::Metrics;
use crate::orders::{self, Batch};
use crate::scanner::Head;
use crate::wallet_view::{self, WalletView};

/// How long a message may be taken, by the chain's clock, seconds.
const TIME_TO_LIVE: u32 = 120;
/// Time between two sendings of one message.
const REPEAT: Duration = Duration::from_secs(5);
/// Queued orders looked at: dear ones that wait must not hide the others.
const QUEUE: u32 = 1_000;

/// The sender. Only the leading indexer uses it.
pub struct Sender {
    pub pool: Pool,
    pub signer: Arc<dyn Signer>,
    pub wallet: Wallet,
    pub metrics: Metrics,
    /// The message that was sent last, and when.
    sent: Option<(i64, Instant)>,
    /// What was last said about orders that wait for money.
    waiting: usize,
    /// Whether it was said that the node is frozen.
    frozen: bool,
}

/// What the wallet does at a moment.
pub struct Report {
    /// The wallet's account.
    pub wallet: WalletView,
    /// Messages under way: 0 or 1.
    pub pending: u32,
}

impl Sender {
    pub fn new(pool: Pool, signer: Arc<dyn Signer>, wallet: Wallet, metrics: Metrics) -> Self {
        Self { pool, signer, wallet, metrics, sent: None, waiting: 0, frozen: false }
    }

    /// Brings the wallet's affairs as far as they go at this block, up to which the chain was read.
    pub async fn step(&mut self, client: &Client, cursor: Cursor, head: &Head) -> anyhow::Result<Report> {
        let wallet = wallet_view::look(client, &head.id, self.wallet.address()).await?;
        if let Some(message) = chain::under_way(&self.pool.get().await?).await? {
            let ended = if wallet.seqno > message.seqno {
                self.follow(client, cursor, head, &wallet, &message).await?
            } else {
                self.repeat(client, cursor, &wallet, &message).await?
            };
            if !ended {
                return Ok(Report { wallet, pending: 1 });
            }
        }
        let pending = self.next(client, cursor, head, &wallet).await?.into();
        Ok(Report { wallet, pending })
    }

    /// Sends a message again whose seqno has not moved, or gives it up when it cannot be taken any more. Returns whether it has ended.
    async fn repeat(
        &mut self,
        client: &Client,
        cursor: Cursor,
        wallet: &WalletView,
        message: &WalletMessage,
    ) -> anyhow::Result<bool> {
        // The state is that of this shard block: the time that counts is its own.
        let time = client.block(&wallet.shard_block).await?.info.gen_utime;
        if time > message.valid_until {
            warn!(
                seqno = message.seqno,
                orders = message.orders.len(),
                "the wallet's message was not taken in time; it is made anew"
            );
            self.end(cursor, Progress { message: Some((message.id, MessageEnd::Dead)), ..Progress::default() }).await?;
            return Ok(true);
        }
        if self.sent.is_none_or(|(id, at)| id != message.id || at.elapsed() >= REPEAT) {
            self.send(client, message.id, &message.boc).await?;
        }
        Ok(false)
    }

    async fn send(&mut self, client: &Client, id: i64, boc: &[u8]) -> anyhow::Result<()> {
        let message = ton::decode_boc(boc).context("the stored wallet message")?;
        self.sent = Some((id, Instant::now()));
        if let Err(error) = client.send_message(&message).await {
            // Nothing is known: it may be on its way. The chain tells.
            debug!(%error, "the lite servers did not take the wallet's message");
        }
        Ok(())
    }

    /// The seqno has moved: reads what the message did. Returns whether it has ended.
    async fn follow(
        &mut self,
        client: &Client,
        cursor: Cursor,
        head: &Head,
        wallet: &WalletView,
        message: &WalletMessage,
    ) -> anyhow::Result<bool> {
        let follow = Follow { client, head, wallet: self.wallet.address(), last: wallet.last };
        let boc = ton::decode_boc(&message.boc).context("the stored wallet message")?;
        // It was signed at a block of this time, so no earlier transaction can have taken it.
        let since = message.valid_until.saturating_sub(TIME_TO_LIVE);
        let Some(taken) = follow.taken(&boc, since).await? else {
            warn!(seqno = message.seqno, "another message took the wallet's seqno; ours is made anew");
            self.end(cursor, Progress { message: Some((message.id, MessageEnd::Dead)), ..Progress::default() }).await?;
            return Ok(true);
        };
        let mut orders = Vec::new();
        let mut known = Vec::new();
        for id in &message.orders {
            let (order, end) =
                chain::order_of(&self.pool.get().await?, id).await?.context("an order of the wallet's message is gone")?;
            known.push(end);
            orders.push(order);
        }
        let ends = follow.ends(&taken, &orders).await?;
        let mut progress = Progress::default();
        for ((order, end), known) in orders.iter().zip(&ends).zip(known) {
            if let (Some(end), None) = (end, known) {
                note_end(order, end.clone(), &mut progress);
            }
        }
        let ended = ends.iter().all(Option::is_some);
        if ended {
            progress.message = Some((message.id, MessageEnd::Executed));
        }
        if ended || !progress.orders.is_empty() {
            self.end(cursor, progress).await?;
        }
        Ok(ended)
    }

    /// Signs, writes and sends the next message, if there is anything to send. Returns whether one is under way now.
    async fn next(&mut self, client: &Client, cursor: Cursor, head: &Head, wallet: &WalletView) -> anyhow::Result<bool> {
        let database = self.pool.get().await?;
        if let Some(reason) = store::engine::frozen(&database).await? {
            if !std::mem::replace(&mut self.frozen, true) {
                warn!(reason, "the node is frozen: the wallet sends nothing");
            }
            return Ok(false);
        }
        self.frozen = false;
        let queued = chain::queued(&database, QUEUE).await?;
        drop(database);
        self.metrics.orders_queued.set(queued.len() as i64);
        let batch = orders::choose(queued, wallet.balance);
        self.tell_waiting(&batch, wallet);
        if !batch.impossible.is_empty() {
            let mut progress = Progress::default();
            for (order, reason) in &batch.impossible {
                note_end(order, OrderEnd::Failed(reason.clone()), &mut progress);
            }
            self.end(cursor, progress).await?;
        }
        if batch.orders.is_empty() {
            return Ok(false);
        }
        let (ids, transfers): (Vec<_>, Vec<_>) = batch.orders.into_iter().unzip();
        let order = wallet::Order { seqno: wallet.seqno, valid_until: head.time.saturating_add(TIME_TO_LIVE), transfers };
        let signature = self.signer.sign_wallet_order(self.wallet.id(), &order).await?;
        let boc = ton::encode_boc(&order.external_message(&self.wallet, &signature)?);
        let message = WalletMessage { id: 0, seqno: order.seqno, valid_until: order.valid_until, boc, orders: ids };
        let id = chain::write_message(&mut self.pool.get().await?, cursor, &message).await?;
        info!(seqno = message.seqno, orders = ?message.orders, "the wallet sends");
        self.send(client, id, &message.boc).await?;
        Ok(true)
    }

    fn tell_waiting(&mut self, batch: &Batch, wallet: &WalletView) {
        self.metrics.orders_unaffordable.set(batch.unaffordable as i64);
        if std::mem::replace(&mut self.waiting, batch.unaffordable) != batch.unaffordable && batch.unaffordable > 0 {
            let ton = |nano| ton::format_amount(nano, 9);
            warn!(
                orders = batch.unaffordable,
                balance = ton(wallet.balance),
                missing = ton(batch.missing),
                wallet = %self.wallet.address(),
                "orders wait: the wallet's balance is too low (CW0501)"
            );
        }
    }

    /// Writes what became of orders; the cursor stays.
    async fn end(&self, cursor: Cursor, progress: Progress) -> anyhow::Result<()> {
        chain::advance(&mut self.pool.get().await?, cursor, cursor.seqno, &progress).await?;
        for (_, end) in &progress.orders {
            self.metrics.count_order(end);
        }
        Ok(())
    }
}

/// Notes an order's end; its channel hears of a failure.
fn note_end(order: &NewOrder, end: OrderEnd, progress: &mut Progress) {
    match &end {
        OrderEnd::Failed(reason) => {
            warn!(order = order.id, destination = %order.destination, reason, "an order failed");
            if let Some(channel) = order.channel {
                let task = Task::OrderFailed { order: order.id.clone() };
                progress.tasks.push(NewTask { id: format!("order-failed:{}", order.id), channel, task });
            }
        }
        _ => info!(order = order.id, "an order is done"),
    }
    progress.orders.push((order.id.clone(), end));
}
