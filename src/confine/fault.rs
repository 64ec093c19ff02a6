//! Fault injection: simulates what an image could do to the process that reads it if a parser had a bug.
//!
//! Available only with debug assertions, so not in releases. `SEXTANT_FAULT=NAME/STEP/KIND` injects a fault of a KIND
//! at STEP when the extension called NAME is read.

/// The steps at which hostile bytes are read, in order.
pub const STEPS: [&str; 4] = ["table", "signature", "contents", "look"];

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
pub(crate) fn at(_: &str, _: &str) {}

/// Injects the fault that the environment requests for this extension and step.
#[cfg(debug_assertions)]
pub(crate) fn at(name: &str, step: &str) {
    let Ok(fault) = std::env::var("SEXTANT_FAULT") else { return };
    let mut words = fault.splitn(3, '/');
    if words.next() == Some(name) && words.next() == Some(step) {
        go_wrong(words.next().unwrap_or_default());
    }
}

#[cfg(debug_assertions)]
#[expect(clippy::panic, reason = "it is what this is for")]
fn go_wrong(kind: &str) {
    use super::message::send;
    use crate::reason::{Reason, Refusal};
    use crate::sys::process;
    use std::io::Write;
    match kind {
        "panic" => panic!("a fault on demand"),
        "abort" => std::process::abort(),
        "stack" => {
            std::hint::black_box(deeper(0));
        }
        "loop" => loop {
            std::hint::spin_loop();
        },
        // Waits forever without using the processor.
        "sleep" => loop {
            std::thread::park();
        },
        "memory" => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 16 << 20]);
            }
        }
        // Sends a forged answer and continues.
        "nonsense" => {
            let _ = send(0, b"{\"Answer\":{\"Ok\":null}}", None);
        }
        // Rejects the image with a reason that a worker may not use, and sends nothing more.
        "slander" => {
            let refusal = Refusal::new(Reason::EntryDenied, "words of an attacker's");
            let answer = serde_json::json!({"Answer": {"Structure": {"Err": refusal}}});
            let _ = send(0, answer.to_string().as_bytes(), None);
            loop {
                std::thread::park();
            }
        }
        // Sends more than any message may have.
        "flood" => {
            let junk = [0xff; 1 << 12];
            let junk = std::io::IoSlice::new(&junk);
            let none = nix::sys::socket::MsgFlags::empty();
            while nix::sys::socket::sendmsg::<()>(0, &[junk], &[], none, None).is_ok() {}
        }
        "exit" => {
            process::leave(3);
        }
        // Tries what an attacker's code would try. All attempts must fail.
        "escape" => {
            let attempts = [
                std::fs::read("/etc/passwd").is_ok(),
                std::fs::write("/tmp/sextant-escape", "x").is_ok(),
                std::process::Command::new("/bin/true").spawn().is_ok(),
                std::net::UdpSocket::bind("127.0.0.1:0").is_ok(),
                // The parent's process ID is unavailable. That of init is known.
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(1), None).is_ok(),
                // The processor affinity of another process.
                nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0))
                    .and_then(|processors| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(1), &processors))
                    .is_ok(),
                #[expect(clippy::disallowed_methods, reason = "what an attacker would write")]
                std::io::stderr().write_all(b"sextant-agent: staged\n").is_ok(),
            ];
            panic!("escaped by {attempts:?}");
        }
        other => panic!("no fault is called {other}"),
    }
}

#[cfg(debug_assertions)]
#[expect(unconditional_recursion, reason = "it is what this is for")]
fn deeper(depth: u64) -> u64 {
    let ballast = std::hint::black_box([depth; 64]);
    deeper(depth + 1) + ballast[0]
}
