//! The states in which a disk can be when its power is cut.

use super::log::{Event, SECTOR};
use std::fmt;

/// Longest write that is taken apart sector by sector, in sectors. Tables and directories are written in short ones.
const SHORT: usize = 16;
/// Into so many pieces a longer one is taken apart.
const PIECES: usize = 3;

/// So many choices by chance there are at each piece.
const SUBSETS: usize = 8;

/// What reaches the disk whole or not at all.
struct Piece<'a> {
    /// Number of its event.
    event: usize,
    offset: usize,
    bytes: &'a [u8],
}

/// When the power was cut.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Number of the event that was the last.
    pub event: usize,
    /// Place of the last bytes that were written.
    pub offset: usize,
    pub case: Case,
}

/// What became of that which no flush had made sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// All of it reached the disk.
    InOrder,
    /// All but the piece at this offset.
    Without(usize),
    /// Nothing but the last one.
    Alone,
    /// The last one, and some of the others.
    Some,
    /// There was nothing.
    Flushed,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {}, at {:#x}, ", self.event, self.offset)?;
        match self.case {
            Case::InOrder => f.write_str("all that came before is there"),
            Case::Without(offset) => {
                write!(f, "all that came before is there, but not what was written at {offset:#x}")
            }
            Case::Alone => f.write_str("nothing else since the last flush"),
            Case::Some => f.write_str("and some of what was written since the last flush"),
            Case::Flushed => f.write_str("all flushed"),
        }
    }
}

/// Shows `look` the disk, which was `disk` before all of this, in each of those states: after each sector, all that came
/// before being there; without each single one of those that no flush had made sure; with nothing but one of
/// them; and with some of them, by chance. At the end, `disk` is what it was at last.
pub fn each(disk: &mut [u8], events: &[Event], mut look: impl FnMut(Cut, &[u8])) {
    let mut unsure: Vec<Piece<'_>> = Vec::new();
    for (number, event) in events.iter().enumerate() {
        match event {
            Event::Write { offset, bytes } => unsure.extend(pieces(number, *offset, bytes)),
            Event::Flush => {
                epoch(disk, &unsure, &mut look);
                unsure.clear();
                look(Cut { event: number, offset: 0, case: Case::Flushed }, disk);
            }
        }
    }
    epoch(disk, &unsure, &mut look);
}

fn pieces(event: usize, offset: usize, bytes: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let sectors = bytes.len().div_ceil(SECTOR);
    let size = if sectors <= SHORT { SECTOR } else { sectors.div_ceil(PIECES) * SECTOR };
    bytes.chunks(size).enumerate().map(move |(index, bytes)| Piece { event, offset: offset + index * size, bytes })
}

/// What lies between two flushes. Leaves all pieces written.
fn epoch(disk: &mut [u8], pieces: &[Piece<'_>], look: &mut impl FnMut(Cut, &[u8])) {
    let mut chance = chance();
    let before: Vec<Vec<u8>> = pieces.iter().map(|piece| disk[range(piece)].to_vec()).collect();
    let undo = |disk: &mut [u8]| {
        for (piece, bytes) in pieces.iter().zip(&before) {
            disk[range(piece)].copy_from_slice(bytes);
        }
    };
    for (number, piece) in pieces.iter().enumerate() {
        let earlier = &pieces[..number];
        let mut show = |case, is_there: &mut dyn FnMut(usize) -> bool| {
            earlier.iter().enumerate().filter(|(index, _)| is_there(*index)).for_each(|(_, it)| write(disk, it));
            write(disk, piece);
            look(Cut { event: piece.event, offset: piece.offset, case }, disk);
            undo(disk);
        };
        show(Case::InOrder, &mut |_| true);
        if !earlier.is_empty() {
            show(Case::Alone, &mut |_| false);
        }
        for (left_out, it) in earlier.iter().enumerate() {
            show(Case::Without(it.offset), &mut |index| index != left_out);
        }
        for _ in 0..SUBSETS.min(number) {
            show(Case::Some, &mut |_| chance.next().unwrap());
        }
    }
    for piece in pieces {
        write(disk, piece);
    }
}

/// Yes or no, the same in each run (xorshift64*, Vigna 2016).
fn chance() -> impl Iterator<Item = bool> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 63 == 1
    })
}

fn range(piece: &Piece<'_>) -> std::ops::Range<usize> {
    piece.offset..piece.offset + piece.bytes.len()
}

fn write(disk: &mut [u8], piece: &Piece<'_>) {
    disk[range(piece)].copy_from_slice(piece.bytes);
}
