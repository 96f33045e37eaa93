//! The header of each packet (virtio 1.2, 5.10.6).

/// The length of a header in bytes.
pub(super) const HEADER: usize = 44;

/// The addresses of the two sides.
pub(super) const HOST_CID: u64 = 2;
pub(super) const GUEST_CID: u64 = 3;

/// The type of connections that are streams of bytes. There are no others.
pub(super) const STREAM: u16 = 1;

/// Flags of [`Operation::Shutdown`]: who sends them will not receive, or not send.
pub(super) const NO_RECEIVE: u32 = 1;
pub(super) const NO_SEND: u32 = 2;
pub(super) const NEITHER: u32 = NO_RECEIVE | NO_SEND;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Operation {
    Request = 1,
    Response = 2,
    Reset = 3,
    Shutdown = 4,
    Data = 5,
    CreditUpdate = 6,
    CreditRequest = 7,
}

impl Operation {
    fn of(number: u16) -> Option<Self> {
        [
            Self::Request,
            Self::Response,
            Self::Reset,
            Self::Shutdown,
            Self::Data,
            Self::CreditUpdate,
            Self::CreditRequest,
        ]
        .into_iter()
        .find(|operation| *operation as u16 == number)
    }
}

/// The ports of a connection, which no other one has at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ports {
    pub(super) host: u32,
    pub(super) guest: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) from_cid: u64,
    pub(super) to_cid: u64,
    pub(super) from_port: u32,
    pub(super) to_port: u32,
    /// How many bytes of data follow.
    pub(super) length: u32,
    pub(super) kind: u16,
    pub(super) operation: u16,
    pub(super) flags: u32,
    /// How many bytes the sender holds at most of what it receives.
    pub(super) room: u32,
    /// How many bytes of all that it has received it no longer holds.
    pub(super) taken: u32,
}

impl Header {
    /// A packet to the guest, without data or credit.
    pub(super) fn to_guest(ports: Ports, operation: Operation) -> Self {
        Self {
            from_cid: HOST_CID,
            to_cid: GUEST_CID,
            from_port: ports.host,
            to_port: ports.guest,
            kind: STREAM,
            operation: operation as u16,
            ..Self::default()
        }
    }

    /// The reset that answers this packet of the guest.
    pub(super) fn refusal(&self) -> Self {
        Self {
            from_cid: self.to_cid,
            kind: self.kind,
            ..Self::to_guest(self.ports(), Operation::Reset)
        }
    }

    /// The ports of a packet that comes from the guest.
    pub(super) fn ports(&self) -> Ports {
        Ports {
            host: self.to_port,
            guest: self.from_port,
        }
    }

    /// What it is; `None` if that does not exist.
    pub(super) fn operation(&self) -> Option<Operation> {
        Operation::of(self.operation)
    }

    pub(super) fn from_bytes(bytes: &[u8; HEADER]) -> Self {
        let mut fields = Fields(bytes);
        Self {
            from_cid: u64::from_le_bytes(fields.next()),
            to_cid: u64::from_le_bytes(fields.next()),
            from_port: u32::from_le_bytes(fields.next()),
            to_port: u32::from_le_bytes(fields.next()),
            length: u32::from_le_bytes(fields.next()),
            kind: u16::from_le_bytes(fields.next()),
            operation: u16::from_le_bytes(fields.next()),
            flags: u32::from_le_bytes(fields.next()),
            room: u32::from_le_bytes(fields.next()),
            taken: u32::from_le_bytes(fields.next()),
        }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend(self.from_cid.to_le_bytes());
        bytes.extend(self.to_cid.to_le_bytes());
        bytes.extend(self.from_port.to_le_bytes());
        bytes.extend(self.to_port.to_le_bytes());
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.operation.to_le_bytes());
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.room.to_le_bytes());
        bytes.extend(self.taken.to_le_bytes());
        bytes
    }
}

/// The fields that are left.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next<const LENGTH: usize>(&mut self) -> [u8; LENGTH] {
        let (field, rest) = self
            .0
            .split_first_chunk()
            .expect("the fields fill a header");
        self.0 = rest;
        *field
    }
}
