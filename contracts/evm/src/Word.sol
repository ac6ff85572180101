// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @dev What `Sspc` keeps of a channel, in one word. From the lowest bit: balance of a (128), round (48), deadline (40), phase (8).
type Word is uint256;

using {phase, balanceA, round, deadline, withState} for Word global;

// Phases. A word of zero is a channel that was never opened; a closed one stays closed for ever, so its id cannot come back.
uint256 constant NONE = 0;
uint256 constant PROPOSED = 1;
uint256 constant OPEN = 2;
uint256 constant CLOSING_BY_A = 3;
uint256 constant CLOSING_BY_B = 4;
uint256 constant CLOSED = 5;

uint256 constant ROUND_AT = 128;
uint256 constant DEADLINE_AT = 176;
uint256 constant PHASE_AT = 216;

function pack(uint256 phase_, uint256 deadline_, uint256 round_, uint256 balanceA_) pure returns (Word) {
    return Word.wrap(phase_ << PHASE_AT | deadline_ << DEADLINE_AT | round_ << ROUND_AT | balanceA_);
}

function phase(Word word) pure returns (uint256) {
    return Word.unwrap(word) >> PHASE_AT;
}

function balanceA(Word word) pure returns (uint128) {
    return uint128(Word.unwrap(word));
}

function round(Word word) pure returns (uint48) {
    return uint48(Word.unwrap(word) >> ROUND_AT);
}

function deadline(Word word) pure returns (uint40) {
    return uint40(Word.unwrap(word) >> DEADLINE_AT);
}

/// The word with another round and balance, its phase and deadline as they were.
function withState(Word word, uint256 round_, uint256 balanceA_) pure returns (Word) {
    return Word.wrap(Word.unwrap(word) >> DEADLINE_AT << DEADLINE_AT | round_ << ROUND_AT | balanceA_);
}
