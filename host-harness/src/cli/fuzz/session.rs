//! One target's processes, from their start to their end.

use super::{BrokenFuzzerError, corpora::Corpora, libfuzzer::Printed, note};
use crate::{
    process::{Child, Scope},
    stop::StopToken,
};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use rustix::process::Signal;
use std::{
    error::Error,
    fmt,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often processes, stop token and clock are looked at.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// How often the progress is shown.
const SHOWN_EVERY: Duration = Duration::from_secs(60);

/// How long a process may take to end, by itself at the end of its time or when it is asked to: an
/// input's time limit, and the last statistics.
const GRACE: Duration = Duration::from_secs(40);

/// The longest line that is read as a whole.
const MAX_LINE: u64 = 64 << 10;

/// libFuzzer's options. An input that takes longer than half a minute, in seconds, is a finding;
/// the slowest take milliseconds, but the machine may be busy.
const OPTIONS: [&str; 2] = ["-timeout=30", "-print_final_stats=1"];

/// How a target is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) limit: Duration,
    pub(super) jobs: u8,
}

/// An input that breaks a target.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) input: PathBuf,
    /// What was printed about it.
    pub(super) lines: Vec<String>,
    /// The command that runs this input alone.
    pub(super) again: String,
}

/// What one run of a target has done.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// The time of all its processes together, of as many as there are processors for.
    pub(super) time: Duration,
    /// How much of it they had a processor.
    pub(super) processor: Duration,
    pub(super) runs: u64,
    /// What the corpus covered at the end.
    pub(super) edges: u64,
    pub(super) findings: Vec<Finding>,
    /// A process was ended before it came to its own end, and may not have tried each input.
    pub(super) is_cut: bool,
}

/// One process.
struct Job {
    child: Child,
    printed: Arc<Mutex<Printed>>,
    reader: JoinHandle<()>,
}

impl Session {
    /// Runs a target's program until the time is over, an input breaks it, or it is to stop.
    pub(super) fn run(
        name: &str,
        program: &Path,
        corpora: &Corpora,
        plan: Plan,
        stop: &StopToken,
    ) -> Result<Self, Box<dyn Error>> {
        let (begun, used_before) = (Instant::now(), used_by_children()?);
        let mut session = Self::default();
        let mut jobs = Vec::new();
        for _ in 0..plan.jobs {
            jobs.push(Job::start(program, corpora, plan.limit)?);
        }
        let (mut shown, mut asked) = (begun, None);
        while !jobs.is_empty() {
            thread::sleep(CHECK_INTERVAL);
            let mut running = Vec::new();
            for job in jobs {
                if job.child.has_ended()? {
                    let is_asked = asked.is_some();
                    session.take(name, job.end()?, is_asked, program, begun.elapsed())?;
                } else {
                    running.push(job);
                }
            }
            jobs = running;
            let is_over = stop.is_stopped()
                || !session.findings.is_empty()
                || begun.elapsed() > plan.limit + GRACE;
            if is_over && asked.is_none() {
                jobs.iter().for_each(|job| job.child.signal(Signal::TERM));
                asked = Some(Instant::now());
            }
            if asked.is_some_and(|asked| asked.elapsed() > GRACE) {
                jobs.iter_mut().for_each(|job| job.child.kill());
            }
            if shown.elapsed() >= SHOWN_EVERY && asked.is_none() && !jobs.is_empty() {
                let sum = |of: fn(&Printed) -> u64| jobs.iter().map(move |job| of(&job.printed()));
                note(format_args!(
                    "{name}: {} s, {} runs or more, {} edges",
                    begun.elapsed().as_secs(),
                    sum(|printed| printed.runs).sum::<u64>(),
                    sum(|printed| printed.edges).max().unwrap_or_default(),
                ));
                shown = Instant::now();
            }
        }
        let processors = thread::available_parallelism().map_or(1, usize::from);
        session.time = session
            .time
            .min(most_time(begun.elapsed(), plan.jobs, processors));
        session.processor = used_by_children()?.saturating_sub(used_before);
        Ok(session)
    }

    /// Adds what a process has done that ended, by itself or because it was asked to.
    fn take(
        &mut self,
        name: &str,
        (printed, status): (Printed, ExitStatus),
        is_asked: bool,
        program: &Path,
        time: Duration,
    ) -> Result<(), BrokenFuzzerError> {
        self.time += time;
        self.is_cut |= is_asked;
        self.runs += printed.runs;
        self.edges = self.edges.max(printed.edges);
        let lines = Vec::from(printed.lines);
        if let Some(input) = printed.finding {
            let again = format!("{} {}", program.display(), input.display());
            self.findings.push(Finding {
                input,
                lines,
                again,
            });
        } else if !status.success() && !is_asked {
            lines.iter().for_each(|line| note(format_args!("  {line}")));
            let name = name.to_owned();
            return Err(BrokenFuzzerError { name, status });
        }
        Ok(())
    }
}

/// The most time that counts: more processes than processors do not make more of it.
fn most_time(clock: Duration, jobs: u8, processors: usize) -> Duration {
    clock * u32::from(jobs).min(u32::try_from(processors).unwrap_or(u32::MAX))
}

/// The processor time of all children of this process that have been reaped, and of theirs.
fn used_by_children() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let used = usage.user_time() + usage.system_time();
    let micros = u64::try_from(used.num_microseconds()).unwrap_or_default();
    Ok(Duration::from_micros(micros))
}

