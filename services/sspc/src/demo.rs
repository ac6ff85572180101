//! The whole story on a chain in this process: each way to end a channel, on both contracts, in the native coin and in a token. Every
//! balance is checked by arithmetic.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use sspc::{Amount, Error, Party, Phase, Refusal, Set, Stage, Variant};

const FUNDS: u128 = 1_000_000;
const DEPOSITS: (u128, u128) = (10_000, 8_000);
const PERIOD: u32 = 3_600;

/// How a channel goes and ends.
#[derive(Clone, Copy, Debug)]
enum Scene {
    Cooperative,
    OneWay,
    Crossing,
    Cancelled,
    Opening,
    Newest,
    Stale,
    CloseInDispute,
}

const SCENES: [Scene; 8] = [
    Scene::Cooperative,
    Scene::OneWay,
    Scene::Crossing,
    Scene::Cancelled,
    Scene::Opening,
    Scene::Newest,
    Scene::Stale,
    Scene::CloseInDispute,
];

impl Scene {
    fn title(self) -> &'static str {
        match self {
            Self::Cooperative => "pay both ways, close together",
            Self::OneWay => "b deposits nothing: open at once; a pays, b submits a's close",
            Self::Crossing => "payments cross; both count",
            Self::Cancelled => "b never accepts; a cancels",
            Self::Opening => "a was never paid and leaves alone with round 0",
            Self::Newest => "a leaves alone with the newest state, after the deadline",
            Self::Stale => "b closes with an old state; a's guard answers at once",
            Self::CloseInDispute => "b leaves alone, then submits a's close: no waiting",
        }
    }

    /// What a has gained in the end; b has lost it.
    fn gain(self) -> i128 {
        match self {
            Self::Cooperative => -300 + 50 - 7,
            Self::OneWay => -1_000,
            Self::Crossing => -11 - 2 + 40,
            Self::Cancelled | Self::Opening => 0,
            Self::Newest => -500 + 20,
            Self::Stale => 10 - 500 + 900,
            Self::CloseInDispute => -1,
        }
    }

    async fn play(self, set: Set) -> Result<Stage, Error> {
        let mut stage = match self {
            Self::Cancelled => Stage::new(set).await?,
            Self::OneWay => Stage::new(Set { deposits: (DEPOSITS.0, 0), ..set }).await?,
            _ => Stage::open(set).await?,
        };
        match self {
            Self::Cooperative => {
                stage.pay(Party::A, 300).await?;
                stage.pay(Party::B, 50).await?;
                stage.pay(Party::A, 7).await?;
                let close = stage.a.create_coop_close().await?;
                stage.b.coop_close(Some(close)).await?;
            }
            Self::OneWay => {
                stage.a.open().await?;
                stage.exchange().await?;
                stage.b.watch().await?;
                for _ in 0..1_000 {
                    stage.a.send_money(Amount::new(1)).await?;
                }
                stage.exchange().await?;
                stage.a.create_coop_close().await?;
                stage.exchange().await?;
                stage.b.coop_close(None).await?;
            }
            Self::Crossing => {
                stage.a.send_money(Amount::new(11)).await?;
                stage.b.send_money(Amount::new(40)).await?;
                stage.a.send_money(Amount::new(2)).await?;
                stage.exchange().await?;
                let close = stage.b.create_coop_close().await?;
                stage.a.coop_close(Some(close)).await?;
            }
            Self::Cancelled => {
                stage.a.open().await?;
                stage.a.cancel().await?;
            }
            Self::Opening => leave(&mut stage).await?,
            Self::Newest => {
                stage.pay(Party::A, 500).await?;
                stage.pay(Party::B, 20).await?;
                leave(&mut stage).await?;
            }
            Self::Stale => {
                stage.pay(Party::B, 10).await?;
                stage.pay(Party::A, 500).await?;
                stage.pay(Party::B, 900).await?;
                stage.liar(Party::B).await?.start_force_close().await?;
                // Reads the chain, answers.
                stage.a.watch().await?;
            }
            Self::CloseInDispute => {
                stage.pay(Party::A, 1).await?;
                let close = stage.a.create_coop_close().await?;
                stage.b.start_force_close().await?;
                stage.b.coop_close(Some(close)).await?;
            }
        }
        stage.a.watch().await?;
        Ok(stage)
    }
}

/// a leaves alone: not before the deadline.
async fn leave(stage: &mut Stage) -> Result<(), Error> {
    stage.a.start_force_close().await?;
    match stage.a.finish_force_close().await {
        Err(Error::Refused(Refusal::TooEarly(_))) => {}
        other => return other.map(|_| ()),
    }
    stage.chain.pass(u64::from(PERIOD) + 1);
    stage.a.finish_force_close().await.map(drop)
}

/// Plays all scenes and prints the table.
///
/// # Errors
/// A scene fails, or a balance is not what arithmetic says.
pub async fn run() -> anyhow::Result<()> {
    let mut table = String::new();
    writeln!(table, "{:<64} {:<12} {:<6} {:>21} {:>21}", "scene", "contract", "money", "a before -> after", "b before -> after")?;
    let mut wrong = Vec::new();
    for scene in SCENES {
        for (variant, token) in
            [(Variant::Word, false), (Variant::Word, true), (Variant::Compact, false), (Variant::Compact, true)]
        {
            let set = Set::new(variant, token);
            let stage = scene.play(set).await.with_context(|| format!("{scene:?} {variant:?}"))?;
            let (a, b) = (stage.funds(Party::A).await?, stage.funds(Party::B).await?);
            let name = if variant == Variant::Word { "Sspc" } else { "SspcCompact" };
            let money = if token { "ERC-20" } else { "coin" };
            let (from_a, from_b) = (format!("{FUNDS} -> {a}"), format!("{FUNDS} -> {b}"));
            writeln!(table, "{:<64} {name:<12} {money:<6} {from_a:>21} {from_b:>21}", scene.title())?;
            let expected = (FUNDS.checked_add_signed(scene.gain()), FUNDS.checked_add_signed(-scene.gain()));
            let ended = matches!(stage.a.phase(), Phase::Closed(_) | Phase::Cancelled);
            if (Some(a), Some(b)) != expected || stage.locked().await? != 0 || !ended {
                wrong.push(format!("{scene:?} on {name} in {money}: expected {expected:?}, have {:?}", (a, b)));
            }
        }
    }
    print!("{table}");
    ensure!(wrong.is_empty(), "wrong balances:\n{}", wrong.join("\n"));
    println!(
        "{} channels opened and ended; every balance is what arithmetic says, nothing is left in the contracts",
        SCENES.len() * 4
    );
    Ok(())
}
