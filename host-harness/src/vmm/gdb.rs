//! Debuggers: the TCP port where they attach to a guest, which only this machine can reach.

mod presence;

use std::{
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::Arc,
};

pub(super) use presence::DebuggerPresence;

/// A TCP port on which a debugger can attach to a guest, by GDB's remote protocol.
///
/// It is reachable from this machine only. A debugger reads and writes all of the guest's memory
/// and registers, and nothing else of this process.
#[derive(Clone, Debug)]
pub struct GdbListener {
    /// Never blocks.
    socket: Arc<TcpListener>,
    port: u16,
}

/// A port cannot be used for a debugger.
#[derive(Debug, thiserror::Error)]
#[error(
    "a debugger cannot attach to port {port} ({cause}): end what uses it, or choose another port, \
     as in --gdb 1235; --gdb 0 takes one that is free"
)]
pub struct GdbPortError {
    port: u16,
    /// The kernel's error.
    cause: io::Error,
}

impl GdbListener {
    /// Listens on this port; 0 stands for any that is free.
    ///
    /// # Errors
    ///
    /// The port is in use, or may not be used.
    pub fn bind(port: u16) -> Result<Self, GdbPortError> {
        let listen = || {
            let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
            socket.set_nonblocking(true)?;
            let port = socket.local_addr()?.port();
            Ok((socket, port))
        };
        let (socket, port) = listen().map_err(|cause| GdbPortError { port, cause })?;
        Ok(Self {
            socket: Arc::new(socket),
            port,
        })
    }

    /// One that listens by a socket of this process already.
    pub(super) fn passed(socket: TcpListener) -> io::Result<Self> {
        Ok(Self {
            port: socket.local_addr()?.port(),
            socket: Arc::new(socket),
        })
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn socket(&self) -> &TcpListener {
        &self.socket
    }

    /// Returns the next connection, if there is one.
    pub(super) fn accept(&self) -> Option<TcpStream> {
        self.socket.accept().ok().map(|(stream, _)| stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_chosen_and_only_this_machine_reaches_it() {
        let listener = GdbListener::bind(0).expect("a port is free");
        let address = listener.socket().local_addr().expect("it has an address");
        assert!(address.ip().is_loopback());
        assert_eq!(address.port(), listener.port());
        assert_ne!(listener.port(), 0);
    }

    #[test]
    fn a_port_in_use_is_named() {
        let first = GdbListener::bind(0).expect("a port is free");
        let error = GdbListener::bind(first.port()).expect_err("it is in use");
        let port = first.port().to_string();
        assert!(error.to_string().contains(&port), "{error}");
    }
}
