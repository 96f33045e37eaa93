//! `cargo vm new`: makes a guest crate outside this repository.

mod crate_name;
mod files;
mod origin;

use super::{Ended, note};
use crate::workspace::Workspace;
use clap::ValueEnum;
use origin::Origin;
use std::{
    fs,
    io::{self, ErrorKind},
    path::{self, Path, PathBuf},
};

/// Makes a new guest crate, which builds, boots by `cargo run` and is tested by `cargo test`
///
/// The crate has a manifest, the settings for cargo and the linker, a task, a test and a workflow
/// for continuous integration. It is a folder of its own, outside the checkout of dormir: a folder
/// above, with settings of its own, would change it.
///
/// dormir's crates are not published yet, so the new crate names them by the path of a checkout, or
/// by a git repository. Its runner is `cargo-vm`, where that is installed, else this very program.
#[derive(Debug, clap::Args)]
pub(super) struct NewArguments {
    /// The folder to make, whose last part is the crate's name
    #[arg(value_name = "NAME")]
    folder: PathBuf,
    /// What to make
    #[arg(long, value_enum, default_value_t = Template::Guest)]
    template: Template,
    /// The checkout that the crate depends on [default: the one around this folder, else the one
    /// from which this program was built]
    #[arg(long, value_name = "CHECKOUT", conflicts_with = "git")]
    path: Option<PathBuf>,
    /// The git repository that the crate depends on, instead of a checkout
    #[arg(long, value_name = "URL")]
    git: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Template {
    /// A guest that boots in a VM
    Guest,
    /// A Hyperlight guest, and a host that calls it
    Hyperlight,
}

/// Why no crate was made.
#[derive(Debug, thiserror::Error)]
enum NewError {
    #[error("{} exists already: choose another name, or remove it first", .0.display())]
    Exists(PathBuf),
    #[error(
        "{} would be inside the checkout {}, whose settings for cargo would change it: name a \
         folder outside, as in `cargo vm new {}`",
        .folder.display(),
        .checkout.display(),
        .instead.display()
    )]
    InCheckout {
        folder: PathBuf,
        checkout: PathBuf,
        instead: PathBuf,
    },
    #[error("{} cannot be written ({cause}): choose another folder", .path.display())]
    Write { path: PathBuf, cause: io::Error },
}

pub(super) fn run(arguments: &NewArguments) -> Ended {
    let folder = &arguments.folder;
    let name = crate_name::of(folder)?;
    if folder.symlink_metadata().is_ok() {
        return Err(NewError::Exists(folder.clone()).into());
    }
    refuse_inside_checkout(folder)?;
    let origin = match &arguments.git {
        Some(url) => Origin::git(url)?,
        None => Origin::checkout(arguments.path.as_deref())?,
    };
    let runner = files::Runner::find();
    let files = match arguments.template {
        Template::Guest => files::guest(name, &origin, &runner),
        Template::Hyperlight => files::hyperlight(&origin),
    };
    if let Err(error) = write(folder, &files) {
        // Only what was made here: the folder did not exist.
        if !matches!(error, NewError::Exists(_)) {
            let _ = fs::remove_dir_all(folder);
        }
        return Err(error.into());
    }
    note(format_args!(
        "made {} in {}",
        files::list(&files),
        folder.display()
    ));
    note(format_args!("{origin}"));
    let place = folder.display();
    match arguments.template {
        Template::Guest => {
            note(format_args!("{runner}"));
            note(format_args!(
                "next: `cd {place}`, then `cargo run` and `cargo test`"
            ));
        }
        Template::Hyperlight => {
            note(format_args!("next: `cd {place}/host`, then `cargo test`"));
        }
    }
    Ok(0)
}

/// Refuses a folder inside a checkout: cargo joins the linker's flags of both.
fn refuse_inside_checkout(folder: &Path) -> Result<(), NewError> {
    let whole = path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    // Links in the part that exists could lead into a checkout.
    let existing = whole
        .ancestors()
        .find_map(|above| above.canonicalize().ok());
    let Some(checkout) = existing.and_then(|existing| Workspace::around(&existing)) else {
        return Ok(());
    };
    let beside = checkout.root().parent().unwrap_or(Path::new("/"));
    Err(NewError::InCheckout {
        folder: folder.to_owned(),
        checkout: checkout.root().to_owned(),
        instead: beside.join(folder.file_name().unwrap_or_default()),
    })
}

/// Writes the files into the new folder.
fn write(folder: &Path, files: &[(&str, String)]) -> Result<(), NewError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |cause| NewError::Write { path, cause }
    };
    if let Some(above) = folder.parent() {
        fs::create_dir_all(above).map_err(failed(above))?;
    }
    fs::create_dir(folder).map_err(|cause| match cause.kind() {
        ErrorKind::AlreadyExists => NewError::Exists(folder.to_owned()),
        _ => failed(folder)(cause),
    })?;
    for (path, text) in files {
        let path = folder.join(path);
        let inner = path.parent().unwrap_or(folder);
        fs::create_dir_all(inner).map_err(failed(inner))?;
        fs::write(&path, text).map_err(failed(&path))?;
    }
    Ok(())
}
