//! The control interface: HTTP with JSON on loopback. Amounts are decimal strings in nano.
//!
//! - `GET /status` → [`crate::Status`]
//! - `POST /mine` → seals a block now
//! - `POST /time` `{"set": unix}` or `{"advance": seconds}` → moves the clock forward and seals a block
//! - `POST /faucet` `{"address": "0:…", "nano": "…"}` → mints and seals a block
//!
//! Each answers with the status afterwards, or with `{"error": …}` and 400.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tycho_types::models::{StdAddr, StdAddrFormat};

use crate::node::{Devnet, Error, Status};

/// The routes.
pub(crate) fn router(devnet: Devnet) -> Router {
    Router::new()
        .route("/status", get(async |State(devnet): State<Devnet>| Json(devnet.status())))
        .route("/mine", post(mine))
        .route("/time", post(time))
        .route("/faucet", post(faucet))
        .with_state(devnet)
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Time {
    Set(u32),
    Advance(u32),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Faucet {
    address: String,
    nano: String,
}

async fn mine(State(devnet): State<Devnet>) -> Result<Json<Status>, Refusal> {
    devnet.mine()?;
    Ok(Json(devnet.status()))
}

async fn time(State(devnet): State<Devnet>, Json(time): Json<Time>) -> Result<Json<Status>, Refusal> {
    match time {
        Time::Set(now) => devnet.set_time(now)?,
        Time::Advance(seconds) => devnet.advance(seconds)?,
    }
    mine(State(devnet)).await
}

async fn faucet(State(devnet): State<Devnet>, Json(request): Json<Faucet>) -> Result<Json<Status>, Refusal> {
    let (address, _) =
        StdAddr::from_str_ext(&request.address, StdAddrFormat::any()).map_err(|_| Refusal("address: not an address".into()))?;
    let nano = request.nano.parse().map_err(|_| Refusal("nano: not a decimal number".into()))?;
    devnet.faucet(address, nano)?;
    mine(State(devnet)).await
}

/// Why a request was refused.
struct Refusal(String);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({ "error": self.0 }))).into_response()
    }
}
