//! Errand: takes temporary files and gives them back.
//!
//! Beside `arguments` it is the one layer that reads a request's body, and reads it for uploads and for the multipart
//! forms of workflows only. Where files lie it does not know: that is the [`Shelf`]'s.
//!
//! - **Needs** a [`Target`] with [`Verb::UploadPath`], [`Verb::Upload`] or [`Verb::Download`]
//!   (`route`), or with [`Verb::Workflow`] and a body that `arguments` has left unread; everything else passes with its
//!   body unread. Reads [`Base`] where it prints a URL; without one (mounted
//!   in a host that stamps none) the URL begins with `http://` and the `Host` of the request.
//! - **Leaves** nothing of a temporary file: it answers itself. Of a workflow it leaves the fields and files of the form
//!   in the [`Arguments`]: the files are kept by then, each under a name that nobody guesses.
//! - **Refuses** a name or an extension that is not admitted (400, code 105; a download of such a name is 404), an upload
//!   without a file or with several (400, code 206), a form that cannot be read (400, code 105), a file over the limit
//!   (413, code 208), a file that is not there (404), a range beyond its end (416), and what the shelf refuses.
//!
//! | asked | answered |
//! |---|---|
//! | `GET /temporary_upload_path[?extension=EXT]` | 201 and a URL with a name that nobody guesses, as text; nothing is made |
//! | `POST /temporary_file/NAME` | 201 and the URL, once the file is there as a whole; another of that name is replaced |
//! | `POST /temporary_file` | the same under a name of ours, with the extension of the file's name if it is admitted |
//! | `GET`, `HEAD /temporary_file/NAME` | the file |
//!
//! A name is one path segment of 1 to [`MAX_NAME`] ASCII letters, digits, `-`, `.`, `_` and `~`, and does not begin with
//! a `.`. An extension is 1 to [`MAX_EXTENSION`] letters and digits. An upload is `multipart/form-data` with exactly one
//! part that has a file name. All else in the form, headers and further fields, may take [`MAX_FORM`] bytes and
//! [`MAX_PARTS`] parts, and is dropped. The file is streamed: at no time more of it is in memory than the host gave at
//! once and the shelf has not taken yet. A body that breaks off leaves nothing.
//!
//! A workflow's form is read in the same way, but for this: it may hold several files, none of them in a field that
//! another has; its other fields are kept, may take `max_form` bytes together, and the first value of each counts. If it
//! is refused half-way, the files that were kept by then stay until they are too old.
//!
//! A download is told to be what its extension says and never looked into (`nosniff`). What a browser could run or
//! render as a page of this origin (HTML, SVG, and all that is not known to be harmless) is an attachment. `ETag`,
//! `Last-Modified`, `If-None-Match`, `If-Modified-Since`, `Range` (one range; several are answered with the whole) and
//! `If-Range` are honoured. A cache may keep a file, but asks each time whether it is still the same (`no-cache`):
//! a file may be replaced, and is gone some day.
//!
//! ```
//! use bytes::Bytes;
//! use gateway_contract::{BoxFuture, Place, Rejection, Reply, Target, Verb};
//! use gateway_files::{Content, FilesLayer, Found, Name, Shelf};
//! use http::{Request, StatusCode};
//! use http_body_util::{BodyExt, Empty};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! /// Takes everything, and has nothing.
//! #[derive(Clone)]
//! struct Hole;
//!
//! impl Shelf for Hole {
//!     fn put(&self, _: Name, _: Content) -> BoxFuture<Result<(), Rejection>> {
//!         Box::pin(async { Ok(()) })
//!     }
//!     fn get(&self, _: Name) -> BoxFuture<Result<Option<Found>, Rejection>> {
//!         Box::pin(async { Ok(None) })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let application = service_fn(async |_: Request<Option<Empty<Bytes>>>| Err::<Reply<Empty<Bytes>>, _>(Rejection::not_found()));
//! let stack = ServiceBuilder::new().layer(FilesLayer::new(Hole, 1 << 20, 1 << 16)).service(application);
//!
//! let target = Target { place: Place::Gateway, verb: Verb::UploadPath, document: None };
//! let request = Request::get("/temporary_upload_path?extension=wav").header("host", "example.org").extension(target);
//! let answer = stack.oneshot(request.body(Some(Empty::new()))?).await?;
//! assert_eq!(answer.status(), StatusCode::CREATED);
//! let url = String::from_utf8(answer.into_body().collect().await?.to_bytes().into())?;
//! assert!(url.starts_with("http://example.org/temporary_file/") && url.ends_with(".wav"), "{url}");
//! # Ok(())
//! # }
//! ```

