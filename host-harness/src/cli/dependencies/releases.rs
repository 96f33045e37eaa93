//! The releases of a crate, from cargo's own copy of the registry's index.

use serde_json::Value;
use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

/// The latest release of a crate by date, which may be of an older series, and how many there are
/// that were not withdrawn.
pub(super) fn of(name: &str) -> Result<(String, usize), Box<dyn Error>> {
    let text = index(name)?;
    let releases = releases(&text);
    let latest = releases.iter().max();
    let latest = latest.ok_or_else(|| format!("cargo's index has no releases of `{name}`"))?;
    Ok((format!("{}, {}", latest.1, latest.0), releases.len()))
}

/// Dates and versions. The entries are JSON between other bytes.
fn releases(text: &[u8]) -> Vec<(String, String)> {
    let entries = text.split(|byte| *byte == 0);
    let entries = entries.filter_map(|entry| serde_json::from_slice::<Value>(entry).ok());
    let kept = entries.filter(|entry| entry["yanked"].as_bool() == Some(false));
    kept.filter_map(|entry| {
        let date = entry["pubtime"].as_str().and_then(|time| time.get(..10));
        let version = entry["vers"].as_str()?;
        Some((
            date.unwrap_or("date unknown").to_owned(),
            version.to_owned(),
        ))
    })
    .collect()
}

/// Reads the file of a crate.
fn index(name: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")));
    let indexes = home.ok_or("neither CARGO_HOME nor HOME is set")?;
    for index in fs::read_dir(indexes.join("registry/index"))? {
        let file = index?.path().join(".cache").join(place(name));
        if file.exists() {
            return Ok(fs::read(file)?);
        }
    }
    Err(
        format!("cargo's index does not have `{name}`: see whether the registry can be reached")
            .into(),
    )
}

/// The path of a crate's file, by the rules of registries.
fn place(name: &str) -> PathBuf {
    let name = name.to_lowercase();
    let folder = match name.len() {
        1 | 2 => name.len().to_string(),
        3 => format!("3/{}", &name[..1]),
        _ => format!("{}/{}", &name[..2], &name[2..4]),
    };
    Path::new(&folder).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_found_between_other_bytes() {
        let text = b"\x03\x02\0\0etag\x001.0.0\0{\"vers\":\"1.0.0\",\"yanked\":false,\
            \"pubtime\":\"2024-02-03T04:05:06Z\"}\x001.1.0\0{\"vers\":\"1.1.0\",\"yanked\":true}\0";
        assert_eq!(releases(text), [("2024-02-03".into(), "1.0.0".into())]);
    }

    #[test]
    fn a_crate_has_a_place() {
        for (name, expected) in [("gl", "2/gl"), ("syn", "3/s/syn"), ("Spin", "sp/in/spin")] {
            assert_eq!(place(name), Path::new(expected));
        }
    }
}
