//! What bounds the memory that peers can take.

/// How much there may be at once. The memory for data is at most `connections` times twice
/// `buffer`, and about 1.3 MiB for what is on its way to and from the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections, with those that were dropped and whose peer has not confirmed that. Of these,
    /// one is reset when a new connection needs its place: one that has sent all, if there is any.
    /// The default is 128.
    pub connections: usize,
    /// The bytes of a connection that came and were not read, and as many that were written and
    /// not sent. The default is 64 KiB; 0 is taken for 1.
    pub buffer: u32,
    /// The connections of a listener that wait to be accepted, beyond the tasks that wait for one.
    /// Others are refused. The default is 16.
    pub backlog: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            buffer: 64 << 10,
            backlog: 16,
        }
    }
}
