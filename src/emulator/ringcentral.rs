//! An emulated RingCentral platform with its token endpoint.

mod oauth;

use std::fmt::Write as _;

use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Emulator, Reply};
use crate::catalogue::Routed;
use crate::model::{Operation, Requirement};

/// How many entries every list has.
const ROWS: u64 = 120;
/// How many of them a page holds unless `perPage` says otherwise.
const PER_PAGE: u64 = 100;
/// What stands for a recording.
const MEDIA: [u8; 4096] = [0x55; 4096];

pub(super) fn answer(emulator: &Emulator, head: &Parts, body: &[u8]) -> Reply {
    if let Some(reply) = oauth::answer(emulator, head, body) {
        return reply;
    }
    let verb = effective_verb(head);
    let (operation, values) = match emulator.catalogue.route(&verb, head.uri.path()) {
        Routed::Found(operation, values) => (operation, values),
        Routed::OtherVerbs(_) => {
            return error(
                head,
                405,
                "CMN-202",
                "CMN-202",
                "Operation is not supported",
                None,
            );
        }
        Routed::Unknown | Routed::Unclear(_) => {
            return error(head, 404, "CMN-120", "CMN-120", "Invalid URI", None);
        }
    };
    if !emulator.has_room() {
        let text = "Request rate exceeded";
        return error(head, 429, "CMN-301", "CMN-301", text, None)
            .with("retry-after", "60")
            .with("x-rate-limit-group", "light")
            .with("x-rate-limit-limit", "50")
            .with("x-rate-limit-remaining", "0")
            .with("x-rate-limit-window", "60");
    }
    if operation.requirement != Requirement::Open
        && let Err(refusal) = permitted(emulator, head, body, operation)
    {
        return refusal;
    }
    result(emulator, head, &verb, &values)
        .with("rcrequestid", "0f1e2d3c-emulated")
        .with("x-rate-limit-group", "light")
        .with("x-rate-limit-limit", "50")
        .with("x-rate-limit-remaining", "49")
        .with("x-rate-limit-window", "60")
}

/// A POST may stand for another verb.
fn effective_verb(head: &Parts) -> String {
    let named = head
        .headers
        .get("x-http-method-override")
        .and_then(|value| value.to_str().ok())
        .or_else(|| parameter(head, "_method"));
    match named {
        Some(named) if head.method == Method::POST => named.to_ascii_uppercase(),
        _ => head.method.to_string(),
    }
}

fn parameter<'h>(head: &'h Parts, name: &str) -> Option<&'h str> {
    let pairs = head.uri.query().unwrap_or_default().split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// The platform's own checks: the token, then the app's permissions.
fn permitted(
    emulator: &Emulator,
    head: &Parts,
    body: &[u8],
    operation: &Operation,
) -> Result<(), Reply> {
    let invalid = |inner, text: &str| Err(error(head, 401, "TokenInvalid", inner, text, None));
    let Some(token) = token(head) else {
        let text = "Authorization header is not specified";
        return Err(error(head, 401, "AGW-401", "AGW-401", text, None));
    };
    let Some((scopes, expired)) = emulator.token(token) else {
        return invalid("OAU-149", "OAuth token is invalid");
    };
    if expired {
        return invalid("OAU-128", "Access token expired");
    }
    let needs = match &operation.requirement {
        Requirement::Conditional(_) => subscribed(emulator, body),
        need => vec![need.clone()],
    };
    for need in needs {
        if let Err(lacks) = emulator.may(&scopes, &need) {
            let text = format!(
                "In order to call this API endpoint, application needs to have [{lacks}] permission"
            );
            let permission = Some(lacks.as_str());
            return Err(error(
                head,
                403,
                "InsufficientPermissions",
                "CMN-401",
                &text,
                permission,
            ));
        }
    }
    Ok(())
}

fn token(head: &Parts) -> Option<&str> {
    let header = head.headers.get(http::header::AUTHORIZATION);
    let header = header
        .and_then(|value| value.to_str().ok()?.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token);
    header.or_else(|| parameter(head, "access_token"))
}

/// What the transport and the filters of a subscription need.
fn subscribed(emulator: &Emulator, body: &[u8]) -> Vec<Requirement> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let transport = body
        .pointer("/deliveryMode/transportType")
        .and_then(Value::as_str)
        .and_then(|transport| emulator.catalogue.chosen("transport", transport));
    let filters = body.pointer("/eventFilters").and_then(Value::as_array);
    let filters = filters.into_iter().flatten().filter_map(|filter| {
        let path = filter.as_str()?.split('?').next()?;
        match emulator.catalogue.filter(path) {
            Routed::Found(need, _) => Some(need),
            _ => None,
        }
    });
    transport.into_iter().chain(filters).cloned().collect()
}

/// A generic answer: a list by pages, one entry, several under one status each, or media.
fn result(emulator: &Emulator, head: &Parts, verb: &str, values: &[&str]) -> Reply {
    let origin = emulator.origin(head);
    let path = head.uri.path();
    let here = format!("{origin}{path}");
    let last = path.rsplit('/').next().unwrap_or_default();
    if verb == "GET" && (path.contains("/content") || path.contains("/media")) {
        return media(head);
    }
    let ids = last.replace("%2C", ",").replace("%2c", ",");
    if ids.contains(',') {
        return several(&origin, path, &ids);
    }
    match verb {
        "DELETE" => Reply::bare(StatusCode::NO_CONTENT),
        "GET" if is_collection(emulator, path) => Reply::json(StatusCode::OK, page(head, &here)),
        _ => Reply::json(
            StatusCode::OK,
            json!({ "uri": here, "id": id(values), "status": "Ok" }),
        ),
    }
}

