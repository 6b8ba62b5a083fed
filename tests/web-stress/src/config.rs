//! The command line and environment, read by hand: two commands and three flags need no library.
//!
//! A flag wins over the environment, the environment over the default. Nothing is guessed: an
//! unknown flag or a value that does not parse is refused with the value and what is allowed.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What `--help` prints.
pub const USAGE: &str = "\
web-stress [--listen ADDR:PORT] [--drain-ms N]
    Serve. Defaults: 0.0.0.0:8080 and 1500; also WEB_STRESS_LISTEN and WEB_STRESS_DRAIN_MS.
web-stress health [--url http://HOST:PORT/PATH]
    Exit 0 if that answers 200 within a second, else 1. Default: /health of this container.
";

const ENV_LISTEN: &str = "WEB_STRESS_LISTEN";
const ENV_DRAIN: &str = "WEB_STRESS_DRAIN_MS";
const PORT_DEFAULT: u16 = 8080;
const DRAIN_MS_DEFAULT: u64 = 1_500;
/// Longer than this and an orchestrator's grace period ends the process anyway.
const DRAIN_MS_MAX: u64 = 600_000;

/// What the process was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the server.
    Serve(Config),
    /// Ask a running server for its health, once.
    Health(HealthTarget),
    /// Print [`USAGE`].
    Help,
}

/// How the server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long requests go on being answered after SIGTERM, while `/health` already says 503.
    pub drain: Duration,
}

/// Whom the health check asks: the parts of an `http://` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthTarget {
    /// Host and port, as in `127.0.0.1:8080`.
    pub authority: String,
    /// The path, with its leading slash.
    pub path: String,
}

/// Why the command line was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// An argument that is none of the commands or flags.
    UnknownArgument {
        /// The argument as given.
        found: String,
    },
    /// A flag at the end of the line without its value.
    ValueMissing {
        /// The flag.
        flag: String,
    },
    /// A value that does not parse.
    ValueWrong {
        /// The flag or environment variable.
        name: String,
        /// The value as given.
        found: String,
        /// What would have been accepted.
        expected: &'static str,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownArgument { found } => write!(f, "unknown argument {found:?}; try --help"),
            Self::ValueMissing { flag } => write!(f, "{flag} needs a value"),
            Self::ValueWrong { name, found, expected } => write!(f, "{name} is {found:?}, expected {expected}"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Command {
    /// Reads the arguments (without the program's name) and, for what they leave open, `env`.
    ///
    /// # Errors
    /// [`ConfigError`] for an unknown argument, a flag without value, or a value that is not
    /// what its flag takes.
    pub fn parse(
        args: impl IntoIterator<Item = String>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut args = args.into_iter().peekable();
        if args.next_if(|first| first == "health").is_some() {
            return parse_health(args, env);
        }
        let mut listen = env(ENV_LISTEN).map(|value| (ENV_LISTEN.to_owned(), value));
        let mut drain = env(ENV_DRAIN).map(|value| (ENV_DRAIN.to_owned(), value));
        while let Some(flag) = args.next() {
            let value = match flag.as_str() {
                "--help" | "-h" => return Ok(Self::Help),
                "--listen" => &mut listen,
                "--drain-ms" => &mut drain,
                _ => return Err(ConfigError::UnknownArgument { found: flag }),
            };
            let given = args.next().ok_or_else(|| ConfigError::ValueMissing { flag: flag.clone() })?;
            *value = Some((flag, given));
        }
        let listen = match listen {
            Some((name, value)) => listen_address(name, value)?,
            None => SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT_DEFAULT)),
        };
        let drain = match drain {
            Some((name, value)) => drain_delay(name, value)?,
            None => Duration::from_millis(DRAIN_MS_DEFAULT),
        };
        Ok(Self::Serve(Config { listen, drain }))
    }
}

