//! A port of the loopback that is one test's own, whether anybody listens there or not.

use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};

/// Bound and not listened at: who connects is refused, and the system gives it to nobody else, be it for a server or
/// for the near end of a connection. A program that is told to listen there can, like every server that lets its address
/// be used again.
pub(crate) struct Port {
    address: SocketAddr,
    _held: Socket,
}

impl Port {
    /// One that was free.
    pub(crate) fn hold() -> Self {
        let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        held.set_reuse_address(true).unwrap();
        held.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let address = held.local_addr().unwrap().as_socket().expect("it was bound to one");
        Self { address, _held: held }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}
