//! DNS messages on their way in: their media type, their size, and whether an answer is wanted in it.

use crate::refusal::Refusal;
use ::names::QUERY_MAX;
use api::names::MEDIA_TYPE;
use api::{Code, Problem};
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

/// A body that is a DNS message of at most [`QUERY_MAX`] bytes.
pub(crate) struct DnsBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for DnsBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        if !has_media_type(request.headers()) {
            return Err(Code::UnsupportedMediaType.into());
        }
        match Limited::new(request.into_body(), QUERY_MAX).collect().await {
            Ok(collected) => Ok(Self(collected.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(Code::BodyTooLarge.into()),
            Err(_) => {
                Err(Problem::new(Code::MalformedRequest).detail("the body did not arrive whole").into())
            }
        }
    }
}

/// A caller that accepts a DNS message for an answer.
pub(crate) struct Accepts;

impl<S: Send + Sync> FromRequestParts<S> for Accepts {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        if accepts(&parts.headers) { Ok(Self) } else { Err(Code::NotAcceptable.into()) }
    }
}

fn has_media_type(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let is_it = values
        .next()
        .is_some_and(|value| essence(value.as_bytes()).eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()));
    is_it && values.next().is_none()
}

/// Whether one of the ranges covers our media type with a weight above zero (RFC 9110 section 12.5.1). Who sends
/// none accepts anything.
fn accepts(headers: &HeaderMap) -> bool {
    let ranges: Vec<&[u8]> = headers
        .get_all(ACCEPT)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter(|range| !range.trim_ascii().is_empty())
        .collect();
    ranges.is_empty() || ranges.iter().any(|range| covers(essence(range)) && !is_unwanted(range))
}

fn covers(range: &[u8]) -> bool {
    ["*/*", "application/*", MEDIA_TYPE].iter().any(|known| range.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether a range has the weight zero: `q=0`, `q=0.0` and so on.
fn is_unwanted(range: &[u8]) -> bool {
    range.split(|byte| *byte == b';').skip(1).any(|parameter| {
        let weight = parameter.trim_ascii();
        let weight = weight.strip_prefix(b"q=").or_else(|| weight.strip_prefix(b"Q="));
        weight
            .is_some_and(|weight| !weight.is_empty() && weight.iter().all(|byte| matches!(byte, b'0' | b'.')))
    })
}

/// A media type or range without its parameters.
fn essence(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_caller_accepts_what_its_ranges_cover() {
        let rows: [(&[&str], bool); 11] = [
            (&[], true),
            (&[""], true),
            (&["application/dns-message"], true),
            (&["Application/DNS-Message; q=0.1"], true),
            (&["text/html, application/*;q=0.5"], true),
            (&["text/html", "*/*"], true),
            (&["application/dns-json"], false),
            (&["application/json, text/*"], false),
            (&["application/dns-message;q=0"], false),
            (&["*/*; q=0.000"], false),
            (&["application/dns-messages"], false),
        ];
        for (values, expected) in rows {
            assert_eq!(accepts(&headers(&ACCEPT, values)), expected, "{values:?}");
        }
    }

    #[test]
    fn a_body_has_one_media_type_and_the_right_one() {
        let rows: [(&[&str], bool); 6] = [
            (&["application/dns-message"], true),
            (&["APPLICATION/dns-message; charset=x"], true),
            (&[], false),
            (&["application/json"], false),
            (&["application/dns-message, application/json"], false),
            (&["application/dns-message", "application/json"], false),
        ];
        for (values, expected) in rows {
            assert_eq!(has_media_type(&headers(&CONTENT_TYPE, values)), expected, "{values:?}");
        }
    }

    fn headers(name: &http::HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }
}
