//! One function a command: values, call, answer.

mod change;
mod query;

use std::io::Write;
use std::time::Duration;

use rpc::engine::v1::channel_service_client::ChannelServiceClient;
use rpc::{Connection, Error};
use serde_json::{Value, json};
use tonic::Request;

use crate::args::{ChangeArgs, Cli, Command};
use crate::failure::Failure;
use crate::output::Output;
use crate::{input, profile};

/// How many items a page of a list is asked for.
const PAGE: u32 = 500;

/// Runs the command. Request ids and notes go to `err`.
pub(crate) async fn run(cli: &Cli, err: &mut dyn Write) -> Result<Output, Failure> {
    let timeout = Duration::from_secs(input::seconds("timeout", &cli.connection.timeout)?);
    let mut session = Session { cli, timeout, client: None, err };
    match &cli.command {
        Command::Info => query::info(&mut session).await,
        Command::Balance => query::balance(&mut session).await,
        Command::Peers => query::peers(&mut session).await,
        Command::List(args) if args.virtuals => query::virtuals(&mut session, args).await,
        Command::List(args) => query::channels(&mut session, args).await,
        Command::Show { what } => query::show(&mut session, what).await,
        Command::Sign(args) => query::sign(&mut session, args).await,
        Command::Deploy(args) => change::deploy(&mut session, args).await,
        Command::Topup(args) => change::funds(&mut session, args, change::Way::In).await,
        Command::Withdraw(args) => change::funds(&mut session, args, change::Way::Out).await,
        Command::Open(args) => change::open(&mut session, args).await,
        Command::Send(args) => change::send(&mut session, args).await,
        Command::Close(args) => change::close(&mut session, args).await,
        Command::Destroy(args) => change::destroy(&mut session, args).await,
        Command::Lift(args) => change::lift(&mut session, args).await,
    }
}

/// The connection and what goes beside the result.
struct Session<'a> {
    cli: &'a Cli,
    timeout: Duration,
    client: Option<ChannelServiceClient<Connection>>,
    err: &'a mut dyn Write,
}

impl Session<'_> {
    /// The client, connected as the options say.
    fn client(&mut self) -> Result<&mut ChannelServiceClient<Connection>, Failure> {
        if self.client.is_none() {
            self.client = Some(ChannelServiceClient::new(profile::connect(&self.cli.connection)?));
        }
        Ok(self.client.as_mut().expect("set above"))
    }

    /// A call with our deadline.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// Begins a change, whose values are all checked: gives the result of a dry run, or shows the request id before the call is made.
    fn begin(&mut self, change: &ChangeArgs, id: &str, call: &str, mut request: Value) -> Option<Output> {
        request["request_id"] = json!(id);
        if change.dry_run {
            let text = format!("would call {call} with\n{request:#}\n");
            return Some(Output::new(json!({ "dry_run": true, "call": call, "request": request }), text));
        }
        let note = if self.cli.json { json!({ "request_id": id }).to_string() } else { format!("request id {id}") };
        // Who cannot be shown the id can still be paid for.
        let _ = writeln!(self.err, "{note}");
        None
    }

    fn note(&mut self, text: &str) {
        let note = if self.cli.json { json!({ "note": text }).to_string() } else { text.to_owned() };
        let _ = writeln!(self.err, "{note}");
    }
}

/// A value with the request id of its call.
fn with_id(mut value: Value, id: &str) -> Value {
    value["request_id"] = json!(id);
    value
}

/// The node answered with less than the protocol promises.
fn incomplete(what: &str) -> Failure {
    let error = Error::with_message(rpc::ErrorCode::Internal, format!("the node's answer has no {what}"));
    Failure::Call { error, request_id: None }
}