fn parse_health(
    mut args: impl Iterator<Item = String>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Command, ConfigError> {
    let mut url = None;
    while let Some(flag) = args.next() {
        match flag.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--url" => {
                url = Some(args.next().ok_or(ConfigError::ValueMissing { flag })?);
            }
            _ => return Err(ConfigError::UnknownArgument { found: flag }),
        }
    }
    if let Some(url) = url {
        return health_target(url).map(Command::Health);
    }
    // A container told to listen elsewhere is checked there without being told twice.
    let port = match env(ENV_LISTEN) {
        Some(value) => listen_address(ENV_LISTEN.to_owned(), value)?.port(),
        None => PORT_DEFAULT,
    };
    Ok(Command::Health(HealthTarget { authority: format!("127.0.0.1:{port}"), path: "/health".to_owned() }))
}

fn listen_address(name: String, found: String) -> Result<SocketAddr, ConfigError> {
    found.parse().map_err(|_| ConfigError::ValueWrong {
        name,
        found,
        expected: "an IP address and a port, such as 0.0.0.0:8080",
    })
}

fn drain_delay(name: String, found: String) -> Result<Duration, ConfigError> {
    match found.parse() {
        Ok(ms) if ms <= DRAIN_MS_MAX => Ok(Duration::from_millis(ms)),
        Ok(_) | Err(_) => Err(ConfigError::ValueWrong { name, found, expected: "milliseconds from 0 to 600000" }),
    }
}

fn health_target(url: String) -> Result<HealthTarget, ConfigError> {
    let parts = url.strip_prefix("http://").and_then(|rest| {
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
        let plain = url.bytes().all(|byte| byte.is_ascii_graphic());
        (plain && !host.is_empty() && port.parse::<u16>().is_ok())
            .then(|| HealthTarget { authority: format!("{host}:{port}"), path: path.to_owned() })
    });
    parts.ok_or(ConfigError::ValueWrong { name: "--url".to_owned(), found: url, expected: "http://HOST[:PORT][/PATH]" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str], env: &[(&str, &str)]) -> Result<Command, ConfigError> {
        Command::parse(args.iter().map(|arg| (*arg).to_owned()), |name| {
            let found = env.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn serve(listen: &str, drain_ms: u64) -> Result<Command, ConfigError> {
        Ok(Command::Serve(Config { listen: listen.parse().unwrap(), drain: Duration::from_millis(drain_ms) }))
    }

    fn health(authority: &str, path: &str) -> Result<Command, ConfigError> {
        Ok(Command::Health(HealthTarget { authority: authority.to_owned(), path: path.to_owned() }))
    }

    #[test]
    fn without_arguments_the_server_listens_everywhere_on_8080() {
        assert_eq!(parse(&[], &[]), serve("0.0.0.0:8080", 1_500));
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_the_environment_over_the_default() {
        let env = [(ENV_LISTEN, "127.0.0.1:81"), (ENV_DRAIN, "7")];
        assert_eq!(parse(&[], &env), serve("127.0.0.1:81", 7));
        assert_eq!(parse(&["--listen", "127.0.0.1:82"], &env), serve("127.0.0.1:82", 7));
        assert_eq!(parse(&["--drain-ms", "0"], &env), serve("127.0.0.1:81", 0));
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_what_was_found() {
        for args in [
            &["--port", "80"][..],
            &["--listen"],
            &["--listen", "8080"],
            &["--drain-ms", "-1"],
            &["--drain-ms", "600001"],
            &["health", "--url", "https://a/"],
            &["health", "--url", "http://:80/"],
            &["health", "--url", "http://a:x/"],
            &["health", "--url", "http://a/\r\nX: y"],
        ] {
            let error = parse(args, &[]).unwrap_err().to_string();
            let last = args[args.len() - 1].escape_debug().to_string();
            assert!(error.contains(&last) || error.contains(args[0]), "{args:?} gave {error}");
        }
    }

    #[test]
    fn the_health_check_follows_the_listening_port() {
        assert_eq!(parse(&["health"], &[]), health("127.0.0.1:8080", "/health"));
        let env = [(ENV_LISTEN, "0.0.0.0:9000")];
        assert_eq!(parse(&["health"], &env), health("127.0.0.1:9000", "/health"));
        assert_eq!(parse(&["health", "--url", "http://b:1/c"], &env), health("b:1", "/c"));
        assert_eq!(parse(&["health", "--url", "http://b"], &env), health("b:80", "/"));
    }
}
