//! Keys and addresses of the ADNL peers of this run, as the endpoint reports them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use adnl::PeerRecord;
use adnl::keys::{AdnlId, PublicKey};

use crate::lock;

/// Records kept. The endpoint has at most 4096 peers, and the ones that are gone are forgotten.
const MAX_RECORDS: usize = 16_384;

/// Where a node is, and the ADNL key that it has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub adnl_key: PublicKey,
    pub address: SocketAddr,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Records {
    places: Mutex<HashMap<AdnlId, Place>>,
}

impl Records {
    pub fn set(&self, record: &PeerRecord) {
        let Some(address) = record.address else { return };
        let (id, mut places) = (record.key.id(), lock(&self.places));
        if places.len() < MAX_RECORDS || places.contains_key(&id) {
            places.insert(id, Place { adnl_key: record.key, address });
        }
    }

    pub fn get(&self, adnl: &AdnlId) -> Option<Place> {
        lock(&self.places).get(adnl).copied()
    }

    pub fn forget(&self, adnl: &AdnlId) {
        lock(&self.places).remove(adnl);
    }
}
