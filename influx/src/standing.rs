//! What is worth telling a person about the database, and what is only counted.
//!
//! A database that is away for a night must not fill a disk with the same sentence. Its loss is said once, its return
//! once with the number of failures in between; a loss that turns into another one is said only where the new one needs
//! a person. Points it will not take are a second story, told the same way. This module says nothing itself: it
//! decides what is news.

use std::fmt;

/// Why nothing is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No answer: not resolved, not connected, broken or too slow.
    Unreachable,
    /// It asks to be left alone for a while.
    Busy {
        /// 429 or 5xx.
        status: u16,
    },
    /// The token is missing or wrong.
    Unauthorized {
        /// 401 or 403.
        status: u16,
    },
    /// The database or bucket is not there.
    DatabaseMissing,
    /// An answer that a write does not have.
    Unexpected {
        /// The status.
        status: u16,
    },
}

impl Trouble {
    /// Whether it stays until somebody changes a configuration.
    const fn needs_a_person(self) -> bool {
        match self {
            Self::Unreachable | Self::Busy { .. } => false,
            Self::Unauthorized { .. } | Self::DatabaseMissing | Self::Unexpected { .. } => true,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => write!(f, "it does not answer"),
            Self::Busy { status } => write!(f, "it is busy or failing (status {status})"),
            Self::Unauthorized { status } => write!(f, "it refuses the token (status {status})"),
            Self::DatabaseMissing => write!(f, "the database or bucket does not exist (status 404)"),
            Self::Unexpected { status } => write!(f, "it answers as no database would (status {status})"),
        }
    }
}

/// Something to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Nothing is stored any more, or for another reason than before.
    Lost(Trouble),
    /// It stores again.
    Back {
        /// Attempts that failed in between.
        failures: u64,
    },
    /// It does not take some of the points.
    Refusing,
    /// It takes all points again.
    TakingAll {
        /// Batches of which points were not taken.
        batches: u64,
    },
}

/// What is known and has been said.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    lost: Option<Loss>,
    refused_batches: u64,
}

#[derive(Debug, Clone)]
struct Loss {
    said: Trouble,
    failures: u64,
}

impl Standing {
    /// An attempt ended with the batch kept.
    pub fn failed(&mut self, trouble: Trouble) -> Option<News> {
        let Some(loss) = &mut self.lost else {
            self.lost = Some(Loss { said: trouble, failures: 1 });
            return Some(News::Lost(trouble));
        };
        loss.failures += 1;
        let is_news = trouble.needs_a_person() && trouble != loss.said;
        is_news.then(|| {
            loss.said = trouble;
            News::Lost(trouble)
        })
    }

    /// The database dealt with a batch, whatever became of its points.
    pub fn answered(&mut self) -> Option<News> {
        self.lost.take().map(|loss| News::Back { failures: loss.failures })
    }

    /// All points of a batch were taken.
    pub fn took_all(&mut self) -> Option<News> {
        let batches = std::mem::take(&mut self.refused_batches);
        (batches > 0).then_some(News::TakingAll { batches })
    }

    /// Some or all points of a batch were not taken.
    pub fn refused(&mut self) -> Option<News> {
        self.refused_batches += 1;
        (self.refused_batches == 1).then_some(News::Refusing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_said_once_and_the_return_once_with_the_count() {
        let mut standing = Standing::default();
        assert_eq!(standing.answered(), None, "nothing was lost");
        assert_eq!(standing.failed(Trouble::Unreachable), Some(News::Lost(Trouble::Unreachable)));
        for _ in 0..999 {
            assert_eq!(standing.failed(Trouble::Unreachable), None);
        }
        assert_eq!(standing.answered(), Some(News::Back { failures: 1000 }));
        assert_eq!(standing.answered(), None);
        assert!(standing.failed(Trouble::Unreachable).is_some(), "the next loss is news again");
    }

    #[test]
    fn a_loss_that_changes_is_news_only_where_it_needs_a_person() {
        let mut standing = Standing::default();
        standing.failed(Trouble::Unreachable);
        assert_eq!(standing.failed(Trouble::Busy { status: 503 }), None);
        for trouble in
            [Trouble::Unauthorized { status: 401 }, Trouble::DatabaseMissing, Trouble::Unexpected { status: 301 }]
        {
            assert_eq!(standing.failed(trouble), Some(News::Lost(trouble)));
            assert_eq!(standing.failed(trouble), None);
            assert_eq!(standing.failed(Trouble::Unreachable), None);
        }
    }

    #[test]
    fn refused_points_are_said_once_and_their_end_once_with_the_count() {
        let mut standing = Standing::default();
        assert_eq!(standing.took_all(), None);
        assert_eq!(standing.refused(), Some(News::Refusing));
        assert_eq!(standing.refused(), None);
        assert_eq!(standing.took_all(), Some(News::TakingAll { batches: 2 }));
        assert_eq!(standing.refused(), Some(News::Refusing));
    }
}
