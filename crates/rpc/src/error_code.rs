//! The list of error codes. Each has a page in `docs/errors`; a test holds the two together.

use std::fmt;

use tonic::Code;

macro_rules! error_codes {
    ($($(#[doc = $doc:expr])+ $name:ident = $number:literal, $status:ident, $text:literal;)*) => {
        /// Everything that can go wrong at the API, as a stable number. Numbers are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ErrorCode { $($(#[doc = $doc])+ $name = $number,)* }

        impl ErrorCode {
            /// Every code, by number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The gRPC status that carries it.
            pub const fn status(self) -> Code {
                match self { $(Self::$name => Code::$status,)* }
            }

            /// What happened, in one sentence without details.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

error_codes! {
    /// A field breaks a rule that has no code of its own.
    InvalidField = 1, InvalidArgument, "a field is not valid";
    /// A key is not 32 bytes or not a point of the curve.
    InvalidKey = 2, InvalidArgument, "a key is not valid";
    /// An amount is not decimal text of at most 120 bits.
    InvalidAmount = 3, InvalidArgument, "an amount is not valid";
    /// An amount has more decimals than its coin.
    TooManyDecimals = 4, InvalidArgument, "an amount has more decimals than its coin";
    /// An amount is zero, or above what one channel or one payment may hold.
    AmountOutOfRange = 5, InvalidArgument, "an amount is out of range";
    /// A time to live is over, or too short to be enforced on the chain.
    InvalidTtl = 6, InvalidArgument, "a time to live is too short or over";
    /// A chain has more hops than allowed.
    ChainTooLong = 7, InvalidArgument, "a chain is longer than the limit";
    /// The request id was used with other content.
    RequestIdReused = 8, AlreadyExists, "the request id was used with other content";
    /// The request id is not a UUID.
    InvalidRequestId = 9, InvalidArgument, "the request id is not a UUID";
    /// The page token was not made by this list.
    InvalidPageToken = 10, InvalidArgument, "the page token is not valid";
    /// The coin is not enabled on this node.
    UnsupportedCoin = 11, InvalidArgument, "the coin is not enabled on this node";

    /// No token, or not the right one.
    Unauthenticated = 101, Unauthenticated, "no valid token was given";

    /// No such channel.
    ChannelUnknown = 201, NotFound, "the channel is not known";
    /// The channel is pending, closing or closed.
    ChannelNotActive = 202, FailedPrecondition, "the channel is not active";
    /// Conditionals are open on the channel.
    ConditionalsOpen = 203, FailedPrecondition, "conditionals are open on the channel";
    /// No channel has enough free balance.
    InsufficientBalance = 204, FailedPrecondition, "the balance is too low";
    /// The channel is suspended.
    ChannelSuspended = 205, FailedPrecondition, "the channel is suspended";
    /// The node signs nothing any more.
    NodeFrozen = 206, FailedPrecondition, "the node is frozen";

    /// No such virtual channel.
    VirtualUnknown = 301, NotFound, "the virtual channel is not known";
    /// The virtual channel is closed, being closed, or removed.
    VirtualNotOpen = 302, FailedPrecondition, "the virtual channel is not open";
    /// A resolution is above the capacity.
    ResolutionAboveCapacity = 303, InvalidArgument, "the resolution is above the capacity";
    /// A resolution was tampered with, or is for another key.
    ResolutionInvalid = 304, InvalidArgument, "the resolution is not valid";
    /// The virtual channel is past its deadline.
    VirtualExpired = 305, FailedPrecondition, "the virtual channel has expired";
    /// The virtual key was used before, or its index is taken.
    VirtualKeyUsed = 306, AlreadyExists, "the virtual key was used before";

    /// No session with the peer, or it does not answer.
    PeerUnreachable = 401, Unavailable, "the peer cannot be reached";
    /// The peer refused.
    PeerRefused = 402, Aborted, "the peer refused";
    /// No chain of channels leads to the receiver.
    NoRoute = 403, FailedPrecondition, "no route was found";
    /// A node of the chain told no terms.
    TermsUnavailable = 404, Unavailable, "a node of the chain told no terms";
    /// The route costs more than allowed.
    FeeTooHigh = 405, FailedPrecondition, "the fee is above the limit";

    /// The wallet cannot pay for it.
    WalletBalanceLow = 501, FailedPrecondition, "the wallet balance is too low";
    /// The chain was not read up to now.
    ChainBehind = 502, Unavailable, "the chain was not read up to now";

    /// Another service or the database does not answer.
    Unavailable = 901, Unavailable, "a service is not available";
    /// This process does not own the shard, or is shutting down.
    NotOwner = 902, Unavailable, "the shard is being moved";
    /// The call's time is over; what it began goes on.
    Timeout = 903, DeadlineExceeded, "the time of the call is over";
    /// A defect.
    Internal = 999, Internal, "internal error";
}

impl ErrorCode {
    /// The code with this text form (`CW0001`).
    pub fn parse(text: &str) -> Option<Self> {
        let number: u16 = text.strip_prefix("CW").filter(|digits| digits.len() == 4)?.parse().ok()?;
        Self::ALL.iter().copied().find(|code| *code as u16 == number)
    }

    /// Repeating the same call later may succeed without any change by the caller.
    pub const fn is_transient(self) -> bool {
        matches!(self.status(), Code::Unavailable | Code::DeadlineExceeded)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CW{:04}", *self as u16)
    }
}
