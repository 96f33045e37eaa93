//! The option `--gdb`: lets a debugger attach, and tells the user how.

use super::note;
use crate::vmm::{GdbListener, GdbPortError};
use std::{ffi::OsString, path::Path};

/// The option.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct GdbOption {
    /// Stops the guest before its first instruction, until a debugger attaches to this port of this
    /// machine and lets it run [default: 1234; 0: a free one]
    ///
    /// Prints the line that attaches gdb. A number after `--gdb` is the port, with or without the
    /// equals sign. The time limit counts only while no debugger is attached.
    #[arg(
        long,
        value_name = "PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1234"
    )]
    gdb: Option<u16>,
}

/// A Hyperlight sandbox was to be debugged.
#[derive(Debug, thiserror::Error)]
#[error(
    "--gdb debugs guests in VMs, not in Hyperlight sandboxes: pass --vmm kvm or --vmm qemu-tcg, or \
     build a host of your own with the feature `gdb` of hyperlight-host"
)]
pub(super) struct DebuggedSandboxError;

impl GdbOption {
    /// Listens on the port, if the option is given.
    ///
    /// # Errors
    ///
    /// The port is in use, or may not be used.
    pub(super) fn listen(self) -> Result<Option<GdbListener>, GdbPortError> {
        self.gdb.map(GdbListener::bind).transpose()
    }

    /// Refuses the option for a guest in a Hyperlight sandbox.
    pub(super) fn refuse_sandbox(self) -> Result<(), DebuggedSandboxError> {
        match self.gdb {
            Some(_) => Err(DebuggedSandboxError),
            None => Ok(()),
        }
    }
}

/// Prints how to attach to the guest in this file.
pub(super) fn announce(elf: &Path, listener: &GdbListener) {
    let elf = quoted(&elf.to_string_lossy());
    let port = listener.port();
    note(format_args!(
        "the guest waits for a debugger: gdb {elf} -ex 'target remote localhost:{port}'"
    ));
}

/// Returns the path as a word of a shell's command.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,=".contains(c);
    if !path.is_empty() && path.chars().all(is_plain) {
        return path.to_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

/// Joins `--gdb` with a number that follows it. A word that is no number is never the port, so that
/// `--gdb` may stand before the guest's name.
pub(super) fn join_port(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    let mut is_option = true;
    for word in words {
        let is_number = word
            .to_str()
            .is_some_and(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()));
        match joined.last_mut() {
            Some(last) if is_option && is_number && last == "--gdb" => {
                last.push("=");
                last.push(word);
            }
            _ => {
                // Behind it are the guest's own arguments.
                is_option &= word != "--";
                joined.push(word);
            }
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_after_the_option_is_its_port() {
        for (line, joined) in [
            ("run --gdb 0 guest", "run --gdb=0 guest"),
            ("run guest --gdb", "run guest --gdb"),
            ("run --gdb guest 5", "run --gdb guest 5"),
            (
                "run guest --gdb 1235 demo=basic",
                "run guest --gdb=1235 demo=basic",
            ),
            ("run guest --gdb 99999999999", "run guest --gdb=99999999999"),
            ("run guest --gdb=5 6", "run guest --gdb=5 6"),
            ("run guest -- --gdb 5", "run guest -- --gdb 5"),
        ] {
            let words = join_port(line.split(' ').map(OsString::from));
            assert_eq!(words.join(" ".as_ref()), OsString::from(joined));
        }
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted("target/x86_64/a-b.elf"), "target/x86_64/a-b.elf");
        assert_eq!(quoted("my guest"), "'my guest'");
        assert_eq!(quoted("a'b$(c)"), r"'a'\''b$(c)'");
        assert_eq!(quoted(""), "''");
    }
}
