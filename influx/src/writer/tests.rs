use std::io::Read;
use std::net::SocketAddr;
use std::time::Instant;

use flate2::read::GzDecoder;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::endpoint::Precision;
use crate::line::Series;
use crate::shared::Stats;
use crate::test_server::{Reply, Seen, Server};

const PATIENCE: Duration = Duration::from_secs(2);

/// Options with pauses that a test can wait for, and no flush by time.
fn options() -> Options {
    Options {
        retry_pause_first: Duration::from_millis(2),
        retry_pause_max: Duration::from_millis(10),
        request_timeout: Duration::from_millis(500),
        ..Options::new("node-1")
    }
}

/// A sink, a writer at work, and the way to end it.
struct Running {
    sink: Sink,
    stats: StatsReader,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn run(address: SocketAddr, options: &Options) -> Running {
    let url = format!("http://{address}/write?db=m");
    let endpoint = Endpoint::parse(&url, Some(Secret::new("t0ken")), Precision::Seconds).unwrap();
    let (sink, writer) = channel(endpoint, options);
    let (stop, stopped) = oneshot::channel();
    let stats = writer.stats_reader();
    // `tokio::spawn` is part of the claim: the writer can be sent to any runtime.
    let task = tokio::spawn(writer.run(async { drop(stopped.await) }));
    Running { sink, stats, stop, task }
}

impl Running {
    /// Puts one batch of the points named by `names` into the queue.
    fn batch(&mut self, names: &[&str]) {
        for name in names {
            self.sink.point(name).tag("node", "a").field("x", 1.0).close(0);
        }
        self.sink.flush();
    }

