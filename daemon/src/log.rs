//! Log lines go to standard error; standard output is for what a program was asked to print.

use tracing::Level;

/// Starts logging at `level`. A second call does nothing.
pub fn to_stderr(level: Level) {
    let subscriber = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    // The first one set stays: in tests several daemons share a process.
    let _ = subscriber.try_init();
}
