use ton::{CellBuilder, CellError, CellSlice};

/// A side of a channel. A opened it, is *left* and the lock master (payments 0.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The opener, left.
    A,
    /// The other one, right.
    B,
}

impl Side {
    /// The other side.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(crate) fn store(self, b: &mut CellBuilder) -> Result<(), CellError> {
        b.store_bit(self == Self::A)
    }

    pub(crate) fn load(s: &mut CellSlice<'_>) -> Result<Self, CellError> {
        Ok(if s.load_bit()? { Self::A } else { Self::B })
    }
}

/// One value for each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Pair<T> {
    /// A's.
    pub a: T,
    /// B's.
    pub b: T,
}

impl<T> Pair<T> {
    /// The pair in which `side` has the first and the other side the second value.
    pub fn of(side: Side, own: T, other: T) -> Self {
        match side {
            Side::A => Self { a: own, b: other },
            Side::B => Self { a: other, b: own },
        }
    }
    /// A side's value.
    pub fn get(&self, side: Side) -> &T {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }
    /// A side's value, to change.
    pub fn get_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// A's, then B's.
    pub(crate) fn store(
        &self,
        b: &mut CellBuilder,
        write: impl Fn(&mut CellBuilder, &T) -> Result<(), CellError>,
    ) -> Result<(), CellError> {
        write(b, &self.a)?;
        write(b, &self.b)
    }

    pub(crate) fn load<'a>(
        s: &mut CellSlice<'a>,
        read: impl Fn(&mut CellSlice<'a>) -> Result<T, CellError>,
    ) -> Result<Self, CellError> {
        Ok(Self { a: read(s)?, b: read(s)? })
    }
}
