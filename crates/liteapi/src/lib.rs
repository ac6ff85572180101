//! liteapi
