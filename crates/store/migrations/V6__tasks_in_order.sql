-- Tasks that are posted together are queued in the order in which they are passed: what happened on the chain is told as it happened. The
-- join alone promises no order.
CREATE OR REPLACE FUNCTION engine.post_tasks(p_tasks engine.new_task[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO engine.task (id, shard, channel, kind, payload, not_before)
    SELECT t.id, c.shard, t.channel, t.kind, t.payload, t.not_before
    FROM unnest(p_tasks) WITH ORDINALITY t(id, channel, kind, payload, not_before, place)
    LEFT JOIN engine.channel c ON c.address = t.channel
    ORDER BY t.place
    ON CONFLICT (id) DO NOTHING;
END $$;
