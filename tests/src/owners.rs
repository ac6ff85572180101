//! Who changes the rows of which shard, as the database itself sees it.

use anyhow::Context as _;
use store::{Pool, lease::Member};
use testnet::Node;

use crate::database;

/// Notes every move of a channel and every task's end: by which connection, and who owned the shard in that moment. The fence of each commit locks the
/// shard's row, so owner and epoch cannot change under it. A task may be inserted by anybody, so only its end counts. The tables behind the journal
/// are no evidence: any engine may fold what was committed.
const NOTE_CHANGES: &str = r"
CREATE SCHEMA watch;
CREATE TABLE watch.change (
    seq bigint GENERATED ALWAYS AS IDENTITY, what text, writer text, owner text, shard smallint, epoch bigint
);
CREATE FUNCTION watch.note() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    r jsonb;
BEGIN
    IF TG_OP = 'DELETE' THEN r := to_jsonb(OLD); ELSE r := to_jsonb(NEW); END IF;
    INSERT INTO watch.change (what, writer, owner, shard, epoch)
    SELECT TG_TABLE_NAME || ' ' || TG_OP, current_setting('application_name'), 'causeway-engine ' || s.owner, s.shard, s.epoch
    FROM engine.shard s WHERE s.shard = (r->>'shard')::smallint;
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON engine.head FOR EACH ROW EXECUTE FUNCTION watch.note();
CREATE TRIGGER note AFTER UPDATE OR DELETE ON engine.task FOR EACH ROW EXECUTE FUNCTION watch.note();
";

/// The owners of a node's shards, and what they change.
#[derive(Debug)]
pub struct Owners(Pool);

impl Owners {
    /// Begins to note changes in a node's database.
    pub async fn watch(node: &Node) -> anyhow::Result<Self> {
        let pool = database(node)?;
        pool.get().await?.batch_execute(NOTE_CHANGES).await?;
        Ok(Self(pool))
    }

    /// The engines with their shards.
    pub async fn members(&self) -> anyhow::Result<Vec<Member>> {
        Ok(store::lease::members(&self.0.get().await?).await?)
    }

    /// Owner and epoch of a peer's shard.
    pub async fn of(&self, peer: &Node) -> anyhow::Result<(String, u64)> {
        let shard = store::shard_of(&peer.key);
        for member in self.members().await? {
            if let Some(owned) = member.shards.iter().find(|owned| owned.shard == shard) {
                return Ok((member.engine, owned.epoch));
            }
        }
        anyhow::bail!("nobody owns shard {shard}")
    }

    /// Changes of rows after somebody else had taken their shard. A shard that was given up is its last owner's until it is taken: commits in
    /// flight end under the epoch that they began under.
    pub async fn intrusions(&self) -> anyhow::Result<Vec<String>> {
        let client = self.0.get().await?;
        let rows = client
            .query(
                "SELECT seq || ': ' || what || ' by ' || writer || ' in shard ' || shard || ' of ' || owner || ', epoch ' || epoch \
                 FROM watch.change WHERE writer <> owner ORDER BY seq LIMIT 20",
                &[],
            )
            .await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// How many changes an engine made in a peer's shard under an epoch.
    pub async fn changes(&self, peer: &Node, engine: &str, epoch: u64) -> anyhow::Result<i64> {
        let client = self.0.get().await?;
        let (shard, epoch) = (i16::from(store::shard_of(&peer.key)), i64::try_from(epoch).context("epoch")?);
        let writer = format!("causeway-engine {engine}");
        let counted = client
            .query_one(
                "SELECT count(*) FROM watch.change WHERE shard = $1 AND writer = $2 AND epoch = $3",
                &[&shard, &writer, &epoch],
            )
            .await?;
        Ok(counted.get(0))
    }
}
