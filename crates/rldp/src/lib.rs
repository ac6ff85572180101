//! rldp
