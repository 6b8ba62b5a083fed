//! Says once that something was lost, and once that it is back.

use std::error::Error;

/// Whether a part of the outer world answers.
#[derive(Debug)]
pub struct Presence {
    what: &'static str,
    lost: bool,
}

impl Presence {
    /// Of something that is taken to be there until it is not.
    pub fn new(what: &'static str) -> Self {
        Self { what, lost: false }
    }

    /// It did not answer.
    pub fn lost(&mut self, error: &dyn Error) {
        if !self.lost {
            self.lost = true;
            tracing::warn!(what = self.what, error = %chain(error), "lost: going on without it and trying again");
        }
    }

    /// It answered.
    pub fn back(&mut self) {
        if self.lost {
            self.lost = false;
            tracing::info!(what = self.what, "back");
        }
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
