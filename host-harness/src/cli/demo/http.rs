//! The demo of a network: the guest `http` serves pages, and this process fetches them.

use std::{
    error::Error,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    sync::mpsc::{Sender, channel},
    thread,
    time::{Duration, Instant},
};

use crate::vmm::{self, Device, PortForward, Report, RunConfig};

/// The port at which the guest serves.
const GUEST_PORT: u16 = 80;

/// What the guest prints once it serves.
const SERVES: &[u8] = b"serves http://";

/// How many connections fetch pages at once.
const CONNECTIONS: [usize; 3] = [1, 8, 100];

/// How long each number of them does.
const SPAN: Duration = Duration::from_secs(2);

/// The time limit of this demo: where KVM emulates a guest's instructions, it takes 20 seconds, and
/// on a busy machine longer.
pub(super) const LIMIT: Duration = Duration::from_secs(180);

/// How long an answer may take, and the opening of a connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns a port of this host that is free now, and the devices that connect it with the guest.
pub(super) fn devices() -> io::Result<(u16, Vec<Device>)> {
    let host = vmm::free_port()?;
    let forward = PortForward {
        host,
        guest: GUEST_PORT,
    };
    let network = Device::Net {
        forwards: vec![forward],
        restrict: true,
    };
    Ok((host, vec![Device::Rng, network]))
}

/// Runs the guest, and fetches its pages through `port` meanwhile.
pub(super) fn run(
    elf: &Path,
    config: &RunConfig,
    port: u16,
    output: &mut (impl Write + Send),
) -> Result<Report, Box<dyn Error>> {
    let (tell, told) = channel();
    let mut console = Watched {
        output,
        line: Vec::new(),
        tell: Some(tell),
    };
    thread::scope(|scope| {
        let client = scope.spawn(move || {
            if told.recv().is_err() {
                // The guest has ended without: its outcome says why.
                return Ok(());
            }
            let fetched = fetch(port, SPAN, &mut io::stdout());
            // Otherwise the guest serves until its time limit.
            let quits = Connection::open(port).and_then(|mut connection| connection.get("/quit"));
            let fetched = fetched.and(quits.map(drop));
            fetched.map_err(|error| format!("the guest's pages cannot be fetched: {error}"))
        });
        let ran = vmm::run(elf, config, &mut console);
        // The client no longer waits for the guest.
        console.tell = None;
        let fetched = client.join().expect("the client does not panic");
        let report = ran?;
        // Of a guest that failed, the outcome says more.
        match report.outcome.is_success() {
            true => fetched.map(|()| report).map_err(Into::into),
            false => Ok(report),
        }
    })
}

/// A console that tells when the guest serves.
struct Watched<'a, W> {
    output: &'a mut W,
    /// The line so far.
    line: Vec<u8>,
    tell: Option<Sender<()>>,
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.output.write(bytes)?;
        for byte in &bytes[..length] {
            if *byte != b'\n' {
                // No more of it is looked at.
                if self.line.len() < SERVES.len() {
                    self.line.push(*byte);
                }
                continue;
            }
            if self.line.starts_with(SERVES)
                && let Some(tell) = self.tell.take()
            {
                let _ = tell.send(());
            }
            self.line.clear();
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Fetches pages for `span` by each number of connections, and shows how many.
fn fetch(port: u16, span: Duration, output: &mut impl Write) -> io::Result<()> {
    writeln!(
        output,
        "connections, all kept open   pages in a second   time of an answer (median)"
    )?;
    for count in CONNECTIONS {
        // First of all, since it may take a while until the rest of the row is known.
        write!(output, "{count:26}")?;
        output.flush()?;
        let fetched = fetch_by(count, port, span);
        if fetched.is_err() {
            writeln!(output)?;
        }
        let (took, mut times) = fetched?;
        times.sort_unstable();
        let a_second = times.len() as f64 / took.as_secs_f64();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let millis = median.as_secs_f64() * 1e3;
        writeln!(output, "   {a_second:17.0}   {millis:23.2} ms")?;
    }
    Ok(())
}

/// Fetches pages by as many connections for `span`. Returns how long it took, and how long each
/// answer did.
fn fetch_by(count: usize, port: u16, span: Duration) -> io::Result<(Duration, Vec<Duration>)> {
    // One after another: QEMU takes one at a time, and the kernel lets those that come beside wait
    // for seconds.
    let connections = (0..count).map(|_| {
        let mut connection = Connection::open(port)?;
        connection.get("/")?;
        Ok(connection)
    });
    let connections = connections.collect::<io::Result<Vec<_>>>()?;
    let start = Instant::now();
    let mut times = Vec::new();
    thread::scope(|scope| -> io::Result<()> {
        let threads: Vec<_> = connections
            .into_iter()
            .map(|connection| scope.spawn(move || fetch_until(connection, start + span)))
            .collect();
        for thread in threads {
            times.extend(thread.join().expect("it does not panic")?);
        }
        Ok(())
    })?;
    Ok((start.elapsed(), times))
}

/// Fetches pages by one connection, and returns how long each took. At least one is fetched.
fn fetch_until(mut connection: Connection<TcpStream>, end: Instant) -> io::Result<Vec<Duration>> {
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        connection.get("/")?;
        times.push(start.elapsed());
        if Instant::now() >= end {
            return Ok(times);
        }
    }
}

