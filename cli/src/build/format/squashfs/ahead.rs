//! Compresses blocks before `backhand` asks for them.
//!
//! `backhand` reads one file after the other, and compresses each block before it reads the next. Here, threads read and compress
//! ahead of it, in the same order. Its readers get what they have read ([`Supplied`]), and its compressor what they have
//! compressed ([`Ahead::compress`]), if that is of the same bytes. So the file system has the same bytes whatever the number of
//! threads, and even if the library came to ask in another order.

use super::BLOCK_SIZE;
use super::files::{Collision, File, Files, Step};
use super::packer::{Packer, Packing};
use crate::build::tree::ContentReader;
use backhand::BackhandError;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};

/// Number of bytes that are read ahead for each thread: so many that no thread waits while another one compresses a block.
const AHEAD: usize = 8 * BLOCK_SIZE as usize;
/// Memory of a piece besides its bytes, so that many small files count.
const PIECE_COST: usize = 256;

/// Pieces that have been read ahead.
pub(super) struct Ahead {
    packing: Packing,
    list: Vec<File>,
    /// The thread that holds it reads. It is locked before `state`.
    files: Mutex<Files>,
    state: Mutex<State>,
    /// Compresses what no thread has compressed.
    packer: Mutex<Packer>,
    /// For the library: a piece has been read or compressed, or a thread has ended.
    progressed: Condvar,
    /// For threads: there is room for another piece.
    room: Condvar,
    /// Number of bytes of `pieces` from which on threads wait.
    limit: usize,
}

#[derive(Default)]
struct State {
    /// What the library will read next.
    pieces: VecDeque<Piece>,
    /// Blocks of small files that the library will compress.
    fragments: VecDeque<Job>,
    /// The block that the library has read last.
    current: Option<Job>,
    /// Bytes of `pieces`.
    held: usize,
    /// Number of threads that read ahead.
    threads: usize,
    has_ended: bool,
    has_panicked: bool,
    /// Number of blocks that had been compressed when the library asked for them.
    hits: u64,
    failure: Option<Failure>,
}

struct Piece {
    file: usize,
    content: io::Result<Arc<Vec<u8>>>,
    job: Option<Job>,
}

type Packed = Result<Vec<u8>, BackhandError>;

/// A block that is compressed by a thread.
#[derive(Clone)]
struct Job {
    block: Arc<Vec<u8>>,
    packed: Arc<Mutex<Option<Packed>>>,
}

impl Ahead {
    /// Prepares reading `list` ahead with `threads` threads. With `compares`, reading ends with [`Failure::Collision`] if the
    /// library would take different files for equal.
    pub(super) fn new(list: Vec<File>, packing: Packing, compares: bool, threads: usize) -> Self {
        let files = Mutex::new(Files::new(&list, compares));
        let (state, packer) = (Mutex::default(), Mutex::new(Packer::new(packing)));
        let limit = threads.saturating_mul(AHEAD);
        Self { packing, list, files, state, packer, progressed: Condvar::new(), room: Condvar::new(), limit }
    }

    /// Starts threads, which end with the files or with [`Self::end`].
    pub(super) fn start<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, threads: usize) {
        // One thread alone is that of the library.
        let threads = if threads > 1 { threads } else { 0 };
        for _ in 0..threads {
            lock(&self.state).threads += 1;
            let worker = Worker(self);
            // If the system refuses to start a thread, others do its work.
            let _ = thread::Builder::new().name("compress".into()).spawn_scoped(scope, move || worker.run());
        }
    }

    /// Makes the threads end.
    pub(super) fn end(&self) {
        lock(&self.state).has_ended = true;
        self.room.notify_all();
    }

    /// Returns why a reader has failed.
    pub(super) fn failure(&self) -> Option<Failure> {
        lock(&self.state).failure.take()
    }

    /// Returns the number of blocks that had been compressed ahead.
    pub(super) fn hits(&self) -> u64 {
        lock(&self.state).hits
    }

    /// Compresses `block`, or waits for the thread that does.
    pub(super) fn compress(&self, block: &[u8]) -> Result<Vec<u8>, BackhandError> {
        let (current, fragment) = {
            let state = lock(&self.state);
            (state.current.clone(), state.fragments.front().cloned())
        };
        let is_same = |job: &Job| job.block.as_slice() == block;
        let job = if let Some(job) = current.filter(is_same) {
            lock(&self.state).current = None;
            job
        } else if let Some(job) = fragment.filter(is_same) {
            lock(&self.state).fragments.pop_front();
            job
        } else {
            return lock(&self.packer).pack(block);
        };
        let mut state = lock(&self.state);
        loop {
            if let Some(packed) = lock(&job.packed).take() {
                state.hits += 1;
                return packed;
            }
            if state.has_panicked {
                return lock(&self.packer).pack(block);
            }
            state = wait(&self.progressed, state);
        }
    }

    /// Returns the next piece of a file; `None` if another file comes next.
    fn piece(&self, file: usize) -> Option<io::Result<Arc<Vec<u8>>>> {
        let mut state = lock(&self.state);
        loop {
            match state.pieces.front() {
                Some(piece) if piece.file == file => break,
                Some(_) => return None,
                None if state.threads > 0 => state = wait(&self.progressed, state),
                None => {
                    drop(state);
                    let step = lock(&self.files).next(&self.list)?;
                    self.put(step, false);
                    state = lock(&self.state);
                }
            }
        }
        let Piece { content, job, .. } = state.pieces.pop_front()?;
        state.current = job;
        state.held = state.held.saturating_sub(cost(&content));
        self.room.notify_one();
        Some(content)
    }

    /// Reads up to a block that is to be compressed; `None` if there is nothing more to do.
    fn next_job(&self) -> Option<Job> {
        let mut files = lock(&self.files);
        let job = loop {
            let mut state = lock(&self.state);
            while state.held >= self.limit && !state.has_ended {
                self.progressed.notify_one();
                state = wait(&self.room, state);
            }
            if state.has_ended {
                return None;
            }
            drop(state);
            let Some(step) = files.next(&self.list) else { break None };
            if let Some(job) = self.put(step, true) {
                break Some(job);
            }
        };
        // Once for several small files: to wake the library takes longer than to read one of them.
        self.progressed.notify_one();
        job
    }

    /// Queues what was read. Returns what the caller has promised to compress.
    fn put(&self, step: Step, promises: bool) -> Option<Job> {
        let new = |block: &Arc<Vec<u8>>| Job { block: Arc::clone(block), packed: Arc::default() };
        match step {
            Step::Fragment(block) => {
                let mut state = lock(&self.state);
                // There are never so many if the library compresses what is expected.
                let has_room = state.fragments.len() <= self.limit / BLOCK_SIZE as usize * 2;
                let job = (promises && has_room).then(|| new(&Arc::new(block)))?;
                state.fragments.push_back(job.clone());
                Some(job)
            }
            Step::Piece(file, content) => {
                let content = content.map(Arc::new);
                let is_block = promises && self.list.get(file).is_some_and(|file| !file.is_small());
                // A block of zeros is not stored.
                let is_stored = |block: &Arc<Vec<u8>>| block.iter().any(|byte| *byte != 0);
                let job = content.as_ref().ok().filter(|block| is_block && is_stored(block)).map(new);
                let mut state = lock(&self.state);
                state.held = state.held.saturating_add(cost(&content));
                state.pieces.push_back(Piece { file, content, job: job.clone() });
                job
            }
        }
    }
}

