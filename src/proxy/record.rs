//! Step 5: the decision is in the journal before anything leaves.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Version};

use super::exchange::{Arrival, Exchange};
use super::identify::Identity;
use super::span::{CallSpan, Facts};
use super::{Connection, Core};
use crate::audit::{
    About, CallFacts, DecisionRecord, EventId, OnAuditFailure, Receipt, RequestFacts,
};
use crate::model::{Asked, Call, Decision, Mode, Reason, Server, TraceParent};
use crate::policy;
use crate::snapshot::{Gate, Route};
use crate::telemetry::{CallKey, OperationKey};

/// How long a call in `report` waits for the journal.
const REPORT_PATIENCE: Duration = Duration::from_millis(50);

/// How an app names its requests. Here and below as names: a text would be read as one for each call.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The span that the app's request belongs to (W3C Trace Context, section 3.2).
static TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// A record that has been handed to the journal.
#[derive(Debug)]
pub(super) struct Recording(Receipt);

/// Proof that the decision's record is kept as its gate demands. Only this module can make one.
#[derive(Debug)]
pub(super) struct Recorded(());

/// Hands the decision's record to the journal, counts it, and opens the exchange that will complete it.
#[expect(
    clippy::too_many_arguments,
    reason = "a record shows every side of a call"
)]
pub(super) fn decision(
    core: &Arc<Core>,
    gate: &Gate,
    connection: &Connection,
    arrival: Arrival,
    head: &Parts,
    call: &Call<'_, '_>,
    identity: &Identity<'_>,
    decision: &Decision<'_>,
    body_bytes: u64,
) -> (Box<Exchange>, Recording) {
    let event = EventId::new(arrival.time);
    let target = head.uri.path_and_query();
    let path = gate
        .vendor
        .redact_path(target.map_or("", |target| target.path()));
    let query = if path.is_empty() {
        ""
    } else {
        target.and_then(|target| target.query()).unwrap_or_default()
    };
    let rendered = call
        .operation
        .operation()
        .and_then(|operation| gate.operation_text(operation));
    let required = match &call.operation {
        Asked::Chosen { .. } | Asked::Unlisted { .. } => {
            call.operation.need().map(policy::required)
        }
        _ => None,
    };
    let route = match call.server {
        Server::Authorization => Route::AuthorizationServer,
        Server::Resource => Route::Upstream,
    };
    let field = |name| head.headers.get(name).map(HeaderValue::as_bytes);
    let request_id = field(&REQUEST_ID).filter(fits_id);
    let trace = field(&TRACE_PARENT).and_then(TraceParent::parse);
    let record = DecisionRecord {
        facts: CallFacts {
            event,
            time: arrival.time,
            gate: gate.text(),
            source: &connection.peer,
            client: connection
                .client
                .as_ref()
                .map(|client| (client.id.as_str(), client.source)),
            vendor: gate.vendor.name(),
            request: RequestFacts {
                verb: known_verb(&head.method),
                version: match head.version {
                    Version::HTTP_10 => "1.0",
                    Version::HTTP_2 => "2",
                    _ => "1.1",
                },
                path: &path,
                query,
                client_request_id: request_id,
                trace,
                body_bytes,
                inspected: call.inspected,
            },
        },
        operation: &call.operation,
        rendered,
        required,
        verdict: &decision.verdict,
        members: call.members(),
        children: &decision.children,
        about: About {
            handlers: &call.handlers,
            targets: &call.targets,
            author: call.author.as_deref(),
        },
        token: identity.token,
        grant: identity.grant(),
        destination: &gate.destination(route).text,
    };
    let receipt = core
        .outbox
        .decision(gate.guarantee, goes_on(decision, gate), |out| {
            record.write(out);
        });
    count(core, gate, call, decision);
    // It goes along the whole path.
    let mut exchange = Box::new(Exchange::new(core, event, arrival, route, call.leads_away));
    exchange.decision = Some(receipt.clone());
    exchange.span = CallSpan::begin(&Facts {
        event,
        gate: &gate.name,
        vendor: gate.vendor.name(),
        operation: call.operation.name(),
        method: known_verb(&head.method),
        verdict: &decision.verdict,
        headers: &head.headers,
    });
    tracing::debug!(
        decision = %event,
        gate = gate.name,
        verdict = decision.verdict.word().as_str(),
        reason = decision.verdict.reason.as_str(),
        operation = call.operation.name(),
        request_id = request_id.and_then(|id| str::from_utf8(id).ok()),
        trace_id = trace.map(|trace| trace.trace_id),
        "a call is decided"
    );
    (exchange, Recording(receipt))
}

/// Counts a call, and of a batch the permitted members.
fn count(core: &Core, gate: &Gate, call: &Call<'_, '_>, decision: &Decision<'_>) {
    core.counts.count(CallKey {
        gate: gate.index,
        decision: decision.verdict.word(),
        reason: decision.verdict.reason,
        operation: match &call.operation {
            Asked::Listed(operation) | Asked::Chosen { operation, .. } => {
                OperationKey::Listed(gate.number(operation))
            }
            Asked::Unlisted { .. } | Asked::Closed { .. } => OperationKey::Unlisted,
            Asked::TokenTraffic(_) => OperationKey::TokenTraffic,
            Asked::Preflight => OperationKey::Preflight,
            Asked::Unparsed => OperationKey::Unparsed,
        },
    });
    let members = call.members().iter().zip(&decision.children);
    let permitted = members.filter(|(_, verdict)| verdict.reason == Reason::Permitted);
    if call.batch.is_some() {
        let operations = permitted.filter_map(|(member, _)| member.asked.operation());
        core.counts.count_members(
            gate.index,
            operations.map(|operation| gate.number(operation)),
        );
    }
}

impl Recording {
    /// Waits for the journal; `None` if the call must not go on without its record.
    pub(super) async fn settled(self, decision: &Decision<'_>, gate: &Gate) -> Option<Recorded> {
        let recorded = if goes_on(decision, gate) {
            // Watching does no harm: the call goes on, and the journal declares what it lost.
            let _ = self.0.recorded_within(REPORT_PATIENCE).await;
            true
        } else {
            self.0.recorded().await.is_ok()
        };
        recorded.then_some(Recorded(()))
    }
}

/// True for a call that goes on whatever becomes of its record.
fn goes_on(decision: &Decision<'_>, gate: &Gate) -> bool {
    decision.verdict.mode != Mode::Enforce && gate.on_audit_failure == OnAuditFailure::Forward
}

/// The verb, where it is one of HTTP's: any other text was not read and is not shown.
fn known_verb(verb: &Method) -> &str {
    match verb.as_str() {
        known @ ("GET" | "POST" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "PATCH" | "TRACE"
        | "CONNECT") => known,
        _ => "unknown",
    }
}

/// The app's own request id, where it fits `[A-Za-z0-9._-]{1,128}`.
fn fits_id(id: &&[u8]) -> bool {
    let fits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=128).contains(&id.len()) && id.iter().all(fits)
}
