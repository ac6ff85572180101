//! Scenario files: what a run does, word by word, readable without Rust. One step per line; `#` begins a comment. Amounts in coin units.
//!
//! ```text
//! nodes A B:2 C              a node for each name, B with two engines
//! channel A B 20 10          A opens; deposits of both sides; ready when the step ends
//! pay p1 A B C 1.5           a transfer that closes by itself
//! open p2 A B C 2            a virtual channel that does not
//! reuse p2 as p3 A B 1       with the virtual key of another one
//! resolve p2 0.7             its receiver uses a resolution of that amount
//! giveup p2                  its receiver wants it removed
//! wait 5                     seconds
//! crash B now                or: before-commit, after-commit, between-effects, lock-to-proposal; it stays dead
//! start B                    every dead engine of it
//! gone B 3000                away for seconds
//! stop B 0 10                SIGSTOP for one engine, seconds
//! steal B                    a shard goes to the other engine while its owner is at work
//! commit-unknown B           the next commit's outcome is not told
//! mute B A / unmute B A      answers from B to A are lost
//! deaf B A / undeaf B A      queries from A do not reach B
//! session A B 10             down for seconds
//! lie B refuse-after-storing from now on B is hostile; it does this to the next proposals, in order. Or: agree-without-storing
//! start-with-nothing B A     B is hostile and starts a close with a body that promises nothing
//! topup A B 5              A deposits in its channel with B
//! withdraw A B 5             A takes coins out of its channel with B; A and C sign withdrawals, B does not
//! close A B / force A B      A closes its channel with B together with it, or alone
//! expect paid p1 1.5         or: failed p1, opened p2, pending p2
//! expect balance A B 18.5    what A can spend in its channel with B
//! expect status A B Closed   of A's row
//! expect seen TEXT           a path that fired, by its name in the coverage
//! rest                       faults stop; everything must end with every nano in its place
//! ```

use protocol::{Address, RequestResult, Side, Task};

use crate::{Options, faults::CrashPoint, hostile::Lie, world::World};

/// Why a scenario did not go as written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text}")]
pub struct ScenarioError {
    /// From 1.
    pub line: usize,
    /// What went wrong.
    pub text: String,
}

/// How long a channel may need to become ready, in milliseconds.
const READY_MS: u64 = 60_000;

/// Runs a scenario; its log. The same text gives the same run.
pub fn run_scenario(text: &str) -> Result<Vec<String>, ScenarioError> {
    let mut script = Script { world: World::new(0, Options { actions: 0, mutation: None, trace: true }), names: vec![] };
    script.world.scripted = true;
    for (i, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        script.world.say(|_| format!("-- {}", words.join(" ")));
        let outcome = script.step(&words);
        let broken = script.world.broken.as_ref().map(|b| format!("{}: {}", b.invariant, b.text));
        if let Some(text) = outcome.err().or(broken) {
            let log = script.world.log.join("\n");
            return Err(ScenarioError { line: i + 1, text: format!("{text}\n{log}") });
        }
    }
    Ok(script.world.log)
}

struct Script {
    world: World,
    /// The name of each payment.
    names: Vec<String>,
}

type Outcome = Result<(), String>;

fn seconds(text: &str) -> Result<u64, String> {
    text.parse::<u64>().map(|s| s * 1000).map_err(|e| format!("{text}: {e}"))
}

fn coins(text: &str) -> Result<u128, String> {
    ton::parse_amount(text, 9).map_err(|e| format!("{text}: {e}"))
}

impl Script {
    fn node(&self, name: &str) -> Result<usize, String> {
        let found = self.world.nodes.iter().position(|n| name.len() == 1 && name.starts_with(n.name));
        found.ok_or(format!("no node {name}"))
    }

    fn channel(&self, a: usize, b: usize) -> Result<Address, String> {
        self.world.channels_between(a, b).last().copied().ok_or("no such channel".into())
    }

    fn pass(&mut self, ms: u64) {
        let until = self.world.now + ms;
        self.world.run_until(until);
    }

