//! The journal's file: what is written stays, whenever its writer dies; and there is never too much of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and this prints what it measures"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use swarmguard_collector::journal::disk::{AGE_MAX, BYTES_MAX, Disk, ENTRIES_MAX, Entry, Told};
use swarmguard_collector::journal::{ActionRecord, Journal, State, TimeLine};
use swarmguard_planner::memory::EndedBy;
use swarmguard_wire::Timestamp;
use swarmguard_wire::time::ClockOffset;

/// Names the file that this test's own program writes to when it is started as the writer.
const WRITER_FILE: &str = "SWARMGUARD_TEST_JOURNAL";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("swarmguard-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("journal.redb")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

/// Longer than any disk takes.
const LIMIT: Duration = Duration::from_secs(20);

const NOW: u64 = 100 * 24 * 3_600;

fn told(second: u64, text: String) -> Entry {
    Entry::Decision(Told {
        at: at(second),
        wall_ahead: ClockOffset::default(),
        service: "s1".into(),
        service_name: "web".into(),
        sentences: vec![text],
    })
}

fn action(id: &str, state: State, decided: u64, ended: Option<u64>) -> ActionRecord {
    ActionRecord {
        id: id.into(),
        kind: "migrate".into(),
        service: "s1".into(),
        service_name: "web".into(),
        state,
        detail: None,
        container: None,
        cpu_percent: Some(95.0),
        memory_percent: None,
        network_percent: None,
        from_node: Some("node1".into()),
        to_node: None,
        replicas_before: 2,
        replicas_after: 2,
        has_healthcheck: Some(true),
        running_min: None,
        downtime_ms: 0.0,
        because: vec!["web is moved.".into()],
        taken_over: false,
        wall_ahead: ClockOffset::default(),
        ended_at: ended.map(at),
        times: TimeLine { t3: Some(at(decided)), ..TimeLine::default() },
        times_ms: [None; 7],
    }
}

/// What was put in by one who then closes the file, opened anew.
fn reopened(path: &Path, entries: impl IntoIterator<Item = Entry>) -> Vec<Entry> {
    let (disk, _) = Disk::open(path, at(NOW)).unwrap();
    for entry in entries {
        disk.put(entry);
        disk.flush(LIMIT);
    }
    closed(disk);
    open(path).1
}

/// The writer's thread ends a moment after the last that could send to it.
fn closed(disk: Disk) {
    disk.flush(LIMIT);
    drop(disk);
}

fn open(path: &Path) -> (Disk, Vec<Entry>) {
    let begun = Instant::now();
    loop {
        match Disk::open(path, at(NOW)) {
            Ok(opened) => return opened,
            Err(error) if begun.elapsed() > Duration::from_secs(10) => panic!("{error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[test]
fn an_action_is_one_entry_however_often_it_is_told_of() {
    let folder = Folder::new("one-entry");
    let running = Entry::Action(Box::new(action("1-1", State::Running, NOW, None)));
    let completed = Entry::Action(Box::new(action("1-1", State::Completed, NOW, Some(NOW + 2))));
    let other = told(NOW + 1, "Nothing is done.".into());
    let found = reopened(&folder.file(), [running, other.clone(), completed.clone()]);
    assert_eq!(found, [completed, other]);
}

#[test]
fn an_action_is_found_by_its_identifier_long_after() {
    let folder = Folder::new("by-id");
    let (disk, _) = Disk::open(&folder.file(), at(NOW)).unwrap();
    let record = action("1-1", State::Completed, NOW, Some(NOW + 2));
    disk.put(Entry::Action(Box::new(record.clone())));
    disk.flush(LIMIT);
    assert_eq!(disk.action("1-1").unwrap(), Some(record.clone()));
    assert_eq!(disk.action("1-2").unwrap(), None);
    let journal = Journal::on(disk, vec![Entry::Action(Box::new(record.clone()))]);
    assert_eq!(journal.action("1-1"), Some(&record));
}

#[test]
fn what_is_too_old_goes() {
    let folder = Folder::new("old");
    let old = told(NOW - AGE_MAX.as_secs() - 10, "old".into());
    let new = told(NOW, "new".into());
    assert_eq!(reopened(&folder.file(), [old, new.clone()]), [new]);
}

#[test]
fn what_is_too_much_goes_and_the_oldest_first() {
    let folder = Folder::new("much");
    let large = "x".repeat(BYTES_MAX / 10);
    let entries = (0..12).map(|number| told(NOW + number, format!("{number} {large}")));
    let kept = reopened(&folder.file(), entries);
    let first = |entry: &Entry| match entry {
        Entry::Decision(told) => told.sentences[0].split(' ').next().unwrap().to_owned(),
        Entry::Action(_) => panic!("no action was put in"),
    };
    assert_eq!(kept.iter().map(first).collect::<Vec<_>>(), ["3", "4", "5", "6", "7", "8", "9", "10", "11"]);
    let bytes = std::fs::metadata(folder.file()).unwrap().len();
    assert!(bytes < 3 * BYTES_MAX as u64, "the file has {bytes} bytes");
}

#[test]
fn there_are_never_more_entries_than_the_most() {
    let folder = Folder::new("many");
    let (disk, _) = Disk::open(&folder.file(), at(NOW)).unwrap();
    for number in 0..ENTRIES_MAX + 100 {
        disk.put(told(NOW, number.to_string()));
        if number % 500 == 0 {
            disk.flush(LIMIT);
        }
    }
    closed(disk);
    let (_, found) = open(&folder.file());
    assert_eq!(found.len(), ENTRIES_MAX);
    assert_eq!(found.last(), Some(&told(NOW, (ENTRIES_MAX + 99).to_string())));
}

#[test]
fn a_file_that_is_in_use_is_refused_and_said_so() {
    let folder = Folder::new("in-use");
    let (_disk, _) = Disk::open(&folder.file(), at(NOW)).unwrap();
    let error = Disk::open(&folder.file(), at(NOW)).unwrap_err().to_string();
    assert!(error.contains("another collector has it"), "{error}");
}

#[test]
fn a_damaged_file_is_set_aside_and_a_new_one_begun() {
    let folder = Folder::new("damaged");
    std::fs::write(folder.file(), "this is no database, and never was one").unwrap();
    assert_eq!(reopened(&folder.file(), [told(NOW, "new".into())]), [told(NOW, "new".into())]);
    let aside = std::fs::read_to_string(folder.0.join("journal.redb.damaged")).unwrap();
    assert!(aside.starts_with("this is no database"));
    let other = folder.0.join("notes.txt");
    std::fs::write(&other, "somebody's notes").unwrap();
    assert!(Disk::open(&other, at(NOW)).is_err());
    assert_eq!(std::fs::read_to_string(other).unwrap(), "somebody's notes", "what is no journal's is left alone");
}

#[test]
fn a_database_of_an_older_format_is_refused_and_left_as_it_is() {
    let folder = Folder::new("format");
    drop(redb::Database::create(folder.file()).unwrap());
    let mut bytes = std::fs::read(folder.file()).unwrap();
    // Each of the two headers begins with the format's number.
    (bytes[64], bytes[192]) = (2, 2);
    std::fs::write(folder.file(), &bytes).unwrap();
    assert!(Disk::open(&folder.file(), at(NOW)).is_err());
    assert_eq!(std::fs::read(folder.file()).unwrap(), bytes);
}

/// Entries as the first layout has them. They are read for ever.
const OF_LAYOUT_1: [&str; 2] = [
    r#"{"entry":"action","id":"1-1","kind":"migrate","service":"s1","service_name":"web","state":"completed","detail":null,"container":null,"cpu_percent":95.0,"memory_percent":null,"network_percent":null,"from_node":"node1","to_node":null,"replicas_before":2,"replicas_after":2,"has_healthcheck":true,"running_min":null,"downtime_ms":0.0,"because":["web is moved."],"ended_at":8640002000000,"times":{"t0":null,"t1":null,"t2":null,"t3":8640000000000,"t4":null,"t5":null,"t6":null},"times_ms":[null,null,null,null,null,null,null]}"#,
    r#"{"entry":"decision","at":8640000000000,"service":"s1","service_name":"web","sentences":["Nothing is done."]}"#,
];

#[test]
fn what_the_first_layout_has_is_read_for_ever() {
    let entries = OF_LAYOUT_1.map(|text| serde_json::from_str::<Entry>(text).unwrap());
    let record = Entry::Action(Box::new(action("1-1", State::Completed, NOW, Some(NOW + 2))));
    assert_eq!(entries, [record, told(NOW, "Nothing is done.".into())]);
}

#[test]
fn a_journal_of_a_later_version_is_refused_and_left_as_it_is() {
    const ABOUT: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("about");
    let folder = Folder::new("later");
    let database = redb::Database::create(folder.file()).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(ABOUT).unwrap().insert("layout", 2).unwrap();
    write.commit().unwrap();
    drop(database);
    let error = Disk::open(&folder.file(), at(NOW)).unwrap_err().to_string();
    assert!(error.contains("written by a later version (layout 2"), "{error}");
}

#[test]
fn cooldowns_and_counts_are_what_they_were() {
    let past = |state, ended| action("1-1", state, 50, ended).past();
    assert_eq!(past(State::Refused, Some(51)), None);
    let completed = past(State::Completed, Some(52)).unwrap();
    assert_eq!((completed.begun, completed.ended), (at(50), Some((EndedBy::Us, at(52)))));
    assert_eq!(past(State::Superseded, Some(52)).unwrap().ended, Some((EndedBy::Somebody, at(52))));
    assert_eq!(past(State::Running, None).unwrap().ended, None);
}

#[test]
#[ignore = "the program that other tests start and kill"]
fn the_writer_writes_until_it_is_killed() {
    let path = std::env::var_os(WRITER_FILE).unwrap();
    let (disk, found) = open(Path::new(&path));
    let mut out = std::io::stdout();
    for number in found.len().. {
        disk.put(told(NOW, number.to_string()));
        writeln!(out, "put {number}").unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn writer(path: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_writer_writes_until_it_is_killed", "--ignored", "--nocapture"]);
    let mut child = command.env(WRITER_FILE, path).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// Runs the writer for so long; when each number was put, seen from here, until it was killed.
fn killed_after(path: &Path, length: Duration) -> Vec<(usize, Duration)> {
    let (mut child, out) = writer(path);
    let reader = std::thread::spawn(move || {
        let numbers = out.lines().map_while(Result::ok).map(|line| (line, Instant::now()));
        let put = numbers.filter_map(|(line, seen)| Some((line.strip_prefix("put ")?.parse::<usize>().ok()?, seen)));
        put.collect::<Vec<_>>()
    });
    std::thread::sleep(length);
    let killed = Instant::now();
    child.kill().unwrap();
    child.wait().unwrap();
    let put = reader.join().unwrap();
    put.into_iter().map(|(number, seen)| (number, killed.saturating_duration_since(seen))).collect()
}

/// All entries are there from the first on, and none twice.
fn count_whole(path: &Path) -> usize {
    let (disk, found) = open(path);
    let numbers: Vec<Entry> = (0..found.len()).map(|number| told(NOW, number.to_string())).collect();
    assert_eq!(found, numbers);
    closed(disk);
    found.len()
}

#[test]
fn a_writer_killed_at_any_of_two_hundred_moments_has_lost_at_most_the_last_second() {
    let lost: Vec<Duration> = std::thread::scope(|scope| {
        let part = |part: u64| scope.spawn(move || killed_forty_times(part));
        let parts: Vec<_> = (1..=5).map(part).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    assert_eq!(lost.len(), 200);
    let most = lost.iter().max().unwrap();
    println!("killed 200 times: the oldest that was lost had been put {} ms before", most.as_millis());
    assert!(*most <= Duration::from_secs(1), "{most:?}");
}

/// How long before its end each writer had put the oldest entry that is lost.
fn killed_forty_times(part: u64) -> Vec<Duration> {
    let mut state = part.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut lost = Vec::new();
    for file in ["first", "second"] {
        let folder = Folder::new(&format!("killed-{part}-{file}"));
        let mut before = 0;
        for _ in 0..20 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let put = killed_after(&folder.file(), Duration::from_millis(5 + (state >> 33) % 1_200));
            let now = count_whole(&folder.file());
            assert!(now >= before, "{before} entries became {now}");
            before = now;
            lost.push(put.iter().find(|(number, _)| *number >= now).map(|(_, before)| *before).unwrap_or_default());
        }
        assert!(before > 1_000, "in that time much was written: {before}");
    }
    lost
}
