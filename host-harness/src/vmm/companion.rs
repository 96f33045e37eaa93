//! A program that runs beside a guest, and parses what the guest sends. Of what it prints, only the
//! last line is read, if it does not start.

use std::{
    env,
    fs::File,
    io::{self, Read, Seek},
    process::{Command, Stdio},
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::{
    escape::escape,
    process::{Child, Scope},
};

/// The running program. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Companion {
    child: Child,
    messages: File,
}

impl Companion {
    /// Starts the program, which is told nothing of this process's environment but where programs
    /// are.
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let messages = File::from(memfd_create("messages", flags)?);
        command
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH", path)))
            .stdout(Stdio::null())
            .stderr(messages.try_clone()?);
        // The command ends here: otherwise this process would hold what it passes, too.
        let child = Child::spawn(&mut command, Scope::Group)?;
        Ok(Self { child, messages })
    }

    /// Takes no more messages, once the program is ready: a guest can cause them without end, and
    /// nothing reads them.
    pub(super) fn ignore_messages(&self) -> io::Result<()> {
        Ok(fcntl_add_seals(&self.messages, SealFlags::GROW)?)
    }

    pub(super) fn has_ended(&self) -> bool {
        // One that cannot be asked is gone.
        self.child.has_ended().unwrap_or(true)
    }

    /// The last line that the program wrote.
    pub(super) fn last_line(&mut self) -> String {
        let mut bytes = Vec::new();
        // A message that cannot be read is not there.
        let _ = self.messages.rewind();
        let _ = self.messages.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let last = text.lines().rfind(|line| !line.trim().is_empty());
        last.map_or_else(|| "without a message".to_owned(), escape)
    }
}