mod download;
mod fault;
mod form;
mod kind;
mod name;
mod paced;
mod range;
mod shelf;
mod workflow;

pub use form::{MAX_FORM, MAX_PARTS};
pub use name::{MAX_EXTENSION, MAX_NAME, Name, NameError};
pub use shelf::{Content, Found, Shelf};

use fault::Fault;
use form::Form;
#[cfg(doc)]
use gateway_contract::Base;
use gateway_contract::{Arguments, BoxError, Rejection, Reply, Step, Target, Verb, place, plain, target};
use http::{
    HeaderMap, HeaderValue, Request, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH},
};
use http_body::Body;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Puts [`Files`] in front of a service. See the [crate documentation](crate).
#[must_use = "a layer does nothing until it is given a service"]
#[derive(Debug, Clone)]
pub struct FilesLayer<F> {
    shelf: F,
    limit: u64,
    max_form: u64,
}

impl<F: Shelf> FilesLayer<F> {
    /// Keeps files of up to `limit` bytes (`files.max_file`) on `shelf`; what a workflow's form holds beside its files may
    /// take `max_form` (`server.max_body`).
    pub fn new(shelf: F, limit: u64, max_form: u64) -> Self {
        Self { shelf, limit, max_form }
    }
}

impl<S, F: Clone> Layer<S> for FilesLayer<F> {
    type Service = Files<S, F>;

    fn layer(&self, inner: S) -> Files<S, F> {
        Files { inner, shelf: self.shelf.clone(), limit: self.limit, max_form: self.max_form }
    }
}

/// Takes temporary files and gives them back. See the [crate documentation](crate).
#[derive(Debug, Clone)]
pub struct Files<S, F> {
    inner: S,
    shelf: F,
    limit: u64,
    max_form: u64,
}

impl<S, F, B, R> Service<Request<Option<B>>> for Files<S, F>
where
    S: Service<Request<Option<B>>, Response = Reply<R>> + Clone + Send + 'static,
    S::Error: Into<Rejection>,
    S::Future: Send,
    F: Shelf,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    R: Send + 'static,
{
    type Response = Reply<R>;
    type Error = Rejection;
    type Future = Step<S::Future, Reply<R>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Option<B>>) -> Self::Future {
        let Some(Target { verb, document, .. }) = target(&request) else { return Step::pass(self.inner.call(request)) };
        match (*verb, document.as_deref()) {
            (Verb::Workflow, _) if request.body().is_some() => self.workflow(request),
            (verb, _) if !verb.is_about_files() => Step::pass(self.inner.call(request)),
            (Verb::UploadPath, _) => match upload_path(&request) {
                Ok(reply) => Step::answer(reply),
                Err(fault) => Step::refuse(fault),
            },
            (Verb::Upload, name) => match name.map(Name::new).transpose() {
                Ok(name) => self.upload(name, request),
                Err(error) => Step::refuse(Fault::Name(error)),
            },
            (_, name) => match name.map(Name::new) {
                Some(Ok(name)) => self.download(name, request),
                _ => Step::refuse(Rejection::not_found()),
            },
        }
    }
}

