-- Channels that were offered to a peer and not agreed yet, written before the peer is asked: an offer whose answer was lost, by the network or by a
-- crash, is repeated and not made anew. One per peer and contract code.

CREATE TABLE engine.offer (
    peer engine.bytes32 NOT NULL,
    code_hash engine.bytes32 NOT NULL,
    address engine.bytes32 NOT NULL,
    config bytea NOT NULL,
    PRIMARY KEY (peer, code_hash)
);

-- Whether the offer was written: only for the owner of the peer's shard (design 4.3).
CREATE FUNCTION engine.write_offer(
    p_shard smallint, p_epoch bigint, p_peer bytea, p_code_hash bytea, p_address bytea, p_config bytea
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM engine.shard s WHERE s.shard = p_shard AND s.epoch = p_epoch FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO engine.offer (peer, code_hash, address, config) VALUES (p_peer, p_code_hash, p_address, p_config)
    ON CONFLICT (peer, code_hash) DO UPDATE SET address = excluded.address, config = excluded.config;
    RETURN true;
END $$;

-- Forgets an offer that has ended, if it is still this one. Likewise only for the owner.
CREATE FUNCTION engine.drop_offer(p_shard smallint, p_epoch bigint, p_address bytea) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM engine.shard s WHERE s.shard = p_shard AND s.epoch = p_epoch FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM engine.offer WHERE address = p_address;
    RETURN true;
END $$;
