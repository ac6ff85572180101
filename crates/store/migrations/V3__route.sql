-- What the route planner keeps: other nodes' terms, and what attempts taught.

CREATE SCHEMA route;

-- The answer of a node to proposeChannelConfig (payments 7.8).
CREATE TABLE route.terms (
    node bytea PRIMARY KEY CHECK (octet_length(node) = 32),
    allowed boolean NOT NULL,
    min_fee numeric(37,0) NOT NULL,
    percent double precision NOT NULL,
    max_capacity numeric(37,0) NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now()
);

-- What was tried through a channel in one direction. `passed` and `failed` are nano: the largest amount that passed last, the smallest that failed
-- since.
CREATE TABLE route.attempt (
    channel bytea NOT NULL CHECK (octet_length(channel) = 32),
    payer bytea NOT NULL CHECK (octet_length(payer) = 32),
    passed numeric(37,0),
    failed numeric(37,0),
    failures integer NOT NULL DEFAULT 0,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (channel, payer)
) WITH (fillfactor = 80);
