// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// The channel is in a phase that does not allow this call.
error WrongPhase();
/// The caller may not make this call.
error WrongSender();
/// The parties or the period of a new channel, or the bounds of a deployment, are not acceptable; bits that mean nothing are set; a batch is
/// empty or of several tokens.
error WrongTerms();
/// An amount is not the one the channel asks for, or more than it holds.
error WrongAmount();
/// The round belongs to the other party: a signs the odd ones, b the even ones.
error WrongRound();
/// The round is not newer than the one on record.
error Stale();
/// The signature is malformed or not by the party it must be by.
error BadSignature();
/// The challenge period is not over.
error TooEarly();
/// The token was never registered, or cannot be.
error UnknownToken();
/// The token did not deliver the exact amount.
error TokenRefused();
/// Nothing is owed to the caller, or the payout failed again.
error NotPaid();
/// A payout failed and may have failed for want of gas only.
error NotEnoughGas();