/// The id of what was asked for; `~` is the caller's own.
fn id<'v>(values: &[&'v str]) -> &'v str {
    match values.last() {
        None => "1",
        Some(&("~" | "%7E")) => "256440016",
        Some(id) => id,
    }
}

/// True if single entries are read below the path.
fn is_collection(emulator: &Emulator, path: &str) -> bool {
    let entry = format!("{path}/1");
    matches!(emulator.catalogue.route("GET", &entry), Routed::Found(..))
}

/// One page of a list, with absolute addresses of the others.
fn page(head: &Parts, here: &str) -> Value {
    let number = |name, usual| {
        let given = parameter(head, name).and_then(|text| text.parse().ok());
        given.filter(|number| *number > 0).unwrap_or(usual)
    };
    let (page, per_page): (u64, u64) = (number("page", 1), number("perPage", PER_PAGE));
    let pages = ROWS.div_ceil(per_page);
    let first = (page - 1).saturating_mul(per_page);
    let end = first.saturating_add(per_page).min(ROWS);
    let records: Vec<Value> = (first..end)
        .map(|row| json!({ "uri": format!("{here}/{}", row + 1), "id": (row + 1).to_string() }))
        .collect();
    let at = |page: u64| json!({ "uri": format!("{here}?page={page}&perPage={per_page}") });
    let mut navigation = json!({ "firstPage": at(1), "lastPage": at(pages) });
    if let Some(navigation) = navigation.as_object_mut() {
        if page < pages {
            navigation.insert("nextPage".to_owned(), at(page + 1));
        }
        if page > 1 {
            navigation.insert("previousPage".to_owned(), at(page - 1));
        }
    }
    json!({
        "uri": format!("{here}?page={page}&perPage={per_page}"),
        "records": records,
        "paging": {
            "page": page, "perPage": per_page, "pageStart": first, "pageEnd": end.saturating_sub(1),
            "totalPages": pages, "totalElements": ROWS,
        },
        "navigation": navigation,
    })
}

/// The answers for several ids, as parts.
fn several(origin: &str, path: &str, ids: &str) -> Reply {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let answers: Vec<Value> = ids
        .split(',')
        .map(|id| json!({ "href": format!("{origin}{parent}/{id}"), "status": 200, "responseDescription": "OK" }))
        .collect();
    let mut body = format!(
        "--Boundary_1\r\nContent-Type: application/json\r\n\r\n{}\r\n",
        json!({ "response": answers })
    );
    for id in ids.split(',') {
        let _ = write!(
            body,
            "--Boundary_1\r\nContent-Type: application/json\r\n\r\n{}\r\n",
            json!({ "uri": format!("{origin}{parent}/{id}"), "id": id })
        );
    }
    body.push_str("--Boundary_1--\r\n");
    Reply {
        kind: "multipart/mixed; boundary=Boundary_1",
        body: body.into_bytes(),
        ..Reply::bare(StatusCode::MULTI_STATUS)
    }
}

/// A recording, or the part of it that `Range` asks for.
fn media(head: &Parts) -> Reply {
    let range = head.headers.get(http::header::RANGE);
    let range =
        range.and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
    let last = MEDIA.len() - 1;
    let place = match range {
        None => None,
        Some(("", count)) => count
            .parse::<usize>()
            .ok()
            .map(|count| (MEDIA.len().saturating_sub(count), last)),
        Some((from, to)) => from
            .parse::<usize>()
            .ok()
            .map(|from| (from, to.parse().unwrap_or(last).min(last))),
    };
    let part = place.and_then(|(from, to)| Some((from, to, MEDIA.get(from..=to)?)));
    let reply = match (place, part) {
        (None, _) => Reply {
            body: MEDIA.to_vec(),
            ..Reply::bare(StatusCode::OK)
        },
        (Some(_), None) => Reply::bare(StatusCode::RANGE_NOT_SATISFIABLE)
            .with("content-range", &format!("bytes */{}", MEDIA.len())),
        (Some(_), Some((from, to, part))) => Reply {
            body: part.to_vec(),
            ..Reply::bare(StatusCode::PARTIAL_CONTENT)
        }
        .with(
            "content-range",
            &format!("bytes {from}-{to}/{}", MEDIA.len()),
        ),
    };
    Reply {
        kind: "audio/mpeg",
        ..reply
    }
    .with("accept-ranges", "bytes")
}

/// An error in the platform's shape; SCIM has its own.
fn error(
    head: &Parts,
    status: u16,
    code: &str,
    inner: &str,
    text: &str,
    permission: Option<&str>,
) -> Reply {
    let code_of = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if head.uri.path().starts_with("/scim/") {
        let schema = "urn:ietf:params:scim:api:messages:2.0:Error";
        let body = json!({ "schemas": [schema], "detail": text, "status": status.to_string() });
        return Reply {
            kind: "application/scim+json;charset=utf-8",
            ..Reply::json(code_of, body)
        };
    }
    let mut inner = json!({ "errorCode": inner, "message": text });
    let mut outer = json!({ "errorCode": code, "message": text });
    if let Some(permission) = permission {
        for error in [&mut inner, &mut outer] {
            if let Some(error) = error.as_object_mut() {
                error.insert("permissionName".to_owned(), permission.into());
            }
        }
    }
    if let Some(outer) = outer.as_object_mut() {
        outer.insert("errors".to_owned(), json!([inner]));
    }
    Reply::json(code_of, outer)
}
