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

/// An initrd: an archive in the form newc of paths with mode and content, a link's target for one.
pub fn initrd(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (path, mode, content) in files.iter().copied().chain([("TRAILER!!!", 0, b"".as_slice())]) {
        let (len, name_len) = (u32::try_from(content.len()).unwrap(), u32::try_from(path.len() + 1).unwrap());
        let fields = [1, mode, 0, 0, 1, 0, len, 0, 0, 0, 0, name_len, 0].map(|field| format!("{field:08x}"));
        archive.extend(format!("070701{}{path}\0", fields.concat()).into_bytes());
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}
