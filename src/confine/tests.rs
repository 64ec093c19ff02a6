#![allow(unsafe_code, clippy::unwrap_used)]
use super::*;
use ddi::io::{FileSource, ReadAt};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{dup, fork, getppid, pipe};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::hint::{black_box, spin_loop};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::thread;

const BOUNDS: Bounds = Bounds { processor: Duration::from_secs(1), clock: Duration::from_secs(5) };

fn image() -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&[7; 4096], 0).unwrap();
    file
}

/// Asks a worker one question.
fn ask<A: Serialize + DeserializeOwned>(work: impl Fn() -> A) -> Result<A, WorkerError> {
    ask_within(BOUNDS, None, work)
}

fn ask_within<A: Serialize + DeserializeOwned>(
    bounds: Bounds,
    until: Option<Instant>,
    work: impl Fn() -> A,
) -> Result<A, WorkerError> {
    let mut worker = Worker::start(|(), _| work())?;
    worker.ask(&(), None)?;
    worker.answer(bounds, until)
}

fn sum_of(descriptor: OwnedFd, times: u32) -> u32 {
    let mut bytes = [0; 4096];
    FileSource::with_len(File::from(descriptor), 4096).read_exact_at(&mut bytes, 0).unwrap_or_default();
    bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>().saturating_mul(times)
}

#[test]
fn one_worker_answers_about_one_image_after_the_other() {
    let mut worker = Worker::start(|times, image| image.map(|image| sum_of(image, times))).unwrap();
    for times in 1..100_u32 {
        worker.ask(&times, Some(image().as_fd())).unwrap();
        let answer: Option<u32> = worker.answer(BOUNDS, None).unwrap();
        assert_eq!(answer, Some(7 * 4096 * times), "a descriptor that was handed over is closed again");
    }
    worker.ask(&1, None).unwrap();
    assert_eq!(worker.answer::<Option<u32>>(BOUNDS, None), Ok(None));
}

#[test]
fn threads_can_hash_there() {
    let sum = ask(|| {
        let threads: Vec<_> = (0..8_u64).map(|number| thread::spawn(move || number)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(1000)).sum::<u64>()
    });
    assert_eq!(sum, Ok(28));
}

#[test]
fn nothing_can_be_opened_started_or_executed() {
    let done = ask(|| {
        [
            File::open("/dev/null").is_ok(),
            fs::read_dir("/").is_ok(),
            std::process::Command::new("/bin/true").status().is_ok(),
            std::net::UdpSocket::bind("127.0.0.1:0").is_ok(),
            pipe().is_ok(),
            dup(std::io::stdin().as_fd()).is_ok(),
            nix::sys::signal::kill(getppid(), None).is_ok(),
            // SAFETY: the process would do nothing.
            unsafe { fork() }.is_ok(),
            nix::sys::prctl::set_dumpable(true).is_ok(),
            setrlimit(Resource::RLIMIT_NOFILE, 0, 0).is_ok(),
            rustix::thread::capabilities(None).is_ok(),
        ]
    });
    assert_eq!(done, Ok([false; 11]));
}

#[test]
fn a_file_that_can_be_written_to_is_not_written_to_there() {
    let file = image();
    let mut worker = Worker::start(|(), image: Option<OwnedFd>| {
        let image = File::from(image.unwrap());
        let writable = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the mapping is neither read nor written.
        let mapping =
            unsafe { libc::mmap(std::ptr::null_mut(), 4096, writable, libc::MAP_SHARED, image.as_raw_fd(), 0) };
        [
            image.write_all_at(b"x", 0).is_ok(),
            image.set_len(0).is_ok(),
            std::io::Write::write(&mut &image, b"x").is_ok(),
            mapping != libc::MAP_FAILED,
        ]
    })
    .unwrap();
    worker.ask(&(), Some(file.as_fd())).unwrap();
    assert_eq!(worker.answer::<[bool; 4]>(BOUNDS, None), Ok([false; 4]));
    assert_eq!(file.metadata().unwrap().len(), 4096);
}

