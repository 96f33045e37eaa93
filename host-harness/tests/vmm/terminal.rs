//! What a terminal and a file receive of a guest's console.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    process::Stdio,
    thread,
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::{
    command::cargo_vm,
    guests::{GuestFile, exit, print, record},
};

/// The guest's output: text, a colour that it does not reset, and sequences that move the cursor,
/// overwrite text and type.
const PRINTED: &str =
    "gr\u{fc}n\t\x1b[32mcolour\x1b[2J\x1b[1;1H\x1b]0;title\x07\x1b[6n\rover\u{9b}2J\n";

/// The same as a terminal may receive it. (The terminal turns each line feed into two characters.)
const SHOWN: &str = "gr\u{fc}n\t\x1b[32mcolour\\u{1b}[2J\\u{1b}[1;1H\\u{1b}]0;title\\u{7}\\u{1b}[6n\
    \\rover\\u{9b}2J\r\n\x1b[0m";

fn guest() -> GuestFile {
    let code = [
        print(PRINTED.as_bytes()),
        record(true, "panic \x1b[2J\x1b[32m100 passed\r"),
        exit(101),
    ];
    GuestFile::with_records(&code.concat())
}

/// Returns what a terminal receives of both streams, and the status.
fn on_terminal(options: &[&str]) -> (String, Option<i32>) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).expect("it is ours");
    unlockpt(&ours).expect("it can be used");
    let name = ptsname(&ours, Vec::new()).expect("it has a name");
    let name = name.into_string().expect("text");
    let terminal = OpenOptions::new().read(true).write(true).open(name);
    let terminal = terminal.expect("it can be opened");
    let guest = guest();
    let mut child = cargo_vm()
        .args(["run", "--vmm", "kvm", "--memory", "4"])
        .args(options)
        .arg(guest.path())
        .stdin(Stdio::null())
        .stdout(terminal.try_clone().expect("a copy"))
        .stderr(terminal)
        .spawn()
        .expect("it runs");
    let reader = thread::spawn(move || {
        let mut shown = Vec::new();
        // It ends with an error once the other side is closed.
        let _ = File::from(ours).read_to_end(&mut shown);
        String::from_utf8(shown).expect("text")
    });
    let status = child.wait().expect("it ends");
    (reader.join().expect("it reads"), status.code())
}

#[test]
fn a_terminal_gets_only_text_and_colours() {
    let (shown, status) = on_terminal(&[]);
    assert_eq!(status, Some(101), "{shown:?}");
    let sentence = "error: the guest panicked: \\u{1b}[2J\\u{1b}[32m100 passed\r\n";
    assert_eq!(shown, format!("{SHOWN}{sentence}"));
}

#[test]
fn a_terminal_gets_the_raw_console_where_that_is_asked_for() {
    let (shown, status) = on_terminal(&["--raw"]);
    assert_eq!(status, Some(101), "{shown:?}");
    let raw = PRINTED.replace('\n', "\r\n");
    let sentence = shown.strip_prefix(&raw).expect("it is unchanged");
    assert!(!sentence.contains('\x1b'), "{sentence:?}");
}

#[test]
fn a_pipe_gets_the_console_unchanged() {
    let guest = guest();
    let output = cargo_vm()
        .args(["run", "--vmm", "kvm", "--memory", "4"])
        .arg(guest.path())
        .output()
        .expect("it runs");
    assert_eq!(output.stdout, PRINTED.as_bytes());
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(
        stderr.contains("\\u{1b}[2J") && !stderr.contains('\x1b'),
        "{stderr:?}"
    );
}
