//! Values of the command line, each refused with the code, field and rule that the node would name.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use rpc::common::v1::{ChainHop, Coin, coin};
use rpc::{Error, ErrorCode};
use ton::{Address, AmountError};

/// Digits after the point of a TON.
pub(crate) const TON_DECIMALS: u8 = 9;
/// The most digits after the point that make sense: an amount has at most 120 bits.
const MAX_DECIMALS: u8 = 36;

/// A coin and how its amounts are written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unit {
    pub coin: Coin,
    pub decimals: u8,
}

impl Unit {
    /// `ton`, `jetton:<master address>` or `extra:<id>`; the last two need `decimals`.
    pub(crate) fn parse(text: &str, decimals: Option<u8>) -> Result<Self, Error> {
        let (kind, known) = match text.split_once(':') {
            None if text == "ton" => (coin::Kind::Ton(coin::Ton {}), Some(TON_DECIMALS)),
            Some(("jetton", master)) => (coin::Kind::JettonMaster(address("coin", master)?), None),
            Some(("extra", id)) => {
                let id = id.parse().map_err(|_| invalid("coin", "must name the extra currency by its number"))?;
                (coin::Kind::ExtraCurrencyId(id), None)
            }
            _ => return Err(invalid("coin", "must be `ton`, `jetton:<master address>` or `extra:<id>`")),
        };
        let decimals = match (known, decimals) {
            (Some(known), Some(given)) if given != known => {
                return Err(invalid("decimals", format!("must be {known} for this coin, or left out")));
            }
            (None, None) => return Err(invalid("decimals", "must be set for this coin (its master contract says how many)")),
            (_, Some(given)) if given > MAX_DECIMALS => {
                return Err(invalid("decimals", format!("must be at most {MAX_DECIMALS}")));
            }
            (Some(decimals), _) | (None, Some(decimals)) => decimals,
        };
        Ok(Self { coin: Coin { kind: Some(kind) }, decimals })
    }

    /// An amount in coin units, as nano text.
    pub(crate) fn amount(&self, field: &str, text: &str) -> Result<String, Error> {
        let amount = ton::parse_amount(text, self.decimals).map_err(|error| match error {
            AmountError::TooManyDecimals { decimals } => Error::field(
                ErrorCode::TooManyDecimals,
                field,
                format!("must have at most {decimals} digits after the point, but is {text}"),
            ),
            AmountError::TooLarge => Error::field(ErrorCode::InvalidAmount, field, "must fit 120 bits"),
            AmountError::NotANumber => Error::field(ErrorCode::InvalidAmount, field, "must be a decimal number such as 1.5"),
        })?;
        Ok(amount.to_string())
    }

    /// An amount above zero.
    pub(crate) fn positive(&self, field: &str, text: &str) -> Result<String, Error> {
        match self.amount(field, text)?.as_str() {
            "0" => Err(Error::field(ErrorCode::AmountOutOfRange, field, "must be above zero")),
            amount => Ok(amount.to_owned()),
        }
    }
}

/// A key: 64 hexadecimal digits, or 44 characters of base64 in either alphabet.
pub(crate) fn key(field: &str, text: &str) -> Result<Vec<u8>, Error> {
    let bytes = match text.len() {
        64 => hex::decode(text).ok(),
        44 => STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok(),
        _ => None,
    };
    bytes
        .filter(|bytes| bytes.len() == 32)
        .ok_or_else(|| Error::field(ErrorCode::InvalidKey, field, "must be 64 hexadecimal digits or 44 characters of base64"))
}

/// An address in any of TON's forms, as the node takes it.
pub(crate) fn address(field: &str, text: &str) -> Result<String, Error> {
    let address: Address = text.parse().map_err(|error| invalid(field, format!("must be a TON address ({error})")))?;
    Ok(address.to_string())
}

/// A time span in seconds: `90`, `90s`, `15m`, `6h`, `2d`.
pub(crate) fn seconds(field: &str, text: &str) -> Result<u64, Error> {
    let rule = || invalid(field, "must be a whole number with s, m, h or d, such as 90s or 6h");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(rule()),
    };
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err(rule());
    }
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(rule)
}

/// The chain that the user fixed: the nodes between, then the receiver. Empty when the planner shall find one.
pub(crate) fn chain(via: &[String], direct: bool, receiver: &[u8], unit: &Unit) -> Result<Vec<ChainHop>, Error> {
    if via.is_empty() && !direct {
        return Ok(Vec::new());
    }
    let mut chain = via.iter().enumerate().map(|(i, text)| hop(i, text, unit)).collect::<Result<Vec<_>, _>>()?;
    chain.push(ChainHop { node_key: receiver.to_vec(), fee_nano: None, deadline_gap_seconds: None });
    Ok(chain)
}

/// `KEY[,fee=AMOUNT][,gap=TIME]`.
fn hop(index: usize, text: &str, unit: &Unit) -> Result<ChainHop, Error> {
    let field = |name: &str| format!("via[{index}]{name}");
    let mut parts = text.split(',');
    let node_key = key(&field(""), parts.next().unwrap_or_default())?;
    let mut hop = ChainHop { node_key, fee_nano: None, deadline_gap_seconds: None };
    for part in parts {
        match part.split_once('=') {
            Some(("fee", amount)) => hop.fee_nano = Some(unit.amount(&field(".fee"), amount)?),
            Some(("gap", time)) => {
                let gap =
                    u32::try_from(seconds(&field(".gap"), time)?).map_err(|_| invalid(field(".gap"), "must fit 32 bits"))?;
                hop.deadline_gap_seconds = Some(gap);
            }
            _ => return Err(invalid(field(""), "must be KEY, KEY,fee=AMOUNT or KEY,fee=AMOUNT,gap=TIME")),
        }
    }
    Ok(hop)
}

