//! What a run tells while it goes on. Front ends show it; this crate prints nothing.

/// Follows a run.
pub trait Observer: Send {
    /// A stage begins: its name, and its number of how many.
    fn stage(&mut self, _name: &str, _number: usize, _of: usize) {}
    /// A stage was done by an earlier run and is taken from its files.
    fn reused(&mut self, _name: &str) {}
    /// Work within the stage: what, how much is done (0 to 1), and a figure to show beside it.
    fn progress(&mut self, _what: &str, _done: f64, _figure: &str) {}
    /// A line of news worth keeping.
    fn note(&mut self, _text: &str) {}
    /// Something the user should know about the data.
    fn warn(&mut self, _text: &str) {}
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
