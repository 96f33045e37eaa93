//! Where the new crate gets dormir's crates from.

use crate::workspace::{Workspace, WorkspaceError};
use std::{fmt, path::Path};

/// dormir's own repository.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// Where dormir's crates come from.
#[derive(Debug)]
pub(super) enum Origin {
    /// The absolute path of a checkout.
    Checkout(String),
    /// A git repository's address.
    Git(String),
}

/// Why dormir's crates cannot be had from there.
#[derive(Debug, thiserror::Error)]
pub(super) enum OriginError {
    #[error("{0}; or name one by --path, or a git repository by --git")]
    NoCheckout(WorkspaceError),
    #[error("{path} is not a checkout of dormir: pass --path the folder that has its README.md")]
    OtherFolder { path: String },
    #[error("the checkout's path {path:?} cannot be written to a manifest: rename its folder")]
    OddPath { path: String },
    #[error(
        "{path} is a checkout of cargo's own, which cargo may remove: name the git repository by \
         --git, as in `--git {REPOSITORY}`, or another checkout by --path"
    )]
    Cargos { path: String },
    #[error("{0:?} is not the address of a git repository: pass one as in `--git {REPOSITORY}`")]
    OddUrl(String),
}

impl Origin {
    /// Finds the checkout: at this path, else the one to which this program belongs.
    pub(super) fn checkout(path: Option<&Path>) -> Result<Self, OriginError> {
        let workspace = match path {
            None => Workspace::locate().map_err(OriginError::NoCheckout)?,
            Some(path) => Workspace::at(path).map_err(|_| OriginError::OtherFolder {
                path: path.display().to_string(),
            })?,
        };
        let root = workspace.root();
        let whole = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let odd = || OriginError::OddPath {
            path: whole.display().to_string(),
        };
        let path = whole.to_str().ok_or_else(odd)?;
        // Cargo leaves this file where it has checked out a repository, as `cargo install` does.
        if whole.join(".cargo-ok").exists() {
            return Err(OriginError::Cargos { path: path.into() });
        }
        // The path becomes a word of a shell in the workflow, too.
        if path.contains(|c: char| c.is_control() || "'\"\\".contains(c)) {
            return Err(odd());
        }
        Ok(Self::Checkout(path.into()))
    }

    /// Takes the address of a git repository as it is: cargo fetches it.
    pub(super) fn git(url: &str) -> Result<Self, OriginError> {
        let is_odd = |c: char| c.is_control() || c.is_whitespace() || "'\"\\".contains(c);
        if url.is_empty() || url.starts_with('-') || url.contains(is_odd) {
            return Err(OriginError::OddUrl(url.into()));
        }
        Ok(Self::Git(url.into()))
    }

    /// What a manifest has for the package in this folder of the checkout.
    pub(super) fn dependency(&self, folder: &str) -> String {
        match self {
            Self::Checkout(root) if folder.is_empty() => format!("path = \"{root}\""),
            Self::Checkout(root) => format!("path = \"{root}/{folder}\""),
            Self::Git(url) => format!("git = \"{url}\""),
        }
    }

    /// The step of a workflow that puts a checkout where the manifest names it, if it does.
    pub(super) fn clone_step(&self) -> String {
        match self {
            Self::Checkout(root) => format!(
                "      # dormir's crates are not published yet: the manifest names this path.\n      \
                 - run: |\n          sudo install -d -o \"$USER\" '{root}'\n          \
                 git clone {REPOSITORY} '{root}'\n"
            ),
            Self::Git(_) => String::new(),
        }
    }

    /// The arguments of `cargo install` for the program that runs guests.
    pub(super) fn harness(&self) -> String {
        match self {
            Self::Checkout(root) => format!("--path '{root}/host-harness'"),
            Self::Git(url) => format!("--git '{url}' dormir-harness"),
        }
    }
}

/// Says what the new crate depends on.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkout(root) => write!(
                f,
                "it depends on the checkout {root} by its path, since dormir's crates are not \
                 published yet"
            ),
            Self::Git(url) => write!(f, "it depends on the git repository {url}"),
        }
    }
}
