//! Event logs of a TPM, in the crypto-agile format (TCG PC Client Platform Firmware Profile 1.06, section 10).

/// Algorithms: identifier and size of digests in bytes (TCG Algorithm Registry).
pub const SHA1: (u16, u16) = (0x0004, 20);
pub const SHA256: (u16, u16) = (0x000b, 32);
pub const SHA384: (u16, u16) = (0x000c, 48);

/// Types of events.
pub const EV_NO_ACTION: u32 = 3;
pub const EV_SEPARATOR: u32 = 4;
pub const EV_EVENT_TAG: u32 = 6;
pub const EV_IPL: u32 = 13;

/// A log that grows.
#[derive(Clone)]
pub struct EventLog {
    algorithms: Vec<(u16, u16)>,
    pub bytes: Vec<u8>,
}

impl EventLog {
    /// One with the header that lists these algorithms.
    pub fn new(algorithms: &[(u16, u16)]) -> Self {
        let mut data = b"Spec ID Event03\0".to_vec();
        data.extend([0, 0, 0, 0, 0, 2, 0, 2]);
        data.extend(u32::try_from(algorithms.len()).unwrap().to_le_bytes());
        for (identifier, size) in algorithms {
            data.extend([identifier.to_le_bytes(), size.to_le_bytes()].concat());
        }
        // No information of the vendor.
        data.push(0);
        Self { algorithms: algorithms.to_vec(), bytes: Self::first(EV_NO_ACTION, &data) }
    }

    /// The first event of a log, in the format of TPM 1.2.
    pub fn first(kind: u32, data: &[u8]) -> Vec<u8> {
        let len = u32::try_from(data.len()).unwrap().to_le_bytes();
        [&0_u32.to_le_bytes(), &kind.to_le_bytes(), &[0; 20][..], &len, data].concat()
    }

    /// One more event with these digests, by algorithm.
    pub fn event(mut self, pcr: u32, kind: u32, digests: &[(u16, &[u8])], data: &[u8]) -> Self {
        self.bytes.extend([pcr.to_le_bytes(), kind.to_le_bytes()].concat());
        self.bytes.extend(u32::try_from(digests.len()).unwrap().to_le_bytes());
        for (algorithm, digest) in digests {
            self.bytes.extend(algorithm.to_le_bytes());
            self.bytes.extend(*digest);
        }
        self.bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        self.bytes.extend(data);
        self
    }

    /// One more event as systemd-stub logs it, with this digest in SHA-256 and digests of ones in all other banks.
    pub fn stub(self, pcr: u32, description: &str, sha256: &[u8]) -> Self {
        self.described(pcr, EV_IPL, &utf16(description), sha256)
    }

    /// The same with any type and data.
    pub fn described(self, pcr: u32, kind: u32, data: &[u8], sha256: &[u8]) -> Self {
        let algorithms = self.algorithms.clone();
        let ones: Vec<_> = algorithms.iter().map(|(_, size)| vec![1; usize::from(*size)]).collect();
        let digest = |(id, _): &(u16, u16), ones| (*id, if *id == SHA256.0 { sha256 } else { ones });
        let digests: Vec<_> = algorithms.iter().zip(&ones).map(|(it, ones)| digest(it, ones.as_slice())).collect();
        self.event(pcr, kind, &digests, data)
    }
}

/// Text with a NUL at its end, in UTF-16.
pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}
