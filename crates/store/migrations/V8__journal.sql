-- The journal: a commit makes its changes durable as one row here, and checks at once what must hold before an effect leaves the process. The tables
-- that the changes belong to follow a moment later, many changes in one statement: the rows of a payment mostly meet before they are written.
-- Whoever reads those tables folds the journal into them first.
--
-- An engine of the time before cannot commit any more: stop the old ones before the first new one starts.
-- A later migration that changes one of the types of engine.fold() first makes sure that the journal is empty: its rows are of the old ones.
LOCK TABLE engine.shard IN EXCLUSIVE MODE;

-- `changes` is encoded by crate store (commit/later.rs). A row is short-lived: it stays in its page, uncompressed, and goes soon.
CREATE TABLE engine.journal (
    seq bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    changes bytea NOT NULL
) WITH (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);
ALTER TABLE engine.journal ALTER COLUMN changes SET STORAGE EXTERNAL;

-- Where each channel is: what the next commit must follow. `signed` is twice the seqno, plus the attempt, of the last body that we signed: it only
-- rises, so no third body and no second one of a kind can ever be signed at one seqno (design 4.1).
CREATE TABLE engine.head (
    address engine.bytes32 PRIMARY KEY,
    shard engine.shard_number NOT NULL,
    version bigint NOT NULL DEFAULT 0,
    status engine.channel_status NOT NULL DEFAULT 0,
    our_seqno bigint NOT NULL DEFAULT 0,
    our_sent numeric(37,0) NOT NULL DEFAULT 0,
    their_seqno bigint NOT NULL DEFAULT 0,
    their_sent numeric(37,0) NOT NULL DEFAULT 0,
    chain_lt bigint NOT NULL DEFAULT 0,
    signed bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0.05);

INSERT INTO engine.head
SELECT c.address, c.shard, c.version, c.status, c.our_seqno, c.our_sent, c.their_seqno, c.their_sent, c.chain_lt,
    greatest(2 * c.our_seqno + 1, coalesce((SELECT max(2 * b.seqno + b.attempt) FROM engine.signed_body b WHERE b.channel = c.address), 0))
FROM engine.channel c;

CREATE TYPE engine.set_head AS (
    address bytea, shard smallint, base bigint, version bigint, status smallint,
    our_seqno bigint, our_sent numeric, their_seqno bigint, their_sent numeric, chain_lt bigint, first_signed bigint, signed bigint
);

DROP FUNCTION engine.commit(
    bigint, smallint[], bigint[], bytea[], engine.new_request[], engine.new_channel[], engine.seen_channel[], engine.set_channel[],
    engine.remove_condition[], engine.add_condition[], engine.new_body[], engine.set_outcome[], engine.new_peer_state[],
    engine.set_leg[], engine.new_task[], engine.done_task[], chain.new_order[], engine.set_result[]);

-- Commits one batch whole, or nothing of it.
-- Returned without applying anything: `lost`, the places (from 1) in p_shard of shards that are not owned under these epochs; `used`, the
-- virtual keys that exist already; `known`, the commands that do.
-- Raised, which undoes everything: CWS01 a stale version, CWS02 something would go down, CWS03 a task that is gone, CWS04 a batch that a later
-- one has overtaken.
-- A batch number that was applied already returns at once: repeating a batch whose answer got lost is safe. Each shard keeps its last one;
-- under one epoch its batches come one after the other, with rising numbers.
-- Row by row, because a batch has a row or two of each table most of the time: joins with unnest() cost twice as much then.
CREATE FUNCTION engine.commit(
    p_batch bigint, p_shard smallint[], p_epoch bigint[], p_key bytea[], p_request engine.new_request[],
    p_new_channel engine.new_channel[], p_seen engine.seen_channel[], p_head engine.set_head[],
    p_task engine.new_task[], p_done engine.done_task[], p_order chain.new_order[], p_changes bytea,
    OUT lost bigint[], OUT used bytea[], OUT known text[]
) LANGUAGE plpgsql AS $$
DECLARE
    v_batch bigint;
    v_head engine.head;
    v_key bytea;
    v_keys bytea[];
    v_requests text[];
    q engine.new_request;
    c engine.new_channel;
    s engine.seen_channel;
    n engine.set_head;
    d engine.done_task;
