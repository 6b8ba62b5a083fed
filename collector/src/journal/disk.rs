//! The journal's file: an embedded database of bounded size and age, which a process that dies leaves whole.
//!
//! A thread of its own writes, so that a slow disk holds up no decision. Entries are numbered in the order in which they came;
//! an action keeps its number while it goes on. What is oldest goes first.

mod error;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use error::DiskError;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use swarmguard_daemon::presence::Presence;
use swarmguard_wire::Timestamp;
use swarmguard_wire::time::ClockOffset;

use super::ActionRecord;
use super::action::is_zero;

/// Most entries kept.
pub const ENTRIES_MAX: usize = 20_000;

/// Most bytes of entries kept; the file is some larger.
pub const BYTES_MAX: usize = 32 << 20;

/// How long entries are kept.
pub const AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Entries that wait for the disk. What comes while so many do is in memory only.
const WAITING_MAX: usize = 1_024;

/// What comes within so long is written together: every write waits for the disk.
const TOGETHER: Duration = Duration::from_millis(50);

/// What could not be written is tried again after this.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Memory for the database's pages.
const CACHE_BYTES: usize = 1 << 20;

/// The version of the layout that this build writes.
const LAYOUT: u64 = 1;

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
/// The number of each action's entry.
const ACTIONS: TableDefinition<'_, &str, u64> = TableDefinition::new("actions");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// What is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// An action, as far as it has come.
    Action(Box<ActionRecord>),
    /// A decision to do nothing, or to do something that is only observed.
    Decision(Told),
}

/// A decision in sentences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// When it was made.
    pub at: Timestamp,
    /// How far the wall clock was ahead of the clock that this is by.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wall_ahead: ClockOffset,
    /// The service.
    pub service: String,
    /// Its name.
    pub service_name: String,
    /// What was decided, why, and what that rests on.
    pub sentences: Vec<String>,
}

impl Told {
    /// The same by the wall clock.
    #[must_use]
    pub fn by_wall(&self) -> Self {
        Self { at: self.at.shifted(self.wall_ahead), wall_ahead: ClockOffset::default(), ..self.clone() }
    }
}

impl Entry {
    /// Its time, by the wall clock.
    fn at(&self) -> Timestamp {
        match self {
            Self::Action(record) => record.by_wall().begun_at().unwrap_or_default(),
            Self::Decision(told) => told.at.shifted(told.wall_ahead),
        }
    }

    /// A time by this collector's clock before which it was not written. When an action began may be by another's, which runs
    /// ahead: by that nothing is too old.
    fn written_after(&self) -> Option<Timestamp> {
        match self {
            Self::Action(record) => record.ended_at,
            Self::Decision(told) => Some(told.at),
        }
    }
}

fn failed(error: impl Into<redb::Error>) -> DiskError {
    DiskError::Database(Box::new(error.into()))
}

/// The file.
#[derive(Debug, Clone)]
pub struct Disk {
    file: Arc<Mutex<File>>,
    writer: SyncSender<Message>,
}

#[derive(Debug)]
enum Message {
    Entry(Box<Entry>),
    /// Answers when all before it are written.
    Flush(SyncSender<()>),
}

