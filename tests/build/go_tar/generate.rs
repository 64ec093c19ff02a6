//! Random archives: structured, so that most can be read, and odd in one place or another.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// A number as it stands in a header.
#[derive(Debug, Clone)]
pub(super) enum Number {
    Octal(u64),
    /// Without room for a NUL behind it
    Full(u64),
    Padded(u64),
    Binary(i64),
    Filled(u8),
    Raw(Vec<u8>),
}

impl Number {
    pub(super) fn put(&self, field: &mut [u8]) {
        let width = field.len();
        let text = match self {
            Self::Octal(value) => format!("{value:0width$o}\0", width = width - 1).into_bytes(),
            Self::Full(value) => format!("{value:0width$o}").into_bytes(),
            Self::Padded(value) => format!(" {value:o} ").into_bytes(),
            Self::Binary(value) => {
                let sign = if *value < 0 { 0xff } else { 0 };
                let bytes = [[sign; 16].as_slice(), &value.to_be_bytes()].concat();
                let mut bytes = bytes[bytes.len() - width..].to_vec();
                bytes[0] |= 0x80;
                bytes
            }
            Self::Filled(byte) => vec![*byte; width],
            Self::Raw(bytes) => bytes.clone(),
        };
        field.fill(0);
        let len = text.len().min(width);
        field[..len].copy_from_slice(&text[..len]);
    }
}

fn number(usual: impl Strategy<Value = u64> + Clone + 'static) -> impl Strategy<Value = Number> {
    prop_oneof![
        150 => usual.clone().prop_map(Number::Octal),
        9 => usual.clone().prop_map(Number::Full),
        9 => usual.prop_map(Number::Padded),
        6 => any::<u32>().prop_map(|value| Number::Binary(value.into())),
        1 => any::<i64>().prop_map(Number::Binary),
        2 => (-5_000_000_000_i64..0).prop_map(Number::Binary),
        6 => select(vec![0, b' ']).prop_map(Number::Filled),
        1 => vec(select(b"0127 89-+x\0\x80\xff".to_vec()), 1..12).prop_map(Number::Raw),
    ]
}

/// What stands before a member.
#[derive(Debug, Clone)]
pub(super) enum Before {
    Records(Vec<(String, Vec<u8>)>),
    /// With a length that is written in another way
    Odd(Vec<u8>),
    Global(Vec<(String, Vec<u8>)>),
    LongName(Vec<u8>),
    LongLink(Vec<u8>),
}

/// A map of holes, in one of four forms.
#[derive(Debug, Clone)]
pub(super) struct Holes {
    form: u8,
    /// Hole before the piece, and bytes of it
    pieces: Vec<(u64, u64)>,
    /// Hole at the end
    tail: u64,
    /// What is wrong with it, if it is a small number
    defect: u8,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    form: u8,
    kind: u8,
    name: u8,
    link: Vec<u8>,
    numbers: Vec<Number>,
    size: Option<Number>,
    content: Vec<u8>,
    before: Vec<Before>,
    holes: Option<Holes>,
    /// How the checksum is written
    checksum: u8,
}

#[derive(Debug, Clone)]
pub(super) struct Archive {
    entries: Vec<Entry>,
    end: u8,
    /// Bytes of headers, with a checksum that is right again
    edits: Vec<(Index, usize, u8)>,
    /// Bytes anywhere
    damage: Vec<(Index, u8)>,
    cut: Option<Index>,
}