impl<S, F: Shelf> Files<S, F> {
    /// Reads a workflow's form and hands its fields and files on.
    fn workflow<B, R>(&mut self, request: Request<Option<B>>) -> Step<S::Future, Reply<R>>
    where
        S: Service<Request<Option<B>>, Response = Reply<R>> + Clone + Send + 'static,
        S::Error: Into<Rejection>,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
        R: Send + 'static,
    {
        let place = place(&request);
        let (mut head, body) = request.into_parts();
        // Of any length: each file and the fields have their limits, and the shelf has room for so many files.
        let form = match body.ok_or(Fault::NoFile).and_then(|body| Form::new(&head.headers, body, self.limit)) {
            Ok(form) => form,
            Err(fault) => return Step::refuse(fault),
        };
        let not_ready = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, not_ready);
        let (shelf, max_form) = (self.shelf.clone(), self.max_form);
        Step::errand(async move {
            let arguments = head.extensions.remove::<Arguments>().unwrap_or_default();
            let arguments = workflow::read(form, &shelf, &place, max_form, arguments).await?;
            head.extensions.insert(arguments);
            ready.call(Request::from_parts(head, None)).await.map_err(Into::into)
        })
    }

    fn upload<B, G, R>(&self, name: Option<Name>, request: Request<Option<B>>) -> Step<G, Reply<R>>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
        R: Send + 'static,
    {
        let place = place(&request);
        let (head, body) = request.into_parts();
        let form = match form(self.limit, &head.headers, body) {
            Ok(form) => form,
            Err(fault) => return Step::refuse(fault),
        };
        let shelf = self.shelf.clone();
        Step::errand(async move {
            let (extension, content) = form.file().await?;
            let name = name.unwrap_or_else(|| Name::unguessable(extension.as_deref()));
            shelf.put(name.clone(), content).await?;
            Ok(created(&place, &name))
        })
    }

    fn download<B, G, R: Send + 'static>(&self, name: Name, request: Request<Option<B>>) -> Step<G, Reply<R>> {
        let shelf = self.shelf.clone();
        let (head, _) = request.into_parts();
        Step::errand(async move {
            let found = shelf.get(name.clone()).await?.ok_or_else(Rejection::not_found)?;
            download::answer(&name, found, &head.method, &head.headers)
        })
    }
}

/// The form of a request, if it can be within `limit`.
fn form<B>(limit: u64, headers: &HeaderMap, body: Option<B>) -> Result<Form, Fault>
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    let body = body.ok_or(Fault::NoFile)?;
    within(limit, headers, &body)?;
    Form::new(headers, body, limit)
}

/// Refuses what says beforehand that no file in it can be within `limit`.
fn within(limit: u64, headers: &HeaderMap, body: &impl Body) -> Result<(), Fault> {
    let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let least = body.size_hint().lower().max(told.unwrap_or(0));
    if least <= limit.saturating_add(MAX_FORM) { Ok(()) } else { Err(Fault::TooLarge { limit }) }
}

/// Names a file to be, and makes nothing.
fn upload_path<B, R>(request: &Request<B>) -> Result<Reply<R>, Fault> {
    let query = request.uri().query().unwrap_or_default();
    let mut fields = form_urlencoded::parse(query.as_bytes());
    let extension = fields.find(|(name, _)| name == "extension").map(|(_, extension)| extension);
    let extension = match extension.as_deref() {
        None | Some("") => None,
        Some(extension) if name::is_extension(extension) => Some(extension),
        Some(_) => return Err(Fault::Extension),
    };
    Ok(created(&place(request), &Name::unguessable(extension)))
}

/// The URL of a file.
fn url(place: &str, name: &Name) -> String {
    format!("{place}/temporary_file/{name}")
}

/// 201, and where the file is or will be.
fn created<R>(place: &str, name: &Name) -> Reply<R> {
    let mut reply = plain(url(place, name), "text/plain; charset=utf-8");
    *reply.status_mut() = StatusCode::CREATED;
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