BEGIN
    -- A takeover waits for this lock, and this waits for a takeover (design 4.3).
    FOR i IN 1 .. cardinality(p_shard) LOOP
        UPDATE engine.shard h SET batch = p_batch WHERE h.shard = p_shard[i] AND h.epoch = p_epoch[i] AND h.batch < p_batch;
        IF NOT FOUND THEN
            SELECT h.batch INTO v_batch FROM engine.shard h WHERE h.shard = p_shard[i] AND h.epoch = p_epoch[i];
            IF NOT FOUND THEN
                lost := lost || i::bigint;
            ELSIF v_batch = p_batch THEN
                lost := NULL;
                RETURN;
            ELSE
                RAISE EXCEPTION 'batch % overtaken by %', p_batch, v_batch USING ERRCODE = 'CWS04';
            END IF;
        END IF;
    END LOOP;
    FOREACH v_key IN ARRAY p_key LOOP
        INSERT INTO engine.virtual_key VALUES (v_key) ON CONFLICT (key) DO NOTHING;
        IF FOUND THEN
            v_keys := v_keys || v_key;
        ELSE
            used := used || v_key;
        END IF;
    END LOOP;
    FOREACH q IN ARRAY p_request LOOP
        INSERT INTO engine.request (request_id, content_hash) VALUES (q.request_id, q.content_hash)
        ON CONFLICT (request_id) DO NOTHING;
        IF FOUND THEN
            v_requests := v_requests || q.request_id;
        ELSE
            known := known || q.request_id;
        END IF;
    END LOOP;
    IF lost IS NOT NULL OR used IS NOT NULL OR known IS NOT NULL THEN
        FOR i IN 1 .. cardinality(p_shard) LOOP
            UPDATE engine.shard h SET batch = p_batch - 1 WHERE h.shard = p_shard[i] AND h.epoch = p_epoch[i] AND h.batch = p_batch;
        END LOOP;
        DELETE FROM engine.virtual_key k WHERE k.key = ANY (v_keys);
        DELETE FROM engine.request r WHERE r.request_id = ANY (v_requests);
        RETURN;
    END IF;

    FOREACH c IN ARRAY p_new_channel LOOP
        INSERT INTO engine.channel (address, shard, peer, config, code_hash, is_left, safe_close)
        VALUES (c.address, c.shard, c.peer, c.config, c.code_hash, c.is_left, c.safe_close)
        ON CONFLICT (address) DO NOTHING;
        INSERT INTO engine.head (address, shard) VALUES (c.address, c.shard) ON CONFLICT (address) DO NOTHING;
    END LOOP;
    FOREACH s IN ARRAY p_seen LOOP
        PERFORM FROM engine.head h WHERE h.address = s.address AND h.version = s.version;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'stale channel' USING ERRCODE = 'CWS01';
        END IF;
    END LOOP;
    FOREACH n IN ARRAY p_head LOOP
        UPDATE engine.head h SET
            version = n.version, status = n.status, our_seqno = n.our_seqno, our_sent = n.our_sent,
            their_seqno = n.their_seqno, their_sent = n.their_sent, chain_lt = n.chain_lt, signed = coalesce(n.signed, h.signed)
        WHERE h.address = n.address AND h.version = n.base AND h.shard = n.shard
            AND h.our_sent <= n.our_sent AND h.our_seqno + (h.our_sent < n.our_sent)::int <= n.our_seqno
            AND h.their_sent <= n.their_sent AND h.their_seqno + (h.their_sent < n.their_sent)::int <= n.their_seqno
            AND h.chain_lt <= n.chain_lt AND (h.status < 3 OR n.status = 3)
            AND (n.first_signed IS NULL OR h.signed < n.first_signed);
        IF NOT FOUND THEN
            SELECT * INTO v_head FROM engine.head h WHERE h.address = n.address;
            IF v_head.version IS DISTINCT FROM n.base THEN
                RAISE EXCEPTION 'stale channel' USING ERRCODE = 'CWS01';
            ELSIF v_head.signed >= n.first_signed THEN
                RAISE EXCEPTION 'another body was signed at that seqno' USING ERRCODE = 'CWS02';
            END IF;
            RAISE EXCEPTION 'seqno, sent, logical time or status would go back' USING ERRCODE = 'CWS02';
        END IF;
    END LOOP;

    IF cardinality(p_task) > 0 THEN
        PERFORM engine.post_tasks(p_task);
    END IF;
    FOREACH d IN ARRAY p_done LOOP
        DELETE FROM engine.task t WHERE t.id = d.id AND t.shard + 0 = d.shard;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'task is gone' USING ERRCODE = 'CWS03';
        END IF;
    END LOOP;
    IF cardinality(p_order) > 0 THEN
        PERFORM chain.place_orders(p_order);
    END IF;
    IF p_changes IS NOT NULL THEN
        INSERT INTO engine.journal (changes) VALUES (p_changes);
    END IF;
