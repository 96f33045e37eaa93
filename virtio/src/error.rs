//! What can go wrong.

use core::fmt;

/// The reason why a driver cannot be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupError {
    /// The device is of another type.
    WrongType,
    /// The device has the interface of before virtio 1.0.
    Legacy,
    /// The device did not reset.
    NoReset,
    /// The device refused the features that the driver needs.
    Features,
    /// The device lacks a queue, has a smaller one than the driver needs, or does not accept where
    /// the driver has put it.
    Queue,
    /// The heap has no memory for the queues.
    NoMemory,
    /// The device has no configuration, or a shorter one than its type has, or one that no driver
    /// can keep.
    Configuration,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongType => "the device is of another type than the driver",
            Self::Legacy => {
                "the device has the interface of before virtio 1.0: start QEMU with -global \
                 virtio-mmio.force-legacy=false, and leave disable-modern off"
            }
            Self::NoReset => "the device did not reset",
            Self::Features => "the device refused the features that the driver needs",
            Self::Queue => {
                "the device lacks or refuses a queue, or its queue is too small for the driver"
            }
            Self::NoMemory => "the heap has no memory for the device's queues",
            Self::Configuration => {
                "the device's configuration is missing, too short or cannot be kept"
            }
        })
    }
}

impl core::error::Error for SetupError {}

/// The reason why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The buffer is empty, or longer than a request can be, or its length does not suit the
    /// device.
    Length,
    /// The sectors do not exist.
    OutOfRange,
    /// The device allows no writes.
    ReadOnly,
    /// The device reports an error of its own.
    Failed,
    /// The device does not know such requests.
    Unsupported,
    /// The device reports a length, or a status, that cannot be.
    WrongAnswer,
    /// The device broke the protocol, or asked for a reset. It was reset, and this driver sends it
    /// no more requests. Drop the driver, which gives the interrupt back, connect the device again,
    /// and make a new driver.
    ///
    /// The buffer comes back, unless the device does not reset either. Then it may still use the
    /// buffer, which is leaked, and an empty one comes back.
    Broken,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "the buffer's length does not suit the device: check that it is not 0",
            Self::OutOfRange => "the device has no such sectors: compare with its capacity",
            Self::ReadOnly => "the device allows no writes",
            Self::Failed => "the device reports an error",
            Self::Unsupported => "the device does not know such requests",
            Self::WrongAnswer => "the device's answer has a length or a status that cannot be",
            Self::Broken => {
                "the device broke the protocol or asked for a reset, and was reset: make a new \
                 driver"
            }
        })
    }
}

impl core::error::Error for RequestError {}
