-- What the channel engine keeps: ownership, channels, their dictionaries and signed bodies, legs, tasks, commands.
-- Amounts are nano in numeric(37,0), so that sums are exact. Seqnos are bigint: Rust refuses what does not fit.
-- Columns that change often stand in no index but where the index is the point; fillfactor leaves room for updates in place.

CREATE SCHEMA engine;

-- ---- the cluster, its members, who owns what

CREATE TABLE engine.cluster (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) CHECK (octet_length(id) = 16),
    starts bigint NOT NULL DEFAULT 0,
    frozen text
);
INSERT INTO engine.cluster DEFAULT VALUES;

CREATE TABLE engine.member (
    engine text PRIMARY KEY,
    address text NOT NULL,
    lease_until timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE engine.shard (
    shard smallint PRIMARY KEY CHECK (shard BETWEEN 0 AND 255),
    owner text,
    epoch bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
INSERT INTO engine.shard (shard) SELECT generate_series(0, 255);

-- One row per committer: the number of its last applied batch. Makes a repeated batch harmless.
CREATE TABLE engine.committer (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch bigint NOT NULL DEFAULT 0,
    at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- ---- channels

CREATE TABLE engine.channel (
    address bytea PRIMARY KEY CHECK (octet_length(address) = 32),
    shard smallint NOT NULL CHECK (shard BETWEEN 0 AND 255),
    peer bytea NOT NULL CHECK (octet_length(peer) = 32),
    config bytea NOT NULL,
    code_hash bytea NOT NULL CHECK (octet_length(code_hash) = 32),
    is_left boolean NOT NULL,
    safe_close bigint NOT NULL CHECK (safe_close >= 0),
    version bigint NOT NULL DEFAULT 0,
    status smallint NOT NULL DEFAULT 0 CHECK (status BETWEEN 0 AND 3),
    suspended boolean NOT NULL DEFAULT false,
    our_seqno bigint NOT NULL DEFAULT 0,
    our_sent numeric(37,0) NOT NULL DEFAULT 0,
    our_conditionals bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (octet_length(our_conditionals) = 32),
    their_seqno bigint NOT NULL DEFAULT 0,
    their_sent numeric(37,0) NOT NULL DEFAULT 0,
    their_conditionals bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (octet_length(their_conditionals) = 32),
    their_signature bytea CHECK (octet_length(their_signature) = 64),
    copy_seqno bigint,
    copy_sent numeric(37,0),
    copy_conditionals bytea CHECK (octet_length(copy_conditionals) = 32),
    pending bytea,
    increment boolean,
    our_withdrawing numeric(37,0) NOT NULL DEFAULT 0,
    their_withdrawing numeric(37,0) NOT NULL DEFAULT 0,
    released numeric(37,0) NOT NULL DEFAULT 0 CHECK (released >= 0),
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
    channel bytea NOT NULL CHECK (octet_length(channel) = 32),
    side smallint NOT NULL CHECK (side IN (0, 1)),
    key bytea NOT NULL CHECK (octet_length(key) = 32),
    index bigint NOT NULL,
    capacity numeric(37,0) NOT NULL CHECK (capacity >= 0),
    fee numeric(37,0) NOT NULL CHECK (fee >= 0),
    prepay numeric(37,0) NOT NULL CHECK (prepay >= 0),
    deadline bigint NOT NULL,
    since bigint NOT NULL,
    until bigint CHECK (until > since),
    PRIMARY KEY (channel, side, key)
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX conditional_live ON engine.conditional (channel, side, index) WHERE until IS NULL;

-- Attempt 0 is the action, 1 the settling increment: no third body fits (design 4.1). Outcome: null open, 1 refused once, 2 agreed, 3 void.
-- Change: 0 none, 1 insert of the condition, 2 removal of the key.
CREATE TABLE engine.signed_body (
    channel bytea NOT NULL CHECK (octet_length(channel) = 32),
    seqno bigint NOT NULL,
    attempt smallint NOT NULL CHECK (attempt IN (0, 1)),
    sent numeric(37,0) NOT NULL CHECK (sent >= 0),
    conditionals bytea NOT NULL CHECK (octet_length(conditionals) = 32),
    change smallint NOT NULL CHECK (change BETWEEN 0 AND 2),
    key bytea CHECK (octet_length(key) = 32),
    capacity numeric(37,0),
    fee numeric(37,0),
    prepay numeric(37,0),
    deadline bigint,
    outcome smallint CHECK (outcome BETWEEN 1 AND 3),
    PRIMARY KEY (channel, seqno, attempt),
    CHECK ((key IS NOT NULL) = (change > 0)),
    CHECK ((change = 1) = (capacity IS NOT NULL AND fee IS NOT NULL AND prepay IS NOT NULL AND deadline IS NOT NULL)),
    CHECK (attempt = 0 OR change = 0)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX signed_body_agreed ON engine.signed_body (channel, seqno) WHERE outcome = 2;

-- Every state of the peer that we stored, with its newest signature.
CREATE TABLE engine.peer_state (
    channel bytea NOT NULL CHECK (octet_length(channel) = 32),
    seqno bigint NOT NULL,
    sent numeric(37,0) NOT NULL CHECK (sent >= 0),
    conditionals bytea NOT NULL CHECK (octet_length(conditionals) = 32),
    signature bytea NOT NULL CHECK (octet_length(signature) = 64),
    copy_seqno bigint,
    copy_sent numeric(37,0),
    copy_conditionals bytea CHECK (octet_length(copy_conditionals) = 32),
    PRIMARY KEY (channel, seqno)
) WITH (fillfactor = 85);

-- ---- virtual channels

CREATE TABLE engine.virtual_key (
    key bytea PRIMARY KEY CHECK (octet_length(key) = 32)
);

-- Direction 0 is in, 1 out. State: 0 opening, 1 open, 2 closing, 3 removing, 4 closed, 5 removed, 6 refused, 7 abandoned.
CREATE TABLE engine.leg (
    key bytea NOT NULL CHECK (octet_length(key) = 32),
    direction smallint NOT NULL CHECK (direction IN (0, 1)),
    channel bytea NOT NULL CHECK (octet_length(channel) = 32),
    capacity numeric(37,0) NOT NULL,
    fee numeric(37,0) NOT NULL,
    prepay numeric(37,0) NOT NULL,
    deadline bigint NOT NULL,
    state smallint NOT NULL CHECK (state BETWEEN 0 AND 7),
    resolved numeric(37,0),
    resolution bytea CHECK (octet_length(resolution) = 64),
    other_channel bytea CHECK (octet_length(other_channel) = 32),
    sender bytea CHECK (octet_length(sender) = 32),
    request_id text,
    sealed bytea,
    action bytea,
    released numeric(37,0) NOT NULL CHECK (released >= 0),
    told boolean NOT NULL,
    live boolean NOT NULL GENERATED ALWAYS AS (state < 4 OR released > 0 OR NOT told) STORED,
    PRIMARY KEY (key, direction, channel),
    CHECK ((resolved IS NULL) = (resolution IS NULL)),
    CHECK ((direction = 0) = (sender IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX leg_live ON engine.leg (channel) WHERE live;
CREATE INDEX leg_request ON engine.leg (request_id) WHERE request_id IS NOT NULL;

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

-- State: 0 under way, 1 opened, 2 paid, 3 failed.
CREATE TABLE engine.request (
    request_id text PRIMARY KEY,
    content_hash bytea NOT NULL CHECK (octet_length(content_hash) = 32),
    state smallint NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 3),
    amount numeric(37,0),
    reason text,
    at timestamptz NOT NULL DEFAULT now(),
    CHECK ((state = 2) = (amount IS NOT NULL)),
    CHECK ((state = 3) = (reason IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX request_at ON engine.request (at);
