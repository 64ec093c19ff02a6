//! UKIs, as far as anybody looks who reads one.

/// A PE program with these sections.
pub fn program(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut program =
        [b"MZ".as_slice(), &[0; 58], &64_u32.to_le_bytes(), b"PE\0\0", &0x8664_u16.to_le_bytes()].concat();
    program.extend(u16::try_from(sections.len()).unwrap().to_le_bytes());
    program.extend([0; 16]);
    let mut start = 4096_u32;
    for (name, content) in sections {
        let len = u32::try_from(content.len()).unwrap();
        let mut header = name.as_bytes().to_vec();
        header.resize(8, 0);
        for field in [len, start, len.next_multiple_of(512), start] {
            header.extend(field.to_le_bytes());
        }
        header.resize(40, 0);
        program.extend(header);
        start += len.next_multiple_of(512);
    }
    for (_, content) in sections {
        program.resize(program.len().next_multiple_of(512).max(4096), 0);
        program.extend_from_slice(content);
    }
    program.resize(program.len().next_multiple_of(512), 0);
    program
}

/// One with nothing but the note that systemd-stub of this version leaves.
pub fn with_stub(version: &str) -> Vec<u8> {
    program(&[(".sdmagic", format!("#### LoaderInfo: systemd-stub {version} ####\0").as_bytes())])
}
