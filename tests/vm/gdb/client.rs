//! A debugger: a client of GDB's remote protocol.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use libtest_mimic::Failed;

/// How long an answer may take: as long as the slowest guest may run to a breakpoint.
const LIMIT: Duration = Duration::from_secs(60);

/// The number of bytes of one register, and RIP's place among them.
const REGISTER: usize = 8;
const RIP: usize = 16;

pub(crate) struct Client<S = TcpStream>(S);

impl Client {
    /// Attaches to the guest that waits at this port.
    pub(crate) fn attach(port: u16) -> Result<Self, Failed> {
        let mut client = Self::connect(port)?;
        client.begin()?;
        Ok(client)
    }

    /// Connects, and sends nothing.
    pub(crate) fn connect(port: u16) -> Result<Self, Failed> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }
}

impl<S: Read + Write> Client<S> {
    /// Debugs over this connection.
    pub(crate) fn over(stream: S) -> Result<Self, Failed> {
        let mut client = Self(stream);
        client.begin()?;
        Ok(client)
    }

    fn begin(&mut self) -> Result<(), Failed> {
        self.request("qSupported:multiprocess+;swbreak+;hwbreak+")?;
        // QEMU reports that it has stopped a running guest, before it has been asked for anything.
        while !self.answer()?.contains("PacketSize=") {}
        self.ask("?")?;
        Ok(())
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        Ok(self.0.write_all(bytes)?)
    }

    /// Sends a request.
    pub(crate) fn request(&mut self, body: &str) -> Result<(), Failed> {
        let sum = body.bytes().fold(0_u8, u8::wrapping_add);
        self.send(format!("${body}#{sum:02x}").as_bytes())
    }

    /// Sends a request and returns its answer.
    pub(crate) fn ask(&mut self, body: &str) -> Result<String, Failed> {
        self.request(body)?;
        self.answer()
    }

    /// Sends a request, which must be granted.
    pub(crate) fn order(&mut self, body: &str) -> Result<(), Failed> {
        match self.ask(body)? {
            answer if answer == "OK" => Ok(()),
            answer => Err(format!("the answer to {body} is `{answer}`").into()),
        }
    }

    /// Lets the guest run, and returns why it has stopped.
    pub(crate) fn resume(&mut self, how: char) -> Result<String, Failed> {
        self.ask(&format!("vCont;{how}"))
    }

    /// Returns the next answer.
    pub(crate) fn answer(&mut self) -> Result<String, Failed> {
        while self.byte()? != b'$' {}
        let mut body = Vec::new();
        loop {
            match self.byte()? {
                b'#' => break,
                // A repetition: of the last byte, by a number that begins at 29.
                b'*' => {
                    let count = self.byte()? - 29;
                    let last = body.last().copied().unwrap_or_default();
                    body.extend(std::iter::repeat_n(last, count.into()));
                }
                byte => body.push(byte),
            }
        }
        self.byte()?;
        self.byte()?;
        self.send(b"+")?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    fn byte(&mut self) -> Result<u8, Failed> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// Returns whether the connection was closed from the other side, with or without bytes before.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).is_ok()
    }

    /// Reads memory.
    pub(crate) fn read(&mut self, address: u64, length: usize) -> Result<Vec<u8>, Failed> {
        bytes(&self.ask(&format!("m{address:x},{length:x}"))?)
    }

    /// Reads all registers.
    pub(crate) fn registers(&mut self) -> Result<Vec<u8>, Failed> {
        bytes(&self.ask("g")?)
    }

    /// Returns the address of the next instruction.
    pub(crate) fn rip(&mut self) -> Result<u64, Failed> {
        let registers = self.registers()?;
        let rip = registers[RIP * REGISTER..].first_chunk();
        Ok(rip.map_or(0, |bytes| u64::from_le_bytes(*bytes)))
    }

    /// Checks where the guest is.
    pub(crate) fn is_at(&mut self, address: u64) -> Result<(), Failed> {
        match self.rip()? {
            rip if rip == address => Ok(()),
            rip => Err(format!("it has stopped at {rip:#x}, not at {address:#x}").into()),
        }
    }
}

/// Returns the bytes that these digits stand for.
pub(crate) fn bytes(digits: &str) -> Result<Vec<u8>, Failed> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = pairs.map(byte).collect();
    bytes.ok_or_else(|| format!("`{digits}` is no memory").into())
}

/// Returns the digits for these bytes.
pub(crate) fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
