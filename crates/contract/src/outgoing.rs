use ton::{Cell, CellError, DynCell, expect_end};

use crate::config::load_id;
use crate::{build, op};

/// A message that the contract sends to a person's wallet (payments 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing {
    /// The payout at close.
    Closed {
        /// The channel.
        channel_id: [u8; 16],
    },
    /// The payout of a cooperative commit.
    Withdrawal {
        /// The channel.
        channel_id: [u8; 16],
    },
    /// What was left of the value.
    Excess {
        /// Always 0.
        query_id: u64,
    },
}

impl Outgoing {
    /// The body.
    pub fn to_cell(&self) -> Cell {
        build(|b| match self {
            Self::Closed { channel_id } => {
                b.store_u32(op::CLOSED)?;
                b.store_raw(channel_id, 128)
            }
            Self::Withdrawal { channel_id } => {
                b.store_u32(op::WITHDRAWAL)?;
                b.store_raw(channel_id, 128)
            }
            Self::Excess { query_id } => {
                b.store_u32(op::EXCESS)?;
                b.store_u64(*query_id)
            }
        })
    }

    /// Reads a body. Jetton transfers and questions to the master are [`CellError::InvalidTag`].
    pub fn parse(cell: &DynCell) -> Result<Self, CellError> {
        let mut s = cell.as_slice()?;
        let message = match s.load_u32()? {
            op::CLOSED => Self::Closed { channel_id: load_id(&mut s)? },
            op::WITHDRAWAL => Self::Withdrawal { channel_id: load_id(&mut s)? },
            op::EXCESS => Self::Excess { query_id: s.load_u64()? },
            _ => return Err(CellError::InvalidTag),
        };
        expect_end(&s)?;
        Ok(message)
    }
}