fn cost(content: &io::Result<Arc<Vec<u8>>>) -> usize {
    content.as_ref().map_or(0, |bytes| bytes.len()).saturating_add(PIECE_COST)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// A thread that reads and compresses ahead.
struct Worker<'a>(&'a Ahead);

impl Worker<'_> {
    fn run(self) {
        let mut packer = Packer::new(self.0.packing);
        while let Some(job) = self.0.next_job() {
            let result = packer.pack(&job.block);
            *lock(&job.packed) = Some(result);
            // The library either has seen the result, or waits already.
            drop(lock(&self.0.state));
            self.0.progressed.notify_one();
        }
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.threads = state.threads.saturating_sub(1);
        state.has_panicked |= thread::panicking();
        drop(state);
        self.0.progressed.notify_one();
    }
}

/// A file for the library, as it was read ahead.
pub(super) struct Supplied<'a> {
    ahead: Arc<Ahead>,
    number: usize,
    /// Number of bytes that the library has not read.
    left: u64,
    /// A piece, and the number of its bytes that the library has read.
    piece: Option<(Arc<Vec<u8>>, usize)>,
    /// Used if the library reads files in another order than expected.
    reader: Option<ContentReader>,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl<'a> Supplied<'a> {
    pub(super) fn new(ahead: &Arc<Ahead>, number: usize, progress: &'a (dyn Fn(u64) + Sync)) -> Self {
        let left = ahead.list.get(number).map_or(0, File::len);
        Self { ahead: Arc::clone(ahead), number, left, piece: None, reader: None, progress }
    }

    fn fill(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(reader) = &mut self.reader {
            return reader.read(buf).map_err(|error| match self.ahead.list.get(self.number) {
                Some(file) => file.error(&error),
                None => error,
            });
        }
        if self.piece.is_none() {
            let Some(piece) = self.ahead.piece(self.number) else {
                self.reader = self.ahead.list.get(self.number).map(File::reader);
                return if self.reader.is_some() { self.fill(buf) } else { Ok(0) };
            };
            self.piece = Some((piece?, 0));
        }
        let Some((piece, done)) = &mut self.piece else { return Ok(0) };
        let count = piece.get(*done..).unwrap_or_default().read(buf)?;
        *done = done.saturating_add(count);
        if *done >= piece.len() {
            self.piece = None;
        }
        Ok(count)
    }
}

impl Read for Supplied<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buf.is_empty() {
            return Ok(0);
        }
        match self.fill(buf) {
            Ok(count) => {
                let read = u64::try_from(count).unwrap_or(u64::MAX);
                self.left = self.left.saturating_sub(read);
                (self.progress)(read);
                Ok(count)
            }
            // The library does not pass on errors of reading a file.
            Err(error) => {
                let kind = error.kind();
                let is_collision = error.get_ref().and_then(|cause| cause.downcast_ref::<Collision>()).is_some();
                let failure = if is_collision { Failure::Collision } else { Failure::Read(error) };
                lock(&self.ahead.state).failure.get_or_insert(failure);
                Err(kind.into())
            }
        }
    }
}

/// Why the library could not read a file.
pub(super) enum Failure {
    /// The library must not look for equal files.
    Collision,
    /// Reading failed.
    Read(io::Error),
}
