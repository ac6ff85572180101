-- The newest masterchain key block that the leading indexer proved, so that the next run's proofs begin there and not at the network's first
-- trusted block (network 6.4). All absent, or none.

ALTER TABLE chain.cursor
    ADD COLUMN key_block bigint CHECK (key_block >= 0),
    ADD COLUMN key_block_root_hash bytea CHECK (octet_length(key_block_root_hash) = 32),
    ADD COLUMN key_block_file_hash bytea CHECK (octet_length(key_block_file_hash) = 32),
    ADD CHECK ((key_block IS NULL) = (key_block_root_hash IS NULL) AND (key_block IS NULL) = (key_block_file_hash IS NULL));