/// The given request id, or a new one.
pub(crate) fn request_id(given: Option<&str>) -> Result<String, Error> {
    match given {
        None => Ok(uuid::Uuid::new_v4().to_string()),
        Some(text) => match uuid::Uuid::parse_str(text) {
            Ok(id) => Ok(id.to_string()),
            Err(_) => Err(Error::field(ErrorCode::InvalidRequestId, "request_id", "must be a UUID")),
        },
    }
}

fn invalid(field: impl Into<String>, rule: impl Into<String>) -> Error {
    Error::field(ErrorCode::InvalidField, field, rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ton() -> Unit {
        Unit::parse("ton", None).unwrap()
    }

    #[test]
    fn amounts_are_coin_units_and_more_decimals_than_the_coin_has_are_an_error_that_names_the_field() {
        assert_eq!(ton().amount("amount", "1.5").unwrap(), "1500000000");
        let error = ton().amount("amount", "1.0000000001").unwrap_err();
        assert_eq!(error.code(), ErrorCode::TooManyDecimals);
        assert_eq!(error.violation().unwrap().0, "amount");
        for (text, code) in [
            ("-1", ErrorCode::InvalidAmount),
            ("1e3", ErrorCode::InvalidAmount),
            ("9999999999999999999999999999999999", ErrorCode::InvalidAmount),
            ("0", ErrorCode::AmountOutOfRange),
            ("0.000", ErrorCode::AmountOutOfRange),
        ] {
            assert_eq!(ton().positive("amount", text).unwrap_err().code(), code, "{text}");
        }
    }

    #[test]
    fn coins_other_than_ton_need_their_decimals() {
        let master = "0:a41536b250660cea2e2b6a16931515ec38fca732dd7d35a66cd291909c2dc02a";
        let jetton = Unit::parse(&format!("jetton:{master}"), Some(6)).unwrap();
        assert_eq!(jetton.coin.kind, Some(coin::Kind::JettonMaster(master.into())));
        assert_eq!(jetton.amount("amount", "1.5").unwrap(), "1500000");
        assert_eq!(Unit::parse("extra:7", Some(0)).unwrap().coin.kind, Some(coin::Kind::ExtraCurrencyId(7)));
        for (text, decimals, field) in [
            ("extra:7", None, "decimals"),
            ("extra:7", Some(37), "decimals"),
            ("ton", Some(6), "decimals"),
            ("extra:x", Some(1), "coin"),
            ("jetton:nowhere", Some(1), "coin"),
            ("btc", None, "coin"),
        ] {
            assert_eq!(Unit::parse(text, decimals).unwrap_err().violation().unwrap().0, field, "{text}");
        }
    }

    #[test]
    fn keys_of_another_length_are_refused() {
        for text in ["", "00", &"0".repeat(63), &"g".repeat(64), &"A".repeat(44), &format!("{}=", "!".repeat(43))] {
            assert_eq!(key("peer", text).unwrap_err().code(), ErrorCode::InvalidKey, "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, expected) in [("90", 90), ("90s", 90), ("15m", 900), ("6h", 21_600), ("2d", 172_800)] {
            assert_eq!(seconds("ttl", text).unwrap(), expected);
        }
        for text in ["", "h", "1.5h", "-1", "+1", "1w", "6hh", "99999999999999999999", "999999999999999999d", "1é", "٣"] {
            assert!(seconds("ttl", text).is_err(), "{text}");
        }
    }

    #[test]
    fn chains_end_with_the_receiver() {
        let (node, receiver) = ("11".repeat(32), [9; 32]);
        assert_eq!(chain(&[], false, &receiver, &ton()).unwrap(), []);
        assert_eq!(chain(&[], true, &receiver, &ton()).unwrap().len(), 1);
        let hops = chain(&[node.clone(), format!("{node},fee=0.1,gap=13h")], false, &receiver, &ton()).unwrap();
        let expect = |key: [u8; 32], fee: Option<&str>, gap| ChainHop {
            node_key: key.to_vec(),
            fee_nano: fee.map(str::to_owned),
            deadline_gap_seconds: gap,
        };
        let (plain, priced) = (expect([0x11; 32], None, None), expect([0x11; 32], Some("100000000"), Some(46_800)));
        assert_eq!(hops, [plain, priced, expect(receiver, None, None)]);
        for (text, field) in [
            ("", "via[0]".to_owned()),
            (&format!("{node},tip=1"), "via[0]".into()),
            (&format!("{node},fee=0.0000000001"), "via[0].fee".into()),
            (&format!("{node},gap=99999d"), "via[0].gap".into()),
        ] {
            let error = chain(&[text.to_owned()], false, &receiver, &ton()).unwrap_err();
            assert_eq!(error.violation().unwrap().0, field, "{text}");
        }
    }

    #[test]
    fn request_ids_are_uuids() {
        let id = request_id(None).unwrap();
        assert_ne!(id, request_id(None).unwrap());
        assert_eq!(request_id(Some(&id.to_uppercase())).unwrap(), id);
        assert_eq!(request_id(Some("1")).unwrap_err().code(), ErrorCode::InvalidRequestId);
    }

    proptest! {
        #[test]
        fn all_forms_of_a_key_are_the_same_key(bytes in any::<[u8; 32]>()) {
            for text in [hex::encode(bytes), hex::encode_upper(bytes), STANDARD.encode(bytes), URL_SAFE.encode(bytes)] {
                prop_assert_eq!(key("peer", &text).unwrap(), bytes);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,70}") {
            let _ = (key("k", &text), address("a", &text), seconds("s", &text), Unit::parse(&text, Some(1)), hop(0, &text, &ton()));
        }
    }
}
