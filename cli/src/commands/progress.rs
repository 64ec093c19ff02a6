//! Bars for people who wait: on a terminal, and only for what takes longer than a second.

use crate::build::Watch;
use ddi::text::Text;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::RefCell;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Work that takes less isn't worth a bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is being worked on. Nothing is ever shown where standard error isn't a terminal.
pub(super) struct Progress {
    started: Instant,
    state: Mutex<State>,
}

struct State {
    label: Text,
    total: Option<u64>,
    done: u64,
    bar: RefCell<Option<ProgressBar>>,
}

impl Progress {
    /// Begins a step of `total` bytes, if that is known.
    pub(super) fn begin(label: impl Into<Text>, total: Option<u64>) -> Self {
        Self::since(Instant::now(), label.into(), total)
    }

    fn since(started: Instant, label: Text, total: Option<u64>) -> Self {
        let state = State { label, total, done: 0, bar: RefCell::new(None) };
        Self { started, state: Mutex::new(state) }
    }

    /// So many bytes more are done.
    pub(super) fn advance(&self, bytes: u64) {
        let Ok(mut state) = self.state.lock() else { return };
        state.done = state.done.saturating_add(bytes);
        if self.started.elapsed() < PATIENCE {
            return;
        }
        let mut bar = state.bar.borrow_mut();
        let bar = bar.get_or_insert_with(|| state.make_bar(self.started.elapsed()));
        bar.set_position(state.total.map_or(state.done, |total| state.done.min(total)));
    }
}

impl State {
    fn make_bar(&self, elapsed: Duration) -> ProgressBar {
        let template = match self.total {
            // What is behind the bar takes up to 32 columns; the bar takes what is left of the line.
            Some(_) => "{msg} [{wide_bar}] {bytes}/{total_bytes} {eta}",
            None => "{msg} {spinner} {bytes}",
        };
        bar(&self.label, self.total, template).with_elapsed(elapsed)
    }
}

fn bar(label: &Text, total: Option<u64>, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(label.to_string());
    bar
}

/// Work of several steps, one after the other. Each has its bar, as soon as all of them have taken longer than a second.
pub(super) struct Steps {
    started: Instant,
    current: Mutex<Option<Step>>,
}

struct Step {
    label: String,
    total: Option<u64>,
    shown: Shown,
}

enum Shown {
    Bar(Progress),
    Waiting(#[expect(dead_code, reason = "shown until it is dropped")] Waiting),
}

impl Steps {
    /// Begins before the first step.
    pub(super) fn begin() -> Self {
        Self { started: Instant::now(), current: Mutex::new(None) }
    }

    /// So many bytes more are done of a step, which begins if it is another one. With a total of 0, no one knows how far it is.
    pub(super) fn advance(&self, label: &str, total: Option<u64>, bytes: u64) {
        let Ok(mut current) = self.current.lock() else { return };
        if current.as_ref().is_none_or(|step| step.label != label || step.total != total) {
            // The bar of the step before ends first.
            *current = None;
            let shown = match total {
                Some(0) => Shown::Waiting(Waiting::begin(label)),
                total => Shown::Bar(Progress::since(self.started, label.into(), total)),
            };
            *current = Some(Step { label: label.to_owned(), total, shown });
        }
        if let Some(Step { shown: Shown::Bar(bar), .. }) = &*current {
            bar.advance(bytes);
        }
    }

    /// Returns what shows the steps of making an image.
    pub(super) fn watch(self: &Arc<Self>) -> Watch {
        let steps = Arc::clone(self);
        Arc::new(move |label, total, bytes| steps.advance(label, Some(total), bytes))
    }

    /// Nothing is shown any more.
    pub(super) fn end(&self) {
        if let Ok(mut current) = self.current.lock() {
            *current = None;
        }
    }
}

/// Work of which nobody knows how far it has come: something that moves, for as long as this lives.
pub(super) struct Waiting(Option<(Sender<()>, JoinHandle<()>)>);

impl Waiting {
    pub(super) fn begin(label: impl Into<Text>) -> Self {
        if !super::output::is_watched() {
            return Self(None);
        }
        let label = label.into();
        let (alive, end) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            if end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let bar = bar(&label, None, "{msg} {spinner} {elapsed}");
                bar.enable_steady_tick(Duration::from_millis(200));
                let _ = end.recv();
                bar.finish_and_clear();
            }
        });
        Self(Some((alive, thread)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((alive, thread)) = self.0.take() {
            // That it is gone is the message.
            drop(alive);
            let _ = thread.join();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Ok(state) = self.state.lock()
            && let Some(bar) = state.bar.borrow_mut().take()
        {
            bar.finish_and_clear();
        }
    }
}