/// A connection that is kept.
struct Connection<S>(BufReader<S>);

impl Connection<TcpStream> {
    fn open(port: u16) -> io::Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Gets a page.
    fn get(&mut self, path: &str) -> io::Result<Vec<u8>> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: guest\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        self.page()
    }
}

/// The longest page that is read.
const MOST_BYTES: u64 = 1 << 20;

impl<S: Read> Connection<S> {
    /// Reads an answer, which must be a page whose length it tells.
    fn page(&mut self) -> io::Result<Vec<u8>> {
        let wrong = |what: String| {
            let sentence = format!("the guest's answer is no page: {what}");
            io::Error::new(io::ErrorKind::InvalidData, sentence)
        };
        let mut line = String::new();
        // The guest is not trusted: no more of a line is read than that.
        let mut next_line = |line: &mut String| {
            line.clear();
            self.0.by_ref().take(4096).read_line(line)
        };
        if next_line(&mut line)? == 0 {
            let sentence = "the guest has closed a connection";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, sentence));
        }
        if line.split(' ').nth(1) != Some("200") {
            return Err(wrong(format!("{:?}", line.trim_end())));
        }
        let mut length = None;
        loop {
            if next_line(&mut line)? == 0 {
                return Err(wrong("it ends in its headers".into()));
            }
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse::<u64>().ok();
            }
        }
        let length = length.filter(|length| *length <= MOST_BYTES);
        let length = length.ok_or_else(|| wrong("its length is missing, or too large".into()))?;
        let mut body = vec![0; length as usize];
        self.0.read_exact(&mut body)?;
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener};

    use super::*;

    fn page(answer: &str) -> Result<String, String> {
        let page = Connection(BufReader::new(answer.as_bytes())).page();
        let page = page.map_err(|error| error.to_string())?;
        Ok(String::from_utf8(page).expect("it is text"))
    }

    #[test]
    fn pages_have_a_length() {
        let right = "HTTP/1.1 200 OK\r\ncontent-Length: 5\r\nA: b\r\n\r\nhello, and more";
        assert_eq!(page(right).as_deref(), Ok("hello"));
        for (answer, reason) in [
            ("", "closed"),
            ("HTTP/1.1 404 Not Found\r\n\r\n", "404"),
            ("HTTP/1.1 200 OK\r\n", "headers"),
            ("HTTP/1.1 200 OK\r\n\r\n", "length"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n",
                "length",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "length"),
        ] {
            let error = page(answer).expect_err("it is wrong");
            assert!(error.contains(reason), "{answer:?}: {error}");
        }
        let short = page("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello");
        assert!(short.is_err(), "half a page");
    }

    /// Serves connections, which it keeps, and breaks each off after this many pages.
    fn serve(pages: usize) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone()?).lines();
                    for _ in 0..pages {
                        while !lines
                            .next()
                            .ok_or(io::ErrorKind::UnexpectedEof)??
                            .is_empty()
                        {}
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")?;
                    }
                    stream.shutdown(Shutdown::Both)
                });
            }
        });
        port
    }

    #[test]
    fn each_number_of_connections_has_its_row() {
        let mut rows = Vec::new();
        let fetched = fetch(serve(usize::MAX), Duration::from_millis(20), &mut rows);
        fetched.expect("it serves");
        let rows = String::from_utf8(rows).expect("it is text");
        let first = |row: &str| row.split_whitespace().next().map(str::to_owned);
        let counts: Vec<_> = rows.lines().skip(1).filter_map(first).collect();
        assert_eq!(counts, ["1", "8", "100"], "{rows}");
        // The page by which a connection is opened comes, and the next one does not.
        let broken = fetch(serve(1), Duration::from_millis(20), &mut io::sink());
        let broken = broken.expect_err("it breaks off");
        let is_end = matches!(
            broken.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
        );
        assert!(is_end, "{broken}");
    }

    #[test]
    fn the_client_is_told_when_the_guest_serves() {
        let (tell, told) = channel();
        let mut output = Vec::new();
        let mut console = Watched {
            output: &mut output,
            line: Vec::new(),
            tell: Some(tell),
        };
        console.write_all(b"it serves http://no\nserves ").unwrap();
        assert!(told.try_recv().is_err());
        console
            .write_all(b"http://10.0.2.15:80\nand more\n")
            .unwrap();
        assert!(told.try_recv().is_ok());
        assert!(output.ends_with(b"and more\n"));
    }
}
