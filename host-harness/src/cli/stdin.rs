//! `--stdin`: this process's standard input, for the guest's serial line.

use std::{io, time::Duration};

use rustix::{
    fs::{FileType, fstat},
    stdio::stdin,
    termios::{InputModes, LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr},
};

use signal_hook::{SigId, low_level};

use super::signals;
use crate::{stop::StopToken, vmm::GuestInput};

/// Ends the guest in raw mode: Ctrl-].
const QUIT: u8 = 0x1d;

/// How a terminal passes what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// By lines, which the terminal shows and lets the user edit
    Line,
    /// Each key at once, not shown, Ctrl-C too; Ctrl-] ends the guest
    Raw,
}

#[derive(Debug, clap::Args)]
pub(super) struct StdinOption {
    /// Sends standard input to the guest's serial line (`dormir_guest::serial`); from a terminal by
    /// lines, or with `--stdin=raw` each key at once, until Ctrl-]
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "line",
        hide_possible_values = true
    )]
    stdin: Option<Mode>,
}

/// Standard input cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("standard input cannot be read ({0}): leave out --stdin, or connect it")]
pub(super) struct StdinError(#[from] io::Error);

impl StdinOption {
    /// Whether the guest waits for what someone types.
    pub(super) fn is_typed(&self) -> bool {
        self.stdin.is_some() && isatty(stdin())
    }

    /// Returns the input, and what sets the terminal back when it is dropped.
    pub(super) fn open(
        &self,
        stop: &StopToken,
    ) -> Result<Option<(GuestInput, Option<RawTerminal>)>, StdinError> {
        let Some(mode) = self.stdin else {
            return Ok(None);
        };
        if FileType::from_raw_mode(fstat(stdin()).map_err(io::Error::from)?.st_mode).is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
        }
        let input = GuestInput::standard_input()?;
        if mode == Mode::Line || !self.is_typed() {
            return Ok(Some((input, None)));
        }
        let terminal = RawTerminal::enter()?;
        Ok(Some((input.with_quit_key(QUIT, stop), Some(terminal))))
    }

    /// What a sandbox has instead: nothing.
    pub(super) fn refuse_sandbox(&self) -> Result<(), NoSerialLineError> {
        match self.stdin {
            None => Ok(()),
            Some(_) => Err(NoSerialLineError),
        }
    }
}

/// A sandbox was to have standard input.
#[derive(Debug, thiserror::Error)]
#[error("a Hyperlight sandbox has no serial line: leave out --stdin")]
pub(super) struct NoSerialLineError;

/// The terminal, while it passes keys as they are. Output is still shown by lines.
#[derive(Debug)]
pub(super) struct RawTerminal {
    before: Termios,
    /// What a second signal would leave out, since it ends this process at once.
    on_signals: Vec<SigId>,
}

impl RawTerminal {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut terminal = Self {
            before: before.clone(),
            on_signals: Vec::new(),
        };
        for signal in signals::HANDLED {
            let before = before.clone();
            let set_back = move || {
                let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
            };
            // SAFETY: the action is one system call, which POSIX allows in handlers of signals
            // (tcsetattr).
            let id = unsafe { low_level::register(signal, set_back) }?;
            terminal.on_signals.push(id);
        }
        let mut raw = before;
        raw.local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
        raw.input_modes
            .remove(InputModes::ICRNL | InputModes::IXON | InputModes::ISTRIP);
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(terminal)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // What was typed and not read is dropped too: it was for the guest.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.before);
        for id in self.on_signals.drain(..) {
            low_level::unregister(id);
        }
    }
}

/// The longest time limit, for guests with someone at the terminal.
pub(super) const TYPED_LIMIT: Duration = Duration::from_secs(86_400);
