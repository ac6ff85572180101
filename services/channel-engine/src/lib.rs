//! channel-engine
