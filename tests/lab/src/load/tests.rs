//! What a load sends and what it counts.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[test]
fn options_that_make_no_sense_are_refused() {
    let good = Load::new("http://127.0.0.1:80", 10);
    assert!(good.check().is_ok());
    for bad in [
        Load { url: "https://127.0.0.1:80".into(), ..good.clone() },
        Load { url: "http://localhost:80".into(), ..good.clone() },
        Load { paths: vec![], ..good.clone() },
        Load { paths: vec!["x".into()], ..good.clone() },
        Load { requests_per_second: 0, ..good.clone() },
        Load { connections: 0, ..good },
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
}

/// Answers each request with what `answer` makes of the number of requests before it; `None` hangs up.
async fn server(answer: fn(usize) -> Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut request = [0; 1024];
                while stream.read(&mut request).await.unwrap_or(0) > 0 {
                    let Some(text) = answer(count.fetch_add(1, Ordering::SeqCst)) else { return };
                    stream.write_all(text.as_bytes()).await.unwrap();
                    if text.contains("X-Then: hang-up") {
                        return;
                    }
                }
            });
        }
    });
    address
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn measure(answer: fn(usize) -> Option<&'static str>, load: Load, for_ms: u64) -> Report {
    let address = server(answer).await;
    let running = Load { url: format!("http://{address}"), ..load }.start().unwrap();
    tokio::time::sleep(Duration::from_millis(for_ms)).await;
    running.stop().await.unwrap()
}

#[tokio::test]
async fn a_healthy_server_gets_the_whole_rate_and_nothing_fails() {
    let report = measure(|_| Some(OK), Load::new("", 200), 300).await;
    assert_eq!((report.failed, &report.errors[..]), (0, &[][..]));
    assert!(report.requests >= 50, "{report:?}");
    assert_eq!(report.statuses.get(&200), Some(&report.requests));
}

#[tokio::test]
async fn a_load_with_an_end_is_over_by_itself_and_has_sent_all() {
    let ramp = Ramp { up: Duration::from_millis(100), hold: Some(Duration::from_millis(50)), down: Duration::ZERO };
    let running = Load { ramp, ..Load::new(&format!("http://{}", server(|_| Some(OK)).await), 200) }.start().unwrap();
    assert!(!running.is_over());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(running.is_over());
    let report = running.stop().await.unwrap();
    assert_eq!((report.requests, report.failed), (20, 0), "{report:?}");
}

#[tokio::test]
async fn anything_but_2xx_and_every_broken_answer_has_failed() {
    fn answer(count: usize) -> Option<&'static str> {
        match count {
            0 => Some("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
            1 => None,
            _ => Some(OK),
        }
    }
    let report = measure(answer, Load { connections: 1, ..Load::new("", 50) }, 200).await;
    assert_eq!(report.failed, 2, "{report:?}");
    assert_eq!(report.statuses.get(&503), Some(&1));
    assert_eq!(report.errors.len(), 2, "{report:?}");
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_opened_again_without_a_failure() {
    let hang_up = |_| Some("HTTP/1.1 200 OK\r\nX-Then: hang-up\r\nContent-Length: 2\r\n\r\nok");
    let report = measure(hang_up, Load { connections: 1, ..Load::new("", 20) }, 300).await;
    assert_eq!(report.failed, 0, "{report:?}");
    assert!(report.requests >= 5, "{report:?}");
}

#[tokio::test]
async fn waiting_for_a_connection_counts_into_the_latency() {
    fn slow_first(count: usize) -> Option<&'static str> {
        if count == 0 {
            std::thread::sleep(Duration::from_millis(150));
        }
        Some(OK)
    }
    let report = measure(slow_first, Load { connections: 1, ..Load::new("", 100) }, 250).await;
    assert_eq!(report.failed, 0, "{report:?}");
    // A closed loop would have seen one slow request and 24 fast ones; here half of them waited.
    assert!(report.latency_ms.p95 > 75.0, "{report:?}");
    assert!(report.latency_ms.max > 140.0, "{report:?}");
}

#[tokio::test]
async fn what_is_never_answered_has_failed() {
    fn never(_: usize) -> Option<&'static str> {
        Some("")
    }
    let load = Load { timeout: Duration::from_millis(50), connections: 2, ..Load::new("", 100) };
    let report = measure(never, load, 200).await;
    assert_eq!(report.failed, report.requests, "{report:?}");
    assert!(report.requests >= 15, "{report:?}");
}
