//! The command line and its help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const ABOUT: &str = "Work with a Causeway node: payment channels, virtual channels and transfers on the TON Payment Network.";

const GUIDE: &str = "\
Values:
  keys       64 hexadecimal digits, or 44 characters of base64
  amounts    in coin units: 1.5 is one and a half TON; with --json the answer has nano, as decimal strings
  addresses  any of TON's forms
  times      a whole number with s, m, h or d: 90s, 15m, 6h, 2d

A node by name, in ~/.config/causeway/profiles.toml:
  default = \"a\"
  [profile.a]
  endpoint = \"http://127.0.0.1:7101\"
  [profile.far]
  endpoint = \"https://node.example:7101\"
  token_file = \"/path/to/token\"
  tls = { ca = \"/path/to/ca.pem\" }

A call that changes something shows its request id first. When the answer is lost, repeat the command with --request-id ID: the node then
gives the answer to the first call and does nothing twice.

Exit codes: 0 done; 1 refused or failed; 2 the command line, a value or the profile is not valid, nothing was called; 3 the node cannot be
reached or gave no final answer in time.

A first session, with the nodes A and C and a node between:
  causeway --node http://127.0.0.1:7101 info
  causeway --node http://127.0.0.1:7101 deploy <key of B> 10
  causeway --node http://127.0.0.1:7101 list
  causeway --node http://127.0.0.1:7101 send <key of C> 0.25";

/// `causeway`.
#[derive(Debug, Parser)]
#[command(name = "causeway", version, about = ABOUT, after_help = GUIDE, max_term_width = 120)]
pub(crate) struct Cli {
    /// Print one JSON value instead of text: the result to standard output, notes and errors to standard error, one a line.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Where the node is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// The node's gRPC endpoint, such as http://127.0.0.1:7101 (https with --tls-ca). Goes before any profile.
    #[arg(long, global = true, value_name = "URL", env = "CAUSEWAY_NODE")]
    pub node: Option<String>,
    /// A node by its name in the profile file.
    #[arg(long, global = true, value_name = "NAME", env = "CAUSEWAY_PROFILE")]
    pub profile: Option<String>,
    /// Profile file [default: ~/.config/causeway/profiles.toml].
    #[arg(long, global = true, value_name = "FILE", env = "CAUSEWAY_PROFILE_FILE")]
    pub profile_file: Option<PathBuf>,
    /// File with the bearer token of the node.
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// PEM file with the certificates that the node's must be signed by.
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Name in the node's certificate, when it is not the host of the URL.
    #[arg(long, global = true, value_name = "NAME")]
    pub tls_domain: Option<String>,
    /// PEM file with our own certificate, when the node asks for one.
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the private key of --tls-cert.
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// How long to wait for the node's answer.
    #[arg(long, global = true, value_name = "TIME", default_value = "30s")]
    pub timeout: String,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Who the node is: its key (what others open channels with), wallet address, services, clock.
    Info,
    /// What the node owns: wallet and channels, per coin.
    Balance,
    /// The nodes that this node has an open channel with.
    Peers,
    /// Channels by address, or virtual channels by key with --virtual.
    #[command(
        after_help = "Examples:\n  causeway list\n  causeway list --peer <key> --closed\n  causeway list --virtual --limit 20"
    )]
    List(ListArgs),
    /// One channel by its address, or one virtual channel by its key.
    Show {
        /// Address of a channel, or key of a virtual channel.
        what: String,
    },
    /// Open a channel with a peer: agree on it off-chain, then deploy its contract with our first top-up.
    #[command(
        after_help = "The chain's fees come on top of the amount. The channel is pending until the chain shows it: see `list`.\n\n\
        Example:\n  causeway deploy <key of the peer> 10"
    )]
    Deploy(DeployArgs),
    /// Put money from the wallet on our side of a channel.
    #[command(
        after_help = "The chain's fees come on top of the amount.\n\nExample:\n  causeway topup <address of the channel> 2.5"
    )]
    Topup(FundsArgs),
    /// Take money out of a channel to the wallet; the channel stays open.
    #[command(
        after_help = "The peer must agree: its operator allows withdrawals or not. Waits until the chain has paid; exit code 3: not known yet, \
        repeat with the same --request-id. Until the withdrawal is done, a peer that falls silent can hold up what stays in the channel.\n\n\
        Example:\n  causeway withdraw <address of the channel> 2.5"
    )]
    Withdraw(FundsArgs),
    /// Open a virtual channel to a receiver, to be paid later with `sign` and `close`.
    #[command(after_help = "The capacity is reserved until the channel is closed or has expired.\n\nExamples:\n  \
        causeway open <key of the receiver> 5 --ttl 24h\n  \
        causeway open <key of the receiver> 5 --via <key of a node>,fee=0.01,gap=13h --max-fee 0.02")]
    Open(OpenArgs),
    /// Pay a receiver: a virtual channel that the receiver closes at once.
    #[command(
        after_help = "Waits until the payment is final: exit code 0 paid, 1 failed, 3 not known yet (`show` tells later).\n\nExamples:\n  \
        causeway send <key of the receiver> 0.25\n  \
        causeway send <key of a peer> 0.25 --direct\n  \
        causeway send <key of the receiver> 0.25 --via <key of a node> --max-fee 0.01"
    )]
    Send(SendArgs),
    /// Sign an amount of a virtual channel that we opened; hand the text to the receiver, who can `close` with it.
    #[command(after_help = "Changes nothing here: a larger amount may be signed later, and the receiver keeps the largest.\n\n\
        Example:\n  causeway sign <key of the virtual channel> 1.25")]
    Sign(SignArgs),
    /// Claim a virtual channel as its receiver, with the text that the sender signed.
    #[command(after_help = "Examples:\n  causeway close <text>\n  causeway close - < text-file")]
    Close(CloseArgs),
    /// Close a channel and pay both sides out: in agreement with the peer, or with --force without it.
    #[command(
        after_help = "Examples:\n  causeway destroy <address of the channel>\n  causeway destroy <address of the channel> --force"
    )]
    Destroy(DestroyArgs),
    /// Make a suspended channel work again.
    #[command(
        after_help = "Only when you are sure that the node's database is the newest: on an older one its new signatures cost money. See the \
        runbook on suspended channels.\n\nExample:\n  causeway lift <address of the channel>"
    )]
    Lift(LiftArgs),
}

