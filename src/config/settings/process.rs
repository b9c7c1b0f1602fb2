//! What the process has once: `[state]`, `[audit]`, `[admin]`, `[limits]`.

use super::{Default, Form, Kind, Setting, Table};

const SECS: Kind = Kind::Whole(1, 86_400);
const COUNT: Kind = Kind::Whole(1, 1_000_000);

/// Certificate and key of a listener.
pub(super) const fn tls_settings() -> [Setting; 3] {
    [
        Setting {
            name: "cert",
            kind: Kind::Text(Form::Path),
            default: Default::Required("certs/dev/gate.pem"),
            about: "The certificate with those between it and the CA, PEM",
        },
        Setting {
            name: "key",
            kind: Kind::Text(Form::Path),
            default: Default::Required("certs/dev/gate.key"),
            about: "Its private key, PEM",
        },
        Setting {
            name: "client_ca",
            kind: Kind::Text(Form::Path),
            default: Default::Nothing,
            about: "Only clients with a certificate of this CA are let in; its name stands in records as `app_id`",
        },
    ]
}

pub(super) const STATE: Table = Table {
    path: "state",
    settings: &[
        Setting {
            name: "dir",
            kind: Kind::Text(Form::Path),
            default: Default::Text("var"),
            about: "Journal, learned grants, lock, and the key behind token ids: one directory for one process",
        },
        Setting {
            name: "token_id_key",
            kind: Kind::Secret,
            default: Default::Said("made at first start"),
            about: "16 bytes at least. Give it where several instances should name tokens alike",
        },
        Setting {
            name: "redis",
            kind: Kind::Secret,
            default: Default::Nothing,
            about: "`redis://` or `rediss://` with host, user, password and database: instances of one app tell each \
                    other what they learn. Takes `token_id_key`",
        },
        Setting {
            name: "redis_ca",
            kind: Kind::Text(Form::Path),
            default: Default::Said("compiled-in roots"),
            about: "One more CA to trust for `rediss://`",
        },
    ],
};

pub(super) const AUDIT: Table = Table {
    path: "audit",
    settings: &[
        Setting {
            name: "guarantee",
            kind: Kind::Word(&["strict", "durable", "best_effort"]),
            default: Default::Text("strict"),
            about: "A decision survives the loss of power (`strict`) or the death of the process (`durable`); \
                    `best_effort` never waits and declares what it lost, for gates that watch",
        },
        Setting {
            name: "deadline_ms",
            kind: Kind::Whole(10, 60_000),
            default: Default::Number(2000),
            about: "The longest wait for the journal: long enough for a slow disk, short enough that a hung one is noticed",
        },
        Setting {
            name: "on_audit_failure",
            kind: Kind::Word(&["forward", "block"]),
            default: Default::Text("forward"),
            about: "What a gate that watches does without a journal: watching does no harm; `block` where its log is evidence",
        },
        Setting {
            name: "reserve_mib",
            kind: Kind::Whole(0, 65_536),
            default: Default::Number(32),
            about: "Room for how calls end once the disk is full; 0 for none",
        },
        Setting {
            name: "second_dir",
            kind: Kind::Text(Form::Path),
            default: Default::Nothing,
            about: "A second place for the same segments, on another disk; a record counts once it is in one of them",
        },
        Setting {
            name: "segment_mib",
            kind: Kind::Whole(1, 65_536),
            default: Default::Number(256),
            about: "A segment of this size is closed and the next one begun",
        },
        Setting {
            name: "segment_hours",
            kind: Kind::Whole(1, 8760),
            default: Default::Number(24),
            about: "So is one of this age",
        },
        Setting {
            name: "keep_days",
            kind: Kind::Whole(0, 36_500),
            default: Default::Number(0),
            about: "How long closed segments stay; 0 is for ever, since nobody should lose evidence by not choosing",
        },
        Setting {
            name: "keep_mib",
            kind: Kind::Whole(0, 1 << 30),
            default: Default::Number(0),
            about: "How much all segments take together; the oldest go first; 0 is without bound",
        },
    ],
};

