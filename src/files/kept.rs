//! Files that programs made, kept as temporary ones.

use super::Shelf;
use futures_util::stream;
use gateway_config::Config;
use gateway_contract::{Rejection, Side, code};
use gateway_files::{Name, Shelf as _};
use gateway_worker::KeepFiles;
use http::StatusCode;
use std::{future::Future, path::Path, pin::Pin};
use tokio::{fs::File, io::AsyncReadExt};

/// What is read of a file at once, in bytes.
const PIECE: usize = 64 << 10;

/// The temporary files of this gateway, for the programs that it runs itself.
#[derive(Debug)]
pub(crate) struct ProgramFiles {
    shelf: Shelf,
    /// What URLs begin with, without a slash at its end.
    place: String,
    max_file: u64,
}

impl ProgramFiles {
    /// As `[files]` says. A program has no request that would tell how clients reach us: URLs begin with
    /// `server.public_url`, else with the address that we listen on. Where the system chooses the port they are paths.
    pub(crate) fn new(config: &Config, shelf: Shelf) -> Self {
        let listen = config.server.listen;
        let place = match &config.server.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None if listen.port() == 0 => String::new(),
            None if listen.ip().is_unspecified() => format!("http://127.0.0.1:{}", listen.port()),
            None => format!("http://{listen}"),
        };
        Self { shelf, place, max_file: config.files.max_file.bytes() }
    }
}

impl KeepFiles for ProgramFiles {
    fn keep<'a>(
        &'a self,
        file: &'a Path,
        extension: Option<&'a str>,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        Box::pin(async move {
            let file = File::open(file).await.map_err(|error| error.to_string())?;
            let size = file.metadata().await.map_err(|error| error.to_string())?.len();
            if size > self.max_file {
                return Err(format!("it is larger than {} bytes (files.max_file)", self.max_file));
            }
            let pieces = stream::try_unfold(file.take(size), async |mut file| {
                let mut piece = Vec::with_capacity(PIECE);
                let read = (&mut file).take(PIECE as u64).read_to_end(&mut piece).await.map_err(unreadable)?;
                Ok((read > 0).then(|| (piece.into(), file)))
            });
            let name = Name::unguessable(extension);
            let kept = self.shelf.put(name.clone(), Box::pin(pieces)).await;
            kept.map_err(|rejection| rejection.refusal().detail.clone())?;
            Ok(format!("{}/temporary_file/{name}", self.place))
        })
    }
}

fn unreadable(error: std::io::Error) -> Rejection {
    let detail = "the program's file could not be read";
    Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, code::IO, Side::Gateway, detail).with_cause(error)
}
