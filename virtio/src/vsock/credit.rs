//! How many bytes a connection's sides may send: as many as the other one has room for. Counters
//! wrap at 2^32 (virtio 1.2, 5.10.6.3).

pub(super) struct Credit {
    /// The bytes that this side has room for.
    buffer: u32,
    /// The bytes that the program has taken.
    forwarded: u32,
    /// The same, as the peer was told.
    told: u32,
    /// The bytes that were sent.
    sent: u32,
    peer_buffer: u32,
    peer_forwarded: u32,
}

impl Credit {
    pub(super) fn new(buffer: u32) -> Self {
        Self {
            buffer,
            forwarded: 0,
            told: 0,
            sent: 0,
            peer_buffer: 0,
            peer_forwarded: 0,
        }
    }

    /// Takes what a packet of the peer tells. Bytes that it cannot have taken, since they are not
    /// in flight, are not believed: the packet may be older than another one, or wrong.
    pub(super) fn learn(&mut self, buffer: u32, forwarded: u32) {
        self.peer_buffer = buffer;
        let taken = forwarded.wrapping_sub(self.peer_forwarded);
        if taken <= self.in_flight() {
            self.peer_forwarded = forwarded;
        }
    }

    /// The bytes that the peer has not taken.
    fn in_flight(&self) -> u32 {
        self.sent.wrapping_sub(self.peer_forwarded)
    }

    /// The bytes that may be sent now. A peer can make its room smaller than what is in flight.
    pub(super) fn available(&self) -> usize {
        self.peer_buffer.saturating_sub(self.in_flight()) as usize
    }

    pub(super) fn send(&mut self, bytes: usize) {
        self.sent = self.sent.wrapping_add(bytes as u32);
    }

    /// The program has taken so many bytes.
    pub(super) fn forward(&mut self, bytes: usize) {
        self.forwarded = self.forwarded.wrapping_add(bytes as u32);
    }

    /// Whether the peer should be told that there is room: it may wait for that. Not for each byte.
    pub(super) fn is_update_due(&self) -> bool {
        self.forwarded.wrapping_sub(self.told) >= (self.buffer / 2).max(1)
    }

    /// What the next packet tells: the buffer's size, and what was taken of it.
    pub(super) fn tell(&mut self) -> (u32, u32) {
        self.told = self.forwarded;
        (self.buffer, self.forwarded)
    }
}

#[cfg(test)]
mod tests {
    use super::Credit;

    #[test]
    fn counters_wrap() {
        let mut credit = Credit::new(100);
        credit.learn(u32::MAX, 0);
        credit.send(u32::MAX as usize - 5);
        credit.learn(10, u32::MAX - 5);
        assert_eq!(credit.available(), 10);
        credit.send(10);
        assert_eq!(credit.available(), 0);
        // All but one byte were taken.
        credit.learn(10, 3);
        assert_eq!(credit.available(), 9);
        credit.forward(u32::MAX as usize - 9);
        assert_eq!(credit.tell(), (100, u32::MAX - 9));
        credit.forward(49);
        assert!(!credit.is_update_due());
        credit.forward(1);
        assert!(credit.is_update_due());
        assert_eq!(credit.tell(), (100, 40));
    }

    #[test]
    fn what_is_not_in_flight_is_not_taken() {
        let mut credit = Credit::new(100);
        credit.learn(10, 1);
        assert_eq!(credit.available(), 10);
        credit.send(10);
        credit.learn(10, 11);
        assert_eq!(credit.available(), 0);
        credit.learn(10, 7);
        assert_eq!(credit.available(), 7);
        // An older packet.
        credit.learn(10, 3);
        assert_eq!(credit.available(), 7);
        // There is less room than is in flight.
        credit.learn(2, 7);
        assert_eq!(credit.available(), 0);
    }
}