    fn step(&mut self, words: &[&str]) -> Outcome {
        match *words {
            ["nodes", ref names @ ..] => self.nodes(names),
            ["channel", a, b, from_a, from_b] => self.open_channel(a, b, coins(from_a)?, coins(from_b)?),
            ["pay", name, ref route @ .., amount] => self.pay(name, route, amount, true),
            ["open", name, ref route @ .., amount] => self.pay(name, route, amount, false),
            ["reuse", other, "as", name, ref route @ .., amount] => self.reuse(other, name, route, amount),
            ["resolve", name, amount] => {
                let payment = self.payment(name)?;
                self.world.resolve_payment(payment, Some(coins(amount)?));
                Ok(())
            }
            ["giveup", name] => {
                let payment = self.payment(name)?;
                self.world.resolve_payment(payment, None);
                Ok(())
            }
            ["wait", time] => {
                self.pass(seconds(time)?);
                Ok(())
            }
            ["close" | "force", a, b] => {
                let (a, b) = (self.node(a)?, self.node(b)?);
                let channel = self.channel(a, b)?;
                self.world.order_task(a, channel, Task::CloseChannel { force: words[0] == "force" });
                Ok(())
            }
            ["topup", a, b, amount] => {
                let (a, b) = (self.node(a)?, self.node(b)?);
                let channel = self.channel(a, b)?;
                self.world.top_up(a, channel, coins(amount)?);
                Ok(())
            }
            ["withdraw", a, b, amount] => {
                let (a, b) = (self.node(a)?, self.node(b)?);
                let channel = self.channel(a, b)?;
                let request_id = format!("withdraw-{}", self.world.events);
                self.world.order_task(a, channel, Task::Withdraw { request_id, amount: coins(amount)? });
                Ok(())
            }
            ["expect", ref rest @ ..] => self.expect(rest),
            ["rest"] => {
                self.world.come_to_rest();
                Ok(())
            }
            _ => self.fault(words),
        }
    }

    fn nodes(&mut self, names: &[&str]) -> Outcome {
        for (i, name) in names.iter().enumerate() {
            let (name, engines) = name.split_once(':').unwrap_or((name, "1"));
            if name.as_bytes() != [b'A' + i as u8] {
                return Err("nodes are named A, B, C in order".into());
            }
            self.world.add_node(engines.parse().map_err(|e| format!("{engines}: {e}"))?);
        }
        Ok(())
    }

    fn open_channel(&mut self, a: &str, b: &str, from_a: u128, from_b: u128) -> Outcome {
        let (a, b) = (self.node(a)?, self.node(b)?);
        let channel = self.world.open_channel(a, b).ok_or("the channel was not opened")?;
        for (node, amount) in [(a, from_a), (b, from_b)] {
            if amount > 0 {
                self.world.top_up(node, channel, amount);
            }
        }
        self.pass(READY_MS);
        Ok(())
    }

    fn pay(&mut self, name: &str, route: &[&str], amount: &str, auto: bool) -> Outcome {
        let route = route.iter().map(|n| self.node(n)).collect::<Result<Vec<_>, _>>()?;
        let (sender, route) = route.split_first().ok_or("a payment needs a route")?;
        self.world.open_virtual(*sender, route, coins(amount)?, auto, None).ok_or("no such route")?;
        self.names.push(name.into());
        Ok(())
    }

    fn reuse(&mut self, other: &str, name: &str, route: &[&str], amount: &str) -> Outcome {
        let other = self.payment(other)?;
        self.world.next_key = Some(self.world.payments[other].key.clone());
        self.pay(name, route, amount, true)
    }

    fn payment(&self, name: &str) -> Result<usize, String> {
        self.names.iter().position(|n| n == name).ok_or(format!("no payment {name}"))
    }

