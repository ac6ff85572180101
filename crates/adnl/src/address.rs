use std::net::SocketAddrV4;

const ADDRESS_LIST: u32 = tl::id(
    "adnl.addressList addrs:(vector adnl.Address) version:int reinit_date:int priority:int expire_at:int = adnl.AddressList",
);
const UDP: u32 = tl::id("adnl.address.udp ip:int port:int = adnl.Address");
const UDP6: u32 = tl::id("adnl.address.udp6 ip:int128 port:int = adnl.Address");
const TUNNEL: u32 = tl::id("adnl.address.tunnel to:int256 pubkey:PublicKey = adnl.Address");
const REVERSE: u32 = tl::id("adnl.address.reverse = adnl.Address");
const QUIC: u32 = tl::id("adnl.address.quic ip:int port:int = adnl.Address");

/// Most addresses read from one list.
const MAX_ADDRESSES: usize = 32;

/// Where a node can be reached (network 3.3). Only UDP over IPv4: other kinds are skipped when read and never written, because
/// older peers cannot parse a packet that has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressList {
    /// The UDP addresses; empty for a node that only dials out.
    pub addrs: Vec<SocketAddrV4>,
    /// Unix seconds of the last change.
    pub version: u32,
    /// Unix seconds of the owner's start.
    pub reinit_date: u32,
    /// Zero in practice.
    pub priority: u32,
    /// Unix seconds, zero = never.
    pub expire_at: u32,
}

impl tl::Object for AddressList {
    const ID: u32 = ADDRESS_LIST;

    fn write_bare(&self, w: &mut tl::Writer) {
        w.u32(self.addrs.len() as u32);
        for addr in &self.addrs {
            w.u32(UDP);
            w.u32(u32::from(*addr.ip()));
            w.u32(u32::from(addr.port()));
        }
        for number in [self.version, self.reinit_date, self.priority, self.expire_at] {
            w.u32(number);
        }
    }

    fn read_bare(r: &mut tl::Reader<'_>) -> Result<Self, tl::Error> {
        let mut addrs = Vec::new();
        for _ in 0..r.count(MAX_ADDRESSES, 4, "addrs")? {
            match r.u32("addrs")? {
                UDP => {
                    let ip = r.u32("ip")?;
                    if let Ok(port) = u16::try_from(r.u32("port")?) {
                        addrs.push(SocketAddrV4::new(ip.into(), port));
                    }
                }
                UDP6 => drop(r.raw(20, "udp6")?),
                TUNNEL => {
                    r.int256("to")?;
                    r.raw(36, "pubkey")?;
                }
                REVERSE => {}
                QUIC => drop(r.raw(8, "quic")?),
                id => return Err(tl::Error::UnknownConstructor { field: "addrs", id }),
            }
        }
        Ok(Self {
            addrs,
            version: r.u32("version")?,
            reinit_date: r.u32("reinit_date")?,
            priority: r.u32("priority")?,
            expire_at: r.u32("expire_at")?,
        })
    }
}
