//! `--rng`, `--console`, `--net`, `--vsock` and `--disk`: a guest's virtio devices.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::vmm::{Device, PortForward, PortForwardError};

/// What stands behind a disk's file: it makes the disk read-only, or says that it is not. The
/// latter is for files whose names end in one of the two.
const READ_ONLY: &[u8] = b",readonly";
const WRITABLE: &[u8] = b",writable";

#[derive(Debug, clap::Args)]
pub(super) struct DeviceOptions {
    /// Gives the guest a virtio device with random numbers
    #[arg(long)]
    rng: bool,
    /// Gives the guest a virtio disk whose content is this file, a multiple of 512 bytes; may be
    /// given several times. A name that ends in ,readonly needs ,writable behind it
    #[arg(long, value_name = "FILE[,readonly]")]
    disk: Vec<OsString>,
    /// Gives the guest a virtio console, to which --stdin goes then
    #[arg(long)]
    console: bool,
    /// Gives the guest a network of its own, in which it only answers: each HOST:GUEST forwards a
    /// TCP port of 127.0.0.1 to a port of the guest. With restrict=off it also opens connections,
    /// and reaches what this host reaches, and this host's loopback
    #[arg(long, value_name = "user[,restrict=on|off][,HOST:GUEST...]")]
    net: Option<Net>,
    /// Gives the guest sockets (vsock): connect to the Unix socket PATH, which must not exist yet,
    /// and send `CONNECT PORT`; the guest reaches those who listen to the Unix socket PATH_PORT
    #[arg(long, value_name = "PATH")]
    vsock: Option<PathBuf>,
}

/// `user`, and what follows.
#[derive(Clone, Debug)]
struct Net {
    forwards: Vec<PortForward>,
    restrict: bool,
}

impl FromStr for Net {
    type Err = NotANetError;

    fn from_str(text: &str) -> Result<Self, NotANetError> {
        let mut words = text.split(',');
        if words.next() != Some("user") {
            return Err(NotANetError::Kind(text.to_owned()));
        }
        let (mut forwards, mut restrict) = (Vec::new(), None);
        for word in words {
            let Some(value) = word.strip_prefix("restrict=") else {
                forwards.push(word.parse()?);
                continue;
            };
            let is_on = match value {
                "on" => true,
                "off" => false,
                _ => return Err(NotANetError::Restrict(word.to_owned())),
            };
            if restrict.replace(is_on).is_some() {
                return Err(NotANetError::Restrict(word.to_owned()));
            }
        }
        let restrict = restrict.unwrap_or(true);
        Ok(Self { forwards, restrict })
    }
}

/// A value of `--net` that says nothing.
#[derive(Debug, thiserror::Error)]
enum NotANetError {
    #[error("there is no network `{0}`: write `user`, or for instance `user,8080:80`")]
    Kind(String),
    #[error("`{0}` does not say whether the guest only answers: write restrict=on or =off, once")]
    Restrict(String),
    #[error(transparent)]
    Forward(#[from] PortForwardError),
}

impl DeviceOptions {
    /// Returns the devices in the order in which the guest finds them: the disks come last.
    pub(super) fn devices(&self) -> Vec<Device> {
        let rng = self.rng.then_some(Device::Rng);
        let console = self.console.then_some(Device::Console);
        let net = self.net.as_ref().map(|net| Device::Net {
            forwards: net.forwards.clone(),
            restrict: net.restrict,
        });
        let vsock = self.vsock.clone().map(|path| Device::Vsock { path });
        rng.into_iter()
            .chain(console)
            .chain(net)
            .chain(vsock)
            .chain(self.disk.iter().map(|value| disk(value)))
            .collect()
    }

    /// What a sandbox has instead: nothing.
    pub(super) fn refuse_sandbox(&self) -> Result<(), NoDevicesError> {
        match self.devices().is_empty() {
            true => Ok(()),
            false => Err(NoDevicesError),
        }
    }
}

/// A sandbox was to have devices.
#[derive(Debug, thiserror::Error)]
#[error(
    "a Hyperlight sandbox has no virtio devices: leave out --rng, --console, --net, --vsock and \
     --disk"
)]
pub(super) struct NoDevicesError;

fn disk(value: &OsStr) -> Device {
    let value = value.as_bytes();
    let read_only = value.strip_suffix(READ_ONLY);
    let path = read_only.or(value.strip_suffix(WRITABLE)).unwrap_or(value);
    Device::Disk {
        path: Path::new(OsStr::from_bytes(path)).to_owned(),
        read_only: read_only.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        devices: DeviceOptions,
    }

    #[test]
    fn options_become_devices() {
        let parse = |line: &str| {
            let words = std::iter::once("run").chain(line.split_whitespace());
            Only::try_parse_from(words).map(|only| only.devices.devices())
        };
        let disk = |path: &str, read_only| Device::Disk {
            path: path.into(),
            read_only,
        };
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(
            parse("--disk a,b --rng --disk c,readonly").unwrap(),
            [Device::Rng, disk("a,b", false), disk("c", true)]
        );
        assert_eq!(
            parse("--console --rng").unwrap(),
            [Device::Rng, Device::Console]
        );
        assert_eq!(parse("--disk readonly").unwrap(), [disk("readonly", false)]);
        // Files whose names end so.
        assert_eq!(
            parse(
                "--disk a,readonly,writable --disk b,readonly,readonly --disk c,writable,writable"
            )
            .unwrap(),
            [
                disk("a,readonly", false),
                disk("b,readonly", true),
                disk("c,writable", false)
            ]
        );
        assert!(parse("--disk").is_err());
        let net = |restrict, forwards: &[&str]| Device::Net {
            forwards: forwards.iter().map(|text| text.parse().unwrap()).collect(),
            restrict,
        };
        assert_eq!(parse("--net user").unwrap(), [net(true, &[])]);
        assert_eq!(
            parse("--disk a --net user,8080:80,2222:22").unwrap(),
            [net(true, &["8080:80", "2222:22"]), disk("a", false)]
        );
        for (word, restrict) in [("restrict=on", true), ("restrict=off", false)] {
            let expected = [net(restrict, &["1:2", "3:4"])];
            for line in [
                format!("--net user,{word},1:2,3:4"),
                format!("--net user,1:2,{word},3:4"),
                format!("--net user,1:2,3:4,{word}"),
            ] {
                assert_eq!(parse(&line).unwrap(), expected);
            }
        }
        let vsock = Device::Vsock { path: "a,b".into() };
        assert_eq!(
            parse("--disk a --vsock a,b --net user").unwrap(),
            [net(true, &[]), vsock, disk("a", false)]
        );
        assert!(parse("--vsock").is_err());
        for wrong in [
            "",
            "tap",
            "user,",
            "user,80",
            "8080:80",
            "user,1:2,0:1",
            "restrict=on",
            "user,restrict",
            "user,restrict=",
            "user,restrict=no",
            "user,restrict=on,restrict=on",
        ] {
            assert!(parse(&format!("--net {wrong}")).is_err(), "{wrong}");
        }
    }
}
