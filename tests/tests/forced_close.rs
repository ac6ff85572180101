//! A channel whose peer is gone is closed on the chain: by command, or because the peer does not honour a resolution in time (payments 7.6, 8.3).

use anyhow::ensure;
use causeway_tests::{advance_to, now, open_virtual, sign, until_virtual};
use rpc::engine::v1::{ChannelStatus, CloseChannelRequest, CloseVirtualRequest, VirtualStatus};
use testkit::wait_for;
use testnet::{
    Closing, Explorer, Network, Node, PATIENCE, Plan, TON, balance, channel, open, send, transfer, until_free, wallet,
    wallet_address,
};

/// What A puts on the channel, and what it pays C on it before it is gone.
const DEPOSIT: u128 = 20 * TON;
const PAID: u128 = 3 * TON;
/// The amount that C holds a resolution of.
const HELD: u128 = 2 * TON;
/// What the contract keeps for its storage, A's at the end (payments 9.5).
const STORAGE: u128 = TON / 4;
/// Most that closing may cost C in fees and in what goes to side A with the rest.
const MOST_COSTS: u128 = TON / 5;
/// Quarantine and window for settling (payments 9.5).
const QUARANTINE: u64 = 21_600;
const SETTLE: u64 = 10_800;
/// Beyond every margin of the nodes.
const MARGIN: u64 = 60;

/// Two nodes with one channel, which A opened.
struct Pair {
    network: Network,
    address: String,
    /// What the chain held beside the wallets before there was a channel.
    elsewhere: u128,
    _folder: tempfile::TempDir,
}

