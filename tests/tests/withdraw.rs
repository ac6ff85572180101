//! Money leaves a channel that stays open, when the peer's operator allows it (payments 7.6.1, 10.1.6).

use anyhow::{Context as _, ensure};
use causeway_tests::database;
use rpc::{Error, ErrorCode, engine::v1::WithdrawRequest};
use testkit::wait_for;
use testnet::{Explorer, Network, Node, PATIENCE, Plan, TON, balance, channel, close, open, send, transfer, until_free, wallet};

/// What A puts on the channel, what it pays C there, and what C takes out of that.
const DEPOSIT: u128 = 20 * TON;
const PAID: u128 = 3 * TON;
const TAKEN: u128 = 2 * TON;
/// What the contract keeps for its storage (payments 9.5).
const STORAGE: u128 = TON / 4;
/// Most that the transactions of a withdrawal may cost who orders it.
const MOST_COSTS: u128 = TON / 10;

fn withdrawal(address: &str, nano: u128) -> WithdrawRequest {
    WithdrawRequest { request_id: uuid::Uuid::new_v4().to_string(), address: address.into(), amount_nano: nano.to_string() }
}

/// The whole chain but for the wallets of these nodes and the channel's contract.
async fn elsewhere(network: &Network, contract: u128) -> anyhow::Result<u128> {
    let totals = network.chain.totals()?;
    ensure!(totals.minted == totals.held + totals.fees, "not conserved: {totals:?}");
    let mut wallets = 0;
    for node in &network.nodes {
        wallets += wallet(node).await?;
    }
    totals.held.checked_sub(wallets + contract).context("more on the accounts than the chain holds")
}

/// Both sides have the same seqnos, sums and withdrawals, each other's way round, and their databases are sound.
async fn sides_agree(sides: [&Node; 2], address: &str) -> anyhow::Result<()> {
    wait_for("one view of both sides", PATIENCE, async || {
        let [a, c] = [channel(sides[0], address).await?, channel(sides[1], address).await?];
        ensure!((&a.our, &a.their) == (&c.their, &c.our), "{a:?} and {c:?}");
        anyhow::Ok(())
    })
    .await?;
    for node in sides {
        let findings = store::engine::audit(&database(node)?.get().await?).await?;
        ensure!(findings.is_empty(), "the audit of {} finds {findings:?}", node.name);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_leaves_an_open_channel_if_the_peer_signs_withdrawals() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut plan = Plan::three(&testnet::built_binaries()?, folder.path());
    plan.nodes = vec![("a", 1), ("c", 1)];
    plan.engine = |name| if name == "a" { "[ton]\nsign_withdrawals = true\n" } else { "" };
    let network = Network::start(&plan, |_| ()).await?;
    let [a, c] = &network.nodes[..] else { anyhow::bail!("two nodes are planned") };
    let explorer = Explorer::new(network.chain.global_config())?;
    let address = open(a, c, DEPOSIT).await?;
    send(a, &transfer(c, PAID)).await?;
    until_free(c, &address, PAID).await?;
    let wallets = [wallet(a).await?, wallet(c).await?];
    let beside = elsewhere(&network, explorer.account(&address).await?.nano).await?;

    // A signs what C takes.
    let request = withdrawal(&address, TAKEN);
    wait_for("the withdrawal", PATIENCE, async || c.api().withdraw(request.clone()).await).await?;
    until_free(c, &address, PAID - TAKEN).await?;
    until_free(a, &address, DEPOSIT - PAID).await?;
    wait_for("the coins", PATIENCE, async || {
        let contract = explorer.account(&address).await?.nano;
        ensure!(contract == DEPOSIT - TAKEN + STORAGE, "{contract} nano on the contract");
        let (elsewhere, gained) = (elsewhere(&network, contract).await?, wallet(c).await?.saturating_sub(wallets[1]));
        ensure!(elsewhere == beside, "{elsewhere} nano beside wallets and contract, before {beside}");
        ensure!(gained <= TAKEN && TAKEN - gained <= MOST_COSTS, "C got {gained} nano of {TAKEN}");
        anyhow::Ok(())
    })
    .await?;
    assert_eq!(wallet(a).await?, wallets[0], "A has no part in it");
    sides_agree([a, c], &address).await?;
    assert_eq!(channel(a, &address).await?.their.context("no side")?.withdrawn_nano, TAKEN.to_string());
    // A repeated command takes nothing.
    c.api().withdraw(request).await?;

    // C's operator does not sign withdrawals: A's money is free again, and the channel works on.
    let refused = a.api().withdraw(withdrawal(&address, TON)).await.expect_err("C does not sign");
    let refused = Error::from(refused);
    assert_eq!(refused.code(), ErrorCode::PeerRefused);
    assert!(refused.message().contains("withdrawals are not signed for this peer"), "{}", refused.message());
    send(a, &transfer(c, DEPOSIT - PAID)).await?;
    until_free(c, &address, DEPOSIT - TAKEN).await?;
    assert_eq!(balance(a, &address).await?, 0);
    sides_agree([a, c], &address).await?;
    let before = explorer.account(&address).await?;
    close(c, &address).await?;
    let closing = explorer.closing(&address, &before).await?;
    assert_eq!(closing.right.nano + closing.right.forward_fee, DEPOSIT - TAKEN, "C is the right side: {closing:?}");
    Ok(())
}
