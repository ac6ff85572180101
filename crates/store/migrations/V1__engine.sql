-- What the channel engine keeps: ownership, channels, their dictionaries and signed bodies, legs, tasks, commands.
-- Amounts are nano in numeric(37,0), so that sums are exact. Seqnos are bigint: Rust refuses what does not fit.
-- Columns that change often stand in no index but where the index is the point; fillfactor leaves room for updates in place.

CREATE SCHEMA engine;

-- Rules about one value are rules of its type: Postgres reads the checks of a table anew for each statement, those of a type once; on the tables
-- of the commit they took a fifth of its time. How columns of one row belong together is said by the types that the rows are made of.
CREATE DOMAIN engine.bytes32 AS bytea CHECK (octet_length(value) = 32);
CREATE DOMAIN engine.signature AS bytea CHECK (octet_length(value) = 64);
CREATE DOMAIN engine.nano AS numeric(37,0) CHECK (value >= 0);
CREATE DOMAIN engine.bit AS smallint CHECK (value IN (0, 1));
CREATE DOMAIN engine.shard_number AS smallint CHECK (value BETWEEN 0 AND 255);
CREATE DOMAIN engine.channel_status AS smallint CHECK (value BETWEEN 0 AND 3);
CREATE DOMAIN engine.body_change AS smallint CHECK (value BETWEEN 0 AND 2);
CREATE DOMAIN engine.body_outcome AS smallint CHECK (value BETWEEN 1 AND 3);
CREATE DOMAIN engine.leg_state AS smallint CHECK (value BETWEEN 0 AND 7);
CREATE DOMAIN engine.request_state AS smallint CHECK (value BETWEEN 0 AND 3);

-- ---- the cluster, its members, who owns what

CREATE TABLE engine.cluster (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) CHECK (octet_length(id) = 16),
    starts bigint NOT NULL DEFAULT 0,
    frozen text,
    node engine.bytes32
);
INSERT INTO engine.cluster DEFAULT VALUES;

CREATE TABLE engine.member (
    engine text PRIMARY KEY,
    address text NOT NULL,
    lease_until timestamptz NOT NULL
) WITH (fillfactor = 50);

