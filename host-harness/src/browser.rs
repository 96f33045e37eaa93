//! A headless browser for tests of a page: Chromium, or the program that the environment variable
//! `DORMIR_BROWSER` names.

use crate::{
    process::{self, Child, Keep, ProcessError, Scope},
    stop::StopToken,
};
use std::{
    ffi::OsString,
    fs, io,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The environment variable that names the program.
pub const PROGRAM_VARIABLE: &str = "DORMIR_BROWSER";

/// The programs that are searched for in `PATH` otherwise, the smallest first.
const PROGRAMS: [&str; 3] = ["chromium-headless-shell", "chromium", "google-chrome"];

/// The time limit of `--version`.
const VERSION_LIMIT: Duration = Duration::from_secs(30);

/// The time limit for the browser's start.
const START_LIMIT: Duration = Duration::from_secs(60);

const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The file in its profile to which a browser writes its address.
const ADDRESS_FILE: &str = "DevToolsActivePort";

/// Why no browser can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrowserError {
    /// None is installed.
    #[error(
        "there is no browser for tests of pages: `cargo vm test --browser` installs one (Debian's \
         chromium-headless-shell), or name one in {PROGRAM_VARIABLE}"
    )]
    Missing,
    /// A browser is installed, but does not run.
    #[error(
        "the browser `{program}` cannot be used, it {problem}: name another one in \
         {PROGRAM_VARIABLE}"
    )]
    Unusable {
        /// The program.
        program: String,
        /// What it does wrong.
        problem: String,
    },
    /// Its profile folder cannot be created.
    #[error(
        "the browser's profile cannot be created ({0}): make room in the folder for temporary files"
    )]
    Profile(#[from] io::Error),
}

/// Returns whether the environment names a program.
pub(crate) fn one_is_named() -> bool {
    std::env::var_os(PROGRAM_VARIABLE).is_some_and(|program| !program.is_empty())
}

/// Returns the program: the one that the environment names, or the first that is installed.
fn program() -> Result<OsString, BrowserError> {
    if one_is_named() {
        return Ok(std::env::var_os(PROGRAM_VARIABLE).unwrap_or_default());
    }
    let found = PROGRAMS.iter().find_map(|name| which::which(name).ok());
    found.map(Into::into).ok_or(BrowserError::Missing)
}

/// Checks whether a browser can be used, and returns its name and version.
///
/// # Errors
///
/// It cannot; the error says why, and what to do about it.
pub fn probe() -> Result<String, BrowserError> {
    let program = program()?;
    let mut command = Command::new(&program);
    command.arg("--version");
    let never = StopToken::default();
    let (keep, scope) = (Keep::Stdout, Scope::Group);
    let problem = match process::capture(&mut command, keep, scope, VERSION_LIMIT, &never) {
        Ok(answer) if answer.status.success() => return Ok(answer.output.trim().to_owned()),
        Ok(answer) => format!("failed with {} when asked for its version", answer.status),
        Err(ProcessError::Start { source, .. }) => format!("cannot be started ({source})"),
        Err(error) => format!("does not say its version ({error})"),
    };
    Err(unusable(&program, problem))
}

fn unusable(program: &OsString, problem: String) -> BrowserError {
    BrowserError::Unusable {
        program: program.to_string_lossy().into_owned(),
        problem,
    }
}

/// A running browser. When dropped, it is ended with all its descendants, and its profile is
/// removed. It does not outlive this process either.
#[derive(Debug)]
pub struct Browser {
    address: String,
    // Dropped in this order: the profile is still written to while the browser lives.
    _process: Child,
    profile: TempDir,
}

impl Browser {
    /// Starts a browser with a new profile and no page.
    ///
    /// # Errors
    ///
    /// There is no browser, or it does not start.
    pub fn start() -> Result<Self, BrowserError> {
        let program = program()?;
        let profile = tempfile::Builder::new()
            .prefix("dormir-browser-")
            .tempdir()?;
        let mut command = command(&program, profile.path());
        let mut child = Child::spawn(&mut command, Scope::Group)
            .map_err(|reason| unusable(&program, format!("cannot be started ({reason})")))?;
        let started = Instant::now();
        let address = loop {
            if let Some(address) = address(profile.path()) {
                break address;
            }
            if child.has_ended().unwrap_or(true) {
                let status = child.reap().map(|status| status.to_string());
                let status = status.unwrap_or_else(|error| error.to_string());
                return Err(unusable(
                    &program,
                    format!("ended before it listened ({status})"),
                ));
            }
            if started.elapsed() >= START_LIMIT {
                let problem = format!("does not listen after {} s", START_LIMIT.as_secs());
                return Err(unusable(&program, problem));
            }
            thread::sleep(CHECK_INTERVAL);
        };
        Ok(Self {
            address,
            _process: child,
            profile,
        })
    }

    /// Returns the profile's folder.
    #[must_use]
    pub fn profile(&self) -> &Path {
        self.profile.path()
    }

    /// Returns its address for the Chrome DevTools Protocol: a WebSocket URL.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

fn command(program: &OsString, profile: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--headless", "--remote-debugging-port=0"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args([
            "--disable-gpu",
            // A container's /dev/shm is small.
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--hide-scrollbars",
        ]);
    if rustix::process::geteuid().is_root() {
        // Chromium refuses to run as root with its sandbox. The pages are our own.
        command.arg("--no-sandbox");
    }
    command
        .arg("about:blank")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Reads the address, once the browser has written it: a line with the port and a line with the
/// path.
fn address(profile: &Path) -> Option<String> {
    let text = fs::read_to_string(profile.join(ADDRESS_FILE)).ok()?;
    let (port, path) = text.split_once('\n')?;
    let path = path.lines().next()?;
    (path.starts_with("/devtools/")).then(|| format!("ws://127.0.0.1:{port}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_known_once_both_lines_are_there() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let file = folder.path().join(ADDRESS_FILE);
        assert_eq!(address(folder.path()), None);
        for (text, expected) in [
            ("4711", None),
            ("4711\n", None),
            (
                "4711\n/devtools/browser/a-b",
                Some("ws://127.0.0.1:4711/devtools/browser/a-b"),
            ),
        ] {
            fs::write(&file, text).expect("a file is made");
            assert_eq!(address(folder.path()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_missing_browser_is_reported_with_the_command_that_installs_it() {
        let sentence = BrowserError::Missing.to_string();
        assert!(sentence.contains("`cargo vm test --browser`"), "{sentence}");
    }
}