impl Disk {
    /// Opens the file, or makes it, and gives what is in it, oldest first. One that is damaged is set aside, beside it, and a
    /// new one begun. `now` is for what is too old.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(path: &Path, now: Timestamp) -> Result<(Self, Vec<Entry>), DiskError> {
        let made = |source| DiskError::Make { path: path.display().to_string(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(made)?;
        }
        let mut file = File { path: path.to_owned(), database: None, kept: Kept::default(), newest: now };
        let entries = match file.open() {
            Err(DiskError::Open { source, .. }) if is_damaged(&source) && path.extension() == Some("redb".as_ref()) => {
                let aside = path.with_extension("redb.damaged");
                std::fs::rename(path, &aside).map_err(made)?;
                tracing::error!(file = %path.display(), aside = %aside.display(), %source, "the journal is damaged: a new one is begun");
                file.open()?
            }
            opened => opened?,
        };
        file.write(&[])?;
        let file = Arc::new(Mutex::new(file));
        let (writer, inbox) = sync_channel(WAITING_MAX);
        let theirs = file.clone();
        // It ends when the last sender is gone.
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || write(&theirs, &inbox)).map_err(made)?;
        Ok((Self { file, writer }, entries))
    }

    /// Has an entry written soon.
    pub fn put(&self, entry: Entry) {
        // Nothing waits for the disk; whoever asks soon is answered from memory.
        if self.writer.try_send(Message::Entry(Box::new(entry))).is_err() {
            tracing::warn!("the journal's disk is too slow: an entry is in memory only");
        }
    }

    /// Waits until all that was put is written, at most so long.
    pub fn flush(&self, limit: Duration) {
        let (done, wait) = sync_channel(1);
        if self.writer.try_send(Message::Flush(done)).is_ok() {
            // Whoever waits has something better to do than to wait longer.
            let _ = wait.recv_timeout(limit);
        }
    }

    /// An action by its identifier. It reads the disk: not for a thread that others wait for.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn action(&self, id: &str) -> Result<Option<ActionRecord>, DiskError> {
        let file = lock(&self.file);
        let Some(database) = &file.database else { return Ok(None) };
        let read = database.begin_read().map_err(failed)?;
        let number = read.open_table(ACTIONS).map_err(failed)?.get(id).map_err(failed)?.map(|found| found.value());
        let Some(number) = number else { return Ok(None) };
        let entries = read.open_table(ENTRIES).map_err(failed)?;
        let bytes = entries.get(number).map_err(failed)?;
        Ok(match bytes.and_then(|bytes| serde_json::from_slice(bytes.value()).ok()) {
            Some(Entry::Action(record)) => Some(*record),
            Some(Entry::Decision(_)) | None => None,
        })
    }
}

/// A file that was no database ever, or is one no more. One of an older format is whole: it is somebody's, and left alone.
fn is_damaged(error: &redb::DatabaseError) -> bool {
    if let redb::DatabaseError::Storage(redb::StorageError::Io(error)) = error {
        return error.kind() == std::io::ErrorKind::InvalidData;
    }
    let is_corrupted = matches!(error, redb::DatabaseError::Storage(redb::StorageError::Corrupted(_)));
    is_corrupted || matches!(error, redb::DatabaseError::RepairAborted)
}

fn lock(file: &Mutex<File>) -> MutexGuard<'_, File> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The database, closed after an error: it takes no more until it was opened anew.
#[derive(Debug)]
struct File {
    path: PathBuf,
    database: Option<Database>,
    kept: Kept,
    /// The latest time by this collector's clock that is known.
    newest: Timestamp,
}

impl File {
    fn open(&mut self) -> Result<Vec<Entry>, DiskError> {
        let path = || self.path.display().to_string();
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create(&self.path);
        let database = opened.map_err(|source| {
            let is_in_use = matches!(source, redb::DatabaseError::DatabaseAlreadyOpen);
            if is_in_use { DiskError::InUse { path: path() } } else { DiskError::Open { path: path(), source } }
        })?;
        let found = prepare(&database)?;
        if found > LAYOUT {
            return Err(DiskError::Layout { path: path(), found });
        }
        self.kept = Kept::default();
        let entries = self.kept.read(&database)?;
        self.database = Some(database);
        Ok(entries)
    }

    fn write(&mut self, entries: &[Entry]) -> Result<(), DiskError> {
        self.newest = entries.iter().filter_map(Entry::written_after).fold(self.newest, Timestamp::max);
        if self.database.is_none() {
            self.open()?;
        }
        let Some(database) = &self.database else { return Ok(()) };
        let written = commit(database, &mut self.kept, entries, self.newest);
        if written.is_err() {
            self.database = None;
        }
        written
    }
}

/// Makes the tables, unless they are of a later layout, and says which they have. What has come to an entry since the first
/// layout is absent in older ones.
fn prepare(database: &Database) -> Result<u64, DiskError> {
    let write = database.begin_write().map_err(failed)?;
    let found = {
        let mut about = write.open_table(ABOUT).map_err(failed)?;
        let found = about.get("layout").map_err(failed)?.map(|found| found.value()).unwrap_or(LAYOUT);
        if found <= LAYOUT {
            about.insert("layout", LAYOUT).map_err(failed)?;
            write.open_table(ENTRIES).map_err(failed)?;
            write.open_table(ACTIONS).map_err(failed)?;
        }
        found
    };
    if found <= LAYOUT {
        write.commit().map_err(failed)?;
    }
    Ok(found)
}

