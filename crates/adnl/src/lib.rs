//! adnl
