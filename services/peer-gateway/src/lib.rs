//! peer-gateway