/// What is in the file, as far as it takes to know what has to go.
#[derive(Debug, Default)]
struct Kept {
    /// Each entry's time and length, by its number.
    entries: BTreeMap<u64, (Timestamp, usize)>,
    bytes: usize,
}

impl Kept {
    fn read(&mut self, database: &Database) -> Result<Vec<Entry>, DiskError> {
        let read = database.begin_read().map_err(failed)?;
        let mut entries = Vec::new();
        for found in read.open_table(ENTRIES).map_err(failed)?.iter().map_err(failed)? {
            let (number, bytes) = found.map_err(failed)?;
            // One that this version cannot read stays until it is the oldest.
            let entry: Option<Entry> = serde_json::from_slice(bytes.value()).ok();
            let at = entry.as_ref().map(Entry::at).unwrap_or_default();
            self.add(number.value(), at, bytes.value().len());
            entries.extend(entry);
        }
        Ok(entries)
    }

    fn add(&mut self, number: u64, at: Timestamp, bytes: usize) {
        self.bytes += bytes;
        if let Some((_, before)) = self.entries.insert(number, (at, bytes)) {
            self.bytes -= before;
        }
    }

    fn next(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(number, _)| number + 1)
    }

    /// The oldest entry, if it has to go.
    fn take_surplus(&mut self, now: Timestamp) -> Option<u64> {
        let oldest = self.entries.first_entry()?;
        let (at, bytes) = *oldest.get();
        let number = *oldest.key();
        let is_surplus = self.bytes > BYTES_MAX || now.since(at) > AGE_MAX || self.entries.len() > ENTRIES_MAX;
        if !is_surplus {
            return None;
        }
        self.entries.remove(&number);
        self.bytes -= bytes;
        Some(number)
    }
}

/// Writes what comes, until nobody can send any more. What could not be written is tried again, the newest of it.
fn write(file: &Mutex<File>, inbox: &Receiver<Message>) {
    let mut presence = Presence::new("journal");
    let mut unwritten: Vec<Entry> = Vec::new();
    loop {
        let first = if unwritten.is_empty() {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            inbox.recv_timeout(RETRY_PAUSE)
        };
        let first = match first {
            Ok(first) => Some(first),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        std::thread::sleep(TOGETHER);
        let mut waiting = Vec::new();
        for message in first.into_iter().chain(inbox.try_iter()) {
            match message {
                Message::Entry(entry) => unwritten.push(*entry),
                Message::Flush(done) => waiting.push(done),
            }
        }
        unwritten.drain(..unwritten.len().saturating_sub(WAITING_MAX));
        match lock(file).write(&unwritten) {
            Ok(()) => {
                presence.back();
                unwritten.clear();
            }
            Err(error) => presence.lost(&error),
        }
        for done in waiting {
            // Whoever asked may have gone.
            let _ = done.send(());
        }
    }
}

fn commit(database: &Database, kept: &mut Kept, entries: &[Entry], now: Timestamp) -> Result<(), DiskError> {
    let write = database.begin_write().map_err(failed)?;
    {
        let mut table = write.open_table(ENTRIES).map_err(failed)?;
        let mut actions = write.open_table(ACTIONS).map_err(failed)?;
        for entry in entries {
            let Ok(bytes) = serde_json::to_vec(entry) else { continue };
            let known = match entry {
                Entry::Action(record) => actions.get(record.id.as_str()).map_err(failed)?.map(|found| found.value()),
                Entry::Decision(_) => None,
            };
            let number = known.unwrap_or_else(|| kept.next());
            if let Entry::Action(record) = entry {
                actions.insert(record.id.as_str(), number).map_err(failed)?;
            }
            table.insert(number, bytes.as_slice()).map_err(failed)?;
            kept.add(number, entry.at(), bytes.len());
        }
        while let Some(number) = kept.take_surplus(now) {
            let gone = table.remove(number).map_err(failed)?;
            let gone = gone.and_then(|bytes| serde_json::from_slice(bytes.value()).ok());
            if let Some(Entry::Action(record)) = gone {
                actions.remove(record.id.as_str()).map_err(failed)?;
            }
        }
    }
    write.commit().map_err(failed)
}
