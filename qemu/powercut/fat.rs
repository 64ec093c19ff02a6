//! Reading FAT16 and FAT32 as they lie in a disk image, however damaged (Microsoft, "FAT File System Specification" 1.03).

const SLOT: usize = 32;
const DIRECTORY: u8 = 0x10;
const VOLUME_LABEL: u8 = 0x08;
const LONG_NAME: u8 = 0x0f;
const DELETED: u8 = 0xe5;
/// Directories are not followed deeper than this.
const DEPTH: usize = 8;

/// A file system in an image.
pub struct Fat<'a> {
    image: &'a [u8],
    cluster_size: usize,
    table: usize,
    wide: bool,
    /// Of cluster 2.
    data: usize,
    clusters: u32,
    root: Root,
}

#[derive(Clone, Copy)]
enum Root {
    Fixed { start: usize, length: usize },
    Cluster(u32),
}

/// How a directory is read. A slot that begins with zero ends it by the specification; firmware and Linux (6.12.117) keep to
/// that. Others pass over it, and what a loss of power has left behind it comes to light.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    Strict,
    Lenient,
}

/// A file or a directory.
#[derive(Debug)]
pub struct Found {
    /// From the root on, without leading slash. The short name stands where there is no long one.
    pub path: String,
    /// Whether its long name is there and belongs to it.
    pub is_long: bool,
    pub is_directory: bool,
    /// Its clusters, as far as they can be followed.
    pub clusters: Vec<u32>,
    /// In bytes; 0 for directories.
    pub size: usize,
    /// Why it can't be read, or not to its end.
    pub damage: Option<String>,
}

impl<'a> Fat<'a> {
    /// Opens it by its boot sector.
    pub fn open(image: &'a [u8]) -> Result<Self, String> {
        let (short, byte) = (|at| u16_at(image, at) as usize, |at: usize| usize::from(image[at]));
        let sector = short(11);
        if image[510..512] != [0x55, 0xaa] || sector != 512 || byte(13) == 0 {
            return Err("there is no boot sector".to_owned());
        }
        let reserved = short(14) * sector;
        let wide = short(22) == 0;
        let table_size = if wide { u32_at(image, 36) as usize } else { short(22) } * sector;
        let fixed = reserved + byte(16) * table_size;
        let root_length = short(17) * SLOT;
        let root =
            if wide { Root::Cluster(u32_at(image, 44)) } else { Root::Fixed { start: fixed, length: root_length } };
        let total = if short(19) == 0 { u32_at(image, 32) as usize } else { short(19) } * sector;
        let (cluster_size, data) = (byte(13) * sector, fixed + root_length);
        if total > image.len() || total < data {
            return Err(format!("{total} bytes of file system in {} of disk", image.len()));
        }
        let clusters = u32::try_from((total - data) / cluster_size).unwrap();
        Ok(Self { image, cluster_size, table: reserved, wide, data, clusters, root })
    }

    /// All files and directories, as this reader sees them.
    pub fn files(&self, reader: Reader) -> Vec<Found> {
        let mut found = Vec::new();
        let root = match self.root {
            Root::Fixed { start, length } => self.image[start..start + length].to_vec(),
            Root::Cluster(first) => self.read(&self.chain(first).0),
        };
        self.directory(reader, &root, "", 0, &mut found);
        found
    }

    fn directory(&self, reader: Reader, bytes: &[u8], path: &str, depth: usize, found: &mut Vec<Found>) {
        let mut long = LongName::default();
        for slot in bytes.chunks_exact(SLOT) {
            match (slot[0], slot[11]) {
                (0, _) if reader == Reader::Strict => break,
                (0 | DELETED, _) => long = LongName::default(),
                (_, attributes) if attributes & 0x3f == LONG_NAME => long.push(slot),
                (b'.', _) => long = LongName::default(),
                (_, attributes) if attributes & VOLUME_LABEL != 0 => long = LongName::default(),
                (_, attributes) => {
                    let name = std::mem::take(&mut long).finish(slot);
                    let is_long = name.is_some();
                    let path = format!("{path}{}", name.unwrap_or_else(|| short_name(slot)));
                    let file = self.file(path, is_long, attributes & DIRECTORY != 0, slot);
                    // As far as it can be read, which is what Linux does.
                    let inside = file.is_directory && depth < DEPTH;
                    let inside = inside.then(|| (self.read(&file.clusters), format!("{}/", file.path)));
                    found.push(file);
                    if let Some((bytes, prefix)) = inside {
                        self.directory(reader, &bytes, &prefix, depth + 1, found);
                    }
                }
            }
        }
    }

