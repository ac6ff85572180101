//! What must come out, to the nano. Pure: what was seen goes in, the first row that is wrong comes out.

use testnet::{Closing, Totals};

/// A row that does not add up.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {row}: {rule}: {seen} nano, but it must be {expected}")]
pub struct Mismatch {
    /// Which row of the table.
    pub row: String,
    /// What was compared.
    pub rule: &'static str,
    /// The left side.
    pub seen: i128,
    /// The right side.
    pub expected: i128,
}

/// One side of a channel off-chain.
#[derive(Clone, Debug)]
pub struct Side {
    /// Its name in the table.
    pub row: String,
    /// Before the first payment.
    pub before: u128,
    /// What the payments brought it, fees included.
    pub received: u128,
    /// What it paid, fees included.
    pub paid: u128,
    /// After the last payment.
    pub after: u128,
}

/// The end of a channel on the chain.
#[derive(Clone, Debug)]
pub struct Close {
    /// The names of its rows in the table: the left and the right side's.
    pub rows: [String; 2],
    /// The wallets of the left and the right side.
    pub wallets: [String; 2],
    /// Off-chain balances of the left and the right side.
    pub balances: [u128; 2],
    /// What the contract keeps for its rent.
    pub reserve: u128,
    /// What the chain did.
    pub closing: Closing,
}

impl Side {
    /// # Errors
    /// Does not add up.
    pub fn check(&self) -> Result<(), Mismatch> {
        let due = signed(self.before) + signed(self.received) - signed(self.paid);
        equal(&self.row, "after = before + received - paid", self.after, due)
    }
}

impl Close {
    /// All that the chain took, but for the forwarding fee of the right side's payout, which that side bears itself.
    pub fn transaction_fees(&self) -> u128 {
        self.closing.storage_fee + self.closing.gas_fee + self.closing.left.forward_fee
    }

    /// # Errors
    /// Does not add up.
    pub fn check(&self) -> Result<(), Mismatch> {
        let Closing { before, value_in, left, right, after, .. } = &self.closing;
        let [left_row, right_row] = &self.rows;
        let [left_balance, right_balance] = self.balances;
        equal(left_row, "payouts to other wallets", u128::from(left.to != self.wallets[0]), 0)?;
        equal(right_row, "payouts to other wallets", u128::from(right.to != self.wallets[1]), 0)?;
        equal(right_row, "payout + its forwarding fee = balance", right.nano + right.forward_fee, signed(right_balance))?;
        let all = signed(left_balance + right_balance + self.reserve);
        equal(left_row, "account before = both balances + reserve", *before, all)?;
        let due = signed(before + value_in) - signed(self.transaction_fees()) - signed(right_balance);
        equal(left_row, "payout = account before + value in - fees - right side", left.nano, due)?;
        equal(left_row, "account after", *after, 0)
    }
}

/// What the node between earned: what was announced to the payer.
///
/// # Errors
/// Does not add up.
pub fn check_fees(earned: i128, announced: u128) -> Result<(), Mismatch> {
    equal("fees earned by B", "fees that A was told = gain over both channels", announced, earned)
}

/// Nothing is made or lost over the whole chain.
///
/// # Errors
/// Does not add up.
pub fn check_chain(totals: &Totals) -> Result<(), Mismatch> {
    equal("chain", "all balances + all fees = all minted", totals.held + totals.fees, signed(totals.minted))
}

/// Far below what a signed number holds: all coins there are have 63 bits.
fn signed(nano: u128) -> i128 {
    i128::try_from(nano).unwrap_or(i128::MAX)
}

fn equal(row: &str, rule: &'static str, seen: u128, expected: i128) -> Result<(), Mismatch> {
    let seen = signed(seen);
    if seen == expected { Ok(()) } else { Err(Mismatch { row: row.into(), rule, seen, expected }) }
}

#[cfg(test)]
mod tests {
    use testnet::Payout;

    use super::*;

    fn side() -> Side {
        Side { row: "B on A-B".into(), before: 1_000, received: 310, paid: 10, after: 1_300 }
    }

