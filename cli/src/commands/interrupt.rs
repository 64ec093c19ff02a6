//! Ctrl-C, and being told to stop: what is half done is cleaned up first.

use futures_util::future::select;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::process::exit;
use tokio::signal::unix::{SignalKind, signal};

/// From now on an interrupted program removes `directory` before it ends.
///
/// # Errors
/// Where signals can't be waited for.
pub(super) fn clean_up(directory: PathBuf) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let listen = |kind| runtime.block_on(async { signal(kind) });
    let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
    let (mut interrupted, mut terminated) = (listen(interrupt)?, listen(terminate)?);
    std::thread::spawn(move || {
        let first = runtime.block_on(async {
            match select(pin!(interrupted.recv()), pin!(terminated.recv())).await {
                futures_util::future::Either::Left(_) => interrupt,
                futures_util::future::Either::Right(_) => terminate,
            }
        });
        // Whatever is still being written there is nobody's any more.
        let _ = std::fs::remove_dir_all(directory);
        // As a shell reports a program that a signal ended.
        exit(128 + first.as_raw_value());
    });
    Ok(())
}
