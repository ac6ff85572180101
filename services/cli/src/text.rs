//! Answers as text for people.

use rpc::common::v1::{Coin, coin};
use rpc::engine::v1::*;

use crate::input::TON_DECIMALS;

/// Without control characters, so that text of other nodes cannot steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Rows under a heading, columns aligned; the columns in `right` to the right.
pub(crate) fn table(heading: &[&str], right: &[usize], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = heading.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> =
        std::iter::once(&heading).chain(rows).map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Names and values, one a line; empty values are left out.
pub(crate) fn list(pairs: &[(&str, String)]) -> String {
    let pairs: Vec<_> = pairs.iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:<width$}  {}\n", printable(value))).collect()
}

/// Nano as the node gave it, in coin units with the coin's name. What is no amount is shown as it is.
pub(crate) fn amount(nano: &str, coin: Option<&Coin>) -> String {
    let (digits, sign) = nano.strip_prefix('-').map_or((nano, ""), |digits| (digits, "-"));
    match (coin.and_then(|coin| coin.kind.as_ref()), digits.parse::<u128>()) {
        (None | Some(coin::Kind::Ton(_)), Ok(value)) => format!("{sign}{} TON", ton::format_amount(value, TON_DECIMALS)),
        (Some(coin::Kind::JettonMaster(_)), Ok(_)) => format!("{nano} jetton units"),
        (Some(coin::Kind::ExtraCurrencyId(id)), Ok(_)) => format!("{nano} units of currency {id}"),
        (_, Err(_)) => nano.to_owned(),
    }
}

/// The coin's name.
pub(crate) fn coin_name(coin: Option<&Coin>) -> String {
    match coin.and_then(|coin| coin.kind.as_ref()) {
        None | Some(coin::Kind::Ton(_)) => "TON".into(),
        Some(coin::Kind::JettonMaster(master)) => format!("jetton {master}"),
        Some(coin::Kind::ExtraCurrencyId(id)) => format!("currency {id}"),
    }
}

/// A moment in UTC; empty when it never was.
pub(crate) fn moment(unix: u64) -> String {
    if unix == 0 {
        return String::new();
    }
    let (days, second) = (unix / 86_400, unix % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3_600, second / 60 % 60, second % 60)
}

/// Year, month and day of a day since 1970, by the Gregorian calendar's 400 years of 146,097 days, each year from March on.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // days from 0000-03-01
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

pub(crate) fn channel_status(status: ChannelStatus) -> &'static str {
    match status {
        ChannelStatus::Unspecified => "unknown",
        ChannelStatus::Pending => "pending",
        ChannelStatus::Active => "active",
        ChannelStatus::Suspended => "suspended",
        ChannelStatus::Closing => "closing",
        ChannelStatus::Closed => "closed",
    }
}

pub(crate) fn virtual_status(status: VirtualStatus) -> &'static str {
    match status {
        VirtualStatus::Unspecified => "unknown",
        VirtualStatus::Pending => "pending",
        VirtualStatus::Active => "active",
        VirtualStatus::Closing => "closing",
        VirtualStatus::Closed => "closed",
        VirtualStatus::Unwinding => "unwinding",
        VirtualStatus::Removed => "removed",
    }
}

pub(crate) fn transfer_status(status: TransferStatus) -> &'static str {
    match status {
        TransferStatus::Unspecified => "unknown",
        TransferStatus::Pending => "pending",
        TransferStatus::Paid => "paid",
        TransferStatus::Failed => "failed",
    }
}

pub(crate) fn role(role: VirtualRole) -> &'static str {
    match role {
        VirtualRole::Unspecified => "unknown",
        VirtualRole::Sender => "sender",
        VirtualRole::Forwarder => "forwarder",
        VirtualRole::Receiver => "receiver",
    }
}

pub(crate) fn info(info: &GetInfoResponse) -> String {
    let services = info.services.iter().map(|service| {
        let state = if service.ready { "ready".to_owned() } else { format!("waiting: {}", service.detail) };
        vec![service.service.clone(), state, service.endpoint.clone()]
    });
    let facts = list(&[
        ("node key", hex::encode(&info.node_key)),
        ("wallet", info.wallet_address.clone()),
        ("protocol time", moment(info.protocol_time_unix_ms / 1_000)),
        ("version", info.version.clone()),
        ("frozen", info.frozen_reason.clone()),
    ]);
    format!("{facts}\n{}", table(&["SERVICE", "STATE", "ENDPOINT"], &[], &services.collect::<Vec<_>>()))
}

pub(crate) fn balances(balances: &[Balance]) -> String {
    let rows = balances.iter().map(|balance| {
        let coin = balance.coin.as_ref();
        let parts = [&balance.wallet_nano, &balance.available_nano, &balance.locked_nano, &balance.receivable_nano];
        std::iter::once(coin_name(coin)).chain(parts.map(|nano| amount(nano, coin))).collect()
    });
    table(&["COIN", "WALLET", "AVAILABLE", "LOCKED", "RECEIVABLE"], &[1, 2, 3, 4], &rows.collect::<Vec<_>>())
}

pub(crate) fn peers(peers: &[Peer]) -> String {
    let rows = peers.iter().map(|peer| {
        let since = moment(peer.connected_since_unix);
        let connected = if peer.connected { format!("yes {since}") } else { "no".into() };
        vec![hex::encode(&peer.node_key), peer.channels.to_string(), connected]
    });
    table(&["NODE", "CHANNELS", "CONNECTED"], &[1], &rows.collect::<Vec<_>>())
}

