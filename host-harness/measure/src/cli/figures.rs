//! `--splice`: recorded figures in the checkout's Markdown files, and its picture.

use crate::{
    figures::{records::Records, splice},
    files::{self, Destination},
    page,
};
use dormir_harness::{
    cli::command::{Ended, complain, note},
    workspace::Workspace,
};
use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

/// What `--help` says of the figures' names.
pub(super) const ABOUT: &str = "Of --splice, the names of figures:\n\n  counts-tasks, \
    counts-timers, counts-sleeps   tables of docs/figures/counts.json\n  counts-record   within a \
    line: its date and versions\n  count RUNTIME/CASE/N/CAPACITY/CPUS   one count, as in `count \
    dormir/spawn_boxed/64/64/shared`; - for what does not apply, and for isr_to_poll /TIMER \
    behind\n  worst RUNTIME/CASE/N/CAPACITY/CPUS   the worst single operation\n  slack   the alarm \
    writes of a sleep with slack\n  latency, latency-record   of docs/figures/latency.json, of \
    which docs/latency.svg is drawn too\n  native-ratios, native-record   of \
    docs/figures/native.json\n  io-http VMM, io-servers VMM, io-record   of docs/figures/io.json, \
    as in `io-http qemu-tcg/q35`";

/// The picture in a checkout.
const PICTURE: &str = "docs/latency.svg";

/// Puts the figures in, or with `check` compares them.
pub(super) fn run(check: bool) -> Ended {
    let workspace = Workspace::locate()?;
    let root = workspace.root();
    let records = Records::read(root)?;
    let mut stale = Vec::new();
    for name in markdown(root)? {
        let file = root.join(&name);
        let text = files::read(&file)?;
        let spliced =
            splice(&text, &records).map_err(|error| format!("{}: {error}", name.display()))?;
        if spliced.text != text {
            let figures = spliced.changed.join("`, `");
            stale.push(format!("{}: `{figures}`", name.display()));
            write(check, &file, &spliced.text)?;
        }
    }
    if let Some(latency) = &records.latency {
        let (file, picture) = (root.join(PICTURE), page::svg(latency)?);
        if fs::read_to_string(&file).ok().as_ref() != Some(&picture) {
            stale.push(PICTURE.to_owned());
            write(check, &file, &picture)?;
        }
    }
    for what in &stale {
        if check {
            complain(format_args!(
                "{what} is not as its record has it: run `cargo vm bench --splice`"
            ));
        } else {
            note(format_args!("put in anew: {what}"));
        }
    }
    Ok(u8::from(check && !stale.is_empty()))
}

fn write(check: bool, file: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    if !check {
        Destination::check("--splice", file)?.write(text)?;
    }
    Ok(())
}

/// The Markdown files that may have figures, as paths from the checkout's top.
fn markdown(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for folder in ["", "docs"] {
        let entries = match fs::read_dir(root.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let name = Path::new(folder).join(entry?.file_name());
            if name.extension().is_some_and(|kind| kind == "md") {
                names.push(name);
            }
        }
    }
    names.sort();
    Ok(names)
}
