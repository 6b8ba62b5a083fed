use std::time::Instant;

use super::*;
use crate::test_server::{Reply, Server};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(50);

fn connect_to(server: &Server) -> Connection {
    Connection::new(&format!("http://{}", server.address).parse().unwrap())
}

async fn post(connection: &mut Connection, body: &'static str) -> Result<Response, Error> {
    connection.request(Request::post("/x?y=z", "text/plain", Bytes::from_static(body.as_bytes())), SECOND).await
}

async fn get(connection: &mut Connection) -> Result<Response, Error> {
    connection.request(Request::get("/"), SECOND).await
}

fn counters(opened: u64, requests: u64) -> Counters {
    Counters { opened, requests }
}

#[tokio::test]
async fn many_requests_share_one_connection() {
    let server = Server::start([Reply::Answer(200, "hello"), Reply::Answer(204, "")]).await;
    let mut connection = connect_to(&server);
    assert_eq!(connection.counters(), counters(0, 0), "nothing is opened before it is needed");
    assert_eq!(post(&mut connection, "a").await.unwrap().body, "hello");
    for _ in 0..49 {
        assert_eq!(post(&mut connection, "b").await.unwrap().status, 204);
    }
    assert_eq!(connection.counters(), counters(1, 50));
    assert!(server.seen().iter().all(|seen| seen.connection == 0));
}

#[tokio::test]
async fn what_was_asked_is_what_arrives() {
    let server = Server::start([]).await;
    let mut connection = connect_to(&server);
    let request = Request {
        content_encoding: Some("gzip"),
        authorization: Some("Token t"),
        ..Request::post("/write?db=m", "text/plain; charset=utf-8", Bytes::from_static(b"body"))
    };
    connection.request(request, SECOND).await.unwrap();
    let seen = server.seen().remove(0);
    let host = format!("host: {}", server.address);
    for line in [
        "POST /write?db=m HTTP/1.1",
        host.as_str(),
        "content-type: text/plain; charset=utf-8",
        "content-encoding: gzip",
        "authorization: Token t",
        "content-length: 4",
    ] {
        assert!(seen.head.lines().any(|found| found == line), "{line} in {}", seen.head);
    }
    assert_eq!(seen.body, b"body");
}