    fn file(&self, path: String, is_long: bool, is_directory: bool, slot: &[u8]) -> Found {
        let high = if self.wide { u32::from(u16_at(slot, 20)) } else { 0 };
        let (first, size) = (high << 16 | u32::from(u16_at(slot, 26)), u32_at(slot, 28) as usize);
        let (clusters, mut damage) = if first == 0 { (Vec::new(), None) } else { self.chain(first) };
        if damage.is_none() && !is_directory && size.div_ceil(self.cluster_size) != clusters.len() {
            damage = Some(format!("{size} bytes in {} clusters", clusters.len()));
        }
        Found { path, is_long, is_directory, clusters, size, damage }
    }

    /// Whether exactly this is in a file.
    pub fn holds(&self, file: &Found, content: &[u8]) -> bool {
        let pieces = content.chunks(self.cluster_size);
        let same = |(cluster, piece): (&u32, &[u8])| self.cluster(*cluster)[..piece.len()] == *piece;
        file.damage.is_none() && file.size == content.len() && file.clusters.iter().zip(pieces).all(same)
    }

    /// The clusters from one on, and why they don't come to an end as they should.
    fn chain(&self, first: u32) -> (Vec<u32>, Option<String>) {
        let (mut clusters, mut next) = (Vec::new(), first);
        loop {
            if next < 2 || next - 2 >= self.clusters {
                return (clusters, Some(format!("the chain leads to cluster {next}, which isn't there")));
            }
            if clusters.len() > self.clusters as usize {
                return (clusters, Some("the chain is a circle".to_owned()));
            }
            clusters.push(next);
            next = self.next(next);
            if next >= if self.wide { 0x0fff_fff8 } else { 0xfff8 } {
                return (clusters, None);
            }
        }
    }

    /// What the first copy of the table says.
    fn next(&self, cluster: u32) -> u32 {
        let cluster = cluster as usize;
        if self.wide {
            u32_at(self.image, self.table + cluster * 4) & 0x0fff_ffff
        } else {
            u16_at(self.image, self.table + cluster * 2).into()
        }
    }

    fn read(&self, clusters: &[u32]) -> Vec<u8> {
        clusters.iter().flat_map(|cluster| self.cluster(*cluster)).copied().collect()
    }

    fn cluster(&self, cluster: u32) -> &[u8] {
        let start = self.data + (cluster as usize - 2) * self.cluster_size;
        &self.image[start..start + self.cluster_size]
    }
}

/// A long name on its way: the last part comes first.
#[derive(Default)]
struct LongName {
    parts: Vec<Vec<u16>>,
    /// Number of the part that has to come next, and the checksum that all have.
    next: Option<(u8, u8)>,
}

impl LongName {
    fn push(&mut self, slot: &[u8]) {
        let (number, checksum) = (slot[0] & 0x3f, slot[13]);
        if slot[0] & 0x40 != 0 {
            *self = Self { parts: Vec::new(), next: Some((number, checksum)) };
        }
        if self.next != Some((number, checksum)) || number == 0 {
            *self = Self::default();
            return;
        }
        let units = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30].map(|at| u16_at(slot, at));
        self.parts.push(units.to_vec());
        self.next = Some((number - 1, checksum));
    }

    /// The name, if it is whole and belongs to the short one.
    fn finish(self, slot: &[u8]) -> Option<String> {
        let checksum = slot[..11].iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        if self.next != Some((0, checksum)) {
            return None;
        }
        let units = self.parts.into_iter().rev().flatten().take_while(|unit| *unit != 0);
        Some(char::decode_utf16(units).map(|character| character.unwrap_or('\u{fffd}')).collect())
    }
}

/// Bits that Windows NT brought tell which half is in small letters.
fn short_name(slot: &[u8]) -> String {
    let part = |range, small: u8| {
        let text = String::from_utf8_lossy(&slot[range]).trim_end().to_owned();
        if slot[12] & small == 0 { text } else { text.to_ascii_lowercase() }
    };
    let (name, extension) = (part(0..8, 0x08), part(8..11, 0x10));
    if extension.is_empty() { name } else { format!("{name}.{extension}") }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