/// Writes what was done: `3600 s (1790 of a processor), 1234 runs, 567 edges, no finding`.
impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (time, used) = (self.time.as_secs(), self.processor.as_secs());
        let (runs, edges) = (self.runs, self.edges);
        write!(
            f,
            "{time} s ({used} of a processor), {runs} runs, {edges} edges, "
        )?;
        match self.findings.len() {
            0 => f.write_str("no finding"),
            1 => f.write_str("one finding"),
            many => write!(f, "{many} findings"),
        }
    }
}

impl Job {
    fn start(program: &Path, corpora: &Corpora, limit: Duration) -> io::Result<Self> {
        let mut command = Command::new(program);
        command
            .args(OPTIONS)
            .arg(format!("-max_total_time={}", limit.as_secs()))
            .arg(format!("-artifact_prefix={}/", corpora.findings.display()))
            // What broke it once is tried again: without a finding, that is mended.
            .args([&corpora.grown, &corpora.committed, &corpora.findings])
            // The names of two types that are linked twice: as cargo-fuzz runs its targets.
            .env("ASAN_OPTIONS", "detect_odr_violation=0")
            // AddressSanitizer prints the stack.
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = Child::spawn_with(&mut command, Stdio::null(), Scope::Group)?;
        let stderr = child.take_stderr().ok_or(io::ErrorKind::BrokenPipe)?;
        let printed = Arc::<Mutex<Printed>>::default();
        let to = Arc::clone(&printed);
        let reader = thread::spawn(move || read(stderr, &to));
        Ok(Self {
            child,
            printed,
            reader,
        })
    }

    fn printed(&self) -> MutexGuard<'_, Printed> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(mut self) -> io::Result<(Printed, ExitStatus)> {
        let status = self.child.reap()?;
        // Nothing holds the other end of its pipe any more. It never panics.
        let _ = self.reader.join();
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((std::mem::take(&mut printed), status))
    }
}

/// Reads lines to the end.
fn read(stderr: impl Read, printed: &Mutex<Printed>) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    // Where it fails, the process has ended.
    while let Ok(1..) = (&mut stderr).take(MAX_LINE).read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line);
        let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
        printed.take(text.trim_end());
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;
    use std::{fs, os::unix::fs::PermissionsExt};

    /// Runs a script in place of a fuzzer, in a checkout in this folder.
    fn run(
        folder: &Path,
        script: &str,
        jobs: u8,
        stop: &StopToken,
    ) -> Result<Session, Box<dyn Error>> {
        fs::create_dir(folder.join("guest-image"))?;
        fs::write(folder.join("guest-image/Cargo.toml"), "")?;
        let corpora = Corpora::of(&Workspace::at(folder)?, "target")?;
        let program = folder.join("program");
        fs::write(
            &program,
            format!("#!/bin/sh\ncd {}\n{script}\n", folder.display()),
        )?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let plan = Plan {
            limit: Duration::from_secs(600),
            jobs,
        };
        Session::run("target", &program, &corpora, plan, stop)
    }

    const PROGRESS: &str = "echo '#10\tNEW    cov: 7 ft: 9 corp: 1/1b' >&2";

    #[test]
    fn a_finding_ends_all_processes_and_is_told_with_its_input() {
        let folder = tempfile::tempdir().expect("a folder");
        // One of them finds something, and the other runs on.
        let script = format!(
            "{PROGRESS}; mkdir first 2>/dev/null || exec sleep 600; echo panicked >&2; \
             echo 'Test unit written to /tmp/crash-1' >&2; exit 77"
        );
        let session = run(folder.path(), &script, 2, &StopToken::default());
        let session = session.expect("scripts run");
        let [finding] = &session.findings[..] else {
            panic!("{session:?}");
        };
        assert_eq!(finding.input, Path::new("/tmp/crash-1"));
        assert!(finding.again.ends_with("/program /tmp/crash-1"));
        assert!(finding.lines.contains(&"panicked".to_owned()));
        assert!(session.runs >= 10, "{session}");
        assert!(session.to_string().ends_with(", 7 edges, one finding"));
    }

    #[test]
    fn time_counts_once_for_each_processor() {
        let minutes = |jobs, processors| most_time(Duration::from_secs(60), jobs, processors);
        assert_eq!(minutes(1, 8), Duration::from_secs(60));
        assert_eq!(minutes(8, 2), Duration::from_secs(120));
        assert_eq!(minutes(3, 8), Duration::from_secs(180));
    }

    /// In a script's place: the arguments that are folders.
    #[test]
    fn what_broke_it_once_is_tried_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "for last; do :; done; case $last in */fuzz/findings/target) ;; *) exit 1;; \
                      esac";
        let session = run(folder.path(), script, 1, &StopToken::default());
        let session = session.expect("they are given");
        assert!(session.findings.is_empty() && !session.is_cut);
    }

    #[test]
    fn a_stop_ends_it_and_what_was_done_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let (stop, ready) = (StopToken::default(), folder.path().join("ready"));
        let script = format!(
            "trap 'echo stat::number_of_executed_units: 25 >&2; exit 72' TERM\n\
             {PROGRESS}; touch ready; while :; do sleep 0.01; done"
        );
        let stopper = stop.clone();
        let stopping = thread::spawn(move || {
            while !ready.exists() {
                thread::sleep(Duration::from_millis(1));
            }
            stopper.stop();
        });
        let session = run(folder.path(), &script, 1, &stop).expect("scripts run");
        stopping.join().expect("it stops");
        assert_eq!((session.runs, session.findings.len()), (25, 0));
        assert!(session.is_cut);
    }

    #[test]
    fn a_fuzzer_that_fails_finds_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "echo broken >&2; exit 1";
        let error = run(folder.path(), script, 1, &StopToken::default());
        let sentence = error.expect_err("it fails").to_string();
        let expected = "`target` ended without a finding";
        assert!(sentence.contains(expected), "{sentence}");
    }
}
