//! The device's side: packets, and a driver to exchange them with.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use embedded_io_async::Read;
use virtio_drivers::transport::DeviceType;

use crate::{
    RequestError,
    tests::{
        Flag,
        fake::{FakeInterrupt, FakeTransport, Shared},
        poll,
        side::Side,
    },
    vsock::{ConnectError, HOST, Limits, Runner, Stream, StreamError, Vsock},
};

/// The guest's.
pub(super) const CID: u32 = 3;

pub(super) mod op {
    pub(in crate::tests) const REQUEST: u16 = 1;
    pub(in crate::tests) const RESPONSE: u16 = 2;
    pub(in crate::tests) const RESET: u16 = 3;
    pub(in crate::tests) const SHUTDOWN: u16 = 4;
    pub(in crate::tests) const DATA: u16 = 5;
    pub(in crate::tests) const CREDIT_UPDATE: u16 = 6;
    pub(in crate::tests) const CREDIT_REQUEST: u16 = 7;
}

/// A packet, from either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) local_cid: u64,
    pub(super) local_port: u32,
    pub(super) peer_cid: u64,
    pub(super) peer_port: u32,
    pub(super) kind: u16,
    pub(super) op: u16,
    pub(super) flags: u32,
    pub(super) buffer: u32,
    pub(super) forwarded: u32,
    pub(super) data: Vec<u8>,
}

impl Packet {
    /// One of the host, which has room for 32 bytes.
    pub(super) fn new(peer_port: u32, local_port: u32, op: u16) -> Self {
        Self {
            local_cid: CID.into(),
            local_port,
            peer_cid: HOST.into(),
            peer_port,
            kind: 1,
            op,
            flags: 0,
            buffer: 32,
            forwarded: 0,
            data: Vec::new(),
        }
    }

    /// Another packet of the host on this connection.
    pub(super) fn answer(&self, op: u16) -> Self {
        Self::new(self.peer_port, self.local_port, op)
    }

    pub(super) fn data(&self, data: &[u8]) -> Self {
        Self {
            data: data.to_vec(),
            ..self.answer(op::DATA)
        }
    }

    pub(super) fn shutdown(&self, flags: u32) -> Self {
        Self {
            flags,
            ..self.answer(op::SHUTDOWN)
        }
    }

    /// The packet of the driver to a peer without a connection.
    pub(super) fn reply(&self, op: u16) -> Self {
        Self {
            op,
            flags: 0,
            buffer: 0,
            forwarded: 0,
            data: Vec::new(),
            ..self.clone()
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.peer_cid.to_le_bytes());
        bytes.extend(self.local_cid.to_le_bytes());
        bytes.extend(self.peer_port.to_le_bytes());
        bytes.extend(self.local_port.to_le_bytes());
        bytes.extend((self.data.len() as u32).to_le_bytes());
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.op.to_le_bytes());
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.buffer.to_le_bytes());
        bytes.extend(self.forwarded.to_le_bytes());
        bytes.extend(&self.data);
        bytes
    }

    /// What the driver has sent.
    fn parse(bytes: &[u8]) -> Self {
        let number = |start: usize, length: usize| {
            let bytes = bytes[start..start + length].iter().rev();
            bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        assert_eq!(number(24, 4) as usize, bytes.len() - 44);
        Self {
            local_cid: number(0, 8),
            peer_cid: number(8, 8),
            local_port: number(16, 4) as u32,
            peer_port: number(20, 4) as u32,
            kind: number(28, 2) as u16,
            op: number(30, 2) as u16,
            flags: number(32, 4) as u32,
            buffer: number(36, 4) as u32,
            forwarded: number(40, 4) as u32,
            data: bytes[44..].to_vec(),
        }
    }
}