END $$;

-- Folds these rows of the journal into the tables: all, or nothing. One statement: nobody can be stopped in the middle.
-- For one shard the rows' order is that of its commits (the fence makes them one after the other), and whoever sees one of them sees all before it.
-- What a closed channel lacks may have been pruned: nobody asks for it any more.
-- Raised, which undoes everything: CWS06 somebody else has folded some of them; CWS01, CWS02, CWS05 what must never be: a channel in another
-- version, another body of the peer at a seqno that is stored, a row that should be there and is not.
CREATE FUNCTION engine.fold(
    p_seq bigint[], p_channel engine.set_channel[], p_remove engine.remove_condition[], p_add engine.add_condition[],
    p_body engine.new_body[], p_outcome engine.set_outcome[], p_peer_state engine.new_peer_state[],
    p_leg engine.set_leg[], p_result engine.set_result[]
) RETURNS void LANGUAGE plpgsql
-- By index, always: planned once, often while the tables are empty.
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_bitmapscan = off SET enable_material = off
AS $$
DECLARE
    v_rows bigint;
BEGIN
    DELETE FROM engine.journal j WHERE j.seq = ANY (p_seq);
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows < cardinality(p_seq) THEN
        RAISE EXCEPTION 'folded by somebody else' USING ERRCODE = 'CWS06';
    END IF;
    UPDATE engine.channel c SET
        version = n.version, status = n.status, suspended = n.suspended,
        our_seqno = n.our_seqno, our_sent = n.our_sent, our_conditionals = n.our_conditionals,
        their_seqno = n.their_seqno, their_sent = n.their_sent, their_conditionals = n.their_conditionals,
        their_signature = n.their_signature, copy_seqno = n.copy_seqno, copy_sent = n.copy_sent,
        copy_conditionals = n.copy_conditionals, pending = n.pending, increment = n.increment,
        our_withdrawing = n.our_withdrawing, their_withdrawing = n.their_withdrawing, released = n.released,
        chain_lt = n.chain_lt, inited = n.inited, our_deposited = n.our_deposited, their_deposited = n.their_deposited,
        our_withdrawn = n.our_withdrawn, their_withdrawn = n.their_withdrawn, our_committed = n.our_committed,
        their_committed = n.their_committed, closing = n.closing
    FROM unnest(p_channel) n WHERE c.address = n.address AND c.version = n.base;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows < cardinality(p_channel) THEN
        RAISE EXCEPTION 'a channel in another version' USING ERRCODE = 'CWS01';
    END IF;

    -- Removals first: a new condition may take the index of one that goes.
    IF cardinality(p_remove) > 0 THEN
        UPDATE engine.conditional c SET until = r.until FROM unnest(p_remove) r
        WHERE c.channel = r.channel AND c.side = r.side AND c.key = r.key AND coalesce(c.until, 0) = 0;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        IF v_rows < cardinality(p_remove) AND EXISTS (
            SELECT FROM unnest(p_remove) r JOIN engine.channel c ON c.address = r.channel AND c.status < 3
            WHERE NOT EXISTS (SELECT FROM engine.conditional x
                WHERE x.channel = r.channel AND x.side = r.side AND x.key = r.key AND x.until = r.until)
        ) THEN
            RAISE EXCEPTION 'no such condition' USING ERRCODE = 'CWS05';
        END IF;
    END IF;
    INSERT INTO engine.conditional (channel, side, key, index, capacity, fee, prepay, deadline, since, until)
    SELECT channel, side, key, index, capacity, fee, prepay, deadline, since, until FROM unnest(p_add);

    INSERT INTO engine.signed_body (channel, seqno, attempt, sent, conditionals, change, key, capacity, fee, prepay, deadline)
    SELECT channel, seqno, attempt, sent, conditionals, change, key, capacity, fee, prepay, deadline FROM unnest(p_body);
    IF cardinality(p_outcome) > 0 THEN
        UPDATE engine.signed_body c SET outcome = o.outcome FROM unnest(p_outcome) o
        WHERE c.channel = o.channel AND c.seqno = o.seqno AND c.attempt = o.attempt AND (c.outcome IS NULL OR c.outcome = 1);
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        IF v_rows < cardinality(p_outcome) AND EXISTS (
            SELECT FROM unnest(p_outcome) o JOIN engine.channel c ON c.address = o.channel AND c.status < 3
            WHERE NOT EXISTS (SELECT FROM engine.signed_body b
                WHERE b.channel = o.channel AND b.seqno = o.seqno AND b.attempt = o.attempt AND b.outcome = o.outcome)
        ) THEN
            RAISE EXCEPTION 'no such open body' USING ERRCODE = 'CWS05';
        END IF;
    END IF;
    INSERT INTO engine.peer_state AS p (channel, seqno, sent, conditionals, signature, copy_seqno, copy_sent, copy_conditionals)
    SELECT channel, seqno, sent, conditionals, signature, copy_seqno, copy_sent, copy_conditionals FROM unnest(p_peer_state)
    ON CONFLICT (channel, seqno) DO UPDATE SET signature = excluded.signature, copy_seqno = excluded.copy_seqno,
        copy_sent = excluded.copy_sent, copy_conditionals = excluded.copy_conditionals
    WHERE p.sent = excluded.sent AND p.conditionals = excluded.conditionals;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows < cardinality(p_peer_state) THEN
        RAISE EXCEPTION 'another body of the peer is stored at that seqno' USING ERRCODE = 'CWS02';
    END IF;

    INSERT INTO engine.leg AS g (
        key, direction, channel, capacity, fee, prepay, deadline, state, resolved, resolution, other_channel, sender, request_id,
        sealed, action, released, told, live)
    SELECT key, direction, channel, capacity, fee, prepay, deadline, state, resolved, resolution, other_channel, sender, request_id,
        sealed, action, released, told, state < 4 OR released > 0 OR NOT told
    FROM unnest(p_leg)
    ON CONFLICT (key, direction, channel) DO UPDATE SET state = excluded.state, resolved = excluded.resolved,
        resolution = excluded.resolution, other_channel = excluded.other_channel, request_id = excluded.request_id,
        -- These only ever go: the old value stays where it is stored, apart from the row.
        sealed = CASE WHEN excluded.sealed IS NULL THEN NULL ELSE g.sealed END,
        action = CASE WHEN excluded.action IS NULL THEN NULL ELSE g.action END,
        released = excluded.released, told = excluded.told, live = excluded.live, changed = now()
    -- what is final stays: a used key that is tried again leaves the old leg as it is
    WHERE g.state < 4 OR g.state = excluded.state;

    IF cardinality(p_result) > 0 THEN
        UPDATE engine.request c SET state = t.state, amount = t.amount, reason = t.reason FROM unnest(p_result) t
        WHERE c.request_id = t.request_id AND c.state < 2 AND c.state < t.state;
    END IF;
END $$;
