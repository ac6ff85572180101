//! The table at the end.

use testnet::{Closing, TON, Totals};

use super::arithmetic::{Close, Mismatch, Side, check_chain, check_fees};

/// Everything that was seen.
pub struct Table {
    /// Off-chain, one row per node and channel; those of the node between are the second and the third.
    pub sides: [Side; 4],
    /// Fees that the payer was told.
    pub announced_fees: u128,
    /// On the chain, two rows per channel.
    pub closes: [Close; 2],
    /// Over the chain.
    pub totals: Totals,
}

impl Table {
    /// What the node between gained over both channels.
    fn earned(&self) -> i128 {
        let gain = |side: &Side| side.after.cast_signed() - side.before.cast_signed();
        gain(&self.sides[1]) + gain(&self.sides[2])
    }

    /// Every row.
    ///
    /// # Errors
    /// The first row that does not add up.
    pub fn check(&self) -> Result<(), Mismatch> {
        self.sides.iter().try_for_each(Side::check)?;
        check_fees(self.earned(), self.announced_fees)?;
        self.closes.iter().try_for_each(Close::check)?;
        check_chain(&self.totals)
    }

    /// For people. Amounts in coin units with all digits.
    pub fn print(&self) {
        line(&["OFF-CHAIN, TON", "BEFORE", "RECEIVED", "PAID", "AFTER"].map(str::to_owned));
        for side in &self.sides {
            let cells = [side.before, side.received, side.paid, side.after].map(coins);
            line(&[&[side.row.clone()][..], &cells].concat());
        }
        println!("fees earned by B: {}\n", signed_coins(self.earned()));
        let heading =
            ["ON THE CHAIN, TON", "BALANCE", "ACCOUNT BEFORE", "VALUE IN", "STORAGE FEE", "GAS FEE", "FORWARD FEE", "PAYOUT"];
        line(&heading.map(str::to_owned));
        self.closes.iter().for_each(print_close);
        let Totals { minted, held, fees } = self.totals;
        println!("\nover the chain: all balances {} + all fees {} = all minted {}", coins(held), coins(fees), coins(minted));
    }
}

/// The right side bears the forwarding fee of its payout only; the left side is left with everything else.
fn print_close(close: &Close) {
    let Closing { before, value_in, storage_fee, gas_fee, left, right, .. } = &close.closing;
    let [left_row, right_row] = close.rows.clone();
    let [left_balance, right_balance] = close.balances.map(coins);
    let none = String::new;
    line(&[right_row, right_balance, none(), none(), none(), none(), coins(right.forward_fee), coins(right.nano)]);
    let rest = [*before, *value_in, *storage_fee, *gas_fee, left.forward_fee, left.nano].map(coins);
    line(&[&[left_row, left_balance][..], &rest].concat());
}

fn line(cells: &[String]) {
    let rest: String = cells[1..].iter().map(|cell| format!(" {cell:>14}")).collect();
    println!("{:<24}{rest}", cells[0]);
}

fn coins(nano: u128) -> String {
    format!("{}.{:09}", nano / TON, nano % TON)
}

fn signed_coins(nano: i128) -> String {
    let sign = if nano < 0 { "-" } else { "" };
    format!("{sign}{}", coins(nano.unsigned_abs()))
}
