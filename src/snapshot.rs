//! One immutable generation of the configuration: everything that a call is judged by.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::{GateText, Guarantee, OnAuditFailure, OperationText};
use crate::catalogue::Catalogue;
use crate::grants::Grants;
use crate::model::{Operation, TokenIdKey};
use crate::policy::{self, Rules};
use crate::tls;
use crate::upstream;
use crate::vendor::Vendor;

/// One generation of the configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// The generation's number, from 1.
    pub generation: u64,
    /// The gates, in the order of the configuration.
    pub gates: Vec<Gate>,
    /// The limits that all gates share.
    pub limits: Limits,
}

/// One entrance: a vendor, an upstream, its rules and grants.
#[derive(Debug)]
pub struct Gate {
    /// Its position in the configuration.
    pub index: u16,
    /// Its name.
    pub name: String,
    /// The dialect.
    pub vendor: Vendor,
    /// What is known of the vendor's operations.
    pub catalogue: Arc<Catalogue>,
    /// Mode and rules.
    pub rules: Rules,
    /// What is known of tokens.
    pub grants: Arc<Grants>,
    /// The key behind token ids.
    pub token_key: Arc<TokenIdKey>,
    /// The only values of `Host` that it answers for; empty for any.
    pub hosts: Vec<String>,
    /// How a decision is kept before the deed.
    pub guarantee: Guarantee,
    /// What becomes of a call in `report` whose record cannot be written.
    pub on_audit_failure: OnAuditFailure,
    /// What becomes of an upstream redirect to another authority.
    pub redirects: Redirects,
    /// Where its calls go.
    pub upstream: Destination,
    /// Where its token traffic goes.
    pub authorization_server: Destination,
    /// TLS towards the apps, if it is on.
    pub tls: Option<tls::Acceptor>,
    /// Whom it lets in.
    condition: tls::Condition,
    text: GateText,
    operations: Vec<OperationText>,
    numbers: Vec<u32>,
}

/// The parts of a [`Gate`] that are not derived.
#[derive(Debug)]
pub struct GateParts {
    /// See [`Gate::index`].
    pub index: u16,
    /// See [`Gate::name`].
    pub name: String,
    /// The name of the calling app in the records.
    pub app: String,
    /// See [`Gate::vendor`].
    pub vendor: Vendor,
    /// See [`Gate::catalogue`].
    pub catalogue: Arc<Catalogue>,
    /// See [`Gate::rules`].
    pub rules: Rules,
    /// See [`Gate::grants`].
    pub grants: Arc<Grants>,
    /// See [`Gate::token_key`].
    pub token_key: Arc<TokenIdKey>,
    /// See [`Gate::hosts`].
    pub hosts: Vec<String>,
    /// See [`Gate::guarantee`].
    pub guarantee: Guarantee,
    /// See [`Gate::on_audit_failure`].
    pub on_audit_failure: OnAuditFailure,
    /// See [`Gate::redirects`].
    pub redirects: Redirects,
    /// See [`Gate::upstream`].
    pub upstream: Destination,
    /// See [`Gate::authorization_server`].
    pub authorization_server: Destination,
    /// See [`Gate::tls`].
    pub tls: Option<tls::Acceptor>,
    /// The numbers by which the catalogue's operations are counted, in its order.
    pub numbers: Vec<u32>,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To the vendor's API.
    Upstream,
    /// To the vendor's authorization server.
    AuthorizationServer,
}

/// A host that requests go to.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its authority, as in `Host`.
    pub authority: http::HeaderValue,
    /// Its host and port, for records.
    pub text: String,
    /// How to get there.
    pub settings: Arc<upstream::Settings>,
}

/// What becomes of an upstream redirect to another authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Redirects {
    /// In `enforce` it becomes 502: an SDK would follow with the token, past the gate.
    #[default]
    Refuse,
    /// It is passed on.
    Pass,
}

/// Limits on what a call may take, each with its unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest body that is read before the verdict, in bytes.
    pub inspected_body: u64,
    /// All such bodies together, in bytes.
    pub inspected_total: u64,
    /// The most connections from apps that a gate keeps.
    pub connections: u32,
    /// The most calls under way of a gate.
    pub calls_in_flight: u32,
    /// The most calls under way of one token.
    pub calls_per_token: u32,
    /// The largest request head, in bytes.
    pub head: usize,
    /// For a request's head to arrive; also how long an idle connection from an app is kept.
    pub head_timeout: Duration,
    /// Between two pieces of a request's body.
    pub body_idle: Duration,
    /// For the whole body of a request that is read before the verdict.
    pub body_total: Duration,
    /// From sending a call to the head of its answer.
    pub first_byte: Duration,
    /// For calls under way once the program is asked to stop.
    pub grace: Duration,
    /// Between two pieces of an answer's body.
    pub answer_idle: Duration,
    /// From sending a call to the last byte of its answer.
    pub answer_total: Duration,
}

impl Snapshot {
    /// The gate at this position.
    pub fn gate(&self, index: u16) -> Option<&Gate> {
        self.gates.get(usize::from(index))
    }
}

impl Gate {
    /// Puts a gate together and renders what its records have in common.
    pub fn new(generation: u64, parts: GateParts) -> Self {
        let operations = parts
            .catalogue
            .operations()
            .map(|operation| {
                OperationText::new(
                    parts.vendor.name(),
                    operation,
                    policy::required(&operation.requirement),
                )
            })
            .collect();
        Self {
            text: GateText::new(generation, &parts.name, &parts.app),
            operations,
            index: parts.index,
            name: parts.name,
            vendor: parts.vendor,
            catalogue: parts.catalogue,
            rules: parts.rules,
            grants: parts.grants,
            token_key: parts.token_key,
            hosts: parts.hosts,
            guarantee: parts.guarantee,
            on_audit_failure: parts.on_audit_failure,
            redirects: parts.redirects,
            upstream: parts.upstream,
            authorization_server: parts.authorization_server,
            condition: parts
                .tls
                .as_ref()
                .map(tls::Acceptor::condition)
                .unwrap_or_default(),
            tls: parts.tls,
            numbers: parts.numbers,
        }
    }

    /// True for a connection that was made under the condition that holds now: whom a CA let in that is no longer the gate's has
    /// to come again.
    pub fn admits(&self, condition: &tls::Condition) -> bool {
        self.condition == *condition
    }

    /// The host behind a route.
    pub const fn destination(&self, route: Route) -> &Destination {
        match route {
            Route::Upstream => &self.upstream,
            Route::AuthorizationServer => &self.authorization_server,
        }
    }

    /// What every record of this gate has in common.
    pub const fn text(&self) -> &GateText {
        &self.text
    }

    /// The number by which an operation is counted.
    pub fn number(&self, operation: &Operation) -> u32 {
        let index = usize::try_from(operation.index).ok();
        let number = index.and_then(|index| self.numbers.get(index));
        number.copied().unwrap_or(u32::MAX)
    }

    /// What every record of an operation has in common.
    pub fn operation_text(&self, operation: &Operation) -> Option<&OperationText> {
        self.operations.get(usize::try_from(operation.index).ok()?)
    }
}
