//! Shows a run on stderr: a bar on a terminal, plain lines elsewhere, nothing when asked to be quiet.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use bantam::watch::{Observer, Silent};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::Global;
use crate::output::say;
use crate::values::{percent, seconds};

/// Plain lines about work in progress are at least this far apart.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// The observer that suits where stderr goes.
pub fn observer(global: &Global) -> Box<dyn Observer> {
    if global.quiet {
        return Box::new(Silent);
    }
    Box::new(Talk {
        is_terminal: stderr().is_terminal(),
        bar: None,
        what: String::new(),
        began: Instant::now(),
        done_at_start: 0.0,
        last_line: Instant::now(),
    })
}

struct Talk {
    is_terminal: bool,
    /// Shows the work in progress, if there is any.
    bar: Option<ProgressBar>,
    /// The work in progress.
    what: String,
    began: Instant,
    done_at_start: f64,
    last_line: Instant,
}

fn new_bar(what: &str) -> ProgressBar {
    let template = "{prefix} [{bar:30}] {percent:>3} %  {msg}";
    let style = ProgressStyle::with_template(template).expect("the template is right");
    let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
    bar.set_style(style.progress_chars("=> "));
    bar.set_prefix(what.to_owned());
    bar
}

impl Talk {
    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }

    fn begin(&mut self, what: &str, done: f64) {
        self.end();
        self.what = what.to_owned();
        self.began = Instant::now();
        self.last_line = self.began;
        self.done_at_start = done;
        self.bar = self.is_terminal.then(|| new_bar(what));
    }

    fn end(&mut self) {
        self.what.clear();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Time that is left if the rest takes as long as what has been seen.
    fn left(&self, done: f64) -> Option<String> {
        let seen = done - self.done_at_start;
        let passed = self.began.elapsed().as_secs_f64();
        (seen > 0.0 && passed > 0.5).then(|| {
            let left = passed * (1.0 - done) / seen;
            format!("{} left", seconds(left))
        })
    }
}

impl Observer for Talk {
    fn stage(&mut self, name: &str, number: usize, of: usize) {
        self.end();
        self.line(&format!("[{number}/{of}] {name}"));
    }

    fn reused(&mut self, name: &str) {
        self.line(&format!("{name}: done by an earlier run"));
    }

    fn progress(&mut self, what: &str, done: f64, figure: &str) {
        let done = done.clamp(0.0, 1.0);
        if self.what != what || done < self.done_at_start {
            self.begin(what, done);
        }
        if done >= 1.0 {
            // What came of it is told by a note.
            self.end();
            return;
        }
        let left = self.left(done).unwrap_or_default();
        if let Some(bar) = &self.bar {
            bar.set_position((done * 1000.0) as u64);
            bar.set_message(join(&[figure, &left]));
        } else if self.last_line.elapsed() >= BETWEEN_LINES {
            self.last_line = Instant::now();
            self.line(&join(&[what, &percent(done), figure, &left]));
        }
    }

    fn note(&mut self, text: &str) {
        self.line(text);
    }

    fn warn(&mut self, text: &str) {
        self.line(&format!("warning: {text}"));
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.end();
    }
}

/// The parts that say something, with commas between.
fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|p| !p.is_empty()).collect();
    parts.join(", ")
}
