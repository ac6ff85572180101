use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::{CellBuilder, CellError, CellSlice};

/// A standard internal address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// 0 is the basechain, -1 the masterchain.
    pub workchain: i8,
    /// The account id: the hash of the state init at deployment.
    pub hash: [u8; 32],
}

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither `workchain:hex` nor 48 characters of base64.
    #[error("neither a raw nor a friendly address")]
    Form,
    /// The checksum of the friendly form does not agree.
    #[error("wrong checksum")]
    Checksum,
    /// The friendly form's flags are unknown.
    #[error("unknown flags")]
    Flags,
    /// Neither the basechain nor the masterchain.
    #[error("unknown workchain")]
    Workchain,
}

const BOUNCEABLE: u8 = 0x11;
const NON_BOUNCEABLE: u8 = 0x51;
/// Set in the flags of a friendly address that is meant for a test network. Read and ignored.
const TEST_ONLY: u8 = 0x80;

impl Address {
    /// The address with this hash in the basechain, where channels and their wallets live (payments 7.1).
    pub const fn basechain(hash: [u8; 32]) -> Self {
        Self { workchain: 0, hash }
    }

    /// The friendly form, URL-safe. Bounceable for contracts, non-bounceable for wallets that may not exist yet.
    pub fn to_friendly(&self, bounceable: bool) -> String {
        let mut bytes = [0; 36];
        bytes[0] = if bounceable { BOUNCEABLE } else { NON_BOUNCEABLE };
        bytes[1] = self.workchain as u8;
        bytes[2..34].copy_from_slice(&self.hash);
        let crc = crc16(&bytes[..34]);
        bytes[34..].copy_from_slice(&crc.to_be_bytes());
        URL_SAFE.encode(bytes)
    }

    fn from_friendly(text: &str) -> Result<Self, AddressError> {
        let engine = if text.contains(['+', '/']) { STANDARD } else { URL_SAFE };
        let bytes: [u8; 36] = engine.decode(text).ok().and_then(|b| b.try_into().ok()).ok_or(AddressError::Form)?;
        if bytes[34..] != crc16(&bytes[..34]).to_be_bytes() {
            return Err(AddressError::Checksum);
        }
        if !matches!(bytes[0] & !TEST_ONLY, BOUNCEABLE | NON_BOUNCEABLE) {
            return Err(AddressError::Flags);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(&bytes[2..34]);
        Self { workchain: bytes[1] as i8, hash }.checked()
    }

    fn from_raw(workchain: &str, hash: &str) -> Result<Self, AddressError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(hash, &mut bytes).map_err(|_| AddressError::Form)?;
        let workchain = workchain.parse().map_err(|_| AddressError::Form)?;
        Self { workchain, hash: bytes }.checked()
    }

    fn checked(self) -> Result<Self, AddressError> {
        if matches!(self.workchain, 0 | -1) { Ok(self) } else { Err(AddressError::Workchain) }
    }
}

/// The raw form, `0:` and 64 hexadecimal digits.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.workchain, hex::encode(self.hash))
    }
}

/// Reads the raw and both friendly forms, base64 standard and URL-safe.
impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.split_once(':') {
            Some((workchain, hash)) => Self::from_raw(workchain, hash),
            None => Self::from_friendly(text),
        }
    }
}

/// CRC-16/XMODEM, as friendly addresses use it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 })
    })
}

/// Writes `MsgAddress`: `addr_none` or `addr_std` without anycast.
pub fn store_address(b: &mut CellBuilder, address: Option<&Address>) -> Result<(), CellError> {
    match address {
        None => b.store_zeros(2),
        Some(address) => {
            b.store_small_uint(0b100, 3)?;
            b.store_u8(address.workchain as u8)?;
            b.store_raw(&address.hash, 256)
        }
    }
}

/// Reads `MsgAddress`: `addr_none` or `addr_std` without anycast. Anything else is [`CellError::InvalidTag`].
pub fn load_address(s: &mut CellSlice<'_>) -> Result<Option<Address>, CellError> {
    match s.load_small_uint(2)? {
        0b00 => Ok(None),
        0b10 if !s.load_bit()? => Ok(Some(Address { workchain: s.load_u8()? as i8, hash: s.load_u256()?.0 })),
        _ => Err(CellError::InvalidTag),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RAW: &str = "0:a41536b250660cea2e2b6a16931515ec38fca732dd7d35a66cd291909c2dc02a";
    const FRIENDLY: &str = "EQCkFTayUGYM6i4rahaTFRXsOPynMt19NaZs0pGQnC3AKvoR";

    #[test]
    fn all_forms_name_the_same_address() {
        let address: Address = RAW.parse().unwrap();
        assert_eq!(FRIENDLY.parse(), Ok(address));
        assert_eq!(address.to_friendly(true), FRIENDLY);
        assert_eq!(address.to_friendly(false), "UQCkFTayUGYM6i4rahaTFRXsOPynMt19NaZs0pGQnC3AKqfU");
        assert_eq!(address.to_friendly(false).parse(), Ok(address));
        assert_eq!(address.to_string(), RAW);
    }

    #[test]
    fn wrong_texts_are_refused() {
        assert_eq!("".parse::<Address>(), Err(AddressError::Form));
        assert_eq!("0:12".parse::<Address>(), Err(AddressError::Form));
        assert_eq!(RAW.replace("0:", "5:").parse::<Address>(), Err(AddressError::Workchain));
        assert_eq!(FRIENDLY.replace("voR", "voQ").parse::<Address>(), Err(AddressError::Checksum));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            let _ = text.parse::<Address>();
        }

        #[test]
        fn addresses_survive(workchain in prop_oneof![Just(0i8), Just(-1)], hash in any::<[u8; 32]>()) {
            let address = Address { workchain, hash };
            prop_assert_eq!(address.to_string().parse(), Ok(address));
            prop_assert_eq!(address.to_friendly(true).parse(), Ok(address));
            let mut b = CellBuilder::new();
            store_address(&mut b, Some(&address)).unwrap();
            store_address(&mut b, None).unwrap();
            let cell = b.build().unwrap();
            let mut s = cell.as_slice().unwrap();
            prop_assert_eq!(load_address(&mut s).unwrap(), Some(address));
            prop_assert_eq!(load_address(&mut s).unwrap(), None);
        }
    }
}
