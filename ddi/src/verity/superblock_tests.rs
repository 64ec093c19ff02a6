use proptest::prelude::*;

use super::*;

fn sample() -> Superblock {
    let uuid = *b"0123456789abcdef";
    Superblock::new(HashAlgorithm::Sha256, 4096, 1024, 1_234_567, b"thirty-two bytes of good salt...", uuid).unwrap()
}

fn parse_with(offset: usize, bytes: &[u8]) -> Result<Superblock, SuperblockError> {
    let mut block = sample().to_bytes();
    block[offset..][..bytes.len()].copy_from_slice(bytes);
    Superblock::parse(&block)
}

fn algorithms() -> impl Strategy<Value = HashAlgorithm> {
    prop::sample::select(HashAlgorithm::ALL.to_vec())
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        algorithm in algorithms(),
        data_exponent in 9_u32..=12,
        hash_exponent in 9_u32..=12,
        data_blocks in 1_u64..1 << 50,
        salt in prop::collection::vec(any::<u8>(), 0..=256),
        uuid: [u8; 16],
    ) {
        let made = Superblock::new(algorithm, 1 << data_exponent, 1 << hash_exponent, data_blocks, &salt, uuid).unwrap();
        let read = Superblock::parse(&made.to_bytes()).unwrap();
        prop_assert_eq!(&read, &made);
        prop_assert_eq!(read.algorithm(), algorithm);
        prop_assert_eq!(read.data_block_size(), 1 << data_exponent);
        prop_assert_eq!(read.hash_block_size(), 1 << hash_exponent);
        prop_assert_eq!(read.data_blocks(), data_blocks);
        prop_assert_eq!(read.salt(), salt);
        prop_assert_eq!(read.uuid(), uuid);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_what_is_taken_is_canonical(
        changes in prop::collection::vec((0_usize..SUPERBLOCK_SIZE, any::<u8>()), 0..6),
        len in 0_usize..=SUPERBLOCK_SIZE + 8,
    ) {
        let mut bytes = [&sample().to_bytes()[..], &[0xff; 8]].concat();
        for (offset, byte) in changes {
            bytes[offset] = byte;
        }
        if let Ok(superblock) = Superblock::parse(&bytes[..len]) {
            prop_assert_eq!(&superblock.to_bytes()[..], &bytes[..SUPERBLOCK_SIZE]);
        }
    }
}

#[test]
fn every_field_is_held_to_its_rule() {
    assert_eq!(parse_with(0, b"Verity"), Err(SuperblockError::Signature { found: *b"Verity\0\0" }));
    assert_eq!(parse_with(7, b"1"), Err(SuperblockError::Signature { found: *b"verity\x001" }));
    assert_eq!(parse_with(8, &[0]), Err(SuperblockError::Version { found: 0 }));
    assert_eq!(parse_with(8, &[2]), Err(SuperblockError::Version { found: 2 }));
    assert_eq!(parse_with(12, &[0]), Err(SuperblockError::HashType { found: 0 }));
    for size in [0, 1, 256, 511, 513, 3000, 8192, 65536, u32::MAX] {
        assert_eq!(parse_with(64, &size.to_le_bytes()), Err(SuperblockError::DataBlockSize { found: size }));
        assert_eq!(parse_with(68, &size.to_le_bytes()), Err(SuperblockError::HashBlockSize { found: size }));
    }
    assert_eq!(parse_with(72, &[0; 8]), Err(SuperblockError::NoData));
    for data_blocks in [u64::MAX, 1 << 52, 1 << 51] {
        let error = SuperblockError::TooLarge { data_blocks, data_block_size: 4096 };
        assert_eq!(parse_with(72, &data_blocks.to_le_bytes()), Err(error));
    }
    for found in [257, u16::MAX] {
        let error = SuperblockError::SaltSize { found: usize::from(found) };
        assert_eq!(parse_with(80, &found.to_le_bytes()), Err(error));
    }
}

#[test]
fn only_the_exact_names_of_algorithms_are_known() {
    for name in [&b"sha1\0\0"[..], b"sha384", b"sha256-generic", b"SHA256", b"sha256\0x", b"sha256 ", b"", b"\0sha256"]
    {
        let mut field = [0; 32];
        field[..name.len()].copy_from_slice(name);
        assert_eq!(parse_with(32, &field), Err(SuperblockError::Algorithm { found: field }), "{}", name.escape_ascii());
    }
}

#[test]
fn no_unused_byte_can_hold_anything() {
    let salt_end = SALT_OFFSET + sample().salt().len();
    for offset in (82..88).chain(salt_end..SUPERBLOCK_SIZE) {
        assert_eq!(parse_with(offset, &[1]), Err(SuperblockError::Padding { offset, found: 1 }));
    }
}

#[test]
fn a_part_of_a_superblock_is_none() {
    for found in [0, 1, 8, 511] {
        let bytes = &sample().to_bytes()[..found];
        assert_eq!(Superblock::parse(bytes), Err(SuperblockError::Truncated { found }));
    }
}

#[test]
fn the_salt_ends_at_its_room() {
    let make = |salt: &[u8]| Superblock::new(HashAlgorithm::Sha512, 512, 512, 1, salt, [0; 16]);
    assert_eq!(make(&[1; 257]), Err(SuperblockError::SaltSize { found: 257 }));
    let longest = make(&[1; 256]).unwrap();
    assert_eq!(longest.to_bytes()[SALT_OFFSET..][..256], [1; 256]);
}
