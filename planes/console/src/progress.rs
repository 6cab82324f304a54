//! Progress on stderr: a spinner or bar for people, plain lines for logs.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// Shows what goes on. On a terminal one line changes in place; elsewhere each finished step is a line.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
}

impl Progress {
    /// A spinner that says `what` goes on.
    #[must_use]
    pub(crate) fn spinner(what: &str) -> Self {
        let progress = Self::on_stderr(ProgressBar::new_spinner(), "{spinner} {msg} {elapsed:.dim}");
        progress.step(what);
        if progress.is_terminal {
            progress.bar.enable_steady_tick(TICK);
        }
        progress
    }

    /// A bar over `total` things.
    #[must_use]
    pub(crate) fn bar(what: &str, total: u64) -> Self {
        let progress = Self::on_stderr(ProgressBar::new(total), "{msg} [{bar:30}] {pos}/{len}");
        progress.step(what);
        progress
    }

    fn on_stderr(bar: ProgressBar, template: &str) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        bar.set_draw_target(if is_terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, is_terminal }
    }

    /// Says what goes on now.
    pub(crate) fn step(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// Moves a bar on.
    pub(crate) fn advance(&self, by: u64) {
        self.bar.inc(by);
    }

    /// Says what is done; it stays on the screen.
    pub(crate) fn done(&self, what: &str) {
        self.line(&format!("  \u{2713} {what}"));
    }

    /// Says something that stays on the screen.
    pub(crate) fn line(&self, text: &str) {
        let text = crate::output::printable(text);
        self.bar.suspend(|| {
            // Nobody is left to tell that stderr is closed.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        });
    }

    /// Takes the spinner or bar off the screen.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
