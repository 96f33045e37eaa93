//! A small shell on the serial line. It lists the guest's tasks and what they take of the
//! processor, and starts and ends some.
#![no_std]
#![no_main]

extern crate alloc;

mod commands;
mod jobs;
mod lines;

use alloc::string::String;

use dormir::{
    executor::{Executor, SingleVcpu, Spawner, Up64, yield_now},
    idle::Halt,
    tasks,
};
use dormir_guest::serial::{self, OpenError, SerialReader, SerialWriter};
use embedded_io_async::Write;

use commands::{Shell, Turn};
use lines::{Line, Lines};

dormir_guest::entry!(main);

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

tasks! {
    async fn shell(lines: Lines<SerialReader>, writer: SerialWriter, spawner: Spawner), pool = 1 {
        let code = serve(lines, writer, spawner).await;
        dormir_guest::exit(code);
    }
}

fn main() -> Result<(), OpenError> {
    let (reader, writer) = serial::open()?;
    let mut runner = EXECUTOR.enter().expect("it is entered once");
    let spawner = runner.spawner();
    let task = shell(Lines::new(reader), writer, spawner);
    assert!(spawner.spawn_detached(task).is_ok(), "the pool has room");
    runner.run_forever(Halt)
}

/// Serves commands until the input ends, or one of them says so. Returns the exit code.
async fn serve(mut lines: Lines<SerialReader>, writer: SerialWriter, spawner: Spawner) -> u8 {
    let mut shell = Shell::new(writer, spawner);
    shell
        .say("dormir's shell; `help` lists the commands\n")
        .await;
    loop {
        shell.say("> ").await;
        let turn = match lines.next().await {
            Line::End => {
                shell.say("\n").await;
                Turn::Exit(0)
            }
            Line::TooLong => {
                shell.say("a line has at most 256 bytes\n").await;
                Turn::Next
            }
            Line::Text(line) => {
                let line = String::from(line);
                shell.serve(&line).await
            }
        };
        if let Turn::Exit(code) = turn {
            shell.flush().await;
            return code;
        }
        // A line that is never empty would keep all other tasks from running.
        yield_now().await;
    }
}

/// Writes text to the line, whose writer cannot fail.
async fn write(writer: &mut SerialWriter, text: &str) {
    let Ok(()) = writer.write_all(text.as_bytes()).await;
}
