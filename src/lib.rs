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
//! # The handbook
//!
//! [`docs`] has a page for each question of those who run it: [`clients`](docs::clients), [`settings`](docs::settings),
//! [`reasons`](docs::reasons), [`grants`](docs::grants), [`records`](docs::records), [`metrics`](docs::metrics), [`deployment`](docs::deployment),
//! [`threats`](docs::threats), [`tracing`](docs::tracing).
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
//! [`audit`], [`oauth`], [`shared`] · [`grants`] · [`snapshot`], [`proxy`] · [`admin`] · [`config`], [`app`], [`cli`],
//! [`emulator`], [`docs`].

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
