//! Reading fields of requests: each refusal names the field and the rule.

use protocol::{Address, Key};
use rpc::{
    Error, ErrorCode,
    common::v1::{Coin, coin::Kind},
};
use uuid::Uuid;

/// A key of 32 bytes that is a point of the curve.
pub fn key(field: &str, bytes: &[u8]) -> Result<Key, Error> {
    let key = Key::try_from(bytes).map_err(|_| Error::field(ErrorCode::InvalidKey, field, "must have 32 bytes"))?;
    match ed25519_dalek::VerifyingKey::from_bytes(&key) {
        Ok(point) if !point.is_weak() => Ok(key),
        _ => Err(Error::field(ErrorCode::InvalidKey, field, "must be a point of the curve")),
    }
}

/// Positive nano as decimal text.
pub fn nano(field: &str, text: &str) -> Result<u128, Error> {
    match text.parse::<u128>() {
        Ok(0) if text == "0" => Err(Error::field(ErrorCode::AmountOutOfRange, field, "must be above zero")),
        // `parse` takes a plus sign.
        Ok(amount) if amount <= ton::MAX_COINS && text.starts_with(|first| ('1'..='9').contains(&first)) => Ok(amount),
        _ => {
            let rule = "must be decimal digits of nano without leading zeros, of at most 120 bits";
            Err(Error::field(ErrorCode::InvalidAmount, field, rule))
        }
    }
}

/// A channel's address.
pub fn address(field: &str, text: &str) -> Result<Address, Error> {
    match text.parse::<ton::Address>() {
        Ok(address) if address.workchain == 0 => Ok(address.hash),
        _ => Err(Error::field(ErrorCode::InvalidField, field, "must be a TON address in the basechain")),
    }
}

/// A request id.
pub fn request_id(text: &str) -> Result<String, Error> {
    Uuid::parse_str(text)
        .map(|id| id.hyphenated().to_string())
        .map_err(|_| Error::field(ErrorCode::InvalidRequestId, "request_id", "must be a UUID"))
}

/// Only TON so far.
pub fn coin(coin: Option<&Coin>) -> Result<(), Error> {
    match coin.and_then(|c| c.kind.as_ref()) {
        None | Some(Kind::Ton(_)) => Ok(()),
        Some(_) => Err(Error::field(ErrorCode::UnsupportedCoin, "coin", "must be TON")),
    }
}

/// A page of at most a thousand.
pub fn page_size(size: u32) -> Result<u32, Error> {
    match size {
        0 => Ok(100),
        1..=1000 => Ok(size),
        _ => Err(Error::field(ErrorCode::InvalidField, "page_size", "must be at most 1000")),
    }
}

/// A token that an earlier page gave: hex of `N` bytes.
pub fn page_token<const N: usize>(token: &str) -> Result<Option<[u8; N]>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = hex::decode(token).ok().and_then(|b| <[u8; N]>::try_from(b).ok());
    bytes
        .map(Some)
        .ok_or_else(|| Error::field(ErrorCode::InvalidPageToken, "page_token", "must be the token of the previous page"))
}
