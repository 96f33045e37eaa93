//! What this process uses: threads and memory.

use std::{error::Error, fmt, fs, sync::mpsc, thread, time::Duration};

/// The process's threads, and its resident memory.
#[derive(Clone, Copy, Default)]
pub(crate) struct Process {
    /// The threads that run this program.
    pub(crate) threads: u64,
    /// Those of the kernel, which KVM adds to the process: one for each VM.
    of_kvm: u64,
    kibibytes: u64,
}

impl Process {
    /// What it uses now.
    pub(crate) fn now() -> Result<Self, Box<dyn Error>> {
        let status = fs::read_to_string("/proc/self/status")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|line| line.split_whitespace().next());
        let mut now = Self {
            kibibytes: resident.ok_or("no VmRSS")?.parse()?,
            ..Self::default()
        };
        for thread in fs::read_dir("/proc/self/task")? {
            // It may have ended meanwhile.
            let name = fs::read(thread?.path().join("comm")).unwrap_or_default();
            if name.starts_with(b"kvm-") {
                now.of_kvm += 1;
            } else {
                now.threads += 1;
            }
        }
        Ok(now)
    }

    /// Runs `work`. Returns its result, and the most that the process used meanwhile.
    pub(crate) fn watched<T>(work: impl FnOnce() -> T) -> Result<(T, Self), Box<dyn Error>> {
        let (has_ended, end) = mpsc::channel::<()>();
        let watcher = thread::spawn(move || {
            let mut most = Self::default();
            loop {
                let now = Self::now().map_err(|error| error.to_string())?;
                most.threads = most.threads.max(now.threads);
                most.of_kvm = most.of_kvm.max(now.of_kvm);
                most.kibibytes = most.kibibytes.max(now.kibibytes);
                let waited = end.recv_timeout(Duration::from_millis(100));
                if waited != Err(mpsc::RecvTimeoutError::Timeout) {
                    return Ok::<_, String>(most);
                }
            }
        });
        let result = work();
        drop(has_ended);
        Ok((result, watcher.join().expect("it does not panic")?))
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            threads, of_kvm, ..
        } = self;
        let mebibytes = self.kibibytes / 1024;
        write!(
            f,
            "{threads} threads, {of_kvm} of KVM, {mebibytes} MiB resident"
        )
    }
}