/// Polls a future once, which ends then.
pub(super) fn now<F: Future>(future: F) -> F::Output {
    match poll(pin!(future), &Flag::new()) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

/// Reads what there is.
pub(super) fn read(stream: &mut Stream) -> Result<Vec<u8>, StreamError> {
    let mut buffer = [0; 256];
    now(stream.read(&mut buffer)).map(|length| buffer[..length].to_vec())
}

pub(super) fn limits(connections: usize, buffer: u32, backlog: usize) -> Limits {
    let mut limits = Limits::default();
    (limits.connections, limits.buffer, limits.backlog) = (connections, buffer, backlog);
    limits
}

pub(super) fn device(cid: u64) -> Arc<Shared> {
    let shared = Shared::new(DeviceType::Socket);
    *shared.config.lock().unwrap() = cid.to_le_bytes().to_vec();
    shared
}

pub(super) struct Machine {
    pub(super) shared: Arc<Shared>,
    pub(super) vsock: Vsock,
    pub(super) runner: Runner<FakeTransport, FakeInterrupt>,
    pub(super) receive: Side,
    pub(super) transmit: Side,
    pub(super) events: Side,
    pub(super) flag: Arc<Flag>,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>>>>;

impl Machine {
    /// Each connection has room for 64 bytes.
    pub(super) fn new() -> Self {
        Self::with_limits(limits(32, 64, 4))
    }

    pub(super) fn with_limits(limits: Limits) -> Self {
        let shared = device(CID.into());
        let (vsock, runner) = Vsock::with_limits(shared.attach(), limits).expect("a good device");
        Self {
            vsock,
            runner,
            receive: Side::new(&shared, 0),
            transmit: Side::new(&shared, 1),
            events: Side::new(&shared, 2),
            shared,
            flag: Flag::new(),
        }
    }

    /// Polls the runner as often as it is woken.
    pub(super) fn run(&mut self) -> Option<RequestError> {
        let mut polls = 0;
        while self.flag.take() {
            if let Poll::Ready(error) = poll(pin!(self.runner.run()), &self.flag) {
                return Some(error);
            }
            polls += 1;
            assert!(polls < 100, "it does not come to rest");
        }
        None
    }

    /// A packet of the peer comes.
    pub(super) fn inject(&mut self, packet: Packet) {
        let bytes = packet.bytes();
        let length = bytes.len();
        let is_taken = self.receive.serve(|chain| {
            assert_eq!(chain.write(bytes) as usize, length);
            length as u32
        });
        assert!(is_taken, "the driver has given the device a buffer");
        self.shared.raise(1);
        self.run();
    }

    /// The device sends one packet.
    pub(super) fn send_next(&mut self) -> Option<Packet> {
        let mut bytes = None;
        let wants_interrupt = self.transmit.wants_interrupt();
        self.transmit.serve(|chain| {
            bytes = Some(chain.read());
            // Some devices tell the length of what they have sent.
            44
        });
        if bytes.is_some() && wants_interrupt {
            self.shared.raise(1);
        }
        bytes.map(|bytes| Packet::parse(&bytes))
    }

    /// The device sends all packets.
    pub(super) fn sent(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        self.run();
        while let Some(packet) = self.send_next() {
            packets.push(packet);
            self.run();
        }
        packets
    }

    /// The device sends one packet, and there is one.
    pub(super) fn sent_one(&mut self) -> Packet {
        self.run();
        let packet = self.send_next().expect("there is a packet");
        self.run();
        packet
    }

    /// Begins to connect to this port of the host.
    pub(super) fn start_connect(&self, port: u32) -> Connecting {
        let vsock = self.vsock.clone();
        let mut connect: Connecting = Box::pin(async move { vsock.connect(HOST, port).await });
        assert!(poll(connect.as_mut(), &Flag::new()).is_pending());
        connect
    }

    /// Connects to this port of the host. Returns the request, too.
    pub(super) fn connect(&mut self, port: u32) -> (Stream, Packet) {
        let mut connect = self.start_connect(port);
        let request = self.sent_one();
        self.inject(request.answer(op::RESPONSE));
        match poll(connect.as_mut(), &Flag::new()) {
            Poll::Ready(Ok(stream)) => (stream, request.reply(op::REQUEST)),
            other => panic!("not connected: {other:?}"),
        }
    }
}
