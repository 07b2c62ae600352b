//! `[server]`

use super::seconds;
use crate::{schema::table, units::Size, urls::HttpUrl};
use ipnet::IpNet;
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

table! {
    /// `[server]`: the HTTP server.
    pub struct Server {
        /// Address and port to listen on; port 0 takes a free one. Default `127.0.0.1:5000`.
        pub listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 5000)),
        /// How clients reach the gateway, without a slash at the end; `None` = as each request says.
        pub public_url: Option<HttpUrl> = None,
        /// Proxies whose forwarding headers are believed. Default: this machine.
        pub trusted_proxies: Vec<IpNet> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            .into_iter().map(|address: std::net::IpAddr| IpNet::from(address)).collect(),
        /// The largest request body (1 byte to 1 GiB). Default 2 MiB.
        pub max_body: Size = Size::of(2 << 20),
        /// How long a client may take to send a request's headers. Default 10 s.
        pub header_timeout: Duration = seconds(10),
        /// How long a request may take. Default 30 s.
        pub request_timeout: Duration = seconds(30),
        /// Where probes, metrics and what this process does are shown to operators, without a token. Default: nowhere.
        pub admin_listen: Option<SocketAddr> = None,
        /// How long new connections are still taken after a request to stop, while `/readyz` answers 503. Default 0.
        pub drain_delay: Duration = seconds(0),
        /// How long requests may go on after a request to stop. Default 30 s; 0 = not at all.
        pub shutdown_grace: Duration = seconds(30),
        /// How many requests at once; beyond: 503 with `Retry-After`. At least 1. Default 1024.
        pub max_concurrency: u32 = 1024,
    }
}
