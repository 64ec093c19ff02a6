#![allow(unsafe_code, clippy::unwrap_used)]
use super::*;
use crate::confine::{Bounds, Worker};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc;
use std::thread;

/// Runs the test `name` in a process of its own, since a filter stays. Returns whether this is that process.
fn is_alone(name: &str) -> bool {
    const ALONE: &str = "SEXTANT_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let name = format!("confine::agent_filter::tests::{name}");
    let output = alone.args(["--exact", &name, "--test-threads=1", "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let is_good = output.status.success() && said.contains("1 passed");
    assert!(is_good, "{said}{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// What a call fails with, `None` if it does not.
fn call(number: libc::c_long, arguments: [libc::c_long; 6]) -> Option<Errno> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the calls below change nothing but this process, and pass no address.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, f) }).err()
}

/// Calls that need no privilege, and that fail in another way or succeed if nothing is filtered.
fn refused() -> Vec<(&'static str, Option<Errno>)> {
    let map = |protection: libc::c_int| {
        let flags = libc::c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        call(libc::SYS_mmap, [0, 4096, protection.into(), flags, -1, 0])
    };
    let socket = |family: libc::c_int| {
        call(libc::SYS_socket, [family.into(), (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC).into(), 0, 0, 0, 0])
    };
    let none = [-1, 0, 0, 0, 0, 0];
    vec![
        ("memory that is writable and executable", map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC)),
        ("executable memory", map(libc::PROT_READ | libc::PROT_EXEC)),
        ("making memory executable", call(libc::SYS_mprotect, [4096, 4096, libc::PROT_EXEC.into(), 0, 0, 0])),
        ("running a program", call(libc::SYS_execve, [0; 6])),
        ("running a program by descriptor", call(libc::SYS_execveat, none)),
        ("an IPv4 socket", socket(libc::AF_INET)),
        ("a netlink socket", socket(libc::AF_NETLINK)),
        ("accepting connections", call(libc::SYS_listen, none)),
        ("another personality", call(libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0])),
        ("a user namespace", call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0, 0])),
        ("two namespaces", {
            let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS;
            call(libc::SYS_unshare, [flags.into(), 0, 0, 0, 0, 0])
        }),
        ("another's namespace", call(libc::SYS_setns, none)),
        ("a scheduling policy", call(libc::SYS_sched_setscheduler, none)),
        ("the affinity of another process", call(libc::SYS_sched_setaffinity, [1 << 30, 0, 0, 0, 0, 0])),
        ("another root", call(libc::SYS_chroot, [0; 6])),
        ("another user", call(libc::SYS_setuid, [-1, 0, 0, 0, 0, 0])),
        ("reading another process", call(libc::SYS_ptrace, [0x4200, 1 << 30, 0, 0, 0, 0])),
        ("shared memory of System V", call(libc::SYS_shmget, [0, 0, 0, 0, 0, 0])),
    ]
}

#[test]
fn what_the_unit_refused_is_refused_to_every_thread() {
    if !is_alone("what_the_unit_refused_is_refused_to_every_thread") {
        return;
    }
    for (what, error) in refused() {
        assert_ne!(error, Some(Errno::EPERM), "{what} is refused without a filter");
    }
    // A thread that was there before.
    let (ask, asked) = mpsc::channel::<()>();
    let earlier = thread::spawn(move || asked.recv().map(|()| refused()).unwrap());
    filter_agent().unwrap();
    ask.send(()).unwrap();
    let everywhere = [refused(), earlier.join().unwrap(), thread::spawn(refused).join().unwrap()];
    for (what, error) in everywhere.into_iter().flatten() {
        assert_eq!(error, Some(Errno::EPERM), "{what}");
    }
    // A child, too. SAFETY: it calls nothing that takes a lock.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let is_refused = call(libc::SYS_execve, [0; 6]) == Some(Errno::EPERM);
            // SAFETY: _exit(2) does not return.
            unsafe { libc::_exit(i32::from(is_refused)) }
        }
        ForkResult::Parent { child } => assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 1))),
    }
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");
}

#[test]
fn what_the_agent_does_is_permitted() {
    if !is_alone("what_the_agent_does_is_permitted") {
        return;
    }
    filter_agent().unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "content").unwrap();
    fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
    assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"content");
    assert!(UnixDatagram::unbound().is_ok());
    // As root, a mount namespace; without the privilege it is the kernel that refuses it.
    let unshared = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNS)).join().unwrap();
    assert_eq!(unshared.is_ok(), nix::unistd::geteuid().is_root());
    // A worker, with threads of its own.
    let mut worker = Worker::start(|(), _| thread::spawn(|| File::open("/dev/null").is_ok()).join().ok()).unwrap();
    worker.ask(&(), None).unwrap();
    assert_eq!(worker.answer::<Option<bool>>(Bounds::of_structure(), None), Ok(Some(false)));
}

/// Returns how a child ends that asks for its process ID as a program for i386 would.
#[cfg(target_arch = "x86_64")]
fn i386() -> WaitStatus {
    // SAFETY: the child calls nothing that takes a lock.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            // SAFETY: getpid(2) of i386 (20) takes no arguments and writes to nothing but its register.
            unsafe {
                std::arch::asm!("int 0x80", inlateout("eax") 20 => _, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
            }
            // SAFETY: _exit(2) does not return.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => waitpid(child, None).unwrap(),
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_of_another_architecture_end_the_process() {
    if !is_alone("calls_of_another_architecture_end_the_process") {
        return;
    }
    // A kernel without CONFIG_IA32_EMULATION ends it anyway.
    let before = i386();
    filter_agent().unwrap();
    let after = i386();
    match before {
        WaitStatus::Exited(_, 0) => assert!(matches!(after, WaitStatus::Signaled(_, Signal::SIGSYS, _)), "{after:?}"),
        _ => assert!(matches!(after, WaitStatus::Signaled(..)), "{after:?}"),
    }
    // The x32 ABI is the same architecture with other numbers.
    let x32 = 0x4000_0000 + libc::SYS_getpid;
    assert_eq!(call(x32, [0; 6]), Some(Errno::EPERM));
}
