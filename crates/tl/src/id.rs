/// The constructor id of a registered schema string: CRC-32 (IEEE) over its UTF-8 bytes without `(` and `)`. Nothing else is
/// normalised: spaces, letter case and field names count even where they are wrong (payments 1.2, network 1.5).
pub const fn id(schema: &str) -> u32 {
    let bytes = schema.as_bytes();
    let mut crc = u32::MAX;
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] != b'(' && bytes[i] != b')' {
            crc ^= bytes[i] as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
                bit += 1;
            }
        }
        i += 1;
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::id;

    #[test]
    fn ids_known_from_the_specification() {
        assert_eq!(id("boolTrue = Bool"), 0x9972_75b5);
        assert_eq!(id("payments.ping value:long = payments.Ping"), 0xedb1_2e80);
        assert_eq!(id("dht.nodes nodes:(vector dht.node) = dht.Nodes"), 0x7974_a0be);
    }
}
