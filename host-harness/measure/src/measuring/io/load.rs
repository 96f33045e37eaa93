//! A client that fetches a page by several connections at once, and takes the time.

use super::Bounds;
use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long an answer may take, and the opening of a connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest answer that is read: those that are measured have some hundred bytes.
const MOST_BYTES: usize = 64 << 10;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: guest\r\n\r\n";

/// When no further request is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After this many requests of all connections together.
    Requests(u64),
}

/// What was fetched.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// From the first request to the last answer.
    pub(super) took: Duration,
    /// How long each answer took, in nanoseconds.
    pub(super) times: Vec<u64>,
}

/// Connections to a server, each of which has had an answer.
#[derive(Debug)]
pub(super) struct Connections {
    streams: Vec<TcpStream>,
    /// What the server answers, each time.
    answer: Vec<u8>,
}

impl Connections {
    /// Opens so many one after another. At once they would not come through: QEMU's network takes
    /// one at a time, and the kernel lets others wait for seconds.
    pub(super) fn open(port: u16, count: usize, bounds: &Bounds) -> io::Result<Self> {
        let mut connections = Self {
            streams: Vec::with_capacity(count),
            answer: Vec::new(),
        };
        for _ in 0..count {
            bounds.check().map_err(io::Error::other)?;
            let address = (Ipv4Addr::LOCALHOST, port).into();
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.write_all(REQUEST)?;
            let answer = read_answer(&mut stream)?;
            if !connections.streams.is_empty() && answer != connections.answer {
                return Err(wrong("it is another one each time"));
            }
            connections.answer = answer;
            connections.streams.push(stream);
        }
        Ok(connections)
    }

    /// What the server answers, each time.
    pub(super) fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// Fetches the page by all connections at once, again and again, unless the bounds are reached.
    pub(super) fn fetch(&mut self, until: Until, bounds: &Bounds) -> io::Result<Fetched> {
        let start = Instant::now();
        let sent = AtomicU64::new(0);
        let goes_on = || {
            let has_more = match until {
                Until::Elapsed(span) => start.elapsed() < span,
                Until::Requests(count) => sent.fetch_add(1, Ordering::Relaxed) < count,
            };
            has_more && bounds.check().is_ok()
        };
        let (answer, goes_on) = (&self.answer, &goes_on);
        let times = thread::scope(|scope| {
            let threads: Vec<_> = self
                .streams
                .iter_mut()
                .map(|stream| scope.spawn(move || fetch_by(stream, answer, goes_on)))
                .collect();
            let mut times = Vec::new();
            let mut failed = Ok(());
            for thread in threads {
                match thread.join().expect("it does not panic") {
                    Ok(fetched) => times.extend(fetched),
                    Err(error) => failed = Err(error),
                }
            }
            failed.map(|()| times)
        })?;
        Ok(Fetched {
            took: start.elapsed(),
            times,
        })
    }
}

fn fetch_by(
    stream: &mut TcpStream,
    answer: &[u8],
    goes_on: impl Fn() -> bool,
) -> io::Result<Vec<u64>> {
    let mut times = Vec::new();
    let mut received = vec![0; answer.len()];
    while goes_on() {
        let start = Instant::now();
        stream.write_all(REQUEST)?;
        stream.read_exact(&mut received)?;
        times.push(start.elapsed().as_nanos() as u64);
        if received != answer {
            return Err(wrong("it is another one than the first"));
        }
    }
    Ok(times)
}

/// Reads an answer with status 200 whose length it tells; nothing may follow it.
fn read_answer(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(length) = whole_length(&answer)?
            && answer.len() >= length
        {
            let is_whole = answer.len() == length;
            return is_whole
                .then_some(answer)
                .ok_or_else(|| wrong("more follows it"));
        }
        match stream.read(&mut piece)? {
            0 => return Err(wrong("it ends before its end")),
            length => answer.extend(&piece[..length]),
        }
        if answer.len() > MOST_BYTES {
            return Err(wrong("it is too long"));
        }
    }
}

