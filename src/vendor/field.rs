//! Header fields that decide: the credential's and the body's type.

use http::{HeaderMap, header};

/// The token of `Bearer TOKEN`; the scheme in any case (RFC 9110 section 11.1), one blank.
pub(in crate::vendor) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    // Without a way out of the loop many bytes are looked at in one step.
    #[expect(clippy::needless_bitwise_bool, reason = "no way out of the loop")]
    let fits = token.iter().fold(!token.is_empty(), |fits, b| {
        fits & b.is_ascii_graphic() & (*b != b',')
    });
    (scheme.eq_ignore_ascii_case(b"bearer ") && fits).then_some(token)
}

/// True for a header field by which some servers let a request stand for another verb. CGI makes one of `-` and `_`, so
/// that both spellings count.
pub(in crate::vendor) fn is_override(name: &str) -> bool {
    name.starts_with('x')
        && [
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
        ]
        .into_iter()
        .any(|known| is_spelt(name, known))
}

/// True if the name is the known one, with `_` for `-` or not.
pub(in crate::vendor) fn is_spelt(name: &str, known: &str) -> bool {
    name.len() == known.len()
        && name
            .bytes()
            .zip(known.bytes())
            .all(|(b, known)| b == known || (b == b'_' && known == b'-'))
}

/// True if a reader may take the body for an urlencoded form: by one of its types, case folded and cut as leniently as
/// anyone does, or because there are several.
pub(in crate::vendor) fn may_be_form(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let Some(first) = values.next() else {
        return false;
    };
    let text = first.as_bytes().trim_ascii();
    let cut = text
        .iter()
        .position(|b| matches!(b, b';' | b',' | b' ' | b'\t'))
        .unwrap_or(text.len());
    values.next().is_some()
        || text
            .get(..cut)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"application/x-www-form-urlencoded"))
}

/// Media types that are read, or recognised.
pub(in crate::vendor) enum MediaType<'h> {
    Json,
    Form,
    /// With the parameters behind its name.
    Multipart(&'h [u8]),
}

/// The body's media type, where every reader would agree on it.
///
/// Bitrix24 takes JSON for JSON only under exactly this name, cut at `;`; PHP folds the case of forms and cuts at
/// `;`, `,` and blanks. Whatever is neither is read as a query string, whatever its type says.
pub(in crate::vendor) fn media_type(headers: &HeaderMap) -> Option<MediaType<'_>> {
    let mut values = headers.get_all(header::CONTENT_TYPE).into_iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        return None;
    }
    let cut = memchr::memchr(b';', value).unwrap_or(value.len());
    let (name, parameters) = value.split_at_checked(cut)?;
    match name {
        b"multipart/form-data" => return Some(MediaType::Multipart(parameters)),
        b"application/json" | b"application/x-www-form-urlencoded" => {}
        _ => return None,
    }
    let parameters = parameters
        .strip_prefix(b";")
        .unwrap_or(parameters)
        .trim_ascii();
    let utf8 = parameters.eq_ignore_ascii_case(b"charset=utf-8")
        || parameters.eq_ignore_ascii_case(b"charset=\"utf-8\"");
    if !parameters.is_empty() && !utf8 {
        return None;
    }
    Some(if name == b"application/json" {
        MediaType::Json
    } else {
        MediaType::Form
    })
}
