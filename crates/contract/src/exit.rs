//! The contract's exit codes (payments 7.4).

macro_rules! exit_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        $($(#[$doc])* #[doc = $text] pub const $name: i32 = $code;)*

        /// What an exit code means; `None` for one that is not the contract's.
        pub fn name(code: i32) -> Option<&'static str> {
            match code {
                $($name => Some($text),)*
                _ => None,
            }
        }

        /// All codes.
        pub const ALL: &[i32] = &[$($name),*];
    };
}

exit_codes! {
    CONDITION_SIGNATURE = 24, "a condition's signature is wrong or its deadline past";
    CONDITION_AMOUNT = 26, "a condition's amount is above its capacity or below its prepay";
    UNKNOWN_MESSAGE = 63, "unknown message";
    ALREADY_INITIALISED = 100, "already initialised";
    SIGNATURE_OR_SENDER = 101, "bad signature or wrong sender";
    BALANCE_NOT_ZERO = 102, "initial balances not zero";
    TAG = 104, "wrong tag";
    OUTDATED_STATE = 105, "outdated state";
    QUARANTINE_ACTIVE = 106, "quarantine active";
    NO_QUARANTINE = 107, "no quarantine";
    SEQNO_NOT_GREATER = 108, "seqno not greater";
    CHALLENGER_IS_COMMITTER = 109, "challenger is the committer";
    QUARANTINE_NOT_OVER = 110, "quarantine not over";
    TOO_LATE_TO_CHALLENGE = 111, "too late to challenge";
    TOO_LATE_TO_SETTLE = 112, "too late to settle";
    TOO_EARLY_TO_FINISH = 113, "too early to finish";
    CHANNEL_ID = 114, "wrong channel id";
    CONDITIONALS_PROOF = 115, "bad conditionals proof";
    NOT_INITIALISED = 117, "not initialised";
    BALANCE_NEGATIVE = 118, "balance would be negative";
    VALUE_TOO_SMALL = 119, "attached value too small";
    CURRENCY = 120, "wrong currency type";
    EXTRA_CURRENCY = 121, "wrong extra currency";
    STORAGE_FEE = 123, "not enough for storage at init";
    WALLET_KNOWN = 124, "jetton wallet already known";
    ALREADY_CHALLENGED = 125, "already challenged";
    WITHDRAWAL_DECREASED = 127, "withdrawal decreased";
}
