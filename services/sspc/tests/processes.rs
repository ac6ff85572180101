//! Two parties as two processes on a real node: either is killed between any two steps, or in the midst of one, starts again and goes on;
//! balances are exact in the end.
//!
//! The node: `SSPC_RPC` names one with anvil's public test accounts; otherwise `anvil` is started where it is installed (on the PATH, or
//! `SSPC_ANVIL` names it); otherwise this is skipped.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Anvil's first two accounts: public, worthless.
const KEYS: [&str; 2] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
];
const B: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
/// Nothing takes this long.
const PATIENCE: Duration = Duration::from_secs(90);

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node that answers, and what keeps it running.
struct Chain {
    url: String,
    _anvil: Option<Running>,
}

impl Chain {
    fn find() -> Option<Self> {
        if let Ok(url) = std::env::var("SSPC_RPC") {
            return Some(Self { url, _anvil: None });
        }
        let named = std::env::var_os("SSPC_ANVIL").map(PathBuf::from);
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let anvil =
            named.or_else(|| std::env::split_paths(&paths).map(|folder| folder.join("anvil")).find(|file| file.is_file()));
        let Some(anvil) = anvil else {
            println!("skipped: neither SSPC_RPC nor anvil (npm install @foundry-rs/anvil; SSPC_ANVIL names the binary)");
            return None;
        };
        let port = testkit::free_port().unwrap().to_string();
        let child = Command::new(anvil).args(["--host", "127.0.0.1", "--port", &port, "--silent"]).spawn().unwrap();
        let anvil = Some(Running(child));
        let address = format!("127.0.0.1:{port}");
        while std::net::TcpStream::connect(&address).is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Self { url: format!("http://{address}"), _anvil: anvil })
    }

    fn command(&self, name: &str, key: &Path, variant: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_causeway-sspc"));
        command.arg(name).args(["--rpc", &self.url, "--variant", variant, "--confirmations", "0", "--poll-ms", "50"]);
        command.arg("--key-file").arg(key);
        command
    }

    fn deploy(&self, key: &Path, variant: &str) -> String {
        let output = self.command("deploy", key, variant).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
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
fn play(chain: &Chain, contract: &str, variant: &'static str, kill: Kill, end: End, keys: &[PathBuf; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", testkit::free_port().unwrap());
    let start = |who: usize, stream: [String; 2]| {
        let (url, key, data) = (chain.url.clone(), keys[who].clone(), folder.path().join(who.to_string()));
        let contract = contract.to_owned();
        move || {
            let chain = Chain { url: url.clone(), _anvil: None };
            let mut command = chain.command("peer", &key, variant);
            command.arg("--data").arg(&data).args(["--contract", &contract]).args(&stream);
            command.args(["--accept-up-to", "8000", "--guard-ms", "100"]);
            command
        }
    };
    let b = Peer::new(start(1, ["--listen".to_owned(), address.clone()]));
    let a = Peer::new(start(0, ["--connect".to_owned(), address]));
    let mut story = Story { peers: [a, b], kill, step: 0 };
    story.peers[0].must(&format!("propose {B} 10000 8000 3600"));
    story.step(0, "open");
    story.step(1, "wait open");
    story.step(0, "wait open");
    story.pay(0, 10, 30, 300);
    story.pay(1, 45, 1, 45);
    let balances = match end {
        End::Together => {
            story.step(0, "close");
            story.step(1, "wait close-offered");
            assert_eq!(story.step(1, "coop-close"), "ok closed 9745 8255", "{kill:?}");
            " a=9745 b=8255 "
        }
        End::Answered => {
            story.pay(0, 20, 1, 320);
            story.step(0, "force-close");
            story.step(1, "wait closed");
            " a=9725 b=8275 "
        }
    };
    for peer in &mut story.peers {
        peer.must("wait closed");
        assert!(peer.must("show").contains(balances), "{kill:?} {end:?}");
    }
    assert_eq!(story.step, STEPS);
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
    let Some(chain) = Chain::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path());
    for variant in ["word", "compact"] {
        let contract = chain.deploy(&keys[0], variant);
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
    let Some(chain) = Chain::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path());
    let contract = chain.deploy(&keys[0], "word");
    for victim in [Who::A, Who::B] {
        for step in 0..STEPS {
            play(&chain, &contract, "word", Kill::Amid(step, victim), End::Together, &keys);
        }
    }
}