    /// Waits until the counts are as wished.
    async fn until(&self, what: &str, wished: impl Fn(&Stats) -> bool) {
        let begun = Instant::now();
        while !wished(&self.stats.stats()) {
            assert!(begun.elapsed() < PATIENCE, "{what}: {:?}", self.stats.stats());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Drops the sink and waits until the writer has sent everything.
    async fn finish(self) -> Stats {
        drop(self.sink);
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
        drop(self.stop);
        self.stats.stats()
    }
}

/// The measurements of each body that arrived.
fn bodies(server: &Server) -> Vec<Vec<String>> {
    server.seen().iter().map(|seen| measurements(&unzip(seen))).collect()
}

fn unzip(seen: &Seen) -> String {
    let mut lines = String::new();
    GzDecoder::new(seen.body.as_slice()).read_to_string(&mut lines).unwrap();
    lines
}

fn measurements(lines: &str) -> Vec<String> {
    lines.lines().map(|line| line.split(',').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_arrives_is_exactly_what_was_pushed() {
    let server = Server::start([]).await;
    let mut running = run(server.address, &options());
    running.batch(&["a", "b"]);
    running.finish().await;
    let seen = server.seen().remove(0);
    assert_eq!(unzip(&seen), "a,node=a x=1 0\nb,node=a x=1 0\n");
    for line in [
        "POST /write?db=m&precision=s HTTP/1.1",
        "content-encoding: gzip",
        "content-type: text/plain; charset=utf-8",
        "authorization: Token t0ken",
    ] {
        assert!(seen.head.lines().any(|found| found == line), "{line} in {}", seen.head);
    }
}

#[tokio::test]
async fn many_batches_go_in_order_over_one_connection() {
    let server = Server::start([]).await;
    let mut running = run(server.address, &options());
    let names: Vec<String> = (0..50).map(|number| format!("m{number}")).collect();
    for name in &names {
        running.batch(&[name]);
        tokio::task::yield_now().await;
    }
    let stats = running.finish().await;
    assert_eq!(bodies(&server).concat(), names);
    let sent: usize = server.seen().iter().map(|seen| seen.body.len()).sum();
    let expected = Stats {
        points_stored: 50,
        batches_sent: 50,
        bytes_sent: u64::try_from(sent).unwrap(),
        connections_opened: 1,
        ..Stats::default()
    };
    assert_eq!(stats, expected);
}

#[tokio::test]
async fn a_failure_is_repeated_and_nothing_is_lost_doubled_or_overtaken() {
    let server = Server::start([Reply::Answer(500, "timeout"), Reply::Answer(503, ""), Reply::Close]).await;
    let mut running = run(server.address, &options());
    running.batch(&["a"]);
    running.batch(&["b"]);
    let stats = running.finish().await;
    assert_eq!(bodies(&server), [["a"], ["a"], ["a"], ["a"], ["b"]]);
    assert_eq!((stats.points_stored, stats.points_dropped, stats.retries, stats.queue_bytes), (2, 0, 3, 0));
}

#[tokio::test]
async fn a_token_or_a_database_put_right_later_loses_nothing() {
    let wrong = [401, 403, 404, 302].map(|status| Reply::Answer(status, ""));
    let server = Server::start(wrong).await;
    let mut running = run(server.address, &options());
    running.batch(&["a"]);
    let stats = running.finish().await;
    assert_eq!((stats.points_stored, stats.retries, server.seen().len()), (1, 4, 5));
}

#[tokio::test]
async fn a_rejected_batch_is_dropped_and_counted_and_the_next_one_goes() {
    let server = Server::start([Reply::Answer(400, "unable to parse")]).await;
    let mut running = run(server.address, &options());
    running.batch(&["a", "b"]);
    running.batch(&["c"]);
    let stats = running.finish().await;
    assert_eq!(bodies(&server), [vec!["a", "b"], vec!["c"]]);
    assert_eq!((stats.points_rejected, stats.points_stored, stats.retries, stats.batches_sent), (2, 1, 0, 2));
}

#[tokio::test]
async fn a_partial_write_is_not_repeated() {
    let server = Server::start([
        Reply::Answer(400, "partial write: field type conflict dropped=2"),
        Reply::Answer(422, "points beyond retention"),
    ])
    .await;
    let mut running = run(server.address, &options());
    running.batch(&["a", "b", "c"]);
    running.batch(&["d", "e"]);
    let stats = running.finish().await;
    assert_eq!(server.seen().len(), 2);
    assert_eq!((stats.points_rejected, stats.points_stored), (2 + 1, 1 + 1));
}

#[tokio::test]
async fn a_batch_too_large_is_sent_in_halves_until_it_fits() {
    let too_large = || Reply::Answer(413, "");
    let server = Server::start([too_large(), too_large()]).await;
    let mut running = run(server.address, &options());
    running.batch(&["a", "b", "c", "d", "e"]);
    running.batch(&["f"]);
    let stats = running.finish().await;
    let expected =
        [vec!["a", "b", "c", "d", "e"], vec!["a", "b"], vec!["a"], vec!["b"], vec!["c", "d", "e"], vec!["f"]];
    assert_eq!(bodies(&server), expected);
    assert_eq!((stats.points_stored, stats.points_rejected, stats.retries), (6, 0, 2));
}

#[tokio::test]
async fn a_single_point_too_large_is_rejected() {
    let server = Server::start([Reply::Answer(413, "")]).await;
    let mut running = run(server.address, &options());
    running.batch(&["a"]);
    let stats = running.finish().await;
    assert_eq!((stats.points_rejected, server.seen().len()), (1, 1));
}

#[tokio::test]
async fn a_database_that_comes_later_gets_everything_once() {
    let reserved = Server::start([]).await;
    let address = reserved.address;
    drop(reserved);
    tokio::task::yield_now().await;
    let mut running = run(address, &options());
    running.batch(&["a"]);
    running.until("some failures", |stats| stats.retries >= 3).await;
    running.batch(&["b"]);
    assert_eq!(running.sink.stats().bytes_sent, 0, "nothing was written while nobody listened");
    let server = Server::start_at(address, []).await;
    let stats = running.finish().await;
    assert_eq!(bodies(&server), [["a"], ["b"]]);
    assert_eq!((stats.points_stored, stats.points_dropped), (2, 0));
}

#[tokio::test]
async fn a_connection_closed_by_the_server_costs_no_retry() {
    let server = Server::start([Reply::AnswerAndClose(200), Reply::AnswerAndClose(200)]).await;
    let mut running = run(server.address, &options());
    for (sent, name) in ["a", "b", "c"].iter().enumerate() {
        running.until("the one before", |stats| usize::try_from(stats.batches_sent).unwrap() == sent).await;
        running.batch(&[name]);
    }
    let stats = running.finish().await;
    assert_eq!((stats.points_stored, stats.retries, stats.connections_opened), (3, 0, 3));
}

#[tokio::test]
async fn a_full_queue_drops_the_oldest_and_counts_it() {
    let server = Server::start([]).await;
    let (mut sink, writer) = {
        let endpoint = Endpoint::parse(&format!("http://{}/api/v2/write", server.address), None, Precision::Seconds);
        channel(endpoint.unwrap(), &Options { queue_bytes_max: 450, ..options() })
    };
    for number in 0..10 {
        sink.point(&format!("m{number}")).field("x", 1.0).close(0);
        sink.flush();
        assert!(sink.stats().queue_bytes <= 450);
    }
    let dropped = sink.stats().points_dropped;
    assert!((5..10).contains(&dropped), "{dropped}");
    drop(sink);
    let stats = writer.stats_reader();
    writer.run(std::future::pending()).await;
    assert_eq!(stats.stats().points_stored, 10 - dropped);
    assert_eq!(server.seen().first().map(unzip), Some(format!("m{dropped} x=1 0\n")), "the oldest ones went");
}

#[tokio::test]
async fn batches_close_at_their_maximum_also_within_a_tick() {
    let server = Server::start([]).await;
    let mut running = run(server.address, &Options { batch_lines_max: 3, ..options() });
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        running.sink.point_of(&Series::new(name).tag("t", "u")).field("x", 1.0).close(0);
    }
    running.sink.point("no field").field("x", f64::NAN).close(0);
    let stats = running.finish().await;
    assert_eq!(bodies(&server), [vec!["a", "b", "c"], vec!["d", "e", "f"], vec!["g"]]);
    assert_eq!((stats.points_stored, stats.points_left_out), (7, 1));
}

#[tokio::test]
async fn a_commit_sends_when_the_time_has_come_and_not_before() {
    let server = Server::start([]).await;
    let options = options();
    let mut running = run(server.address, &options);
    let start = Instant::now();
    running.sink.commit(start);
    running.sink.point("a").field("x", 1.0).close(0);
    running.sink.commit(start);
    assert_eq!(running.sink.stats().queue_bytes, 0);
    running.sink.commit(start + options.flush_interval);
    running.until("one batch", |stats| stats.points_stored == 1).await;
    running.finish().await;
}

#[tokio::test]
async fn a_shutdown_sends_what_is_left_also_out_of_a_long_pause() {
    let server = Server::start([Reply::With(503, "Retry-After: 600", "")]).await;
    let mut running = run(server.address, &options());
    running.batch(&["a"]);
    running.until("the refusal", |stats| stats.retries == 1).await;
    running.stop.send(()).unwrap();
    running.sink.point("b").tag("node", "a").field("x", 1.0).close(0);
    drop(running.sink);
    tokio::time::timeout(PATIENCE, running.task).await.unwrap().unwrap();
    assert_eq!(bodies(&server), [["a"], ["a"], ["b"]]);
    assert_eq!(running.stats.stats().points_dropped, 0);
}

#[tokio::test]
async fn after_a_shutdown_a_failure_is_final_and_counted() {
    let server = Server::start((0..9).map(|_| Reply::Answer(500, ""))).await;
    let mut running = run(server.address, &Options { retry_pause_first: PATIENCE, ..options() });
    running.batch(&["a"]);
    running.batch(&["b", "c"]);
    running.stop.send(()).unwrap();
    drop(running.sink);
    tokio::time::timeout(PATIENCE, running.task).await.unwrap().unwrap();
    let stats = running.stats.stats();
    assert_eq!((stats.points_dropped, stats.queue_bytes), (3, 0));
    assert!(server.seen().len() <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_two_seconds_and_no_longer() {
    let server = Server::start([Reply::Silence]).await;
    let mut running = run(server.address, &Options { request_timeout: 5 * SHUTDOWN_MAX, ..options() });
    running.batch(&["a", "b"]);
    tokio::task::yield_now().await;
    let begun = tokio::time::Instant::now();
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
    assert!(
        (SHUTDOWN_MAX..SHUTDOWN_MAX + Duration::from_millis(10)).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    let stats = running.stats.stats();
    assert_eq!((stats.points_dropped, stats.points_stored), (2, 0));
}

#[tokio::test]
async fn points_that_come_after_the_writer_are_counted_as_dropped() {
    let server = Server::start([]).await;
    let mut running = run(server.address, &options());
    running.batch(&["a"]);
    running.task.abort();
    assert!((&mut running.task).await.unwrap_err().is_cancelled());
    running.batch(&["b", "c"]);
    let stats = running.stats.stats();
    assert_eq!((stats.points_dropped, stats.queue_bytes), (3, 0));
}

#[test]
fn a_reason_names_the_whole_chain_and_no_more_than_the_beginning_of_a_body() {
    let answer = |body: String| Ok(Response { status: 400, retry_after: None, body: body.into() });
    assert_eq!(Reason(&answer("unable to parse\n".to_owned())).to_string(), "unable to parse");
    assert_eq!(Reason(&answer("x".repeat(5000))).to_string().len(), REASON_CHARS_MAX);
    let error =
        swarmguard_http::Error::Connect { authority: "db:1".to_owned(), source: std::io::Error::other("no way") };
    assert_eq!(Reason(&Err(error)).to_string(), "cannot connect to db:1: no way");
}
