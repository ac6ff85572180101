-- Functions. Each signature is final: a change of what is passed is a new type and a new function beside the old one, so that old and new
-- engines run together; the old ones go in a later migration.

-- ---- orders: what other schemas may ask of the wallet

CREATE TYPE chain.new_order AS (
    id text, channel bytea, workchain smallint, destination bytea, value numeric, body bytea, state_init bytea, bounce boolean
);

CREATE FUNCTION chain.place_orders(p_orders chain.new_order[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chain.wallet_order (id, channel, workchain, destination, value, body, state_init, bounce)
    SELECT o.id, o.channel, o.workchain, o.destination, o.value, o.body, o.state_init, o.bounce
    FROM unnest(p_orders) o
    ON CONFLICT (id) DO NOTHING;
END $$;

-- ---- tasks: what other schemas may ask of a channel's actor. An unknown channel fails: a task must not get lost.

CREATE TYPE engine.new_task AS (id text, channel bytea, kind text, payload bytea, not_before bigint);

CREATE FUNCTION engine.post_tasks(p_tasks engine.new_task[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO engine.task (id, shard, channel, kind, payload, not_before)
    SELECT t.id, c.shard, t.channel, t.kind, t.payload, t.not_before
    FROM unnest(p_tasks) t LEFT JOIN engine.channel c ON c.address = t.channel
    ON CONFLICT (id) DO NOTHING;
END $$;

-- A command with its task. `content_hash` is null when the command is new, else that of the command that has the id.
CREATE FUNCTION engine.submit(
    p_request_id text, p_content_hash bytea, p_tasks engine.new_task[],
    OUT content_hash bytea, OUT state smallint, OUT amount numeric, OUT reason text
) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO engine.request (request_id, content_hash) VALUES (p_request_id, p_content_hash)
    ON CONFLICT (request_id) DO NOTHING;
    IF FOUND THEN
        PERFORM engine.post_tasks(p_tasks);
        state := 0;
    ELSE
        SELECT r.content_hash, r.state, r.amount, r.reason INTO content_hash, state, amount, reason
        FROM engine.request r WHERE r.request_id = p_request_id;
    END IF;
END $$;

-- ---- the fenced commit

CREATE TYPE engine.new_channel AS (
    address bytea, shard smallint, peer bytea, config bytea, code_hash bytea, is_left boolean, safe_close bigint
);
CREATE TYPE engine.seen_channel AS (address bytea, version bigint);
CREATE TYPE engine.set_channel AS (
    address bytea, shard smallint, base bigint, version bigint, status smallint, suspended boolean,
    our_seqno bigint, our_sent numeric, our_conditionals bytea,
    their_seqno bigint, their_sent numeric, their_conditionals bytea,
    their_signature bytea, copy_seqno bigint, copy_sent numeric, copy_conditionals bytea,
    pending bytea, increment boolean, our_withdrawing numeric, their_withdrawing numeric, released numeric,
    chain_lt bigint, inited boolean, our_deposited numeric, their_deposited numeric, our_withdrawn numeric, their_withdrawn numeric,
    our_committed bigint, their_committed bigint, closing bytea
);
CREATE TYPE engine.remove_condition AS (channel bytea, side smallint, key bytea, until bigint);
CREATE TYPE engine.add_condition AS (
    channel bytea, side smallint, key bytea, index bigint, capacity numeric, fee numeric, prepay numeric, deadline bigint,
    since bigint, until bigint
);
CREATE TYPE engine.new_body AS (
    channel bytea, seqno bigint, attempt smallint, sent numeric, conditionals bytea, change smallint,
    key bytea, capacity numeric, fee numeric, prepay numeric, deadline bigint
);
CREATE TYPE engine.set_outcome AS (channel bytea, seqno bigint, attempt smallint, outcome smallint);
CREATE TYPE engine.new_peer_state AS (
    channel bytea, seqno bigint, sent numeric, conditionals bytea, signature bytea,
    copy_seqno bigint, copy_sent numeric, copy_conditionals bytea
);
CREATE TYPE engine.set_leg AS (
    key bytea, direction smallint, channel bytea, capacity numeric, fee numeric, prepay numeric, deadline bigint, state smallint,
    resolved numeric, resolution bytea, other_channel bytea, sender bytea, request_id text, sealed bytea, action bytea,
    released numeric, told boolean
);
CREATE TYPE engine.done_task AS (id text, shard smallint);
CREATE TYPE engine.new_request AS (request_id text, content_hash bytea);
CREATE TYPE engine.set_result AS (request_id text, state smallint, amount numeric, reason text);

-- Applies one batch whole, or nothing of it.
-- Returned without applying anything: `lost`, the places (from 1) in p_shard of shards that are not owned under these epochs; `used`, the
-- virtual keys that exist already; `known`, the commands that do.
-- Raised, which undoes everything: CWS01 a stale version, CWS02 something would go down, CWS03 a task that is gone, CWS04 a batch that a later
-- one has overtaken, CWS05 a row that should be there is not.
-- A batch number that was applied already returns at once: repeating a batch whose answer got lost is safe. Each shard keeps its last one;
-- under one epoch its batches come one after the other, with rising numbers.
-- Row by row, because a batch has a row or two of each table most of the time: joins with unnest() cost twice as much then.
-- Plans are made once, often while the tables are empty: `shard + 0` and `coalesce(until, 0)` keep the planner from every index but the key's.
CREATE FUNCTION engine.commit(
    p_batch bigint, p_shard smallint[], p_epoch bigint[], p_key bytea[], p_request engine.new_request[],
    p_new_channel engine.new_channel[], p_seen engine.seen_channel[], p_channel engine.set_channel[],
    p_remove engine.remove_condition[], p_add engine.add_condition[],
    p_body engine.new_body[], p_outcome engine.set_outcome[], p_peer_state engine.new_peer_state[],
    p_leg engine.set_leg[], p_task engine.new_task[], p_done engine.done_task[],
    p_order chain.new_order[], p_result engine.set_result[],
    OUT lost bigint[], OUT used bytea[], OUT known text[]
) LANGUAGE plpgsql AS $$
DECLARE
    v_batch bigint;
    v_version bigint;
    v_key bytea;
    v_keys bytea[];
    v_requests text[];
    q engine.new_request;
    v_new engine.new_channel;
    v_seen engine.seen_channel;
    n engine.set_channel;
    r engine.remove_condition;
    a engine.add_condition;
    b engine.new_body;
    o engine.set_outcome;
    s engine.new_peer_state;
    l engine.set_leg;
    d engine.done_task;
    t engine.set_result;
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
        DELETE FROM engine.request c WHERE c.request_id = ANY (v_requests);
        RETURN;
    END IF;

    FOREACH v_new IN ARRAY p_new_channel LOOP
        INSERT INTO engine.channel (address, shard, peer, config, code_hash, is_left, safe_close)
        VALUES (v_new.address, v_new.shard, v_new.peer, v_new.config, v_new.code_hash, v_new.is_left, v_new.safe_close)
        ON CONFLICT (address) DO NOTHING;
    END LOOP;
    FOREACH v_seen IN ARRAY p_seen LOOP
        PERFORM FROM engine.channel c WHERE c.address = v_seen.address AND c.version = v_seen.version;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'stale channel' USING ERRCODE = 'CWS01';
        END IF;
    END LOOP;
    FOREACH n IN ARRAY p_channel LOOP
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
        WHERE c.address = n.address AND c.version = n.base AND c.shard + 0 = n.shard
            AND c.our_seqno <= n.our_seqno AND c.our_sent <= n.our_sent
            AND c.their_seqno <= n.their_seqno AND c.their_sent <= n.their_sent
            AND c.chain_lt <= n.chain_lt AND (c.status < 3 OR n.status = 3);
        IF NOT FOUND THEN
            SELECT c.version INTO v_version FROM engine.channel c WHERE c.address = n.address;
            IF v_version IS DISTINCT FROM n.base THEN
                RAISE EXCEPTION 'stale channel' USING ERRCODE = 'CWS01';
            END IF;
            RAISE EXCEPTION 'seqno, sent, logical time or status would go back' USING ERRCODE = 'CWS02';
        END IF;
    END LOOP;

    -- Removals first: a new condition may take the index of one that goes.
    FOREACH r IN ARRAY p_remove LOOP
        UPDATE engine.conditional c SET until = r.until
        WHERE c.channel = r.channel AND c.side = r.side AND c.key = r.key AND coalesce(c.until, 0) = 0;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no such condition' USING ERRCODE = 'CWS05';
        END IF;
    END LOOP;
    FOREACH a IN ARRAY p_add LOOP
        INSERT INTO engine.conditional (channel, side, key, index, capacity, fee, prepay, deadline, since, until)
        VALUES (a.channel, a.side, a.key, a.index, a.capacity, a.fee, a.prepay, a.deadline, a.since, a.until);
    END LOOP;

    FOREACH b IN ARRAY p_body LOOP
        INSERT INTO engine.signed_body (channel, seqno, attempt, sent, conditionals, change, key, capacity, fee, prepay, deadline)
        VALUES (b.channel, b.seqno, b.attempt, b.sent, b.conditionals, b.change, b.key, b.capacity, b.fee, b.prepay, b.deadline);
    END LOOP;
    FOREACH o IN ARRAY p_outcome LOOP
        UPDATE engine.signed_body c SET outcome = o.outcome
        WHERE c.channel = o.channel AND c.seqno = o.seqno AND c.attempt = o.attempt AND (c.outcome IS NULL OR c.outcome = 1);
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no such open body' USING ERRCODE = 'CWS05';
        END IF;
    END LOOP;
    FOREACH s IN ARRAY p_peer_state LOOP
        INSERT INTO engine.peer_state AS p (channel, seqno, sent, conditionals, signature, copy_seqno, copy_sent, copy_conditionals)
        VALUES (s.channel, s.seqno, s.sent, s.conditionals, s.signature, s.copy_seqno, s.copy_sent, s.copy_conditionals)
        ON CONFLICT (channel, seqno) DO UPDATE SET signature = excluded.signature, copy_seqno = excluded.copy_seqno,
            copy_sent = excluded.copy_sent, copy_conditionals = excluded.copy_conditionals
        WHERE p.sent = excluded.sent AND p.conditionals = excluded.conditionals;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'another body of the peer is stored at that seqno' USING ERRCODE = 'CWS02';
        END IF;
    END LOOP;

    FOREACH l IN ARRAY p_leg LOOP
        INSERT INTO engine.leg AS g (
            key, direction, channel, capacity, fee, prepay, deadline, state, resolved, resolution, other_channel, sender, request_id,
            sealed, action, released, told, live)
        VALUES (l.key, l.direction, l.channel, l.capacity, l.fee, l.prepay, l.deadline, l.state, l.resolved, l.resolution,
            l.other_channel, l.sender, l.request_id, l.sealed, l.action, l.released, l.told,
            l.state < 4 OR l.released > 0 OR NOT l.told)
        ON CONFLICT (key, direction, channel) DO UPDATE SET state = excluded.state, resolved = excluded.resolved,
            resolution = excluded.resolution, other_channel = excluded.other_channel, request_id = excluded.request_id,
            -- These only ever go: the old value stays where it is stored, apart from the row.
            sealed = CASE WHEN excluded.sealed IS NULL THEN NULL ELSE g.sealed END,
            action = CASE WHEN excluded.action IS NULL THEN NULL ELSE g.action END,
            released = excluded.released, told = excluded.told, live = excluded.live, changed = now()
        -- what is final stays: a used key that is tried again leaves the old leg as it is
        WHERE g.state < 4 OR g.state = excluded.state;
    END LOOP;

    IF cardinality(p_task) > 0 THEN
        PERFORM engine.post_tasks(p_task);
    END IF;
    FOREACH d IN ARRAY p_done LOOP
        DELETE FROM engine.task c WHERE c.id = d.id AND c.shard + 0 = d.shard;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'task is gone' USING ERRCODE = 'CWS03';
        END IF;
    END LOOP;
    IF cardinality(p_order) > 0 THEN
        PERFORM chain.place_orders(p_order);
    END IF;
    FOREACH t IN ARRAY p_result LOOP
        UPDATE engine.request c SET state = t.state, amount = t.amount, reason = t.reason
        WHERE c.request_id = t.request_id AND c.state < 2 AND c.state < t.state;
    END LOOP;
END $$;

-- ---- ownership, all by the database's clock

CREATE FUNCTION engine.live_members() RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT m.engine FROM engine.member m WHERE m.lease_until > clock_timestamp() ORDER BY m.engine
$$;

-- How many shards are due to an engine: 256 divided among the live members, the remainder to the first ones by name.
CREATE FUNCTION engine.quota(p_engine text) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT 256 / m.count + (m.rank <= 256 % m.count)::int
    FROM (SELECT e, row_number() OVER (ORDER BY e) AS rank, count(*) OVER () AS count FROM engine.live_members() e) m
    WHERE m.e = p_engine
$$;

-- Takes shards that nobody alive owns, up to the quota. Waits for commits under way; afterwards they fail (design 4.3).
CREATE FUNCTION engine.take_shards(p_engine text) RETURNS TABLE (shard smallint, epoch bigint) LANGUAGE plpgsql AS $$
DECLARE
    room bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('engine.take_shards'));
    room := coalesce(engine.quota(p_engine), 0) - (SELECT count(*) FROM engine.shard s WHERE s.owner = p_engine);
    IF room <= 0 THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH free AS (
        SELECT s.shard FROM engine.shard s
        WHERE s.owner IS NULL OR s.owner NOT IN (SELECT engine.live_members())
        ORDER BY s.shard LIMIT room FOR UPDATE
    )
    UPDATE engine.shard s SET owner = p_engine, epoch = s.epoch + 1, batch = 0 FROM free WHERE s.shard = free.shard
    RETURNING s.shard, s.epoch;
END $$;