#[test]
fn memory_that_is_written_there_is_not_this_processs() {
    let here = std::cell::RefCell::new(vec![1_u8; 1 << 16]);
    let there = ask(|| {
        here.borrow_mut().fill(2);
        here.borrow().iter().all(|byte| *byte == 2)
    });
    assert_eq!(there, Ok(true));
    assert!(here.borrow().iter().all(|byte| *byte == 1));
}

#[test]
fn each_end_without_an_answer_is_told_apart() {
    assert!(matches!(ask::<()>(|| std::process::abort()), Err(WorkerError::Killed(_))));
    // SAFETY: _exit(2) does not return.
    assert_eq!(ask::<()>(|| unsafe { libc::_exit(3) }), Err(WorkerError::Exited(3)));
    // On a busy machine, processor time passes slowly.
    let patient = Bounds { clock: Duration::from_mins(10), ..BOUNDS };
    let looping = ask_within::<()>(patient, None, || {
        loop {
            spin_loop();
        }
    });
    assert_eq!(looping, Err(WorkerError::Processor(BOUNDS.processor)));
    let short = Bounds { clock: Duration::from_millis(200), ..BOUNDS };
    let wait = || loop {
        thread::park();
    };
    assert_eq!(ask_within::<()>(short, None, wait), Err(WorkerError::Clock(short.clock)));
    assert_eq!(ask_within::<()>(BOUNDS, Some(Instant::now()), wait), Err(WorkerError::Budget));
    let soon = Instant::now() + Duration::from_millis(200);
    assert_eq!(ask_within::<()>(BOUNDS, Some(soon), wait), Err(WorkerError::Budget));
    let mut worker = Worker::start(|(), _| "text").unwrap();
    worker.ask(&(), None).unwrap();
    assert_eq!(worker.answer::<u64>(BOUNDS, None), Err(WorkerError::Nonsense));
    // A worker that has ended cannot be asked.
    let mut worker = Worker::start(|(), _| std::process::abort() as ()).unwrap();
    worker.ask(&(), None).unwrap();
    assert_eq!(worker.answer::<()>(BOUNDS, None), Err(WorkerError::Killed(Signal::SIGSEGV)));
    assert!(worker.ask(&(), None).is_err());
}

/// The limit is based on the size of the process when it forks, which other tests change all the time.
#[test]
fn memory_is_bounded() {
    const ALONE: &str = "SEXTANT_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        alone.args(["--exact", "confine::tests::memory_is_bounded", "--test-threads=1", "--nocapture"]).env(ALONE, "1");
        let output = alone.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    // Mapped, not allocated: the allocator has reserved address space since before the fork.
    let hoard = ask(|| {
        let (writable, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: these are new mappings, which are not used.
        let map = || unsafe { libc::mmap(std::ptr::null_mut(), 16 << 20, writable, private, -1, 0) };
        (0..1000).take_while(|_| map() != libc::MAP_FAILED).count()
    });
    let most = usize::try_from(MEMORY).unwrap() / (16 << 20);
    assert!((4..=most).contains(&hoard.clone().unwrap()), "{hoard:?} pieces of 16 MiB");
    // An allocation whose failure is not handled ends the process.
    assert!(matches!(ask(|| black_box(vec![1_u8; 1 << 30]).len()), Err(WorkerError::Killed(_))));
}

#[test]
fn a_longer_answer_than_there_may_be_is_none() {
    assert_eq!(ask(|| "x".repeat(2 << 20)), Err(WorkerError::Exited(0)));
}

#[test]
fn bounds_follow_from_the_size() {
    assert_eq!(Bounds::of_structure().processor, Duration::from_secs(5));
    assert_eq!(Bounds::of_contents(1 << 30).processor, Duration::from_secs(5 + 256));
    assert_eq!(Bounds::of_contents(u64::MAX).processor.as_secs(), 5 + (u64::MAX >> 22));
}
