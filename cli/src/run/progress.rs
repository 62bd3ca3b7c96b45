//! How far it is: a bar for a person at a terminal, nothing for a pipe.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::jobs::Jobs;
use crate::output;

/// A line of progress below the output.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(total: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
        if !output::watched() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style =
            ProgressStyle::with_template("[{elapsed_precise}] {wide_bar} {pos}/{len} {msg}");
        // A template that does not parse would leave the default style: still a bar.
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self { bar }
    }

    pub(crate) fn show(&self, jobs: &Jobs) {
        self.bar.set_position(jobs.ended() as u64);
        let mut message = format!("{} running, {} waiting", jobs.running(), jobs.waiting());
        if jobs.bad() > 0 {
            message.push_str(&format!(", {} failed", jobs.bad()));
        }
        self.bar.set_message(message);
    }

    /// Writes a line without breaking the bar.
    pub(crate) fn remark(&self, line: &str) {
        self.suspend(|| output::remark(line));
    }

    /// Does something that writes to the terminal without breaking the bar.
    pub(crate) fn suspend(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
