//! `[[gate]]` and what stands in it.

use super::process::tls_settings;
use super::{Default, Form, Kind, Setting, Table};

const MODES: Kind = Kind::Word(&["enforce", "report", "off"]);

pub(super) const GATE: Table = Table {
    path: "gate",
    settings: &[
        Setting {
            name: "name",
            kind: Kind::Text(Form::Plain),
            default: Default::Required("portal"),
            about: "Tells gates apart in records and metrics: letters, digits, `-`, `_` and `.`, at most 64",
        },
        Setting {
            name: "vendor",
            kind: Kind::Word(&["bitrix24", "ringcentral", "livechat"]),
            default: Default::Required("bitrix24"),
            about: "The API's dialect",
        },
        Setting {
            name: "listen",
            kind: Kind::Text(Form::Address),
            default: Default::Required("127.0.0.1:9404"),
            about: "Where the app's base URL points; port 0 takes one that is free (see `serve --ready-file`)",
        },
        Setting {
            name: "upstream",
            kind: Kind::Text(Form::Origin),
            default: Default::Required("https://portal.bitrix24.com"),
            about: "The vendor's address",
        },
        Setting {
            name: "authorization_server",
            kind: Kind::Text(Form::Origin),
            default: Default::Said(
                "`https://oauth.bitrix.info`, `https://platform.ringcentral.com`, `https://accounts.livechat.com`; for an \
                 upstream on this machine, the upstream",
            ),
            about: "Where token traffic and LiveChat's accounts go",
        },
        Setting {
            name: "mode",
            kind: MODES,
            default: Default::Text("enforce"),
            about: "`report` watches: it forwards everything and records what it would have refused; start with it and look \
                    at `would_deny`. `off` forwards, records, and does not judge",
        },
        Setting {
            name: "unknown_token",
            kind: Kind::Word(&["refuse", "assume", "ask", "forward"]),
            default: Default::Text("refuse"),
            about: "A token nobody knows gets nothing; `ask` asks the vendor; `assume` suits apps whose tokens all hold the \
                    same; `forward` only looks",
        },
        Setting {
            name: "assumed_scopes",
            kind: Kind::Texts,
            default: Default::Nothing,
            about: "With `assume`: what the app is registered with",
        },
        Setting {
            name: "introspection",
            kind: Kind::Table(&INTROSPECTION),
            default: Default::Nothing,
            about: "With `ask`: an authorization server (RFC 7662) in the vendor's place",
        },
        Setting {
            name: "questions_per_minute",
            kind: Kind::Whole(1, 60_000),
            default: Default::Number(60),
            about: "The vendor counts questions among the app's calls; a third of them may be put at once",
        },
        Setting {
            name: "ask_secs",
            kind: Kind::Whole(1, 60),
            default: Default::Number(5),
            about: "The longest wait for an answer to a question; then 503",
        },
        Setting {
            name: "max_grant_age_secs",
            kind: Kind::Whole(0, 10 * 365 * 86_400),
            default: Default::Said("0; 3600 for LiveChat with `ask`"),
            about: "After which a learned grant is asked about again; 0 is never. LiveChat's 26th token ends the first \
                    without a word",
        },
        Setting {
            name: "grant_source",
            kind: Kind::Word(&["declared", "learned", "narrowest"]),
            default: Default::Text("declared"),
            about: "Which grant counts where a token has a declared and a learned one; `narrowest` is what both allow",
        },
        Setting {
            name: "learns_with",
            kind: Kind::Text(Form::Plain),
            default: Default::Nothing,
            about: "The name of another gate of the same vendor and authorization server: each knows what the other learns, \
                    and ends that either hears of end for both. For the vendor's other hosts, by which no login passes",
        },
        Setting {
            name: "unlisted_operation",
            kind: Kind::Word(&["refuse", "prefix", "forward"]),
            default: Default::Text("prefix"),
            about: "The vendor's own rule for names that no table has, marked as assumed; `refuse` opens none, `forward` all",
        },
        Setting {
            name: "batch",
            kind: Kind::Word(&["split", "reject"]),
            default: Default::Text("split"),
            about: "The permitted commands of a batch go on; `reject` refuses it whole",
        },
        Setting {
            name: "signed_links",
            kind: Kind::Word(&["refuse", "forward"]),
            default: Default::Text("refuse"),
            about: "Links that the portal signed may come without a credential; `forward` lets them",
        },
        Setting {
            name: "redirects",
            kind: Kind::Word(&["refuse", "pass"]),
            default: Default::Text("refuse"),
            about: "To another authority: an SDK would follow with the token, past the gate",
        },
        Setting {
            name: "tls",
            kind: Kind::Table(&TLS),
            default: Default::Nothing,
            about: "TLS towards the app, with HTTP/2 and HTTP/1.1",
        },
        Setting {
            name: "upstream_ca",
            kind: Kind::Text(Form::Path),
            default: Default::Said("compiled-in roots"),
            about: "One more CA to trust for the upstream, PEM",
        },
        Setting {
            name: "allow_plain_upstream",
            kind: Kind::Flag,
            default: Default::Off,
            about: "Tokens do not travel in the clear, but to this machine",
        },
        Setting {
            name: "connect",
            kind: Kind::Text(Form::Plain),
            default: Default::Said("resolve `upstream`"),
            about: "Connect to this `host:port` instead, as a hosts file would",
        },
        Setting {
            name: "private_addresses",
            kind: Kind::Word(&["allow", "refuse"]),
            default: Default::Text("allow"),
            about: "`refuse`: what the names of upstream and authorization server resolve to must be public, so that a forged \
                    answer of a resolver cannot lead into your own network. An address written here is used as it is",
        },
        Setting {
            name: "hosts",
            kind: Kind::Texts,
            default: Default::Said("any"),
            about: "Answer only for these values of `Host`",
        },
        Setting {
            name: "guarantee",
            kind: Kind::Word(&["strict", "durable", "best_effort"]),
            default: Default::Said("that of `audit`"),
            about: "As `audit.guarantee`, for this gate",
        },
        Setting {
            name: "app",
            kind: Kind::Text(Form::Plain),
            default: Default::Said("the gate's name"),
            about: "The calling app's name in the records",
        },
        Setting {
            name: "grant",
            kind: Kind::Tables(&GRANT),
            default: Default::Nothing,
            about: "A declared grant: for webhooks and other tokens that stay",
        },
        Setting {
            name: "rule",
            kind: Kind::Tables(&RULE),
            default: Default::Nothing,
            about: "Narrower than the vendor's grant; the first match decides",
        },
    ],
};

