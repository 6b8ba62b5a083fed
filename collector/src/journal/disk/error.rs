//! Why the journal's file cannot be used, and what to do about it.

use super::LAYOUT;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Somebody has it open.
    #[error("{path} is in use: another collector has it, and each needs a file of its own")]
    InUse {
        /// The file.
        path: String,
    },
    /// It cannot be opened.
    #[error("{path} cannot be opened")]
    Open {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: redb::DatabaseError,
    },
    /// It cannot be made.
    #[error("{path} cannot be made")]
    Make {
        /// The file or its folder.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its layout is of a later version.
    #[error(
        "{path} was written by a later version (layout {found}, this one knows up to {LAYOUT}): give another --journal"
    )]
    Layout {
        /// The file.
        path: String,
        /// The layout found.
        found: u64,
    },
    /// It cannot be read or written.
    #[error("the journal's file")]
    Database(#[from] Box<redb::Error>),
}
