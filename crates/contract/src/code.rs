use ton::{Address, Cell, CellError};

use crate::Storage;

/// A contract code: what is needed of it to compute addresses. The code itself is elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeKind {
    /// The hash of the code cell.
    pub hash: [u8; 32],
    /// The depth of the code cell.
    pub depth: u16,
}

impl CodeKind {
    /// The live network's contract (payments 7.1).
    pub const LIVE: Self = Self {
        hash: [
            0xff, 0x5f, 0x2b, 0x39, 0x74, 0x3b, 0x52, 0xe0, 0x8d, 0x16, 0x40, 0x0f, 0x79, 0x2f, 0x75, 0xab, 0xe0, 0x38, 0x5f,
            0x33, 0x7c, 0x57, 0x22, 0x9b, 0xe5, 0xe7, 0x4c, 0xfe, 0x40, 0x1d, 0x32, 0xbc,
        ],
        depth: 12,
    };

    /// The kind of a code at hand.
    pub fn of(code: &Cell) -> Self {
        Self { hash: ton::hash(code.as_ref()), depth: code.as_ref().repr_depth() }
    }
}

/// The codes that a node accepts, in the order in which it offers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCodes(Vec<CodeKind>);

impl KnownCodes {
    /// The preferred kind first.
    pub fn new(kinds: impl IntoIterator<Item = CodeKind>) -> Self {
        Self(kinds.into_iter().collect())
    }
    /// The kind with this hash.
    pub fn by_hash(&self, hash: &[u8; 32]) -> Option<&CodeKind> {
        self.0.iter().find(|kind| kind.hash == *hash)
    }
    /// The preferred kind first.
    pub fn iter(&self) -> impl Iterator<Item = &CodeKind> {
        self.0.iter()
    }
}

/// Why an account is not a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Some other contract.
    #[error("unknown code")]
    UnknownCode,
    /// The code is known, the data is not the code's.
    #[error("storage: {0}")]
    Storage(#[from] CellError),
    /// The data is not what the address was made from: keys or terms were never agreed by anyone.
    #[error("the address does not belong to this storage")]
    OtherAddress,
}

/// Verifies an account found on the chain: known code, readable storage, and the address is that of the storage as it was at the start
/// (payments 7.1).
pub fn verify_account(
    known: &KnownCodes,
    code_hash: &[u8; 32],
    data: &Cell,
    address: &Address,
) -> Result<(CodeKind, Storage), VerifyError> {
    let kind = known.by_hash(code_hash).ok_or(VerifyError::UnknownCode)?;
    let storage = Storage::from_cell(data.as_ref())?;
    if storage.open_config().address(kind) != *address {
        return Err(VerifyError::OtherAddress);
    }
    Ok((*kind, storage))
}