const TLS: Table = Table {
    path: "gate.tls",
    settings: &tls_settings(),
};

const INTROSPECTION: Table = Table {
    path: "gate.introspection",
    settings: &[
        Setting {
            name: "endpoint",
            kind: Kind::Text(Form::Url),
            default: Default::Required("https://login.example.com/oauth2/introspect"),
            about: "The endpoint's whole URL (RFC 7662)",
        },
        Setting {
            name: "client_id",
            kind: Kind::Text(Form::Plain),
            default: Default::Required("grantgate"),
            about: "As the gate is known there",
        },
        Setting {
            name: "client_secret",
            kind: Kind::Secret,
            default: Default::Required("{ file = \"…\" }"),
            about: "Its password there",
        },
    ],
};

const GRANT: Table = Table {
    path: "gate.grant",
    settings: &[
        Setting {
            name: "token",
            kind: Kind::Secret,
            default: Default::Required("{ env = \"PORTAL_TOKEN\" }"),
            about: "The token; of a Bitrix24 webhook `USER_ID/SECRET`, of a LiveChat personal access token `ACCOUNT_ID:PAT`",
        },
        Setting {
            name: "scopes",
            kind: Kind::Texts,
            default: Default::Required("[\"crm\"]"),
            about: "Its scopes as the vendor spells them; `[]` for none",
        },
        Setting {
            name: "user",
            kind: Kind::Text(Form::Plain),
            default: Default::Nothing,
            about: "The vendor's user behind it, for the records",
        },
        Setting {
            name: "expires",
            kind: Kind::Text(Form::Time),
            default: Default::Said("never"),
            about: "When it ends",
        },
    ],
};

const RULE: Table = Table {
    path: "gate.rule",
    settings: &[
        Setting {
            name: "operations",
            kind: Kind::Texts,
            default: Default::Required("[\"crm.*.delete\"]"),
            about: "Names or patterns; `*` is any run of characters. One that fits nothing in the catalogue is an error",
        },
        Setting {
            name: "effect",
            kind: Kind::Word(&["refuse"]),
            default: Default::Nothing,
            about: "`refuse` refuses what the grant may allow; it or `mode`, never both",
        },
        Setting {
            name: "mode",
            kind: MODES,
            default: Default::Nothing,
            about: "The gate's mode for these operations",
        },
    ],
};
