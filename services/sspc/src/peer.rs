//! A peer for the command line: one command a line on the standard input, one answer a line on the standard output (`ok ...`, `error ...`).
//! The guard runs beside it. It may be killed at any time and started again.

use std::net::SocketAddr;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use sspc::{Amount, Goal, Params, Party, Phase, Place};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::accept::{Limit, Policy};
use crate::connect::Account;
use crate::node::Node;

const HELP: &str = "propose <peer> <deposit> <peer's deposit> [seconds] [token] | open | accept | pay <amount> [times] | close | \
                    coop-close | force-close | dispute | finish | cancel | withdraw | show | list | wait <phase> | quit; \
                    a channel's key at the end where there are several";

/// Options of a peer.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    account: Account,
    /// Folder of the records, or the URL of a Postgres database
    #[arg(long)]
    data: String,
    /// The channels' contract
    #[arg(long)]
    contract: Address,
    /// Listen for peers here
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Keep a stream to the peer there
    #[arg(long)]
    connect: Option<SocketAddr>,
    /// Accept proposals that want at most this deposit of us
    #[arg(long)]
    accept_up_to: Option<u128>,
    /// Accept proposals in this token as well; may be repeated
    #[arg(long = "accept-token")]
    accept_tokens: Vec<Address>,
    /// Milliseconds between two rounds of the guard
    #[arg(long, default_value_t = 1_000)]
    guard_ms: u64,
}

/// Runs until `quit` or the end of the input.
///
/// # Errors
/// It cannot start.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let tools = arguments.account.tools(&arguments.data).await?;
    let place = arguments.account.place(arguments.contract, &tools).await?;
    let policy = arguments.accept_up_to.map(|most| {
        let limit = Limit { deposit: Amount::new(most), total: Amount::new(u128::MAX) };
        let tokens = arguments.accept_tokens.iter().copied().chain([Address::ZERO]);
        Policy { place, limits: tokens.map(|token| (token, limit)).collect(), reserve: Amount::ZERO, least_period: 60 }
    });
    let own = tools.signer.address();
    let stop = CancellationToken::new();
    let node = Node::start(tools, policy, stop.clone()).await?;
    let _stop = stop.drop_guard();
    if let Some(address) = arguments.listen {
        let listener = TcpListener::bind(address).await?;
        println!("ok listening {}", listener.local_addr()?);
        tokio::spawn(node.clone().listen(listener));
    }
    if let Some(address) = arguments.connect {
        tokio::spawn(node.clone().connect(address, None));
    }
    tokio::spawn(node.clone().guard(Duration::from_millis(arguments.guard_ms)));
    println!("ok ready {own}");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words == ["quit"] {
            break;
        }
        match command(&node, place, own, &words).await {
            Ok(answer) => println!("ok {answer}"),
            Err(error) => println!("error {error:#}"),
        }
    }
    Ok(())
}

