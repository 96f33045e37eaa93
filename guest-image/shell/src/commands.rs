//! The commands.

use alloc::{format, string::String, vec::Vec};
use core::{fmt::Write as _, time::Duration};

use dormir::{
    executor::{Spawner, metrics::TaskMetrics},
    time::{Instant, Timer},
};
use dormir_guest::serial::SerialWriter;
use embedded_io_async::Write;

use crate::{
    EXECUTOR,
    jobs::{Jobs, NotStarted},
    write,
};

const HELP: &str = "\
help             this text
ps               the tasks: number, name, polls, wakes, processor time
top [TIMES]      each second, what the tasks take of the processor; 3 times, or as often
spawn spin       starts a task that takes all of the processor that others leave
spawn tick       starts a task that wakes a hundred times a second
spawn nap [S]    starts a task that sleeps for 10 seconds, or as many
kill NUMBER      ends a task that was started
sleep S          waits as many seconds, before the next command
exit [CODE]      ends the guest, as the end of the input does
";

/// What comes after a command.
pub(crate) enum Turn {
    Next,
    Exit(u8),
}

pub(crate) struct Shell {
    writer: SerialWriter,
    spawner: Spawner,
    jobs: Jobs,
}

impl Shell {
    pub(crate) fn new(writer: SerialWriter, spawner: Spawner) -> Self {
        Self {
            writer,
            spawner,
            jobs: Jobs::default(),
        }
    }

    pub(crate) async fn say(&mut self, text: &str) {
        write(&mut self.writer, text).await;
    }

    pub(crate) async fn flush(&mut self) {
        let Ok(()) = self.writer.flush().await;
    }

    /// Serves one command.
    pub(crate) async fn serve(&mut self, line: &str) -> Turn {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["help"] => self.say(HELP).await,
            ["ps"] => self.ps().await,
            ["top"] => self.top(3).await,
            ["top", times] => match times.parse() {
                Ok(times @ 1..=3600) => self.top(times).await,
                _ => self.say("top takes a number from 1 to 3600\n").await,
            },
            ["spawn", name] => self.spawn(name, None).await,
            ["spawn", name, length] => match seconds(length) {
                Some(length) => self.spawn(name, Some(length)).await,
                None => self.say(NO_SECONDS).await,
            },
            ["kill", number] => {
                let is_ended = number.parse().is_ok_and(|number| self.jobs.end(number));
                if !is_ended {
                    let text = format!("no task {number} was started that runs: see ps\n");
                    self.say(&text).await;
                }
            }
            ["sleep", length] => match seconds(length) {
                Some(length) => Timer::after(length).await,
                None => self.say(NO_SECONDS).await,
            },
            ["exit"] => return Turn::Exit(0),
            ["exit", code] => match code.parse() {
                Ok(code) => return Turn::Exit(code),
                Err(_) => self.say("exit takes a number from 0 to 255\n").await,
            },
            [name, ..] => {
                let text = format!("there is no command `{name}` with that: see help\n");
                self.say(&text).await;
            }
        }
        Turn::Next
    }

    async fn ps(&mut self) {
        let mut text = String::new();
        for task in tasks() {
            let name = short(task.name);
            let (number, polls, wakes) = (task.number, task.polls, task.wakes);
            let micros = task.polled.as_micros();
            let _ = writeln!(
                text,
                "{number:>4} {name:<8} {polls:>10} {wakes:>10} {micros:>10} us"
            );
        }
        self.say(&text).await;
    }

    async fn top(&mut self, times: u32) {
        let mut before = tasks();
        let mut since = Instant::now();
        for _ in 0..times {
            Timer::after(Duration::from_secs(1)).await;
            let (now, tasks) = (Instant::now(), tasks());
            let span = now.saturating_duration_since(since);
            let mut text = String::new();
            for task in &tasks {
                let earlier = before.iter().find(|other| other.number == task.number);
                let share = task.share_since(earlier.unwrap_or(task), span);
                let (number, name) = (task.number, short(task.name));
                let _ = write!(text, "{number}:{name} {}.{}%  ", share / 10, share % 10);
            }
            text.push('\n');
            self.say(&text).await;
            (before, since) = (tasks, now);
        }
    }

    async fn spawn(&mut self, name: &str, length: Option<Duration>) {
        let text = match self.jobs.start(self.spawner, name, length) {
            Ok(number) => format!("task {number}\n"),
            Err(NotStarted::Unknown) => format!("there is no task `{name}`: see help\n"),
            Err(NotStarted::Full) => format!("16 tasks `{name}` run already: kill one\n"),
        };
        self.say(&text).await;
    }
}

const NO_SECONDS: &str = "the length is in seconds, from 0 to 3600\n";

fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.parse().ok()?;
    (0..=3600)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

fn tasks() -> Vec<TaskMetrics> {
    let mut tasks = Vec::new();
    EXECUTOR.for_each_task(|task| tasks.push(task));
    tasks
}

/// A task's name without its module.
fn short(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}
