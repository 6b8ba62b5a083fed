use influxdb_line_protocol::parse_lines;

use super::*;

const NS: i64 = 1_638_360_000_123_456_789;

fn lines() -> Lines {
    Lines::new(Precision::Seconds)
}

fn text(lines: &Lines) -> &str {
    std::str::from_utf8(lines.as_bytes()).unwrap()
}

/// Builds one point and checks its line, which the crate's own parser must accept.
#[track_caller]
fn check(build: impl FnOnce(&mut Lines), expected: &str) {
    let mut lines = lines();
    build(&mut lines);
    assert_eq!(text(&lines), expected);
    assert_eq!(lines.points() as usize, expected.lines().count());
    assert_eq!(parse_lines(text(&lines)).filter(Result::is_ok).count(), expected.lines().count());
}

#[test]
fn a_point_is_one_line() {
    check(
        |lines| {
            lines
                .point("container_metrics")
                .tag("node", "master")
                .tag("service_name", Some("web"))
                .field("cpu_percent", 75.5)
                .field("network_rx_bytes", 1_048_576_u64)
                .field("up", true)
                .field("delta", -3_i64)
                .field("image", "nginx:1")
                .close(NS);
        },
        "container_metrics,node=master,service_name=web \
         cpu_percent=75.5,network_rx_bytes=1048576i,up=true,delta=-3i,image=\"nginx:1\" 1638360000\n",
    );
}

#[test]
fn an_absent_or_empty_tag_is_not_written() {
    check(|lines| lines.point("m").tag("a", "").tag("b", None).tag("c", "d").field("x", 1.0).close(0), "m,c=d x=1 0\n");
    check(|lines| lines.point("m").tag("", "a").field("x", 1.0).close(0), "m x=1 0\n");
}

#[test]
fn what_separates_is_escaped() {
    check(
        |lines| lines.point("a b,c").tag("k=1 ", "v=1, 2").field("f,g h", "say \"hi\\\"").close(0),
        "a\\ b\\,c,k\\=1\\ =v\\=1\\,\\ 2 f\\,g\\ h=\"say \\\"hi\\\\\\\"\" 0\n",
    );
}

#[test]
fn what_no_escaping_makes_safe_is_replaced() {
    check(
        |lines| lines.point("m\n").tag("a\n", "b\r\nc").field("d\n", "e\nf\r").close(0),
        "m\\ ,a\\ =b\\ \\ c d\\ =\"e f \" 0\n",
    );
    check(
        |lines| lines.point("m").tag("path", "C:\\x\\").tag("z", "y").field("f", 1.0).close(0),
        "m,path=C:/x/,z=y f=1 0\n",
    );
    check(|lines| lines.point("m").tag("a", "\\").tag("b", "c").field("f", 1.0).close(0), "m,a=/,b=c f=1 0\n");
}

#[test]
fn a_field_that_is_absent_or_no_number_is_left_out() {
    check(
        |lines| {
            lines
                .point("m")
                .field("a", f64::NAN)
                .field("b", f64::INFINITY)
                .field("c", None::<u64>)
                .field("d", Some(f64::NEG_INFINITY))
                .field("", 1.0)
                .field("e", Some(2_u64))
                .field("f", None::<f64>)
                .close(0);
        },
        "m e=2i 0\n",
    );
}

#[test]
fn a_point_without_a_field_is_left_out_and_counted() {
    let mut lines = lines();
    lines.point("m").tag("a", "b").field("x", f64::NAN).close(0);
    lines.point("").field("x", 1.0).close(0);
    lines.point("#m").field("x", 1.0).close(0);
    assert!(lines.is_empty());
    assert_eq!(text(&lines), "");
    assert_eq!(lines.take_left_out(), 3);
    assert_eq!(lines.take_left_out(), 0);
}

#[test]
fn a_line_longer_than_the_maximum_is_left_out_and_its_neighbours_are_kept() {
    let mut lines = lines();
    let long = "x".repeat(LINE_BYTES_MAX);
    lines.point("a").field("x", 1.0).close(0);
    lines.point("b").tag("t", long.as_str()).field("x", 1.0).close(0);
    lines.point("c").field("x", 1.0).close(0);
    assert_eq!(text(&lines), "a x=1 0\nc x=1 0\n");
    assert_eq!((lines.points(), lines.take_left_out()), (2, 1));
}

#[test]
fn a_point_never_closed_leaves_nothing_behind() {
    let mut lines = lines();
    lines.point("a").field("x", 1.0).close(0);
    let _ = lines.point("half").tag("t", "u");
    assert_eq!(text(&lines), "a x=1 0\n");
    let _ = lines.point("half").field("t", 1.0);
    lines.point("b").field("x", 1.0).close(0);
    assert_eq!(text(&lines), "a x=1 0\nb x=1 0\n");
}

#[test]
fn unsigned_integers_end_where_signed_ones_do() {
    check(
        |lines| lines.point("m").field("a", u64::MAX).field("b", u32::MAX).close(0),
        "m a=9223372036854775807i,b=4294967295i 0\n",
    );
}

#[test]
fn a_float_is_read_back_as_it_was_written() {
    for value in [0.1, 1.0 / 3.0, 99.999_999_999_999_99, 1e-7, 123_456_789.123, f64::MAX, f64::MIN_POSITIVE, -0.0] {
        let mut lines = lines();
        lines.point("m").field("x", value).close(0);
        let line = text(&lines).trim_start_matches("m x=").trim_end_matches(" 0\n");
        assert_eq!(line.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{line}");
    }
}

#[test]
fn the_timestamp_has_the_endpoints_unit() {
    for (precision, expected) in [
        (Precision::Nanoseconds, "1638360000123456789"),
        (Precision::Microseconds, "1638360000123456"),
        (Precision::Milliseconds, "1638360000123"),
        (Precision::Seconds, "1638360000"),
        (Precision::Minutes, "27306000"),
        (Precision::Hours, "455100"),
    ] {
        let mut lines = Lines::new(precision);
        lines.point("m").field("x", 1.0).close(NS);
        assert_eq!(text(&lines), format!("m x=1 {expected}\n"));
    }
}

#[test]
fn a_point_of_a_series_is_the_same_line() {
    let series = Series::new("a b").tag("c", "d,e").tag("none", None).tag("empty", "").tag("f", "g\\");
    let mut lines = lines();
    lines.point_of(&series).tag("h", "i").field("x", 1.0).close(0);
    lines.point("a b").tag("c", "d,e").tag("f", "g\\").tag("h", "i").field("x", 1.0).close(0);
    let (first, second) = text(&lines).split_once('\n').unwrap();
    assert_eq!(format!("{first}\n"), second);
    lines.point_of(&Series::new("#").tag("a", "b")).field("x", 1.0).close(0);
    assert_eq!((lines.points(), lines.take_left_out()), (2, 1));
}

#[test]
fn clearing_keeps_the_memory_of_a_steady_flow_and_gives_back_a_burst() {
    let mut lines = lines();
    let fill = |lines: &mut Lines, count: u32| {
        for _ in 0..count {
            lines.point("measurement").field("x", 1.0).close(0);
        }
    };
    fill(&mut lines, 100);
    lines.clear();
    assert_eq!((lines.points(), lines.as_bytes().len()), (0, 0));
    let steady = lines.bytes.capacity();
    fill(&mut lines, 100);
    lines.clear();
    assert_eq!(lines.bytes.capacity(), steady);
    fill(&mut lines, 10_000);
    lines.clear();
    fill(&mut lines, 100);
    lines.clear();
    assert!(lines.bytes.capacity() <= steady * 2);
}
