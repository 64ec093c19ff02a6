//! The output of a program, bounded in size and time.

use anyhow::{Context, Result, bail};
use ddi::text::Message;
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Most bytes of standard error that are quoted.
const MAX_ERROR: u64 = 1024;

/// How often it is asked whether a program has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// Runs `command` and returns what it writes to standard output, at most `limit` bytes, and whether there was more. It is killed once
/// there is more, and after `time`. One of `statuses` has to come of it, unless it is killed for its size.
pub(crate) fn capture(command: &mut Command, limit: u64, time: Duration, statuses: &[i32]) -> Result<(Vec<u8>, bool)> {
    let program = Message::new(command.get_program().display());
    let until = Instant::now() + time;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {program}"))?;
    let output = child.stdout.take().map(|stream| read(stream, limit.saturating_add(1)));
    let errors = child.stderr.take().map(|stream| read(stream, MAX_ERROR));
    let wait = |receiver: Option<mpsc::Receiver<Vec<u8>>>, until: Instant| {
        receiver.and_then(|it| it.recv_timeout(until.saturating_duration_since(Instant::now())).ok())
    };
    let output = wait(output, until);
    let waiting = || format!("waiting for {program}");
    let Some(mut output) = output else {
        end(&mut child, Instant::now()).with_context(waiting)?;
        bail!("{program} did not end within {} s", time.as_secs());
    };
    if output.len() as u64 > limit {
        end(&mut child, Instant::now()).with_context(waiting)?;
        output.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        return Ok((output, true));
    }
    // It may have closed the stream without ending.
    let Some(status) = end(&mut child, until).with_context(waiting)? else {
        bail!("{program} did not end within {} s", time.as_secs());
    };
    if !status.code().is_some_and(|code| statuses.contains(&code)) {
        // What it left running may keep the stream open.
        let errors = wait(errors, Instant::now() + Duration::from_secs(1)).unwrap_or_default();
        let said = String::from_utf8_lossy(&errors);
        bail!("{program} ended with {status}: {}", Message::new(said.trim()));
    }
    Ok((output, false))
}

/// Waits for a program until then, and kills it afterwards. Returns how it ended, and `None` where it had to be killed.
fn end(child: &mut Child, until: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            // It may have ended meanwhile.
            let _ = child.kill();
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(PAUSE);
    }
}

/// Reads at most `limit` bytes in a thread of its own, which ends with the stream. What comes after them is dropped, so that no
/// program is stopped by what it complains about.
fn read(mut stream: impl Read + Send + 'static, limit: u64) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut content = Vec::new();
        // What was read before an error is worth having.
        let _ = stream.by_ref().take(limit).read_to_end(&mut content);
        // After a timeout the receiver is gone.
        let _ = sender.send(content);
        let _ = io::copy(&mut stream, &mut io::sink());
    });
    receiver
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shell(script: &str, limit: u64, time: Duration) -> Result<(Vec<u8>, bool), String> {
        capture(Command::new("/bin/sh").args(["-c", script]), limit, time, &[0, 3])
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn output_is_bounded_in_size_and_time() {
        let minute = Duration::from_mins(1);
        assert_eq!(shell("echo a", 2, minute), Ok((b"a\n".to_vec(), false)));
        assert_eq!(shell("head -c 200000 /dev/zero >&2; echo a", 2, minute), Ok((b"a\n".to_vec(), false)));
        assert_eq!(shell("echo a; exit 3", 2, minute), Ok((b"a\n".to_vec(), false)));
        // It would never end by itself.
        assert_eq!(shell("exec cat /dev/zero", 3, minute), Ok((vec![0; 3], true)));
        let error = shell("exec sleep 3600", 3, Duration::from_millis(50)).unwrap_err();
        assert!(error.contains("did not end"), "{error}");
        let error = shell("exec >&-; exec sleep 3600", 3, Duration::from_millis(50)).unwrap_err();
        assert!(error.contains("did not end"), "{error}");
        let error = shell("printf 'no\\033[2J' >&2; exit 7", 3, minute).unwrap_err();
        assert!(error.ends_with("exit status: 7: no\\u{1b}[2J"), "{error}");
        let error = capture(&mut Command::new("/nowhere"), 1, minute, &[0]).unwrap_err();
        assert_eq!(error.to_string(), "starting /nowhere");
    }
}