pub(super) const ADMIN: Table = Table {
    path: "admin",
    settings: &[
        Setting {
            name: "listen",
            kind: Kind::Text(Form::Address),
            default: Default::Text("127.0.0.1:9440"),
            about: "Metrics and health are not for everybody",
        },
        Setting {
            name: "tls",
            kind: Kind::Table(&ADMIN_TLS),
            default: Default::Nothing,
            about: "TLS of the admin listener",
        },
    ],
};

const ADMIN_TLS: Table = Table {
    path: "admin.tls",
    settings: &tls_settings(),
};

pub(super) const LIMITS: Table = Table {
    path: "limits",
    settings: &[
        Setting {
            name: "inspected_body_mib",
            kind: Kind::Whole(1, 1024),
            default: Default::Number(64),
            about: "The largest body that is read before the verdict; beyond 256 KiB it waits in a file without a name \
                    under `state.dir`",
        },
        Setting {
            name: "inspected_total_mib",
            kind: Kind::Whole(1, 65_536),
            default: Default::Number(256),
            about: "All of them together, in memory and in files; beyond it 503. Each gate has an equal share of it, though never less \
                    than one body takes: nobody's bodies shut another gate's out",
        },
        Setting {
            name: "connections",
            kind: COUNT,
            default: Default::Number(4096),
            about: "Connections from apps to one gate, at most half of the descriptors (`RLIMIT_NOFILE`, raised at start); \
                    one more is closed at once, counted and recorded (`call.shed`)",
        },
        Setting {
            name: "calls_in_flight",
            kind: COUNT,
            default: Default::Number(1024),
            about: "Calls under way of one gate, bounded as connections are; one more gets 503 before it is judged, is \
                    counted and recorded; a gate in `report` turns none away",
        },
        Setting {
            name: "calls_per_token",
            kind: COUNT,
            default: Default::Number(256),
            about: "The same for one token, so that one app cannot take all the room. Tokens are counted by hash: two may share a count",
        },
        Setting {
            name: "head_kib",
            kind: Kind::Whole(8, 1024),
            default: Default::Number(64),
            about: "The largest head of a request",
        },
        Setting {
            name: "head_secs",
            kind: SECS,
            default: Default::Number(30),
            about: "How long a head may take; also how long an idle connection from an app is kept",
        },
        Setting {
            name: "body_idle_secs",
            kind: SECS,
            default: Default::Number(30),
            about: "Between two pieces of a body",
        },
        Setting {
            name: "body_secs",
            kind: SECS,
            default: Default::Number(300),
            about: "For all of a body that is read before the verdict",
        },
        Setting {
            name: "connect_secs",
            kind: SECS,
            default: Default::Number(5),
            about: "Name, connection and TLS of an upstream together; never longer than three quarters of `first_byte_secs`",
        },
        Setting {
            name: "first_byte_secs",
            kind: SECS,
            default: Default::Number(75),
            about: "Until the vendor's answer begins; the vendors' own limit is 60",
        },
        Setting {
            name: "answer_idle_secs",
            kind: SECS,
            default: Default::Number(60),
            about: "Between two pieces of an answer, and for an app that takes none",
        },
        Setting {
            name: "answer_secs",
            kind: SECS,
            default: Default::Number(3600),
            about: "From sending a call to the last byte of its answer, which is broken off then: who sends or takes a byte now \
                    and then is never idle. Long enough for a recording on a slow line",
        },
        Setting {
            name: "pool_idle_secs",
            kind: SECS,
            default: Default::Number(30),
            about: "How long a connection to an upstream is kept without a call; shorter than what vendors keep",
        },
        Setting {
            name: "pool_idle_connections",
            kind: Kind::Whole(0, 65_536),
            default: Default::Number(256),
            about: "How many idle connections to an upstream each core keeps",
        },
        Setting {
            name: "grants",
            kind: Kind::Whole(16, 100_000_000),
            default: Default::Number(100_000),
            about: "Learned grants of a gate in memory, about 160 bytes each; beyond it those that end soonest are on disk only",
        },
        Setting {
            name: "grace_secs",
            kind: SECS,
            default: Default::Number(30),
            about: "For calls under way at the end",
        },
    ],
};
