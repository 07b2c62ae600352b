//! `[documents]` and `[annotations]`

use super::texts;
use crate::{schema::table, urls::HttpUrl};

table! {
    /// `[documents]`: the multimedia storage service, and which document URLs may be sent to workers.
    pub struct Documents {
        /// Where a stored document is; holds `{storage_doc_id}`. Default: no storage service.
        pub get_url: Option<HttpUrl> = None,
        /// Where workers upload files. Default: nothing is told to them.
        pub upload_url: Option<HttpUrl> = None,
        /// The URL schemes admitted, in lower case; at least one. Default http, https.
        pub schemes: Vec<String> = texts(&["http", "https"]),
        /// May a document URL point at a loopback, private or link-local address? Default: no.
        pub allow_private_networks: bool = false,
        /// Hosts admitted whatever their address: names or addresses in lower case, IPv6 in brackets as in a URL.
        pub allow_hosts: Vec<String> = Vec::new(),
    }
}

table! {
    /// `[annotations]`: the annotation storage service.
    pub struct Annotations {
        /// Where annotations of a document are handed in; holds `{ann_doc_id}`. Default: no such service.
        pub post_url: Option<HttpUrl> = None,
    }
}