/// Of a command that changes something.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// Repeat a call whose answer was lost: the id that it showed. Nothing is done twice.
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<String>,
    /// Check the values and show what would be asked of the node, without calling it.
    #[arg(long)]
    pub dry_run: bool,
}

/// The coin of an amount.
#[derive(Debug, Args)]
pub(crate) struct CoinArgs {
    /// `ton`, `jetton:<master address>` or `extra:<id>`.
    #[arg(long, default_value = "ton")]
    pub coin: String,
    /// Digits after the point of a coin that is not TON.
    #[arg(long, value_name = "N")]
    pub decimals: Option<u8>,
}

/// The way of a payment.
#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    /// A node that the payment passes, in order; repeat for each: KEY[,fee=AMOUNT][,gap=TIME]. What is left out is filled in from the
    /// node's terms. Without any, the planner finds the chain.
    #[arg(long, value_name = "NODE")]
    pub via: Vec<String>,
    /// Through our own channel with the receiver and nowhere else.
    #[arg(long, conflicts_with = "via")]
    pub direct: bool,
    /// Give up rather than pay more than this in fees, in coin units.
    #[arg(long, value_name = "AMOUNT")]
    pub max_fee: Option<String>,
}

/// `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Virtual channels instead of channels.
    #[arg(long = "virtual")]
    pub virtuals: bool,
    /// Closed ones too.
    #[arg(long)]
    pub closed: bool,
    /// Only channels with this peer.
    #[arg(long, value_name = "KEY", conflicts_with = "virtuals")]
    pub peer: Option<String>,
    /// Only virtual channels that pass this channel.
    #[arg(long, value_name = "ADDRESS", requires = "virtuals")]
    pub channel: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 1000)]
    pub limit: usize,
}

/// `deploy`.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// Key of the peer.
    pub peer: String,
    /// First top-up of our side, in coin units.
    pub amount: String,
    #[command(flatten)]
    pub coin: CoinArgs,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// `topup`, `withdraw`.
#[derive(Debug, Args)]
pub(crate) struct FundsArgs {
    /// Address of the channel.
    pub channel: String,
    /// What the channel gains or loses, in coin units.
    pub amount: String,
    #[command(flatten)]
    pub coin: CoinArgs,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// `open`.
#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    /// Key of the receiver.
    pub receiver: String,
    /// The most that the receiver can be paid, in coin units.
    pub capacity: String,
    /// How long the receiver can be paid.
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub ttl: String,
    /// Show the private seed of the virtual channel, for signing elsewhere. Whoever has it can spend up to the capacity.
    #[arg(long)]
    pub show_seed: bool,
    #[command(flatten)]
    pub coin: CoinArgs,
    #[command(flatten)]
    pub route: RouteArgs,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// `send`.
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// Key of the receiver.
    pub receiver: String,
    /// What the receiver gets, in coin units.
    pub amount: String,
    /// How long the payment may take at most; after that it unwinds [default: the shortest safe time].
    #[arg(long, value_name = "TIME")]
    pub ttl: Option<String>,
    /// Return as soon as the first hop has agreed.
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    pub coin: CoinArgs,
    #[command(flatten)]
    pub route: RouteArgs,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// `sign`.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// Key of the virtual channel.
    pub key: String,
    /// The amount to sign in all, in coin units; at most the capacity.
    pub amount: String,
    #[command(flatten)]
    pub coin: CoinArgs,
}

/// `close`.
#[derive(Debug, Args)]
pub(crate) struct CloseArgs {
    /// Text made by `sign` at the sender; `-` reads it from standard input.
    pub text: String,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// `lift`.
#[derive(Debug, Args)]
pub(crate) struct LiftArgs {
    /// Address of the channel.
    pub channel: String,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// `destroy`.
#[derive(Debug, Args)]
pub(crate) struct DestroyArgs {
    /// Address of the channel.
    pub channel: String,
    /// On the chain, without the peer: takes the quarantine and the time for conditionals, hours by default.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub change: ChangeArgs,
}