/// A value of a record, and rarely one that is odd or wrong.
fn value(keyword: &str) -> BoxedStrategy<Vec<u8>> {
    let (usual, odd): (&[&str], &[&str]) = match keyword {
        "path" => (&["", "usr/of/record", "./usr/of//record2", "usr/\u{e9}"], &["usr/of/record3/", "usr/of/a\0b", "/"]),
        "linkpath" => (&["", "usr/base"], &["usr/elsewhere", "a\0b"]),
        "uid" | "gid" => (
            &["", "0", "7", "0070000", "4294967295"],
            &["+8", "-1", "4294967296", "18446744073709551616", "1e3", " 1", "1_0"],
        ),
        "mtime" => (
            &["", "1", "1.5", "1.0000000009", "-1.25", "-0.5", "9300000000", "9223372035.9"],
            &[
                "+3.25",
                "5.",
                ".5",
                "1.x",
                "9223372036854775807",
                "-9223372036854775808.5",
                "9223372036854775808",
                "1.5.0",
            ],
        ),
        "atime" | "ctime" => (&["", "1.5"], &["soon"]),
        "uname" => (&["", "root"], &["ro\0ot"]),
        "size" => (&[""], &["0", "3", "512", "-1", "+5", "x"]),
        "GNU.sparse.name" => (&["", "usr/of/sparse"], &[]),
        "GNU.sparse.major" | "GNU.sparse.minor" => (&["", "2"], &["0", "1"]),
        "GNU.sparse.map" => (&[""], &["0,0", "0,3", "1"]),
        "GNU.sparse.numblocks" => (&["", "0"], &["1"]),
        "GNU.sparse.size" | "GNU.sparse.realsize" => (&["", "0"], &["3", "100", "-1"]),
        "GNU.sparse.offset" | "GNU.sparse.numbytes" => (&[], &["", "0", "3", "0,3"]),
        _ => return vec(any::<u8>(), 0..20).boxed(),
    };
    let texts = |texts: &[&str]| select(texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
    match (usual, odd) {
        (usual, []) => texts(usual).boxed(),
        ([], odd) => texts(odd).boxed(),
        _ => prop_oneof![15 => texts(usual), 1 => texts(odd)].boxed(),
    }
}

fn record() -> impl Strategy<Value = (String, Vec<u8>)> {
    let often = [
        "path",
        "linkpath",
        "uid",
        "gid",
        "mtime",
        "atime",
        "uname",
        "comment",
        "SCHILY.xattr.user.a",
        "SCHILY.xattr.user.b",
        "SCHILY.xattr.security.capability",
        "SCHILY.fflags",
    ];
    let rarely = [
        "size",
        "ctime",
        "GNU.sparse.name",
        "GNU.sparse.major",
        "GNU.sparse.minor",
        "GNU.sparse.map",
        "GNU.sparse.numblocks",
        "GNU.sparse.size",
        "GNU.sparse.realsize",
        "GNU.sparse.offset",
        "GNU.sparse.numbytes",
        "SCHILY.xattr.",
        "a\0b",
    ];
    let keyword = prop_oneof![25 => select(often.to_vec()), 1 => select(rarely.to_vec())];
    keyword.prop_flat_map(|keyword| value(keyword).prop_map(move |value| (keyword.to_owned(), value)))
}

/// Lengths with signs and zeros, that are wrong or missing, and records that are none.
const ODD_RECORDS: [&[u8]; 13] = [
    b"7 k=v\n",
    b"+6 k=v\n",
    b"+7 k=v\n",
    b"06 k=v\n",
    b"000000000000000023 k=v\n",
    b"6 k=v\n7 k=v\n",
    b"5 =v\n",
    b"6 kv \n",
    b"6 k=v ",
    b"-6 k=v\n",
    b"0 k=v\n",
    b"6",
    b"\0",
];

fn before() -> impl Strategy<Value = Before> {
    prop_oneof![
        30 => vec(record(), 0..4).prop_map(Before::Records),
        1 => select(ODD_RECORDS.to_vec()).prop_map(|text| Before::Odd(text.to_vec())),
        3 => vec(record(), 0..3).prop_map(Before::Global),
        8 => select(vec![Vec::new(), b"usr/gnu/".repeat(30), b"usr/gn\0u".to_vec(), b"usr/gnu/".to_vec()])
            .prop_map(Before::LongName),
        1 => select(vec![vec![b'n'; 256], b"n/".repeat(2100), b"n/".repeat(129)]).prop_map(Before::LongName),
        4 => select(vec![Vec::new(), b"usr/base".to_vec()]).prop_map(Before::LongLink),
    ]
}

fn holes() -> impl Strategy<Value = Holes> {
    let pieces = vec((0..600_u64, 0..600_u64), 0..30);
    (0..4_u8, pieces, 0..600_u64, 0..60_u8).prop_map(|(form, pieces, tail, defect)| Holes {
        form,
        pieces,
        tail,
        defect,
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        40 => select(b"00\x0012345675".to_vec()),
        1 => select(b"ZMNVDX".to_vec()),
    ];
    let link = prop_oneof![
        8 => Just(b"usr/base".to_vec()),
        1 => Just(b"usr/none".to_vec()),
        1 => Just(Vec::new()),
        1 => Just(vec![b'x'; 100]),
    ];
    // Mode, owner, group, time, and the numbers of a device.
    let numbers = (
        number(0..0o10_000_u64),
        number(0..200_000_u64),
        number(0..200_000_u64),
        number(0..4_000_000_000_u64),
        number(1..9_u64),
        number(0..9_u64),
    );
    let size = prop_oneof![40 => Just(None), 1 => number(0..700_u64).prop_map(Some)];
    let content = prop_oneof![vec(any::<u8>(), 0..10), vec(any::<u8>(), 500..1100)];
    let holes = prop_oneof![4 => Just(None), 1 => holes().prop_map(Some)];
    (0..5_u8, kind, 0..20_u8, link, numbers, size, content, vec(before(), 0..3), holes, 0..80_u8).prop_map(
        |(form, kind, name, link, numbers, size, content, before, holes, checksum)| {
            let numbers = vec![numbers.0, numbers.1, numbers.2, numbers.3, numbers.4, numbers.5];
            Entry { form, kind, name, link, numbers, size, content, before, holes, checksum }
        },
    )
}

pub(super) fn archive() -> impl Strategy<Value = Archive> {
    let edits = prop_oneof![7 => Just(Vec::new()), 1 => vec((any::<Index>(), 0..512_usize, any::<u8>()), 1..3)];
    let damage = prop_oneof![19 => Just(Vec::new()), 1 => vec((any::<Index>(), any::<u8>()), 1..3)];
    let cut = prop_oneof![19 => Just(None), 1 => any::<Index>().prop_map(Some)];
    (vec(entry(), 1..4), 0..30_u8, edits, damage, cut).prop_map(|(entries, end, edits, damage, cut)| Archive {
        entries,
        end,
        edits,
        damage,
        cut,
    })
}

/// An archive that grows, and where its headers are.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
    headers: Vec<usize>,
}

pub(super) fn seal(header: &mut [u8], how: u8) {
    header[148..156].fill(b' ');
    let sum: i64 = match how {
        // As archivers did that counted bytes with a sign.
        0 => header.iter().map(|byte| i64::from(byte.cast_signed())).sum(),
        1 => 7,
        _ => header.iter().map(|byte| i64::from(*byte)).sum(),
    };
    let text = match how {
        2 => [&[0x80, 0, 0, 0][..], &u32::try_from(sum).unwrap().to_be_bytes()].concat(),
        3 => format!("{sum:o}").into_bytes(),
        _ => format!("{sum:06o}\0 ").into_bytes(),
    };
    let len = text.len().min(8);
    header[148..156].fill(0);
    header[148..148 + len].copy_from_slice(&text[..len]);
}

impl Writer {
    pub(super) fn pad(&mut self) {
        let len = self.bytes.len().next_multiple_of(512);
        self.bytes.resize(len, 0);
    }

    pub(super) fn header(&mut self, change: impl FnOnce(&mut [u8]), checksum: u8) {
        let mut header = [0; 512];
        for (at, len) in [(100, 8), (108, 8), (116, 8), (124, 12), (136, 12)] {
            Number::Octal(0).put(&mut header[at..at + len]);
        }
        change(&mut header);
        seal(&mut header, checksum);
        self.headers.push(self.bytes.len());
        self.bytes.extend(header);
    }

    /// A header that describes the next one.
    pub(super) fn description(&mut self, kind: u8, data: &[u8]) {
        self.header(
            |header| {
                header[..9].copy_from_slice(b"././@desc");
                header[257..265].copy_from_slice(if kind.is_ascii_lowercase() { b"ustar\x0000" } else { b"ustar  \0" });
                header[156] = kind;
                Number::Octal(data.len() as u64).put(&mut header[124..136]);
            },
            9,
        );
        self.bytes.extend(data);
        self.pad();
    }

    pub(super) fn records(&mut self, kind: u8, records: &[(String, Vec<u8>)]) {
        let mut data = Vec::new();
        for (keyword, value) in records {
            let rest = keyword.len() + value.len() + 3;
            let len = (1..99_999).find(|len| rest + len.to_string().len() == *len).unwrap();
            data.extend(format!("{len} {keyword}=").into_bytes());
            data.extend(value);
            data.push(b'\n');
        }
        self.description(kind, &data);
    }

    pub(super) fn entry(&mut self, number: usize, entry: &Entry) {
        for before in &entry.before {
            match before {
                Before::Records(records) => self.records(b'x', records),
                Before::Odd(data) => self.description(b'x', data),
                Before::Global(records) => self.records(b'g', records),
                Before::LongName(name) => self.description(b'L', name),
                Before::LongLink(name) => self.description(b'K', name),
            }
        }
        let (mut form, mut kind, mut data) = (entry.form, entry.kind, entry.content.clone());
        let mut blocks = Vec::new();
        let mut map = None;
        if let Some(holes) = &entry.holes {
            if holes.form == 0 {
                (form, kind) = (if holes.defect == 0 { 1 } else { 3 }, b'S');
            }
            data = self.holes(number, holes, &mut blocks, &mut map);
        }
        let name = match entry.name {
            0 => format!("usr/m{number}/"),
            1 => format!("./usr/m{number}"),
            2 => format!("/usr//m{number}"),
            3 => format!("usr/../m{number}"),
            4 => format!("usr/{}/m{number}", "d".repeat(60)),
            _ => format!("usr/m{number}"),
        };
        self.header(
            |header| {
                header[..name.len()].copy_from_slice(name.as_bytes());
                header[156] = kind;
                header[157..157 + entry.link.len()].copy_from_slice(&entry.link);
                for ((at, len), number) in
                    [(100, 8), (108, 8), (116, 8), (136, 12), (329, 8), (337, 8)].into_iter().zip(&entry.numbers)
                {
                    if at < 300 || form > 0 {
                        number.put(&mut header[at..at + len]);
                    }
                }
                let size = Number::Octal(if b"123456".contains(&kind) { 0 } else { data.len() as u64 });
                entry.size.as_ref().unwrap_or(&size).put(&mut header[124..136]);
                match form {
                    0 => {}
                    3 => header[257..265].copy_from_slice(b"ustar  \0"),
                    4 => {
                        header[257..265].copy_from_slice(b"ustar\x0000");
                        header[345..351].copy_from_slice(b"prefix");
                        header[508..512].copy_from_slice(b"tar\0");
                        Number::Octal(5).put(&mut header[476..488]);
                        Number::Octal(5).put(&mut header[488..500]);
                    }
                    form => {
                        header[257..265].copy_from_slice(b"ustar\x0000");
                        if form == 2 {
                            header[345..351].copy_from_slice(b"prefix");
                        }
                    }
                }
                // What GNU tar has there, and what Go once wrote there by mistake.
                if form == 3 && kind != b'S' {
                    let times: &[u8] =
                        [&b""[..], b"usr/prefix", b"00000000005\x0000000000006\0", b"pre\xff"][number % 4];
                    header[345..345 + times.len()].copy_from_slice(times);
                }
                if let Some(map) = &map {
                    header[386..495].copy_from_slice(map);
                }
            },
            entry.checksum,
        );
        self.bytes.extend(blocks);
        if !b"123456".contains(&kind) {
            self.bytes.extend(data);
            self.pad();
        }
    }

    /// Describes a file with holes. Returns the data, and for GNU's old form what stands in its header and in blocks behind it.
    fn holes(&mut self, number: usize, holes: &Holes, blocks: &mut Vec<u8>, header: &mut Option<Vec<u8>>) -> Vec<u8> {
        let mut map = Vec::new();
        let mut at = 0;
        for (hole, len) in &holes.pieces {
            at += hole;
            map.push((at, *len));
            at += len;
        }
        let size = at + holes.tail;
        let mut data: Vec<u8> =
            (0..map.iter().map(|(_, len)| len).sum()).map(|at: u64| at.to_le_bytes()[0] | 1).collect();
        match holes.defect {
            1 => data.push(b'x'),
            2 => drop(data.pop()),
            3 => map.reverse(),
            4 => map.push((size + 1, 0)),
            _ => {}
        }
        let text = |number: u64| number.to_string().into_bytes();
        let mut records = vec![
            ("GNU.sparse.name".to_owned(), format!("usr/holes{number}").into_bytes()),
            ((if holes.form == 3 { "GNU.sparse.realsize" } else { "GNU.sparse.size" }).to_owned(), text(size)),
        ];
        if holes.defect == 5 {
            records.clear();
        }
        let mut record = |keyword: &str, value: Vec<u8>| records.push((format!("GNU.sparse.{keyword}"), value));
        if matches!(holes.form, 1 | 2) && holes.defect != 6 {
            record("numblocks", text(map.len() as u64));
        }
        match holes.form {
            0 => {
                *header = Some(old_map(&map, size, holes.defect, blocks));
                return data;
            }
            1 => map.iter().for_each(|(at, len)| {
                record("offset", text(*at));
                record("numbytes", text(*len));
            }),
            2 => {
                let numbers: Vec<_> = map.iter().flat_map(|(at, len)| [text(*at), text(*len)]).collect();
                record("map", numbers.join(&b','));
            }
            _ => {
                record("major", text(1));
                record("minor", text(u64::from(holes.defect == 7)));
                let mut front = format!("{}\n", map.len()).into_bytes();
                for (at, len) in &map {
                    front.extend(format!("{at}\n{len}\n").into_bytes());
                }
                front.resize(front.len().next_multiple_of(512), 0);
                data.splice(0..0, front);
            }
        }
        self.records(b'x', &records);
        data
    }
}

/// GNU's old map: four pieces in the header, 21 in each further block.
fn old_map(map: &[(u64, u64)], size: u64, defect: u8, blocks: &mut Vec<u8>) -> Vec<u8> {
    let more = if defect == 8 { 7 } else { 1 };
    let mut fields: Vec<[u8; 24]> = Vec::new();
    for (at, len) in map {
        let mut field = [0; 24];
        Number::Octal(*at).put(&mut field[..12]);
        Number::Octal(*len).put(&mut field[12..]);
        fields.push(field);
    }
    // A gap in the list ends it.
    if defect == 9 && fields.len() > 1 {
        fields[0] = [0; 24];
    }
    let (first, rest) = fields.split_at(fields.len().min(4));
    let mut header = vec![0; 109];
    header[..first.len() * 24].copy_from_slice(&first.concat());
    header[96] = if rest.is_empty() { 0 } else { more };
    Number::Octal(size).put(&mut header[97..109]);
    let mut chunks = rest.chunks(21).peekable();
    while let Some(chunk) = chunks.next() {
        let mut block = [0; 512];
        block[..chunk.len() * 24].copy_from_slice(&chunk.concat());
        block[504] = if chunks.peek().is_some() { more } else { 0 };
        blocks.extend(block);
    }
    header
}

impl Archive {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        // What hard links lead to.
        let base = Entry {
            form: 1,
            kind: b'0',
            name: 9,
            link: Vec::new(),
            numbers: [0o644, 0, 0, 1000, 0, 0].map(Number::Octal).to_vec(),
            size: None,
            content: b"base".to_vec(),
            before: vec![Before::Records(vec![("path".to_owned(), b"usr/base".to_vec())])],
            holes: None,
            checksum: 9,
        };
        writer.entry(0, &base);
        for (number, entry) in self.entries.iter().enumerate() {
            writer.entry(number + 1, entry);
        }
        let zeros = match self.end {
            0 => 0,
            1 => 512,
            2 => 700,
            // Another member behind the end, or what looks like it.
            3 | 4 => 512 * usize::from(self.end - 2),
            _ => 1024,
        };
        writer.bytes.resize(writer.bytes.len() + zeros, 0);
        if matches!(self.end, 3 | 4) {
            writer.entry(99, &base);
        }
        for (index, at, byte) in &self.edits {
            let header = *index.get(&writer.headers);
            if let Some(header) = writer.bytes.get_mut(header..header + 512) {
                header[*at] = *byte;
                seal(header, 9);
            }
        }
        for (index, byte) in &self.damage {
            let at = index.index(writer.bytes.len());
            writer.bytes[at] = *byte;
        }
        if let Some(cut) = self.cut {
            writer.bytes.truncate(cut.index(writer.bytes.len()));
        }
        writer.bytes
    }
}
