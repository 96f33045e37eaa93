//! Progress on standard error: a line that moves on a terminal, else a line a step.

use dormir_harness::cli::command::note;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    cell::Cell,
    io::{self, IsTerminal},
    time::Duration,
};

/// How often the line moves.
const TICK: Duration = Duration::from_millis(100);

/// A number of steps, each with a name.
pub(crate) struct Progress {
    /// What is done in each step: `counting`.
    doing: &'static str,
    steps: usize,
    begun: Cell<usize>,
    /// `None` where lines are written.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Creates `steps` steps, none of them begun.
    pub(crate) fn of(doing: &'static str, steps: usize) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} [{bar:20}] {msg}, {elapsed}");
            bar.set_style(style.expect("the template is in order"));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self {
            doing,
            steps,
            begun: Cell::new(0),
            bar,
        }
    }

    /// Begins the next step.
    pub(crate) fn next(&self, name: &str) {
        let begun = self.begun.get() + 1;
        self.begun.set(begun);
        let line = format!("{} {name} ({begun} of {})", self.doing, self.steps);
        match &self.bar {
            Some(bar) => {
                bar.set_position(begun as u64 - 1);
                bar.set_message(line);
            }
            None => note(format_args!("{line}")),
        }
    }

    /// Removes the moving line.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Nothing moves any more, however the steps ended.
impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
