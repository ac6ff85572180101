//! Two parties as two processes on a real node: either is killed between any two steps, or in the midst of one, starts again and goes on;
//! balances are exact in the end, by the chain's own word.
//!
//! The node: see `node`; without one this is skipped.

#[allow(dead_code)] // The other test uses the rest.
mod node;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use node::{ACCOUNTS, KEYS, Node, Running};

const DEPOSITS: (i128, i128) = (10_000, 8_000);
/// Nothing takes this long.
const PATIENCE: Duration = Duration::from_secs(90);

/// The program under test, on this node.
fn command(chain: &Node, name: &str, key: &Path, variant: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway-sspc"));
    command.arg(name).args(["--rpc", &chain.url, "--variant", variant, "--confirmations", "0", "--poll-ms", "50"]);
    command.arg("--key-file").arg(key);
    command
}

fn deploy(chain: &Node, key: &Path, variant: &str) -> String {
    let output = command(chain, "deploy", key, variant).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// One party's process.
struct Peer {
    start: Box<dyn Fn() -> Command>,
    child: Running,
    input: ChildStdin,
    answers: Receiver<String>,
}

impl Peer {
    fn new(start: impl Fn() -> Command + 'static) -> Self {
        let (child, input, answers) = Self::spawn(&mut start());
        Self { start: Box::new(start), child, input, answers }
    }

    fn spawn(command: &mut Command) -> (Running, ChildStdin, Receiver<String>) {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let child = Running(child);
        loop {
            let line: String = answers.recv_timeout(PATIENCE).expect("the process has not started");
            if line.starts_with("ok ready") {
                return (child, input, answers);
            }
        }
    }

    /// kill -9, and a new process on the same folder.
    fn again(&mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
        (self.child, self.input, self.answers) = Self::spawn(&mut (self.start)());
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.answers.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no answer to {line}"))
    }

    /// Until it is done; steps of the chain may be repeated.
    fn must(&mut self, line: &str) -> String {
        let mut answer = String::new();
        for _ in 0..20 {
            answer = self.ask(line);
            // A forced close that the peer has answered already.
            if answer.starts_with("ok") || (line == "force-close" && answer.contains("while the channel is closed")) {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("{line}: {answer}");
    }
}

/// When a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kill {
    Never,
    Before(usize, Who),
    /// After the step was asked for, before it was answered.
    Amid(usize, Who),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    A,
    B,
}

struct Story {
    peers: [Peer; 2],
    kill: Kill,
    step: usize,
}

impl Story {
    /// One step by one party: `line` is asked for until it is done.
    fn step(&mut self, who: usize, line: &str) -> String {
        self.kill_before();
        if let Kill::Amid(step, victim) = self.kill
            && step == self.step
        {
            self.peers[who].say(line);
            std::thread::sleep(Duration::from_millis(7 * (step as u64 % 4)));
            self.peers[victim as usize].again();
            if victim as usize != who {
                // Its answer, to the first asking.
                let _ = self.peers[who].answers.recv_timeout(PATIENCE);
            }
        }
        self.step += 1;
        self.peers[who].must(line)
    }

    /// A payment is made once: whether it was is seen in what was paid.
    fn pay(&mut self, who: usize, amount: u128, times: u128, total: u128) {
        self.kill_before();
        let line = format!("pay {amount} {times}");
        if let Kill::Amid(step, victim) = self.kill
            && step == self.step
        {
            self.peers[who].say(&line);
            std::thread::sleep(Duration::from_millis(3));
            self.peers[victim as usize].again();
            if victim as usize != who {
                let _ = self.peers[who].answers.recv_timeout(PATIENCE);
            }
        }
        self.step += 1;
        let paid = format!(" paid={total} ");
        if !self.peers[who].must("show").contains(&paid) {
            assert!(self.peers[who].must(&line).contains(&paid));
        }
        self.peers[who].must("wait acknowledged");
    }

    fn kill_before(&mut self) {
        if let Kill::Before(step, victim) = self.kill
            && step == self.step
        {
            self.peers[victim as usize].again();
        }
    }
}

const STEPS: usize = 8;

/// How it ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// a signs a close, b submits it.
    Together,
    /// a leaves with an older state than b holds; b's guard answers by itself.
    Answered,
}

/// Opens, pays both ways, ends.
fn play(chain: &Node, contract: &str, variant: &'static str, kill: Kill, end: End, keys: &[PathBuf; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", testkit::free_port().unwrap());
    let start = |who: usize, stream: [String; 2]| {
        let (chain, key, data) = (chain.share(), keys[who].clone(), folder.path().join(who.to_string()));
        let contract = contract.to_owned();
        move || {
            let mut command = command(&chain, "peer", &key, variant);
            command.arg("--data").arg(&data).args(["--contract", &contract]).args(&stream);
            command.args(["--accept-up-to", "8000", "--guard-ms", "100"]);
            command
        }
    };
    let b = Peer::new(start(1, ["--listen".to_owned(), address.clone()]));
    let a = Peer::new(start(0, ["--connect".to_owned(), address]));
    let mut story = Story { peers: [a, b], kill, step: 0 };
    let before = Money::of(chain, contract);
    story.peers[0].must(&format!("propose {} {} {} 3600", ACCOUNTS[1], DEPOSITS.0, DEPOSITS.1));
    story.step(0, "open");
    story.step(1, "wait open");
    story.step(0, "wait open");
    story.pay(0, 10, 30, 300);
    story.pay(1, 45, 1, 45);
    let (balances, gain) = match end {
        End::Together => {
            story.step(0, "close");
            story.step(1, "wait close-offered");
            assert_eq!(story.step(1, "coop-close"), "ok closed 9745 8255", "{kill:?}");
            (" a=9745 b=8255 ", 9_745 - DEPOSITS.0)
        }
        End::Answered => {
            story.pay(0, 20, 1, 320);
            story.step(0, "force-close");
            story.step(1, "wait closed");
            (" a=9725 b=8275 ", 9_725 - DEPOSITS.0)
        }
    };
    for peer in &mut story.peers {
        peer.must("wait closed");
        assert!(peer.must("show").contains(balances), "{kill:?} {end:?}");
    }
    assert_eq!(story.step, STEPS);
    // Nobody sends anything any more.
    drop(story);
    before.check(chain, contract, gain, &format!("{kill:?} {end:?}"));
}

/// What the chain says that the two and the contract have.
struct Money {
    block: i128,
    parties: [i128; 2],
    contract: i128,
}

impl Money {
    fn of(chain: &Node, contract: &str) -> Self {
        Self { block: chain.block(), parties: ACCOUNTS.map(|account| chain.balance(account)), contract: chain.balance(contract) }
    }

    /// Since then a has gained this much and b has lost it, gas aside; to the wei.
    fn check(&self, chain: &Node, contract: &str, gain: i128, about: &str) {
        let (gas, now) = (chain.gas_paid_after(self.block), Self::of(chain, contract));
        for (who, gain) in [(0, gain), (1, -gain)] {
            let gas = gas.get(ACCOUNTS[who]).copied().unwrap_or_default();
            assert!(gas > 0, "{about}: {who} has sent nothing");
            assert_eq!(now.parties[who], self.parties[who] - gas + gain, "{about}: party {who}");
        }
        assert_eq!(now.contract, self.contract, "{about}: left in the contract");
    }
}

fn keys(folder: &Path) -> [PathBuf; 2] {
    [0, 1].map(|who| {
        let file = folder.join(format!("key{who}"));
        std::fs::write(&file, KEYS[who]).unwrap();
        file
    })
}

#[test]
fn either_process_is_killed_between_any_two_steps() {
    let Some(chain) = Node::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path());
    for variant in ["word", "compact"] {
        let contract = deploy(&chain, &keys[0], variant);
        for end in [End::Together, End::Answered] {
            play(&chain, &contract, variant, Kill::Never, end, &keys);
        }
        for victim in [Who::A, Who::B] {
            for step in 0..STEPS {
                for end in [End::Together, End::Answered] {
                    play(&chain, &contract, variant, Kill::Before(step, victim), end, &keys);
                }
            }
        }
    }
}

#[test]
fn either_process_is_killed_in_the_midst_of_any_step() {
    let Some(chain) = Node::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path());
    let contract = deploy(&chain, &keys[0], "word");
    for victim in [Who::A, Who::B] {
        for step in 0..STEPS {
            play(&chain, &contract, "word", Kill::Amid(step, victim), End::Together, &keys);
        }
    }
}