impl Pair {
    async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let plan = Plan { nodes: vec![("a", 1), ("c", 1)], ..Plan::three(&testnet::built_binaries()?, folder.path()) };
        let network = Network::start(&plan, |_| ()).await?;
        let mut pair = Self { network, address: String::new(), elsewhere: 0, _folder: folder };
        pair.elsewhere = pair.beside_wallets().await?;
        pair.address = open(pair.a(), pair.c(), DEPOSIT).await?;
        send(pair.a(), &transfer(pair.c(), PAID)).await?;
        until_free(pair.c(), &pair.address, PAID).await?;
        Ok(pair)
    }

    fn a(&self) -> &Node {
        &self.network.nodes[0]
    }

    fn c(&self) -> &Node {
        &self.network.nodes[1]
    }

    async fn beside_wallets(&self) -> anyhow::Result<u128> {
        let totals = self.network.chain.totals()?;
        ensure!(totals.minted == totals.held + totals.fees, "not conserved: {totals:?}");
        Ok(totals.held - wallet(self.a()).await? - wallet(self.c()).await?)
    }

    /// A is gone: all its processes.
    fn kill_a(&self) -> anyhow::Result<()> {
        self.a().services().try_for_each(|service| service.kill())
    }

    /// Waits until the chain shows C's closing at work, then lets quarantine and window pass one after the other. The transaction that paid out.
    async fn until_closed(&self) -> anyhow::Result<Closing> {
        let explorer = Explorer::new(self.network.chain.global_config())?;
        self.until_order("start:").await?;
        let begun = now(self.c()).await?;
        advance_to(&self.network.chain, &[self.c()], begun + QUARANTINE + MARGIN).await?;
        if self.held().await? > 0 {
            self.until_order("settle:").await?;
        }
        let before = explorer.account(&self.address).await?;
        advance_to(&self.network.chain, &[self.c()], begun + QUARANTINE + SETTLE + 2 * MARGIN).await?;
        wait_for("the closing", PATIENCE, async || {
            let status = channel(self.c(), &self.address).await?.status();
            ensure!(status == ChannelStatus::Closed, "{status:?}");
            anyhow::Ok(())
        })
        .await?;
        explorer.closing(&self.address, &before).await
    }

    /// Waits until an order of C's wallet has had its effect.
    async fn until_order(&self, kind: &str) -> anyhow::Result<()> {
        let pool = causeway_tests::database(self.c())?;
        wait_for(kind, PATIENCE, async || {
            let done = "SELECT count(*) FROM chain.wallet_order WHERE starts_with(id, $1) AND state = 2";
            let done: i64 = pool.get().await?.query_one(done, &[&kind]).await?.get(0);
            ensure!(done > 0, "no {kind} done");
            anyhow::Ok(())
        })
        .await
    }

    async fn held(&self) -> anyhow::Result<u64> {
        Ok(channel(self.c(), &self.address).await?.their.map_or(0, |side| side.conditionals))
    }

    /// The contract paid C what is due to it and A all the rest, to the nano. A comes back, sees the channel closed, and nothing went elsewhere.
    async fn check_payouts(&self, closing: &Closing, before: u128, due: u128) -> anyhow::Result<()> {
        let Closing { right, left, .. } = closing;
        ensure!(right.nano + right.forward_fee == due, "C got not {due}: {closing:?}");
        ensure!(left.nano + left.forward_fee >= DEPOSIT - due + STORAGE, "A got less than {}: {closing:?}", DEPOSIT - due);
        let given = closing.before + closing.value_in - closing.storage_fee - closing.gas_fee;
        ensure!(left.nano + left.forward_fee == given - due && closing.after == 0, "A got not all the rest: {closing:?}");
        let to = [wallet_address(self.c()).await?, right.to.clone()];
        ensure!(to[0] == to[1], "C's payout went to {}", to[1]);
        for service in self.a().services() {
            service.start()?;
        }
        wait_for("A's view", PATIENCE, async || {
            let status = channel(self.a(), &self.address).await?.status();
            ensure!(status == ChannelStatus::Closed, "{status:?}");
            let beside = self.beside_wallets().await?;
            ensure!(
                beside == self.elsewhere,
                "{beside} nano are not on the wallets, before the channel it were {}",
                self.elsewhere
            );
            anyhow::Ok(())
        })
        .await?;
        let gained = wallet(self.c()).await?.saturating_sub(before);
        ensure!(gained <= due && due - gained <= MOST_COSTS, "C got {gained} nano of {due}");
        println!("C got {gained} of {due} nano, its costs were {} nano", due - gained);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_whose_peer_is_gone_is_closed_by_command() {
    let pair = Pair::start().await.unwrap();
    let before = wallet(pair.c()).await.unwrap();
    pair.kill_a().unwrap();
    let request =
        CloseChannelRequest { request_id: uuid::Uuid::new_v4().to_string(), address: pair.address.clone(), force: true };
    pair.c().api().close_channel(request).await.unwrap();
    let closing = pair.until_closed().await.unwrap();
    pair.check_payouts(&closing, before, PAID).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resolution_is_enforced_before_its_deadline_when_the_payer_is_gone() {
    let pair = Pair::start().await.unwrap();
    let (a, c) = (pair.a(), pair.c());
    let opened = open_virtual(a, c, HELD).await.unwrap();
    until_virtual(c, &opened.virtual_key, VirtualStatus::Active).await.unwrap();
    let encrypted_state = sign(a, c, &opened.virtual_key, HELD).await.unwrap();
    let before = wallet(c).await.unwrap();
    pair.kill_a().unwrap();
    let claim = CloseVirtualRequest { request_id: uuid::Uuid::new_v4().to_string(), encrypted_state };
    c.api().close_virtual(claim).await.unwrap();
    let leg = until_virtual(c, &opened.virtual_key, VirtualStatus::Closing).await.unwrap().incoming.unwrap();
    assert_eq!(balance(c, &pair.address).await.unwrap(), PAID, "not paid yet");
    // Nobody says anything: C goes to the chain by itself while there is time.
    advance_to(&pair.network.chain, &[c], leg.safe_deadline_unix).await.unwrap();
    let closing = pair.until_closed().await.unwrap();
    pair.check_payouts(&closing, before, PAID + HELD + leg.fee_nano.parse::<u128>().unwrap()).await.unwrap();
    // Each side calls it paid: C by its own settling, A by what it reads on the chain.
    for node in [a, c] {
        until_virtual(node, &opened.virtual_key, VirtualStatus::Closed).await.unwrap();
    }
}
