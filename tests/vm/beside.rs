//! Guests that run beside a test, which waits for what they say.

use std::{
    io::{self, Write},
    sync::mpsc::{self, Receiver, Sender},
    thread,
};

use dormir_harness::vmm::{self, Report, RunConfig};
use libtest_mimic::Failed;

use crate::guest::{LIMIT, image_of};

/// Hands each piece of the console on.
struct Console(Sender<Vec<u8>>);

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The test no longer listens once it has failed.
        let _ = self.0.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the console until it has this text; returns all of it.
fn wait_for(text: &str, console: &Receiver<Vec<u8>>) -> Result<String, Failed> {
    let mut all = Vec::new();
    loop {
        let so_far = String::from_utf8_lossy(&all);
        if so_far.contains(text) {
            return Ok(so_far.into_owned());
        }
        match console.recv_timeout(LIMIT) {
            Ok(piece) => all.extend(piece),
            Err(_) => return Err(format!("`{text}` is not in the console: {so_far}").into()),
        }
    }
}

/// How a guest ended, and its console: until it said the text, and the rest.
pub(crate) struct Beside {
    pub(crate) report: Report,
    pub(crate) before: String,
    pub(crate) rest: String,
}

/// Boots a guest, and does `act` once it has said this. It is stopped if `act` fails.
pub(crate) fn beside(
    image: &str,
    config: &RunConfig,
    text: &str,
    act: impl FnOnce() -> Result<(), Failed>,
) -> Result<Beside, Failed> {
    let (sender, console) = mpsc::channel();
    let elf = image_of(image)?;
    thread::scope(|scope| {
        let runs = scope.spawn(|| vmm::run(elf, config, &mut Console(sender)));
        let acted = wait_for(text, &console).and_then(|before| act().map(|()| before));
        if acted.is_err() {
            config.stop.stop();
        }
        let report = runs.join().expect("it does not panic")?;
        let rest: Vec<u8> = console.try_iter().flatten().collect();
        let rest = String::from_utf8_lossy(&rest).into_owned();
        let before = acted.map_err(|failed| match failed.message() {
            Some(message) => format!("{message} ({}: {rest})", report.outcome).into(),
            None => failed,
        })?;
        Ok(Beside {
            report,
            before,
            rest,
        })
    })
}
