//! The target: path shapes of single calls.

use std::borrow::Cow;

use crate::model::{ApiVersion, Fault, OPERATION_NAME_CAP, Reason};
use crate::vendor::Example;

/// A path that fits one of the documented shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'r> {
    /// Which door: `/rest/` or `/rest/api/`.
    pub(super) version: ApiVersion,
    /// `USER_ID/SECRET` of a webhook.
    pub(super) webhook: Option<&'r str>,
    /// The method's name as written.
    pub(super) method: &'r str,
    /// True if the answer is asked for as XML.
    pub(super) xml: bool,
}

/// The request that calls a method: `name`, or `v3:name` for REST 3.0.
pub(in crate::vendor) fn example(operation: &str) -> Example {
    let (version, name) = match operation.split_once(':') {
        Some((version, name)) if version == ApiVersion::V3.as_str() => ("api/", name),
        Some((version, name)) if version == ApiVersion::V2.as_str() => ("", name),
        _ => ("", operation),
    };
    Example {
        verb: "POST".to_owned(),
        target: format!("/rest/{version}{name}"),
        headers: Vec::new(),
        wants_token: true,
    }
}

/// True if the target is that of a webhook, or has a token in its query.
pub(in crate::vendor) fn has_credential(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or(target);
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.count() > 3 || target.contains("auth=") || target.contains("access_token=")
}

/// What a path is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Path<'r> {
    /// A call.
    Call(Target<'r>),
    /// The token endpoint.
    Token,
    /// Plainly something else on the portal's host.
    Elsewhere,
    /// The portal might run a method that this reader does not see.
    Unclear(Fault),
}

const UNCLEAR: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "the path is none of the documented shapes of a call",
};

/// Reads `/rest/[api/][USER_ID/SECRET/]METHOD[.json|.xml][/]`, where one client doubles the slash after `rest`.
///
/// The portal decodes the path as a whole, merges slashes, resolves dot segments and falls back to request parameters
/// where no shape fits; so a path with a percent sign, a dot segment or any other shape is not guessed at.
pub(super) fn read(path: &str) -> Path<'_> {
    if matches!(path, "/oauth/token" | "/oauth/token/") {
        return Path::Token;
    }
    let Some(rest) = path.strip_prefix("/rest/") else {
        return if is_plainly_elsewhere(path) {
            Path::Elsewhere
        } else {
            Path::Unclear(UNCLEAR)
        };
    };
    match call(rest.strip_prefix('/').unwrap_or(rest)) {
        Some(target) => Path::Call(target),
        None => Path::Unclear(UNCLEAR),
    }
}

fn call(rest: &str) -> Option<Target<'_>> {
    let (version, rest) = match rest.strip_prefix("api/") {
        Some(rest) => (ApiVersion::V3, rest),
        None => (ApiVersion::V2, rest),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (webhook, last) = match rest.rsplit_once('/') {
        Some((webhook, last)) => (Some(webhook_pair(webhook)?), last),
        None => (None, rest),
    };
    let (method, xml) = match (last.strip_suffix(".json"), last.strip_suffix(".xml")) {
        (Some(method), _) => (method, false),
        (None, Some(method)) => (method, true),
        (None, None) => (last, false),
    };
    // Another spelling of the suffix would be part of the name here and perhaps not there.
    let ends = |suffix: &[u8]| {
        let tail = method
            .as_bytes()
            .last_chunk::<5>()
            .map_or(method.as_bytes(), |tail| tail);
        tail.len() >= suffix.len()
            && tail
                .iter()
                .rev()
                .zip(suffix.iter().rev())
                .all(|(a, b)| a.eq_ignore_ascii_case(b))
    };
    // REST 3.0 answers in JSON only, and is not known to cut a suffix off.
    let shaped = version == ApiVersion::V2 || method.len() == last.len();
    (shaped && is_method(method) && !ends(b".json") && !ends(b".xml")).then_some(Target {
        version,
        webhook,
        method,
        xml,
    })
}

/// Words of letters, digits and `_`, joined by single dots: no dot segment fits. A name that is longer than any is kept
/// would be judged by its beginning.
pub(super) fn is_method(name: &str) -> bool {
    let mut in_word = false;
    let words = name.bytes().all(|byte| match byte {
        b'.' => std::mem::replace(&mut in_word, false),
        b'_' => {
            in_word = true;
            true
        }
        byte => {
            in_word = true;
            byte.is_ascii_alphanumeric()
        }
    });
    words && in_word && name != "api" && name.len() <= OPERATION_NAME_CAP
}

/// `USER_ID/SECRET`: the user is a number or a login, the secret letters and digits.
fn webhook_pair(pair: &str) -> Option<&str> {
    let (user, secret) = pair.split_once('/')?;
    let user_fits = user
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'@'))
        && user.bytes().any(|b| b.is_ascii_alphanumeric())
        && !user.eq_ignore_ascii_case("api");
    let secret_fits = !secret.is_empty() && secret.bytes().all(|b| b.is_ascii_alphanumeric());
    (user_fits && secret_fits).then_some(pair)
}

/// True for a path of plain segments that no decoding, merging or case folding could turn into a call.
fn is_plainly_elsewhere(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    let plain = |segment: &str| {
        segment
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'~'))
            && segment.bytes().any(|b| b != b'.')
    };
    let mut segments = rest.strip_suffix('/').unwrap_or(rest).split('/');
    let first = segments.next().unwrap_or_default();
    plain(first) && !first.eq_ignore_ascii_case("rest") && segments.all(plain)
}