/// The length of an answer with its headers, once those are there.
fn whole_length(answer: &[u8]) -> io::Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(None);
    };
    let headers = str::from_utf8(&answer[..end]).map_err(|_| wrong("it is no text"))?;
    let mut lines = headers.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    if status != Some("200") {
        return Err(wrong("its status is not 200"));
    }
    let mut headers = lines.filter_map(|line| line.split_once(':'));
    let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.trim().parse::<usize>().ok());
    match length {
        Some(length) if length <= MOST_BYTES => Ok(Some(end + 4 + length)),
        _ => Err(wrong("its length is missing, or too large")),
    }
}

fn wrong(what: &str) -> io::Error {
    let sentence = format!("the guest's answer is not the page: {what}");
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormir_harness::vmm::StopToken;
    use std::net::TcpListener;

    fn bounds(stop: &StopToken) -> Bounds {
        Bounds::new(stop, PATIENCE)
    }

    const ANSWER: &str = "HTTP/1.1 200 OK\r\nA: b\r\ncontent-Length: 5\r\n\r\nhello";

    #[test]
    fn an_answer_is_read_to_its_length() {
        let read = |text: &str| read_answer(&mut text.as_bytes());
        assert_eq!(read(ANSWER).expect("it is whole"), ANSWER.as_bytes());
        for (text, reason) in [
            ("", "before its end"),
            ("HTTP/1.1 200 OK\r\n", "before its end"),
            ("HTTP/1.1 404 Not Found\r\n\r\n", "not 200"),
            ("HTTP/1.1 200 OK\r\n\r\n", "length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "length"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n",
                "length",
            ),
            (&ANSWER[..ANSWER.len() - 1], "before its end"),
            (&format!("{ANSWER}!"), "more follows"),
            (&"x".repeat(MOST_BYTES + 1), "too long"),
        ] {
            let error = read(text).expect_err(reason).to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    /// Serves `count` connections; the last answer of each is `last`.
    fn server(count: usize, requests: usize, last: &'static str) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("it has one").port();
        thread::spawn(move || {
            for _ in 0..count {
                let (mut stream, _) = listener.accept().expect("a connection");
                thread::spawn(move || {
                    let mut request = [0; REQUEST.len()];
                    for number in 1.. {
                        if stream.read_exact(&mut request).is_err() {
                            break;
                        }
                        assert_eq!(request, REQUEST);
                        let answer = if number == requests { last } else { ANSWER };
                        let _ = stream.write_all(answer.as_bytes());
                    }
                });
            }
        });
        port
    }

    #[test]
    fn requests_are_counted_and_timed() {
        let port = server(3, 0, ANSWER);
        let never = bounds(&StopToken::default());
        let mut connections = Connections::open(port, 3, &never).expect("they are served");
        assert_eq!(connections.answer(), ANSWER.as_bytes());
        let fetched = connections.fetch(Until::Requests(50), &never);
        let fetched = fetched.expect("they are answered");
        assert_eq!(fetched.times.len(), 50);
        let span = Duration::from_millis(20);
        let fetched = connections.fetch(Until::Elapsed(span), &never);
        let fetched = fetched.expect("they are answered");
        assert!(!fetched.times.is_empty() && fetched.took >= span);
        let stopped = StopToken::default();
        stopped.stop();
        let fetched = connections.fetch(Until::Elapsed(PATIENCE), &bounds(&stopped));
        assert!(fetched.expect("nothing is fetched").times.is_empty());
    }

    #[test]
    fn another_answer_is_an_error() {
        let other = "HTTP/1.1 200 OK\r\nA: b\r\ncontent-Length: 5\r\n\r\nhullo";
        let (port, never) = (server(1, 3, other), bounds(&StopToken::default()));
        let mut connections = Connections::open(port, 1, &never).expect("it is served");
        let fetched = connections.fetch(Until::Requests(5), &never);
        let error = fetched.expect_err("the third differs").to_string();
        assert!(error.contains("another one"), "{error}");
    }
}
