-- What the peer gateways keep: their fenced ADNL identities, known peers, sessions, who publishes.

CREATE SCHEMA gateway;

-- Never two processes on one key: each start takes a new epoch. Reinit epoch and channel date only rise (network 3.4, 3.6, 3.13).
CREATE TABLE gateway.identity (
    adnl_key bytea PRIMARY KEY CHECK (octet_length(adnl_key) = 32),
    epoch bigint NOT NULL,
    reinit bigint NOT NULL,
    channel_date bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE gateway.peer (
    adnl_key bytea PRIMARY KEY CHECK (octet_length(adnl_key) = 32),
    node bytea CHECK (octet_length(node) = 32),
    address text NOT NULL,
    seen timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);
CREATE INDEX peer_node ON gateway.peer (node);

-- The newest authenticated session of a peer wins.
CREATE TABLE gateway.session (
    peer bytea PRIMARY KEY CHECK (octet_length(peer) = 32),
    gateway text NOT NULL,
    since timestamptz NOT NULL
) WITH (fillfactor = 80);

-- Which gateway stands in the node's DHT record.
CREATE TABLE gateway.publisher (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    owner text,
    epoch bigint NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);
INSERT INTO gateway.publisher DEFAULT VALUES;