/// True if `404;http` stands anywhere in the target, in any case: the portal then looks for another target in it.
pub(super) fn has_error_mark(target: &[u8]) -> bool {
    memchr::memchr_iter(b';', target).any(|at| {
        let (before, after) = target.split_at(at);
        before.ends_with(b"404")
            && after
                .get(1..5)
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"http"))
    })
}

/// The path with a webhook's user and secret replaced; a path of no documented shape is not shown at all, since any of
/// its segments may be a secret.
pub(in crate::vendor) fn redact_path(path: &str) -> Cow<'_, str> {
    match read(path) {
        Path::Call(Target {
            webhook: Some(webhook),
            ..
        }) => Cow::Owned(without(path, webhook)),
        Path::Call(_) => Cow::Borrowed(path),
        Path::Token => Cow::Borrowed(path),
        Path::Elsewhere | Path::Unclear(_) => Cow::Borrowed(""),
    }
}

/// The path with the webhook's own two segments replaced, which stand before the last one: the same letters may stand
/// elsewhere too.
fn without(path: &str, webhook: &str) -> String {
    let (whole, slash) = path
        .strip_suffix('/')
        .map_or((path, ""), |whole| (whole, "/"));
    let split = whole
        .rsplit_once('/')
        .and_then(|(before, method)| Some((before.strip_suffix(webhook)?, method)));
    split.map_or_else(String::new, |(before, method)| {
        format!("{before}***/***/{method}{slash}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target<'r>(version: ApiVersion, webhook: Option<&'r str>, method: &'r str) -> Path<'r> {
        Path::Call(Target {
            version,
            webhook,
            method,
            xml: false,
        })
    }

    #[test]
    fn documented_shapes_are_read() {
        use ApiVersion::{V2, V3};
        for (path, expected) in [
            ("/rest/crm.deal.list", target(V2, None, "crm.deal.list")),
            (
                "/rest/crm.deal.list.json",
                target(V2, None, "crm.deal.list"),
            ),
            ("/rest/app.info/", target(V2, None, "app.info")),
            ("/rest/app.info.json/", target(V2, None, "app.info")),
            ("/rest//profile", target(V2, None, "profile")),
            (
                "/rest/1/s3cret/profile.json",
                target(V2, Some("1/s3cret"), "profile"),
            ),
            (
                "/rest/j.doe@x/s3cret/profile",
                target(V2, Some("j.doe@x/s3cret"), "profile"),
            ),
            (
                "/rest/api/tasks.task.get",
                target(V3, None, "tasks.task.get"),
            ),
            (
                "/rest//api/tasks.task.get",
                target(V3, None, "tasks.task.get"),
            ),
            (
                "/rest/api/1/s3cret/tasks.task.get/",
                target(V3, Some("1/s3cret"), "tasks.task.get"),
            ),
        ] {
            assert_eq!(read(path), expected, "{path}");
        }
        let xml = Path::Call(Target {
            version: V2,
            webhook: None,
            method: "user.get",
            xml: true,
        });
        assert_eq!(read("/rest/user.get.xml"), xml);
    }

    #[test]
    fn every_other_shape_below_rest_is_unclear() {
        for path in [
            "/rest/",
            "/rest",
            "/rest//",
            "/rest///profile",
            "/rest/a/b",
            "/rest/a/b/c/d",
            "/rest/crm%2Edeal.list",
            "/rest/user.current%2F..%2Fcrm.lead.add",
            "/rest/../rest/profile",
            "/rest/./profile",
            "/rest/profile;x",
            "/rest/profile\\x",
            "/rest/..",
            "/rest/.json",
            "/rest/profile//",
            "/rest/profile.JSON",
            "/rest/a..b",
            "/rest/profile.json.XML",
            "/REST/profile",
            "//rest/profile",
            "/x/../rest/profile",
            "/x%2F../rest/profile",
            "/rest/1/se-cret/profile",
            "/rest/../s/profile",
            "/rest/API/x/profile",
            "/rest/api/api/x/profile",
            "rest/x",
            "/rest/api",
            "/rest/profile.xml.json",
            "",
            "/",
            "*",
        ] {
            assert_eq!(read(path), Path::Unclear(UNCLEAR), "{path}");
        }
    }

    #[test]
    fn other_paths_of_the_host_are_told_apart() {
        assert_eq!(read("/oauth/token/"), Path::Token);
        for path in [
            "/oauth/token/x",
            "/oauth/authorize/",
            "/bitrix/services/main/ajax.php",
            "/favicon.ico",
            "/restapi/x",
        ] {
            assert_eq!(read(path), Path::Elsewhere, "{path}");
        }
    }

    #[test]
    fn webhook_secrets_are_replaced() {
        assert_eq!(
            redact_path("/rest/1/s3cret/profile.json"),
            "/rest/***/***/profile.json"
        );
        assert_eq!(redact_path("/rest/t/t/t/"), "/rest/***/***/t/");
        assert_eq!(redact_path("/rest/profile"), "/rest/profile");
        assert_eq!(redact_path("/rest/1/s3cret/"), "");
        assert_eq!(redact_path("/elsewhere/1/s3cret/"), "");
    }
}