#[tokio::test]
async fn an_empty_post_says_that_it_is_empty() {
    let server = Server::start([]).await;
    post(&mut connect_to(&server), "").await.unwrap();
    assert!(server.seen()[0].head.contains("content-length: 0"));
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_keeps_the_connection() {
    let server = Server::start([Reply::With(503, "Retry-After: 7", "busy"), Reply::Answer(400, "no")]).await;
    let mut connection = connect_to(&server);
    let busy = Response { status: 503, retry_after: Some(7 * SECOND), body: Bytes::from_static(b"busy") };
    assert_eq!(get(&mut connection).await.unwrap(), busy);
    assert_eq!(get(&mut connection).await.unwrap().status, 400);
    assert_eq!(connection.counters(), counters(1, 2));
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced_unnoticed() {
    let server = Server::start([Reply::AnswerAndClose(200), Reply::AnswerAndClose(200)]).await;
    let mut connection = connect_to(&server);
    get(&mut connection).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    get(&mut connection).await.unwrap();
    // And without any pause in which the runtime could have noticed.
    get(&mut connection).await.unwrap();
    assert_eq!(connection.counters(), counters(3, 3));
    assert_eq!(server.seen().len(), 3, "no request was written twice");
}

#[test]
fn a_thread_that_was_busy_while_the_server_closed_still_notices() {
    // The server has its own thread and closes while the client's thread is stuck outside its runtime.
    let (address_out, address_in) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let other = std::thread::spawn(move || {
        run(async move {
            let server = Server::start(std::iter::repeat_n(Reply::AnswerAndClose(200), 20)).await;
            address_out.send(server.address).unwrap();
            stopped.await.unwrap();
            assert_eq!(server.seen().len(), 20);
        });
    });
    let url = format!("http://{}", address_in.recv().unwrap()).parse().unwrap();
    run(async {
        let mut connection = Connection::new(&url);
        for _ in 0..20 {
            get(&mut connection).await.unwrap();
            std::thread::sleep(Duration::from_millis(3));
        }
        assert_eq!(connection.counters(), counters(20, 20));
    });
    stop.send(()).unwrap();
    other.join().unwrap();
}

fn run(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

#[tokio::test]
async fn a_request_that_was_written_is_not_repeated() {
    let server = Server::start([Reply::Answer(200, ""), Reply::Close]).await;
    let mut connection = connect_to(&server);
    get(&mut connection).await.unwrap();
    assert!(matches!(get(&mut connection).await, Err(Error::Send { .. })));
    assert_eq!(server.seen().len(), 2);
    assert_eq!(get(&mut connection).await.unwrap().status, 204, "the next one opens a new connection");
    assert_eq!(connection.counters(), counters(2, 3));
}

#[tokio::test]
async fn silence_ends_at_the_time_out_and_the_connection_is_given_up() {
    let server = Server::start([Reply::Silence]).await;
    let mut connection = connect_to(&server);
    let started = Instant::now();
    let outcome = connection.request(Request::get("/"), SHORT).await;
    assert!(matches!(outcome, Err(Error::Timeout { after }) if after == SHORT));
    assert!(started.elapsed() >= SHORT && started.elapsed() < SECOND);
    assert_eq!(get(&mut connection).await.unwrap().status, 204);
    assert_eq!(connection.counters(), counters(2, 2));
}

#[tokio::test]
async fn a_caller_that_walks_away_leaves_no_half_used_connection() {
    let server = Server::start([Reply::Answer(200, ""), Reply::Silence]).await;
    let mut connection = connect_to(&server);
    get(&mut connection).await.unwrap();
    assert!(tokio::time::timeout(SHORT, get(&mut connection)).await.is_err());
    assert_eq!(get(&mut connection).await.unwrap().status, 204);
    assert_eq!(connection.counters(), counters(2, 3));
}

#[tokio::test]
async fn nobody_listening_is_a_connect_error_with_the_address() {
    let server = Server::start([]).await;
    let mut connection = connect_to(&server);
    let address = server.address;
    drop(server);
    tokio::task::yield_now().await;
    let error = get(&mut connection).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot connect to {address}"));
    assert_eq!(error.status(), None);
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_not_read() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n";
    let server = Server::start([Reply::Raw(head.to_owned())]).await;
    let mut connection = connect_to(&server);
    let error = get(&mut connection).await.unwrap_err();
    assert!(error.status().is_none_or(|status| status == 200), "{error:?}");
    assert_eq!(get(&mut connection).await.unwrap().status, 204);
}

#[tokio::test]
async fn a_body_is_accepted_up_to_its_maximum_and_not_a_byte_further() {
    let chunk = "a".repeat(100);
    let chunked = |count: usize| {
        let chunks = format!("64\r\n{chunk}\r\n").repeat(count);
        Reply::Raw(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"))
    };
    let announced = |length: usize| {
        Reply::Raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "a".repeat(length)))
    };
    let server = Server::start([chunked(3), announced(300), chunked(4), announced(301)]).await;
    let mut connection = connect_to(&server).with_response_body_bytes_max(300);
    for opened in [1, 1] {
        assert_eq!(get(&mut connection).await.unwrap().body.len(), 300);
        assert_eq!(connection.counters().opened, opened);
    }
    for opened in [1, 2] {
        let error = get(&mut connection).await.unwrap_err();
        assert!(matches!(error, Error::BodyTooLarge { status: 200, max: 300 }), "{error:?}");
        assert_eq!(connection.counters().opened, opened);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_that_knows_the_status() {
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
    let server = Server::start([Reply::Raw(head.to_owned()), Reply::Close]).await;
    let mut connection = connect_to(&server);
    let outcome = connection.request(Request::get("/"), SHORT).await;
    assert!(matches!(outcome, Err(Error::Timeout { .. } | Error::Receive { status: 200, .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_malformed_request_costs_no_connection() {
    let server = Server::start([]).await;
    let mut connection = connect_to(&server);
    get(&mut connection).await.unwrap();
    let outcome = connection.request(Request::get("/a b"), SECOND).await;
    assert!(matches!(outcome, Err(Error::Message { .. })));
    get(&mut connection).await.unwrap();
    assert_eq!(connection.counters().opened, 1);
}
