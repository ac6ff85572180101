//! chain-indexer
