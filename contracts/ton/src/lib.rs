//! ton
