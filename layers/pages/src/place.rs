//! Pages, and the paths that lead to them.

use crate::{PageSource, Pages, PagesError};
use gateway_contract::{Base, Body, Page, Place, Reply, plain};
use http::{HeaderValue, Response, StatusCode, header};
use percent_encoding::{CONTROLS, utf8_percent_encode};

/// The original's type for its texts, too.
const HTML: &str = "text/html; charset=utf-8";

/// A CANARIE page of a service or, for everything else, of the platform.
pub(crate) fn page<R>(pages: &Pages, place: &Place, page: Page) -> Result<Reply<R>, PagesError> {
    let profile = match place {
        Place::Service(service) => &pages.services[pages.position(service).ok_or(PagesError::Untold)?].profile,
        Place::Gateway | Place::Platform | Place::UnknownService => &pages.platform,
    };
    match profile.pages.get(&page) {
        None => Err(PagesError::NotConfigured(page)),
        Some(PageSource::Redirect(url)) => redirect(StatusCode::FOUND, url),
        Some(PageSource::Html(html)) => Ok(plain(html.clone(), HTML)),
        Some(PageSource::Text { body, status }) => {
            let mut reply = plain(body.clone(), HTML);
            *reply.status_mut() = *status;
            if body.is_empty() {
                *reply.body_mut() = Body::Plain { bytes: None };
            }
            Ok(reply)
        }
    }
}

/// The same place with `/` at its end, so that what its home page links to is found below it. As a whole URL, where it is
/// known how clients reach us: so the original's clients have it.
pub(crate) fn bare<R>(place: &Place, base: Option<&Base>, query: Option<&str>) -> Result<Reply<R>, PagesError> {
    let mut location = base.map_or_else(String::new, |base| base.origin().to_owned());
    location.push_str(&place.path(base));
    if let Some(query) = query {
        location.push('?');
        location.extend(utf8_percent_encode(query, CONTROLS));
    }
    redirect(StatusCode::PERMANENT_REDIRECT, &location)
}

fn redirect<R>(status: StatusCode, location: &str) -> Result<Reply<R>, PagesError> {
    let location = HeaderValue::from_str(location).map_err(|_| PagesError::Location)?;
    let mut reply = Response::new(Body::Plain { bytes: None });
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::LOCATION, location);
    Ok(reply)
}