    fn fault(&mut self, words: &[&str]) -> Outcome {
        match *words {
            ["crash", node, point] => {
                let node = self.node(node)?;
                self.crash(node, point)
            }
            ["start", node] => {
                let node = self.node(node)?;
                for engine in 0..self.world.nodes[node].engines.len() {
                    self.world.start_engine(node, engine);
                }
                Ok(())
            }
            ["gone", node, time] => {
                let node = self.node(node)?;
                self.world.node_gone(node, seconds(time)?);
                for engine in 0..self.world.nodes[node].engines.len() {
                    self.world.start_engine(node, engine);
                }
                Ok(())
            }
            ["stop", node, engine, time] => {
                let node = self.node(node)?;
                let engine = engine.parse().map_err(|e| format!("{engine}: {e}"))?;
                self.world.stop_engine(node, engine, seconds(time)?);
                Ok(())
            }
            ["steal", node] => {
                let node = self.node(node)?;
                self.world.steal_shard(node);
                Ok(())
            }
            ["commit-unknown", node] => {
                let node = self.node(node)?;
                self.world.nodes[node].engines.iter_mut().for_each(|e| e.unknown_commit = true);
                Ok(())
            }
            ["session", a, b, time] => {
                let (a, b) = (self.node(a)?, self.node(b)?);
                self.world.session_down(a, b, seconds(time)?);
                Ok(())
            }
            ["lie", node, lie] => {
                let lie = match lie {
                    "refuse-after-storing" => Lie::RefuseAfterStoring,
                    "agree-without-storing" => Lie::AgreeWithoutStoring,
                    _ => return Err(format!("unknown lie {lie}")),
                };
                let node = self.node(node)?;
                self.world.nodes[node].hostile.get_or_insert_default().script.push_back(lie);
                Ok(())
            }
            ["start-with-nothing", a, b] => {
                let (a, b) = (self.node(a)?, self.node(b)?);
                let channel = self.channel(a, b)?;
                self.world.start_with_nothing(a, channel).ok_or("states were not exchanged".into())
            }
            ["mute" | "unmute" | "deaf" | "undeaf", a, b] => {
                let (a, b) = (self.node(a)?, self.node(b)?);
                let world = &mut self.world;
                match words[0] {
                    "mute" => world.net.mute.insert((a, b)),
                    "unmute" => world.net.mute.remove(&(a, b)),
                    "deaf" => world.net.deaf.insert((a, b)),
                    _ => world.net.deaf.remove(&(a, b)),
                };
                Ok(())
            }
            _ => Err(format!("unknown step: {}", words.join(" "))),
        }
    }

    fn crash(&mut self, node: usize, point: &str) -> Outcome {
        let point = match point {
            "before-commit" => Some(CrashPoint::BeforeCommit),
            "after-commit" => Some(CrashPoint::AfterCommit),
            "between-effects" => Some(CrashPoint::BetweenEffects),
            "lock-to-proposal" => Some(CrashPoint::LockToProposal),
            "now" => None,
            _ => return Err(format!("unknown crash point {point}")),
        };
        for engine in 0..self.world.nodes[node].engines.len() {
            match point {
                Some(point) => self.world.nodes[node].engines[engine].crash = Some(point),
                None => {
                    let at = self.world.at_of(node, engine);
                    self.world.crash_engine(at, "at another moment");
                }
            }
        }
        Ok(())
    }

    fn expect(&mut self, words: &[&str]) -> Outcome {
        match *words {
            ["paid", name, amount] => {
                let amount = coins(amount)?;
                self.result(name, |r| matches!(r, Some(RequestResult::Paid { amount: paid }) if *paid == amount))
            }
            ["failed", name] => self.result(name, |r| matches!(r, Some(RequestResult::Failed { .. }))),
            ["opened", name] => self.result(name, |r| matches!(r, Some(RequestResult::Opened))),
            ["pending", name] => self.result(name, |r| r.is_none()),
            ["balance", a, b, amount] => {
                let (a, b) = (self.node(a)?, self.node(b)?);
                let channel = self.channel(a, b)?;
                let (_, actor) = self.world.owner_of(a, &channel).ok_or("nobody owns that channel now")?;
                let (has, wanted) = (actor.channel.available(Side::Our), coins(amount)? as i128);
                if has == wanted { Ok(()) } else { Err(format!("the balance is {has} nano")) }
            }
            ["status", a, b, status] => {
                let (a, b) = (self.node(a)?, self.node(b)?);
                let channel = self.channel(a, b)?;
                let is = format!("{:?}", self.world.nodes[a].store.channels[&channel].row.status);
                if is == status { Ok(()) } else { Err(format!("the status is {is}")) }
            }
            ["seen", ref name @ ..] => {
                let name = name.join(" ");
                if self.world.coverage.count(&name) > 0 { Ok(()) } else { Err(format!("never happened: {name}")) }
            }
            _ => Err(format!("unknown expectation: {}", words.join(" "))),
        }
    }

    fn result(&self, name: &str, is: impl Fn(Option<&RequestResult>) -> bool) -> Outcome {
        let payment = &self.world.payments[self.payment(name)?];
        let results = self.world.nodes[payment.sender].store.results.get(&payment.request_id);
        let last = results.and_then(|r| r.last());
        if is(last) { Ok(()) } else { Err(format!("the result is {last:?}")) }
    }
}
