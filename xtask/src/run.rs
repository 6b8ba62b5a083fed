//! Running commands, saying what is done, and becoming root: what several commands share.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where builds go.
pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// A command of cargo's, in the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    // The same for every command, so that none builds the agent anew that another has built.
    if crate::ebpf::folder().is_dir() {
        command.env(crate::ebpf::FOLDER_VARIABLE, crate::ebpf::folder());
    }
    command
}

/// The compiler that cargo takes.
pub(crate) fn rustc() -> PathBuf {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()).into()
}

const SYSTEM_FOLDERS: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"];

/// Where a program is, also in the system folders that a user's `PATH` may lack.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// Runs a command to its end, with its output shown.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let line = shown(&command);
    let status = command.status().with_context(|| format!("starting `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs a command to its end and gives what it printed.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let line = shown(&command);
    let output = command.output().with_context(|| format!("starting `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Says something on its own line.
pub(crate) fn say(text: &str) {
    // Nobody may be reading; what is done is done all the same.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A headline with the time since `begun`, so that a reader sees that something moves.
pub(crate) fn step(begun: Instant, text: &str) {
    let (bold, plain) = if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    say(&format!("{bold}[{:>4} s] {text}{plain}", begun.elapsed().as_secs()));
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Network namespaces and dockerds need root: starts this very command again through sudo, if it is not root yet, and
/// ends with that one's exit code. What was built as root is given back to the user.
pub(crate) fn become_root() -> Result<()> {
    if is_root() {
        return Ok(());
    }
    let myself = std::env::current_exe().context("finding this program")?;
    let kept = "--preserve-env=PATH,HOME,CARGO,CARGO_HOME,RUSTUP_HOME,RUSTUP_TOOLCHAIN,CARGO_TARGET_DIR,CI,TERM";
    let mut sudo = Command::new("sudo");
    // `env` keeps PATH also where sudo has one of its own (`secure_path`).
    let path = format!("PATH={}", std::env::var("PATH").unwrap_or_default());
    sudo.arg(kept).args(["env", &path]).arg(myself).args(std::env::args_os().skip(1)).current_dir(root());
    // An interrupt reaches the child too, which cleans up; this process waits for that, and gives the files back.
    let status = runtime()?.block_on(async {
        let child = tokio::process::Command::from(sudo).spawn();
        let mut child = child.context("this needs root: run it as root, or install sudo")?;
        loop {
            tokio::select! {
                status = child.wait() => return status.context("waiting for sudo"),
                _ = interrupted() => {}
            }
        }
    })?;
    let owner = format!("{}:{}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let mut chown = Command::new("sudo");
    chown.args(["chown", "--recursive", &owner]).arg(target_folder());
    // What cargo has downloaded meanwhile must stay the user's too.
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    chown.args(home.map(|home| home.join("registry")).filter(|registry| registry.is_dir()));
    run(chown)?;
    std::process::exit(status.code().unwrap_or(1));
}

/// A runtime for the lab's calls.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")
}

/// Resolves at the first SIGINT, SIGTERM or SIGHUP: what runs is then cut short and cleaned up.
pub(crate) async fn interrupted() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("catching SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("catching SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("catching SIGHUP")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    bail!("interrupted")
}