    fn close() -> Close {
        let payout = |to: &str, nano, forward_fee| Payout { to: to.into(), nano, forward_fee };
        Close {
            rows: ["A on A-B, on the chain".into(), "B on A-B, on the chain".into()],
            wallets: ["0:aa".into(), "0:bb".into()],
            balances: [19_000, 1_000],
            reserve: 250,
            closing: Closing {
                before: 20_250,
                value_in: 50,
                storage_fee: 3,
                gas_fee: 7,
                right: payout("0:bb", 996, 4),
                left: payout("0:aa", 20_250 + 50 - 3 - 7 - 4 - 1_000, 4),
                after: 0,
            },
        }
    }

    #[test]
    fn what_adds_up_passes() {
        side().check().unwrap();
        close().check().unwrap();
        check_fees(5, 5).unwrap();
        check_chain(&Totals { minted: 10, held: 7, fees: 3 }).unwrap();
    }

    #[test]
    fn a_wrong_nano_of_a_side_is_found_and_the_row_named() {
        let changes: [fn(&mut Side); 4] = [|s| s.before += 1, |s| s.received -= 1, |s| s.paid += 1, |s| s.after -= 1];
        for change in changes {
            let mut wrong = side();
            change(&mut wrong);
            let found = wrong.check().unwrap_err();
            assert!(found.to_string().starts_with("row B on A-B: "), "{found}");
            assert_eq!((found.seen - found.expected).abs(), 1);
        }
    }

    #[test]
    fn a_wrong_nano_of_a_closing_is_found_and_the_row_named() {
        type Change = fn(&mut Close);
        let changes: [(char, Change); 12] = [
            ('A', |c| c.balances[0] += 1),
            ('B', |c| c.balances[1] -= 1),
            ('A', |c| c.reserve += 1),
            ('A', |c| c.closing.before -= 1),
            ('A', |c| c.closing.value_in += 1),
            ('A', |c| c.closing.storage_fee += 1),
            ('A', |c| c.closing.gas_fee -= 1),
            ('B', |c| c.closing.right.nano += 1),
            ('B', |c| c.closing.right.forward_fee -= 1),
            ('A', |c| c.closing.left.nano += 1),
            ('A', |c| c.closing.left.forward_fee -= 1),
            ('A', |c| c.closing.after += 1),
        ];
        for (number, (row, change)) in changes.into_iter().enumerate() {
            let mut wrong = close();
            change(&mut wrong);
            let found = wrong.check().expect_err(&format!("change {number}"));
            assert!(found.to_string().starts_with(&format!("row {row} on A-B, on the chain: ")), "{found}");
        }
    }

    #[test]
    fn a_nano_moved_from_one_side_to_the_other_is_found() {
        let mut wrong = close();
        wrong.closing.right.nano -= 1;
        wrong.closing.left.nano += 1;
        assert_eq!(wrong.check().unwrap_err().row, "B on A-B, on the chain");
        wrong.closing.right.forward_fee += 1;
        assert_eq!(wrong.check().unwrap_err().row, "A on A-B, on the chain");
    }

    #[test]
    fn money_for_a_foreign_wallet_is_found() {
        let mut wrong = close();
        wrong.wallets.swap(0, 1);
        assert_eq!(wrong.check().unwrap_err().rule, "payouts to other wallets");
        wrong.wallets[0] = wrong.closing.left.to.clone();
        assert_eq!(wrong.check().unwrap_err().row, "B on A-B, on the chain");
    }

    #[test]
    fn a_wrong_nano_of_the_fees_and_of_the_chain_is_found_and_the_row_named() {
        assert!(check_fees(4, 5).unwrap_err().to_string().starts_with("row fees earned by B: "));
        assert!(check_fees(-5, 5).is_err());
        for totals in [(11, 7, 3), (10, 8, 3), (10, 7, 2)].map(|(minted, held, fees)| Totals { minted, held, fees }) {
            assert!(check_chain(&totals).unwrap_err().to_string().starts_with("row chain: "));
        }
    }
}
