//! A client of the guest `http`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
};

use libtest_mimic::Failed;

use super::check;
use crate::guest::LIMIT;

/// A connection that is kept.
pub(super) struct Connection(pub(super) BufReader<TcpStream>);

impl Connection {
    pub(super) fn new(port: u16) -> Result<Self, Failed> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Gets a page: its status and its bytes.
    pub(super) fn get(&mut self, path: &str) -> Result<(u16, Vec<u8>), Failed> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: guest\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        self.answer()
    }

    /// Reads the answer to a request.
    pub(super) fn answer(&mut self) -> Result<(u16, Vec<u8>), Failed> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| format!("no status: {line:?}"))?;
        let mut length = 0;
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((status, body))
    }

    pub(super) fn page(&mut self) -> Result<(), Failed> {
        is_page(self.get("/")?)
    }
}

pub(super) fn is_page((status, body): (u16, Vec<u8>)) -> Result<(), Failed> {
    let is_page = status == 200 && body.starts_with(b"dormir serves its page number ");
    check(is_page, &format!("{status} {}", body.escape_ascii()))
}
