//! The little of DER (ITU-T X.690) that is needed to write signatures by hand.

/// Tag, length, content.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(u8::try_from(length).unwrap());
    } else {
        let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        out.push(0x80 | u8::try_from(bytes.len()).unwrap());
        out.extend(bytes);
    }
    out.extend(content);
    out
}

/// The first element of some DER: its content, and all of it. Lengths are below 64 KiB.
pub fn split(der: &[u8]) -> (&[u8], &[u8]) {
    let (header, length) = match der[1] {
        0x81 => (3, usize::from(der[2])),
        0x82 => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
        length => (2, usize::from(length)),
    };
    (&der[header..header + length], &der[..header + length])
}

/// `SEQUENCE` of what is encoded already.
pub fn sequence(items: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &items.concat())
}

/// `SET OF`, in the order that DER wants.
pub fn set(items: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x31, &set_content(items))
}

/// The content of a `SET OF`, for implicit tags.
pub fn set_content(items: &[Vec<u8>]) -> Vec<u8> {
    let mut sorted = items.to_vec();
    sorted.sort();
    sorted.concat()
}

/// `INTEGER` of a non-negative big-endian number.
pub fn integer(number: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
    if bytes.first().is_none_or(|byte| byte & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    tlv(0x02, &bytes)
}

/// `OCTET STRING`
pub fn octets(bytes: &[u8]) -> Vec<u8> {
    tlv(0x04, bytes)
}

/// `NULL`
pub fn null() -> Vec<u8> {
    tlv(0x05, &[])
}

/// `OBJECT IDENTIFIER` from its text with dots.
pub fn oid(text: &str) -> Vec<u8> {
    let numbers: Vec<u32> = text.split('.').map(|number| number.parse().unwrap()).collect();
    let mut content = Vec::new();
    for number in std::iter::once(numbers[0] * 40 + numbers[1]).chain(numbers[2..].iter().copied()) {
        let groups = (0..5).rev().map(|group| u8::try_from(number >> (7 * group) & 0x7f).unwrap());
        let mut groups: Vec<u8> = groups.skip_while(|group| *group == 0).collect();
        if groups.is_empty() {
            groups.push(0);
        }
        let last = groups.len() - 1;
        content.extend(groups.iter().enumerate().map(|(at, group)| if at == last { *group } else { group | 0x80 }));
    }
    tlv(0x06, &content)
}

/// A context-specific tag around something else.
pub fn explicit(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(0xa0 | number, content)
}