-- `batch` is the number of the last batch that was applied under this epoch: it makes a repeated batch harmless.
CREATE TABLE engine.shard (
    shard smallint PRIMARY KEY CHECK (shard BETWEEN 0 AND 255),
    owner text,
    epoch bigint NOT NULL DEFAULT 0,
    batch bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
INSERT INTO engine.shard (shard) SELECT generate_series(0, 255);

-- Each committer's batches are numbered from 2^32 times the next value on: no two ever have the same number.
CREATE SEQUENCE engine.committer AS integer;

-- ---- channels

CREATE TABLE engine.channel (
    address engine.bytes32 PRIMARY KEY,
    shard engine.shard_number NOT NULL,
    peer engine.bytes32 NOT NULL,
    config bytea NOT NULL,
    code_hash engine.bytes32 NOT NULL,
    is_left boolean NOT NULL,
    safe_close bigint NOT NULL,
    version bigint NOT NULL DEFAULT 0,
    status engine.channel_status NOT NULL DEFAULT 0,
    suspended boolean NOT NULL DEFAULT false,
    our_seqno bigint NOT NULL DEFAULT 0,
    our_sent numeric(37,0) NOT NULL DEFAULT 0,
    our_conditionals engine.bytes32 NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    their_seqno bigint NOT NULL DEFAULT 0,
    their_sent numeric(37,0) NOT NULL DEFAULT 0,
    their_conditionals engine.bytes32 NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    their_signature engine.signature,
    copy_seqno bigint,
    copy_sent numeric(37,0),
    copy_conditionals engine.bytes32,
    pending bytea,
    increment boolean,
    our_withdrawing numeric(37,0) NOT NULL DEFAULT 0,
    their_withdrawing numeric(37,0) NOT NULL DEFAULT 0,
    released engine.nano NOT NULL DEFAULT 0,
    chain_lt bigint NOT NULL DEFAULT 0,
    inited boolean NOT NULL DEFAULT false,
    our_deposited numeric(37,0) NOT NULL DEFAULT 0,
    their_deposited numeric(37,0) NOT NULL DEFAULT 0,
    our_withdrawn numeric(37,0) NOT NULL DEFAULT 0,
    their_withdrawn numeric(37,0) NOT NULL DEFAULT 0,
    our_committed bigint NOT NULL DEFAULT 0,
    their_committed bigint NOT NULL DEFAULT 0,
    closing bytea
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX channel_shard ON engine.channel (shard);

-- Side 0 is ours, 1 the peer's. A removed condition keeps its row: any dictionary ever signed can be rebuilt (payments 7.6.4).
-- The partial index serves the live dictionary and refuses two live keys with one index (payments 10.1.1).
CREATE TABLE engine.conditional (
    channel engine.bytes32 NOT NULL,
    side engine.bit NOT NULL,
    key engine.bytes32 NOT NULL,
    index bigint NOT NULL,
    capacity engine.nano NOT NULL,
    fee engine.nano NOT NULL,
    prepay engine.nano NOT NULL,
    deadline bigint NOT NULL,
    since bigint NOT NULL,
    until bigint,
    PRIMARY KEY (channel, side, key)
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX conditional_live ON engine.conditional (channel, side, index) WHERE until IS NULL;

-- Attempt 0 is the action, 1 the settling increment: no third body fits (design 4.1). Outcome: null open, 1 refused once, 2 agreed, 3 void.
-- A body that is alone at its seqno is agreed when the channel's row says so of the seqno: most are, and that is not written once more here.
-- Change: 0 none, 1 insert of the condition, 2 removal of the key.
CREATE TABLE engine.signed_body (
    channel engine.bytes32 NOT NULL,
    seqno bigint NOT NULL,
    attempt engine.bit NOT NULL,
    sent engine.nano NOT NULL,
    conditionals engine.bytes32 NOT NULL,
    change engine.body_change NOT NULL,
    key engine.bytes32,
    capacity numeric(37,0),
    fee numeric(37,0),
    prepay numeric(37,0),
    deadline bigint,
    outcome engine.body_outcome,
    PRIMARY KEY (channel, seqno, attempt)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX signed_body_agreed ON engine.signed_body (channel, seqno) WHERE outcome = 2;

-- Every state of the peer that we stored, with the signature that it came with. The newest signature over the newest is in the channel's row.
CREATE TABLE engine.peer_state (
    channel engine.bytes32 NOT NULL,
    seqno bigint NOT NULL,
    sent engine.nano NOT NULL,
    conditionals engine.bytes32 NOT NULL,
    signature engine.signature NOT NULL,
    copy_seqno bigint,
    copy_sent numeric(37,0),
    copy_conditionals engine.bytes32,
    PRIMARY KEY (channel, seqno)
) WITH (fillfactor = 85);

-- ---- virtual channels

CREATE TABLE engine.virtual_key (
    key engine.bytes32 PRIMARY KEY
);

-- Direction 0 is in, 1 out. State: 0 opening, 1 open, 2 closing, 3 removing, 4 closed, 5 removed, 6 refused, 7 abandoned.
CREATE TABLE engine.leg (
    key engine.bytes32 NOT NULL,
    direction engine.bit NOT NULL,
    channel engine.bytes32 NOT NULL,
    capacity numeric(37,0) NOT NULL,
    fee numeric(37,0) NOT NULL,
    prepay numeric(37,0) NOT NULL,
    deadline bigint NOT NULL,
    state engine.leg_state NOT NULL,
    resolved numeric(37,0),
    resolution engine.signature,
    other_channel engine.bytes32,
    sender engine.bytes32,
    request_id text,
    sealed bytea,
    action bytea,
    released engine.nano NOT NULL,
    told boolean NOT NULL,
    -- For the operator's eyes, by the database's clock.
    created timestamptz NOT NULL DEFAULT now(),
    changed timestamptz NOT NULL DEFAULT now(),
    -- Set by engine.commit from the others; a generated column would be planned anew for each statement.
    live boolean NOT NULL,
    PRIMARY KEY (key, direction, channel)
) WITH (fillfactor = 70);
CREATE INDEX leg_live ON engine.leg (channel) WHERE live;
CREATE INDEX leg_request ON engine.leg (request_id) WHERE request_id IS NOT NULL;

-- Instructions and proofs are ciphertext and hashes: trying to compress them is waste.
ALTER TABLE engine.channel ALTER COLUMN pending SET STORAGE EXTERNAL;
ALTER TABLE engine.leg ALTER COLUMN action SET STORAGE EXTERNAL;

-- ---- tasks and commands

CREATE TABLE engine.task (
    id text PRIMARY KEY,
    seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    shard smallint NOT NULL,
    channel bytea NOT NULL,
    kind text NOT NULL,
    payload bytea NOT NULL,
    not_before bigint NOT NULL DEFAULT 0
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_analyze_scale_factor = 0,
        autovacuum_analyze_threshold = 100000);
CREATE INDEX task_due ON engine.task (shard, not_before);

ALTER TABLE engine.task ALTER COLUMN payload SET STORAGE EXTERNAL;

-- State: 0 under way, 1 opened, 2 paid, 3 failed.
CREATE TABLE engine.request (
    request_id text PRIMARY KEY,
    content_hash engine.bytes32 NOT NULL,
    state engine.request_state NOT NULL DEFAULT 0,
    amount numeric(37,0),
    reason text,
    at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
CREATE INDEX request_at ON engine.request (at);
