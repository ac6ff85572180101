-- What the chain indexer keeps: how far it has read, the public graph of channels, the wallet's orders and messages.

CREATE SCHEMA chain;

-- One row: which indexer is active (lease for liveness, epoch for safety), and the last masterchain block that was read whole.
CREATE TABLE chain.cursor (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    owner text,
    epoch bigint NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    seqno bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO chain.cursor DEFAULT VALUES;

-- Every verified channel contract ever seen, anyone's, and the masterchain block up to which it was last seen changed. Status: 0 not initialised, 1 open, 2 closing.
CREATE TABLE chain.account (
    address bytea PRIMARY KEY CHECK (octet_length(address) = 32),
    code_hash bytea NOT NULL CHECK (octet_length(code_hash) = 32),
    config bytea NOT NULL,
    channel_id bytea NOT NULL CHECK (octet_length(channel_id) = 16),
    key_a bytea NOT NULL CHECK (octet_length(key_a) = 32),
    key_b bytea NOT NULL CHECK (octet_length(key_b) = 32),
    status smallint NOT NULL CHECK (status BETWEEN 0 AND 2),
    balance_a numeric(37,0) NOT NULL,
    balance_b numeric(37,0) NOT NULL,
    seqno_a bigint NOT NULL,
    seqno_b bigint NOT NULL,
    lt bigint NOT NULL,
    block bigint NOT NULL,
    storage bytea NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX account_block ON chain.account (block);
CREATE INDEX account_key_a ON chain.account (key_a);
CREATE INDEX account_key_b ON chain.account (key_b);

-- What the wallet shall send. State: 0 queued, 1 in a message, 2 done, 3 failed.
CREATE TABLE chain.wallet_order (
    id text PRIMARY KEY,
    seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    channel bytea CHECK (octet_length(channel) = 32),
    workchain smallint NOT NULL,
    destination bytea NOT NULL CHECK (octet_length(destination) = 32),
    value numeric(37,0) NOT NULL CHECK (value > 0),
    body bytea,
    state_init bytea,
    bounce boolean NOT NULL,
    state smallint NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 3),
    reason text,
    created timestamptz NOT NULL DEFAULT now(),
    CHECK ((state = 3) = (reason IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX wallet_order_queued ON chain.wallet_order (seq) WHERE state = 0;
CREATE INDEX wallet_order_sent ON chain.wallet_order (seq) WHERE state = 1;

-- Each signed wallet message, written before it is sent. State: 0 under way, 1 executed, 2 dead. One is under way at most.
CREATE TABLE chain.wallet_message (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seqno bigint NOT NULL,
    valid_until bigint NOT NULL,
    boc bytea NOT NULL,
    orders text[] NOT NULL,
    state smallint NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 2),
    created timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX wallet_message_under_way ON chain.wallet_message ((true)) WHERE state = 0;
CREATE UNIQUE INDEX wallet_message_executed ON chain.wallet_message (seqno) WHERE state = 1;
