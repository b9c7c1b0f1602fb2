//! Grantgate is a reverse proxy that stands between an app and the REST APIs of Bitrix24, RingCentral and LiveChat. It
//! knows which scopes each access token was granted and which scope each method needs. A call outside the grant is
//! refused, or only logged; the rest is forwarded. Every verdict is written to an audit log first.
//!
//! # Life of a request
//!
//! [`proxy`] holds the whole path in one function; each step is one file named after it.
//!
//! 1. **snapshot**: the current generation of the configuration ([`snapshot`]).
//! 2. **read**: the vendor's dialect ([`vendor`]) reads which credential and which operation; the body where the head
//!    does not settle it. Two possible readings are an error, never a guess.
//! 3. **identify**: credential → token id → grant ([`grants`]); an unknown token may be asked about.
//! 4. **decide**: [`policy::decide`] is pure and total: no I/O, no clock, no log.
//! 5. **record**: the decision is in the journal ([`audit`]) before anything leaves.
//! 6. **enforce**: mode × decision → a permission, which is a value, or a refusal in the vendor's own words.
//! 7. **forward**: what is sent is what was decided, byte for byte ([`upstream`]). It takes only a permission.
//! 8. **observe**: is the answer HTTP that an app can take, does it lead the app past the gate, does it teach something of
//!    a token?
//! 9. **respond**: the body streams; the completion record closes with its last byte, on every exit.
//!
//! # Lexicon
//!
//! | word | meaning |
//! |---|---|
//! | vendor | one API dialect: `bitrix24`, `ringcentral`, `livechat` |
//! | gate | one configured entrance: a listener, a vendor, an upstream, its mode and rules |
//! | operation | one vendor method as the catalogue names it; API version and name together are its key |
//! | call | one HTTP request as the vendor would read it: a credential and one or more operations |
//! | credential | where and what: an access token, a webhook's secret, a personal access token |
//! | token id | keyed digest (HMAC-SHA-256, 128 bits) of a credential: the only form that is stored, logged or shown |
//! | scope | one permission code as the vendor spells it |
//! | grant | what one token may do: scopes, user, source, obtained, expires |
//! | requirement | what an operation needs: any of several sets of scopes, each whole; no scope; or unlisted |
//! | decision | permit or deny for the call, with a reason for each operation |
//! | mode | what is done with a decision: `enforce`, `report`, `off` |
//!
//! # Settings, their defaults and why
//!
//! What `state`, `audit` and `admin` say, and the gates' names, vendors and listeners, hold until a restart; everything else
//! is taken over while calls go on, on SIGHUP or once a file has changed.
//!
//! Paths are relative to the working directory. A token or key is `{ file = "…" }`, `{ env = "…" }` or, with a warning,
//! a plain string. What is wrong with a configuration comes all at once, each with line, column and remedy.
//!
//! | setting | default | why |
//! |---|---|---|
//! | `state.dir` | `var` | journal, lock, key behind token ids; one process each |
//! | `state.token_id_key` | made at first start | give it where several instances should name tokens alike |
//! | `state.redis` | none | `redis://` or `rediss://` with host, user, password and database, as a secret: instances of one app tell each other what they learn; takes `token_id_key` |
//! | `state.redis_ca` | compiled-in roots | one more CA to trust for `rediss://` |
//! | `audit.guarantee` | `strict` | a decision survives the loss of power; `durable` the death of the process; `best_effort` never waits and declares what it lost, for gates that watch |
//! | `audit.deadline_ms` | 2000 | long enough for a slow disk, short enough that a hung one is noticed |
//! | `audit.on_audit_failure` | `forward` | watching does no harm; `block` where the log of `report` is evidence |
//! | `audit.reserve_mib` | 32 | room for how calls end once the disk is full; 0 for none |
//! | `audit.second_dir` | none | a second place for the same segments, on another disk; a record counts once it is in one of them |
//! | `audit.segment_mib`, `segment_hours` | 256, 24 | when a segment is closed and the next one begun |
//! | `audit.keep_days`, `keep_mib` | 0, for ever | how long closed segments stay, by age and by what all of them take; the oldest go first |
//! | `admin.listen`, `admin.tls` | `127.0.0.1:9440` | metrics and health are not for everybody |
//! | `catalogue_dir` | compiled in | `DIR/VENDOR/{operations,scopes,choices,prefixes,routes}.tsv` replace what is known, as far as the vendor has them |
//! | `gate.name`, `vendor`, `listen`, `upstream` | none | what only you can know; `upstream` is scheme and host |
//! | `gate.mode` | `enforce` | start with `report` and look at `would_deny` |
//! | `gate.unknown_token` | `refuse` | a token nobody knows gets nothing; `ask` asks the vendor; `assume` suits apps whose tokens all hold the same; `forward` only looks |
//! | `gate.introspection` | none | with `ask`: `{ endpoint = "…", client_id = "…", client_secret = … }`, an authorization server (RFC 7662) in the vendor's place |
//! | `gate.questions_per_minute` | 60 | the vendor counts questions among the app's calls; a third of them may be put at once |
//! | `gate.ask_secs` | 5 | the longest wait for an answer; then 503 |
//! | `gate.max_grant_age_secs` | 0, for ever; 3600 for LiveChat with `ask` | after which a learned grant is asked about again: LiveChat's 26th token ends the first without a word |
//! | `gate.grant_source` | `declared` | which grant counts where a token has a declared and a learned one; `learned`, or `narrowest` for what both allow |
//! | `gate.assumed_scopes` | none | with `assume`: what the app is registered with |
//! | `gate.unlisted_operation` | `prefix` | the vendor's own rule for names that no table has, marked as assumed; `refuse` opens none, `forward` all |
//! | `gate.batch` | `split` | the permitted commands of a batch go on; `reject` refuses it whole |
//! | `gate.signed_links` | `refuse` | links that the portal signed may come without a credential; `forward` lets them |
//! | `gate.authorization_server` | the vendor's | where token traffic and LiveChat's accounts go; for an upstream on this machine, the upstream |
//! | `gate.redirects` | `refuse` | an SDK would follow to another host with the token, past the gate |
//! | `gate.tls` | off | `{ cert = "…", key = "…" }`, HTTP/2 and HTTP/1.1; `client_ca = "…"` inside lets in only apps with a certificate of that CA |
//! | `gate.upstream_ca` | compiled-in roots | one more CA to trust |
//! | `gate.allow_plain_upstream` | `false` | tokens do not travel in the clear, but to this machine |
//! | `gate.connect` | resolve `upstream` | connect here instead, as a hosts file would |
//! | `gate.hosts` | any | answer only for these `Host` values |
//! | `gate.guarantee`, `gate.app` | those of `audit`, the gate's name | per gate |
//! | `gate.grant.*` | none | `token`, `scopes`, `user`, `expires` (RFC 3339) |
//! | `gate.rule.*` | none | `operations` with `effect = "refuse"` or `mode`; the first match decides |
//! | `limits.inspected_body_mib` | 64 | the largest body that is read before the verdict; beyond 256 KiB it waits in a file without a name under `state.dir` |
//! | `limits.inspected_total_mib` | 256 | all of them together, in memory and in files; beyond it 503 |
//! | `limits.connections` | 4096 | connections from apps to one gate, at most half of the descriptors (`RLIMIT_NOFILE`, raised at start); one more is closed at once, counted and recorded (`call.shed`) |
//! | `limits.calls_in_flight` | 1024 | calls under way of one gate, bounded as connections are; one more gets 503 before it is judged, is counted and recorded; a gate in `report` turns none away |
//! | `limits.calls_per_token` | 256 | the same for one token, so that one app cannot take all the room; tokens share 4096 counts |
//! | `limits.head_kib`, `head_secs` | 64, 30 | a request's head; also how long an idle connection from an app is kept |
//! | `limits.body_idle_secs`, `body_secs` | 30, 300 | between two pieces of a body, and for all of it |
//! | `limits.connect_secs` | 5 | name, connection and TLS together |
//! | `limits.first_byte_secs` | 75 | the vendor's own limit is 60 |
//! | `limits.answer_idle_secs` | 60 | between two pieces of an answer, and for an app that takes none |
//! | `limits.pool_idle_secs`, `pool_idle_connections` | 30, 256 | kept connections of a core to an upstream |
//! | `limits.grants` | 100000 | learned grants of a gate in memory, about 160 bytes each; beyond it those that end soonest are on disk only |
//! | `limits.grace_secs` | 30 | for calls under way at the end |
//!
//! # How it stops
//!
//! On SIGTERM or SIGINT, in this order: `/readyz` turns red and nothing new is accepted; idle connections are closed, calls
//! under way get their answers, HTTP/2 peers are told (`GOAWAY`); after `limits.grace_secs`, or on a second signal, what is
//! left is closed and recorded as `aborted`; the cores hand over their last records; the journal writes and syncs them,
//! ends with `audit.stopped`, and is closed; the state directory is released; exit 0.
//!
//! # Reasons
//!
//! [`model::Reason`] is the closed list that responses, records and metrics share; each has its remedy.
//!
//! # Tiers
//!
//! Modules use lower tiers and earlier ones of their own, never upward; a test reads the source and keeps it so:
//! [`model`], [`clock`] · [`policy`], [`catalogue`] · [`vendor`] · [`telemetry`], [`tls`], [`store`], [`upstream`],
//! [`audit`], [`oauth`], [`shared`] · [`grants`] · [`snapshot`], [`proxy`] · [`admin`] · [`config`], [`app`], [`cli`], [`emulator`].

pub mod admin;
pub mod app;
pub mod audit;
pub mod catalogue;
pub mod cli;
pub mod clock;
pub mod config;
pub mod docs;
pub mod emulator;
pub mod grants;
pub mod model;
pub mod oauth;
pub mod policy;
pub mod proxy;
pub mod shared;
pub mod snapshot;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod vendor;