async fn command(node: &Node, place: Place, own: Address, words: &[&str]) -> anyhow::Result<String> {
    let (&name, rest) = words.split_first().context(HELP)?;
    if name == "propose" {
        return propose(node, place, own, rest).await;
    }
    if name == "list" {
        return Ok(node.keys().iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    }
    let (key, rest) = channel(node, rest)?;
    let number = |at: usize| -> anyhow::Result<u128> { rest.get(at).context(HELP)?.parse().context("not a number") };
    Ok(match name {
        "open" => node.reach(&key, Goal::Open).await.map(|_| "open".to_owned())?,
        "accept" => node.reach(&key, Goal::Accept).await.map(|_| "accepted".to_owned())?,
        "cancel" => node.reach(&key, Goal::Cancel).await.map(|_| "cancelled".to_owned())?,
        "pay" => {
            let times = if rest.len() > 1 { number(1)? } else { 1 };
            let amounts = vec![Amount::new(number(0)?); usize::try_from(times)?];
            node.with(&key, async |channel| channel.send_many(&amounts).await).await?;
            show(node, &key).await?
        }
        "close" => {
            let close = node.with(&key, async |channel| channel.create_coop_close().await).await?;
            format!("signed {} {}", close.balances.a, close.balances.b)
        }
        "coop-close" => paid_out(node, &key, Goal::CoopClose).await?,
        "force-close" => {
            node.reach(&key, Goal::StartForceClose).await?;
            match node.with(&key, async |channel| Ok(*channel.phase())).await? {
                Phase::Closing(closing) => format!("deadline {}", closing.deadline),
                phase => bail!("not while the channel is {}", phase.name()),
            }
        }
        "dispute" => paid_out(node, &key, Goal::DisputeForceClose).await?,
        "finish" => paid_out(node, &key, Goal::FinishForceClose).await?,
        "withdraw" => node.reach(&key, Goal::Withdraw(own)).await?.withdrawn().to_string(),
        "show" => show(node, &key).await?,
        "wait" => wait(node, &key, rest.first().context(HELP)?).await?,
        _ => bail!(HELP),
    })
}

async fn paid_out(node: &Node, key: &B256, goal: Goal) -> anyhow::Result<String> {
    node.reach(key, goal).await?;
    match node.with(key, async |channel| Ok(*channel.phase())).await? {
        Phase::Closed(balances) => Ok(format!("closed {} {}", balances.a, balances.b)),
        phase => bail!("not while the channel is {}", phase.name()),
    }
}

async fn propose(node: &Node, place: Place, own: Address, words: &[&str]) -> anyhow::Result<String> {
    ensure!((3..=5).contains(&words.len()), HELP);
    let number = |at: usize| -> anyhow::Result<u128> { words[at].parse().context("not a number") };
    let mut salt = [0; 8];
    getrandom::fill(&mut salt).context("the system's randomness")?;
    let params = Params {
        a: own,
        b: words[0].parse().context("the peer's address")?,
        value_a: Amount::new(number(1)?),
        value_b: Amount::new(number(2)?),
        period: if words.len() > 3 { u32::try_from(number(3)?)? } else { 86_400 },
        token: if words.len() > 4 { words[4].parse().context("the token's address")? } else { Address::ZERO },
        salt: u64::from_be_bytes(salt),
    };
    Ok(format!("channel {}", node.propose(place, params).await?))
}

/// The channel named at the end, or the only one.
fn channel<'a>(node: &Node, words: &'a [&'a str]) -> anyhow::Result<(B256, &'a [&'a str])> {
    if let Some((last, rest)) = words.split_last()
        && let Ok(key) = last.parse::<B256>()
    {
        return Ok((key, rest));
    }
    match node.keys().as_slice() {
        [key] => Ok((*key, words)),
        [] => bail!("no channel"),
        _ => bail!("several channels: name one"),
    }
}

async fn show(node: &Node, key: &B256) -> anyhow::Result<String> {
    let record = node.with(key, async |channel| Ok(channel.record().clone())).await?;
    let (state, role) = (record.current(), if record.role == Party::A { "a" } else { "b" });
    let offer = if record.offer.is_some() { " close-offered" } else { "" };
    let mut balances = state.balances;
    if let Phase::Closed(paid_out) = record.phase {
        balances = paid_out;
    }
    Ok(format!(
        "{} {role} round={} a={} b={} paid={} acknowledged={} received={}{offer}",
        record.phase.name(),
        state.round,
        balances.a,
        balances.b,
        record.paid,
        record.acknowledged,
        record.received,
    ))
}

/// Until the channel is in a phase; `acknowledged` and `close-offered` can be waited for as well.
async fn wait(node: &Node, key: &B256, what: &str) -> anyhow::Result<String> {
    loop {
        let there = node
            .with(key, async |channel| {
                let record = channel.record();
                Ok(match what {
                    "acknowledged" => record.acknowledged == record.paid,
                    "close-offered" => record.offer.is_some(),
                    phase => record.phase.name() == phase,
                })
            })
            .await?;
        if there {
            return show(node, key).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
