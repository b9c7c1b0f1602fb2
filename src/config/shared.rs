//! `[state] redis`: the stream by which instances tell each other what they learn.

use std::sync::Arc;

use super::LimitsSection;
use super::document::Placed;
use super::place;
use super::section::Section;
use crate::model::{Secret, TokenIdKey};
use crate::shared::{Login, Settings};

/// The port where the URL names none.
const PORT: u16 = 6379;

/// Reads `redis` and `redis_ca`; `None` without, or with the problems noted.
pub(super) fn shared(
    section: &Section<'_, '_>,
    has_key: bool,
    limits: &LimitsSection,
) -> Option<Settings> {
    let url = section.secret("redis");
    let ca = section.string("redis_ca");
    let Some(url) = url else {
        if let Some(ca) = ca {
            let hint = "set `redis`, or remove it";
            section.problem_at(&ca.span, "`redis_ca` has no effect", hint);
        }
        return None;
    };
    if !has_key {
        let message = "`redis` without `token_id_key`";
        let hint = "give all instances the same key: else each names tokens in its own way";
        section.problem_at(&url.span, message, hint);
    }
    let wrong = |message: String| {
        let hint = "write redis://HOST, or rediss://USER:PASSWORD@HOST:PORT/DATABASE";
        section.problem_at(&url.span, message, hint);
    };
    let login = Login::of(&url.value).map_err(|_| wrong("`redis` is no URL of Redis".to_owned()));
    let (scheme, rest) = url.value.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let named = host.rsplit(']').next().unwrap_or_default().contains(':');
    let port = if named {
        String::new()
    } else {
        format!(":{PORT}")
    };
    let secure = match scheme {
        "redis" => "http",
        "rediss" => "https",
        _ => {
            wrong("`redis` is neither redis:// nor rediss://".to_owned());
            return None;
        }
    };
    let server = Placed {
        value: format!("{secure}://{host}{port}"),
        span: url.span.clone(),
    };
    Some(Settings {
        server: Arc::new(place::server(
            section,
            "redis",
            &server,
            ca.as_ref(),
            limits,
        )?),
        login: login.ok()?,
        digest: TokenIdKey::new(url.value.as_bytes())
            .identify(&Secret::new(ca.map_or("", |ca| ca.value).as_bytes()))
            .to_string(),
    })
}
