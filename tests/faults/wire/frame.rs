//! Frames of AMQP 0-9-1, as far as the network has to know them.

use std::collections::BTreeSet;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// Frames at which something can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message of the client to the default exchange: a task, or a worker's result.
    Publish,
    /// The broker has it.
    Confirm,
    /// A message for the client.
    Deliver,
    /// The client has dealt with one.
    Ack,
}

/// One frame, whole; or the greeting of a client.
pub(crate) struct Frame(pub(crate) Vec<u8>);

impl Frame {
    /// The next one, if all of it is there.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        // type, channel (2), size (4), payload, end
        let size = match bytes.get(..8)? {
            greeting if greeting.starts_with(b"AMQP") => 8,
            head => 8 + u32::from_be_bytes(head[3..7].try_into().unwrap()) as usize,
        };
        (bytes.len() >= size).then(|| Self(bytes.drain(..size).collect()))
    }

    pub(crate) fn channel(&self) -> u16 {
        u16::from_be_bytes([self.0[1], self.0[2]])
    }

    pub(crate) fn kind(&self, side: Side) -> Option<Kind> {
        let method = (self.0[0] == 1).then(|| self.0.get(7..11)).flatten()?;
        match (side, method) {
            // A reserved short, then the exchange's name: empty.
            (Side::Client, [0, 60, 0, 40]) if self.0.get(13) == Some(&0) => Some(Kind::Publish),
            (Side::Client, [0, 60, 0, 80]) => Some(Kind::Ack),
            (Side::Server, [0, 60, 0, 80]) => Some(Kind::Confirm),
            (Side::Server, [0, 60, 0, 60]) => Some(Kind::Deliver),
            _ => None,
        }
    }

    fn tag(&self) -> u64 {
        u64::from_be_bytes(self.0[11..19].try_into().unwrap())
    }

    fn multiple(&self) -> bool {
        self.0[19] & 1 == 1
    }

    /// The same about one message alone.
    fn single(&self, tag: u64) -> Self {
        let mut bytes = self.0.clone();
        bytes[11..19].copy_from_slice(&tag.to_be_bytes());
        bytes[19] = 0;
        Self(bytes)
    }

    /// `basic.ack` and `basic.nack` are written alike.
    pub(crate) fn become_nack(&mut self) {
        self.0[10] = 120;
    }
}

/// Which messages of a channel are confirmed.
#[derive(Default)]
pub(crate) struct Singles {
    /// All up to this one.
    low: u64,
    /// And these.
    above: BTreeSet<u64>,
}

impl Singles {
    /// What a confirm says, a frame for each message.
    pub(crate) fn of(&mut self, confirm: &Frame) -> Vec<Frame> {
        let tag = confirm.tag();
        let told: Vec<u64> = match confirm.multiple() {
            true => (self.low + 1..=tag).filter(|tag| !self.above.contains(tag)).collect(),
            false => vec![tag],
        };
        self.above.extend(&told);
        while self.above.remove(&(self.low + 1)) {
            self.low += 1;
        }
        told.into_iter().map(|tag| confirm.single(tag)).collect()
    }
}
