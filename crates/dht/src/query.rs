use crate::node::{Node, Nodes};
use crate::value::{KeyId, Value};
use tl::{Error, Object, Reader, Writer};

const PING: u32 = tl::id("dht.ping random_id:long = dht.Pong");
const PONG: u32 = tl::id("dht.pong random_id:long = dht.Pong");
const STORE: u32 = tl::id("dht.store value:dht.value = dht.Stored");
const STORED: u32 = tl::id("dht.stored = dht.Stored");
const FIND_NODE: u32 = tl::id("dht.findNode key:int256 k:int = dht.Nodes");
const FIND_VALUE: u32 = tl::id("dht.findValue key:int256 k:int = dht.ValueResult");
const VALUE_FOUND: u32 = tl::id("dht.valueFound value:dht.Value = dht.ValueResult");
const VALUE_NOT_FOUND: u32 = tl::id("dht.valueNotFound nodes:dht.nodes = dht.ValueResult");
const GET_ADDRESSES: u32 = tl::id("dht.getSignedAddressList = dht.Node");
/// The prefix by which an asking server introduces itself (network 5.2).
const INTRODUCTION: u32 = tl::id("dht.query node:dht.node = True");

/// What is asked of a DHT node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Is it there?
    Ping(u64),
    /// Keep this value.
    Store(Box<Value>),
    /// Which nodes are nearest to this position?
    FindNode(KeyId, u32),
    /// The value of this key, or else the nodes nearest to it.
    FindValue(KeyId, u32),
    /// The node's presentation.
    GetAddresses,
}

impl Query {
    /// Parses a query and the introduction before it, if there is one.
    pub fn parse(bytes: &[u8]) -> Result<(Option<Node>, Self), Error> {
        let mut r = Reader::new(bytes);
        let mut id = r.u32("query")?;
        let mut asker = None;
        if id == INTRODUCTION {
            asker = Some(Node::read_bare(&mut r)?);
            id = r.u32("query")?;
        }
        let query = match id {
            PING => Self::Ping(r.u64("random_id")?),
            STORE => Self::Store(Box::new(Value::read_bare(&mut r)?)),
            FIND_NODE => Self::FindNode(r.int256("key")?, r.u32("k")?),
            FIND_VALUE => Self::FindValue(r.int256("key")?, r.u32("k")?),
            GET_ADDRESSES => Self::GetAddresses,
            id => return Err(Error::UnknownConstructor { field: "query", id }),
        };
        r.end()?;
        Ok((asker, query))
    }

    /// The boxed bytes, behind the introduction of the asking node if it is one.
    pub fn from(&self, asker: Option<&Node>) -> Vec<u8> {
        let mut w = Writer::new();
        if let Some(node) = asker {
            w.u32(INTRODUCTION);
            node.write_bare(&mut w);
        }
        w.raw(&self.to_bytes());
        w.into_bytes()
    }

    /// The boxed bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::Ping(id) => {
                w.u32(PING);
                w.u64(*id);
            }
            Self::Store(value) => {
                w.u32(STORE);
                value.write_bare(&mut w);
            }
            Self::FindNode(key, k) => {
                w.u32(FIND_NODE);
                w.raw(key);
                w.u32(*k);
            }
            Self::FindValue(key, k) => {
                w.u32(FIND_VALUE);
                w.raw(key);
                w.u32(*k);
            }
            Self::GetAddresses => w.u32(GET_ADDRESSES),
        }
        w.into_bytes()
    }
}

/// What a DHT node answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To a ping.
    Pong(u64),
    /// To a store.
    Stored,
    /// To a search for nodes.
    Nodes(Nodes),
    /// To a search for a value.
    Found(Box<Value>),
    /// To a search for a value that it lacks.
    NotFound(Nodes),
    /// Its presentation.
    Addresses(Box<Node>),
}

impl Answer {
    /// Parses a boxed answer. A `valueFound` holds a boxed value, a `valueNotFound` bare nodes (network 1.2).
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let answer = match r.u32("answer")? {
            PONG => Self::Pong(r.u64("random_id")?),
            STORED => Self::Stored,
            Nodes::ID => Self::Nodes(Nodes::read_bare(&mut r)?),
            VALUE_FOUND => Self::Found(Box::new(Value::read_boxed(&mut r)?)),
            VALUE_NOT_FOUND => Self::NotFound(Nodes::read_bare(&mut r)?),
            Node::ID => Self::Addresses(Box::new(Node::read_bare(&mut r)?)),
            id => return Err(Error::UnknownConstructor { field: "answer", id }),
        };
        r.end()?;
        Ok(answer)
    }

    /// The boxed bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::Pong(id) => {
                w.u32(PONG);
                w.u64(*id);
            }
            Self::Stored => w.u32(STORED),
            Self::Nodes(nodes) => nodes.write_boxed(&mut w),
            Self::Found(value) => {
                w.u32(VALUE_FOUND);
                value.write_boxed(&mut w);
            }
            Self::NotFound(nodes) => {
                w.u32(VALUE_NOT_FOUND);
                nodes.write_bare(&mut w);
            }
            Self::Addresses(node) => node.write_boxed(&mut w),
        }
        w.into_bytes()
    }
}