pub(crate) fn channels(channels: &[Channel]) -> String {
    let rows = channels.iter().map(|channel| {
        let coin = channel.coin.as_ref();
        let side = |side: &Option<ChannelSide>| {
            let side = side.clone().unwrap_or_default();
            [amount(&side.available_nano, coin), amount(&side.locked_nano, coin)]
        };
        let ([ours, our_locked], [theirs, their_locked]) = (side(&channel.our), side(&channel.their));
        let status = channel_status(channel.status()).to_owned();
        vec![channel.address.clone(), hex::encode(&channel.peer_key), status, ours, our_locked, theirs, their_locked]
    });
    let heading = ["CHANNEL", "PEER", "STATUS", "OURS", "LOCKED", "THEIRS", "LOCKED"];
    table(&heading, &[3, 4, 5, 6], &rows.collect::<Vec<_>>())
}

pub(crate) fn channel(channel: &Channel) -> String {
    let coin = channel.coin.as_ref();
    let side = |side: &Option<ChannelSide>| {
        side.as_ref().map_or(String::new(), |side| {
            format!(
                "{} available, {} locked in {} conditionals, {} sent, {} deposited, {} withdrawn, seqno {} ({} on the chain)",
                amount(&side.available_nano, coin),
                amount(&side.locked_nano, coin),
                side.conditionals,
                amount(&side.sent_nano, coin),
                amount(&side.deposited_nano, coin),
                amount(&side.withdrawn_nano, coin),
                side.seqno,
                side.committed_seqno,
            )
        })
    };
    list(&[
        ("channel", channel.address.clone()),
        ("peer", hex::encode(&channel.peer_key)),
        ("status", channel_status(channel.status()).into()),
        ("detail", channel.status_detail.clone()),
        ("coin", coin_name(coin)),
        ("our side", side(&channel.our)),
        ("their side", side(&channel.their)),
        ("opened by", if channel.left { "us" } else { "the peer" }.into()),
        ("known since", moment(channel.created_at_unix)),
        ("at risk", format!("{} of {}", amount(&channel.credited_risk_nano, coin), amount(&channel.risk_limit_nano, coin))),
        ("proposal waits since", moment(channel.proposal_pending_since_unix)),
    ])
}

pub(crate) fn virtuals(items: &[Virtual]) -> String {
    let rows = items.iter().map(|item| {
        let coin = item.coin.as_ref();
        let leg = item.outgoing.as_ref().or(item.incoming.as_ref());
        vec![
            hex::encode(&item.virtual_key),
            role(item.role()).to_owned(),
            virtual_status(item.status()).to_owned(),
            leg.map_or(String::new(), |leg| amount(&leg.capacity_nano, coin)),
            amount(&item.resolved_nano, coin),
            leg.map_or(String::new(), |leg| moment(leg.deadline_unix)),
        ]
    });
    table(&["VIRTUAL CHANNEL", "ROLE", "STATUS", "CAPACITY", "RESOLVED", "DEADLINE"], &[3, 4], &rows.collect::<Vec<_>>())
}

pub(crate) fn virtual_channel(item: &Virtual) -> String {
    let coin = item.coin.as_ref();
    let leg = |leg: &Option<VirtualLeg>| {
        leg.as_ref().map_or(String::new(), |leg| {
            let (capacity, fee) = (amount(&leg.capacity_nano, coin), amount(&leg.fee_nano, coin));
            let channel = &leg.channel_address;
            format!("capacity {capacity}, fee {fee}, until {}, channel {channel}", moment(leg.deadline_unix))
        })
    };
    list(&[
        ("virtual channel", hex::encode(&item.virtual_key)),
        ("our part", role(item.role()).into()),
        ("status", virtual_status(item.status()).into()),
        ("failure", item.failure.clone()),
        ("pays us", leg(&item.incoming)),
        ("we pay", leg(&item.outgoing)),
        ("resolved", amount(&item.resolved_nano, coin)),
        ("first seen", moment(item.created_at_unix)),
        ("last change", moment(item.updated_at_unix)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_to_the_right() {
        let rows = [vec!["a".to_owned(), "1.5 TON".into()], vec!["long".into(), "10 TON".into()]];
        assert_eq!(table(&["NAME", "SUM"], &[1], &rows), "NAME      SUM\na     1.5 TON\nlong   10 TON\n");
    }

    #[test]
    fn amounts_are_shown_in_coin_units() {
        let extra = Coin { kind: Some(coin::Kind::ExtraCurrencyId(7)) };
        assert_eq!(amount("1500000000", None), "1.5 TON");
        assert_eq!(amount("-1", None), "-0.000000001 TON");
        assert_eq!(amount("5", Some(&extra)), "5 units of currency 7");
        assert_eq!(amount("", None), "");
    }

    #[test]
    fn moments_are_calendar_dates() {
        assert_eq!(moment(0), "");
        assert_eq!(moment(1), "1970-01-01 00:00:01 UTC");
        assert_eq!(moment(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(moment(1_735_689_600), "2025-01-01 00:00:00 UTC");
        assert_eq!(moment(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(list(&[("reason", "no\u{1b}[2J\nmoney".into())]), "reason  no\u{fffd}[2J\u{fffd}money\n");
    }
}
