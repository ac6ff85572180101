//! Payments per second: a sender and a receiver, each a process of its own with one working thread, over TCP on this machine. Each payment
//! is signed, verified and kept; those that arrive together are kept together (group commit) and acknowledged once.
//!
//! The channel's contract is on a simulated chain: payments do not touch the chain.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use sspc::{
    Amount, Channel, ChannelId, FileStore, Input, Link, LocalKey, MemoryStore, NewChannel, OnChain, Params, Party, Place, Record,
    Settings, Simulation, Store, Tools, Variant,
};
use tokio::net::TcpListener;

/// Payments that the sender makes together.
const BURST: usize = 128;
/// Payments without an answer, so that the stream does not grow without end.
const WINDOW: u128 = 4_096;
const DEPOSIT: u128 = 1 << 60;

/// What to measure.
#[derive(Args)]
pub struct Arguments {
    /// Seconds for each figure
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Folder for the records; a real disk, not memory. Default: a new one in the working directory
    #[arg(long)]
    data: Option<PathBuf>,
}

/// One side of a measurement; started by `bench`.
#[derive(Args)]
pub struct SideArguments {
    /// Which side
    role: Role,
    /// The receiver's address
    address: SocketAddr,
    /// Seconds
    seconds: u64,
    /// Folder; without one nothing is stored
    data: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Sender,
    Receiver,
}

/// Prints the figures.
///
/// # Errors
/// A side fails.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = match &arguments.data {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir_in(".")?,
    };
    println!("payments per second, received and verified by one party ({} s each; one thread per party)", arguments.seconds);
    let cases = [
        ("each on a core of its own, kept in a file", [Some("0"), Some("1")], true),
        ("both on one core, kept in a file", [Some("0"), Some("0")], true),
        ("each on a core of its own, without storage", [Some("0"), Some("1")], false),
        ("both on one core, without storage", [Some("0"), Some("0")], false),
    ];
    for (number, (title, cores, stored)) in cases.into_iter().enumerate() {
        let data = stored.then(|| folder.path().join(number.to_string()));
        println!("{title:<46} {}", measure(cores, arguments.seconds, data.as_deref())?);
    }
    Ok(())
}

fn measure(cores: [Option<&str>; 2], seconds: u64, data: Option<&Path>) -> anyhow::Result<String> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut receiver = side("receiver", cores[0], port, seconds, data)?;
    let sender = side("sender", cores[1], port, seconds, data);
    let outcome = sender.and_then(|mut sender| Ok(sender.wait()?));
    if outcome.is_err() {
        receiver.kill()?;
    }
    ensure!(outcome?.success(), "the sender failed");
    let output = receiver.wait_with_output()?;
    ensure!(output.status.success(), "the receiver failed");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// On one core where `taskset` exists; without it the system chooses, still with one thread.
fn side(role: &str, core: Option<&str>, address: SocketAddr, seconds: u64, data: Option<&Path>) -> anyhow::Result<Child> {
    let program = std::env::current_exe()?;
    let pinned = core.filter(|_| Path::new("/usr/bin/taskset").exists());
    let mut command = match pinned {
        Some(core) => {
            let mut command = Command::new("/usr/bin/taskset");
            command.args(["-c", core]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.args(["bench-side", role, &address.to_string(), &seconds.to_string()]);
    command.args(data.map(|data| data.join(role)));
    command.stdout(Stdio::piped()).spawn().with_context(|| format!("the {role}"))
}

/// Runs one side.
///
/// # Errors
/// The stream, the storage.
pub fn run_side(arguments: &SideArguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.role {
            Role::Sender => send(arguments).await,
            Role::Receiver => receive(arguments).await,
        }
    })
}

async fn channel(role: Party, data: Option<&Path>) -> anyhow::Result<Channel> {
    let keys = [LocalKey::from_bytes(&[1; 32])?, LocalKey::from_bytes(&[2; 32])?];
    let params = Params {
        a: keys[0].address(),
        b: keys[1].address(),
        token: Address::ZERO,
        value_a: Amount::new(DEPOSIT),
        value_b: Amount::ZERO,
        period: 86_400,
        salt: 0,
    };
    let place = Place { chain_id: 1, contract: Address::repeat_byte(7), variant: Variant::Word };
    let store: Arc<dyn Store> = match data {
        Some(folder) => Arc::new(FileStore::open(folder)?),
        None => Arc::new(MemoryStore::default()),
    };
    // Open, as it would be after `open`: payments do not touch the chain.
    let (record, _) = Record::new(place, params, role, 0)?.step(Input::Chain(OnChain::Open))?;
    ensure!(record.id == Some(ChannelId::Word(params.hash())), "the id is the hash");
    store.commit(None, &record).await?;
    let key = keys[usize::from(role == Party::B)].clone();
    let chain = Simulation::new(1).account(key.address(), U256::ZERO);
    let tools = Tools { store, chain: Arc::new(chain), signer: Arc::new(key), settings: Settings::default() };
    Ok(Channel::new_channel(tools, NewChannel::Load(record.key())).await?)
}

async fn send(arguments: &SideArguments) -> anyhow::Result<()> {
    let mut channel = channel(Party::A, arguments.data.as_deref()).await?;
    let mut link = loop {
        match Link::connect(arguments.address).await {
            Ok(link) => break link,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let until = Instant::now() + Duration::from_secs(arguments.seconds);
    let burst = vec![Amount::new(1); BURST];
    while Instant::now() < until {
        channel.send_many(&burst).await?;
        link.send(&channel.take_outbox()).await?;
        let open = |channel: &Channel| channel.record().paid.get() - channel.record().acknowledged.get();
        while open(&channel) >= WINDOW {
            let answers = link.receive(BURST).await?;
            channel.handle(&answers).await?;
        }
    }
    // All of it is there before the stream ends.
    while channel.record().acknowledged < channel.record().paid {
        let answers = link.receive(BURST).await?;
        channel.handle(&answers).await?;
    }
    Ok(())
}

async fn receive(arguments: &SideArguments) -> anyhow::Result<()> {
    let mut channel = channel(Party::B, arguments.data.as_deref()).await?;
    let mut link = Link::accept(&TcpListener::bind(arguments.address).await?).await?;
    let (mut first, mut last, mut bursts) = (None, Instant::now(), 0_u64);
    loop {
        let messages = match link.receive(usize::try_from(WINDOW)?).await {
            Ok(messages) => messages,
            Err(sspc::LinkError::Closed) => break,
            Err(error) => return Err(error.into()),
        };
        first.get_or_insert_with(Instant::now);
        channel.handle(&messages).await?;
        link.send(&channel.take_outbox()).await?;
        last = Instant::now();
        bursts += 1;
    }
    let payments = channel.record().received.get();
    let took = last - first.context("nothing came")?;
    #[allow(clippy::cast_precision_loss)]
    let rate = payments as f64 / took.as_secs_f64();
    let per_core = processor_time().map_or_else(String::new, |time| {
        #[allow(clippy::cast_precision_loss)]
        let rate = payments as f64 / time.as_secs_f64();
        format!("; {rate:.0} per second of processor time")
    });
    println!("{rate:>8.0}/s   ({payments} payments in {:.1} s, {bursts} commits{per_core})", took.as_secs_f64());
    Ok(())
}

/// What this process has used so far, all of it: what a core of its own would give on a machine that others use as well. Linux only.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may hold anything: user time and system time are fields 14 and 15, in hundredths of a second.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()?.checked_add(fields.next()?.parse().ok()?)?;
    (ticks > 0).then(|| Duration::from_millis(ticks * 10))
}
