//! A connection for which there is no room.

use crate::{
    refusal::Refusal,
    request_id::{Ids, X_REQUEST_ID},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long a refused connection may take to read its refusal.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most that is read of its request.
const MOST_READ: usize = 64 * 1024;

/// The refusal as it goes over the wire.
fn answer() -> Vec<u8> {
    let id = Ids::new().next();
    let json = Refusal::CROWDED.json(&id);
    let id_text = id.to_str().unwrap_or_default();
    let mut bytes = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n\
         {X_REQUEST_ID}: {id_text}\r\ncontent-length: {}\r\n\r\n",
        json.len()
    )
    .into_bytes();
    bytes.extend_from_slice(&json);
    bytes
}

/// Answers 503 to whatever is asked, and closes once the client has read it: closed earlier, what the client has sent
/// would reset the connection under the answer. `place` is what bounds how many of these run; it is dropped at the end.
pub(crate) async fn run(mut stream: TcpStream, place: Option<Arc<()>>) {
    let exchange = async {
        stream.write_all(&answer()).await?;
        stream.shutdown().await?;
        let (mut space, mut read) = ([0; 1024], 0);
        while read < MOST_READ {
            match stream.read(&mut space).await? {
                0 => break,
                bytes => read += bytes,
            }
        }
        std::io::Result::Ok(())
    };
    // Whether it could be told or not, nobody is left to hear of a failure.
    let _ = timeout(PATIENCE, exchange).await;
    drop(place);
}
