//! `explain`: what an operation needs, where that is known from, and the verdict, by the engine that serves.

mod reading;

use std::path::PathBuf;

use anyhow::Context as _;
use http::{HeaderName, HeaderValue, Method, Request};
use serde::Serialize;

use super::output::{colour_of, say, say_json, say_under, tint};
use super::{NO, OK, WrongUse};
use crate::catalogue::Catalogue;
use crate::model::{ApiVersion, Asked, Call, CredentialRead, Decision, Grant, GrantView, Reason};
use crate::policy::{self, Rules};
use crate::proxy::framing;
use crate::vendor::{Head, Vendor};
use reading::MemberAnswer;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The vendor: bitrix24, ringcentral, livechat
    vendor: String,
    /// An operation by name (`crm.deal.list`, `v3:tasks.task.get`, `agent/send_event@3.6`) or as "VERB /path"
    #[arg(required_unless_present = "request")]
    operation: Option<String>,
    /// The scopes that the token holds, separated by commas; "" for none
    #[arg(long, value_name = "SCOPES")]
    scopes: Option<String>,
    /// Read a raw HTTP request from this file instead
    #[arg(long, value_name = "FILE", conflicts_with = "operation")]
    request: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    vendor: &'static str,
    operation: String,
    api_version: &'static str,
    listed: bool,
    requirement: String,
    /// Any of these sets, each whole.
    required: Vec<Vec<String>>,
    access: Option<&'static str>,
    who: Option<String>,
    deprecated: Option<bool>,
    source: Option<String>,
    confidence: Option<&'static str>,
    note: Option<String>,
    read_as: ReadAs,
    verdict: Option<VerdictAnswer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<MemberAnswer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    similar: Vec<String>,
}

/// How the request was read.
#[derive(Debug, Serialize)]
struct ReadAs {
    /// In words, one sentence each.
    story: Vec<String>,
    credential: String,
    fault: Option<&'static str>,
    detail: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct VerdictAnswer {
    decision: &'static str,
    reason: &'static str,
    missing: Vec<String>,
    remedy: &'static str,
    /// How many members of a batch would be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    goes_on: Option<usize>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let vendor = super::catalogue::vendor(&arguments.vendor)?;
    let catalogue = Catalogue::parse(vendor.bundled_catalogue())?;
    let (request, body) = match &arguments.request {
        Some(path) => {
            let bytes =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            raw_request(&bytes)?
        }
        None => (
            request_for(
                vendor,
                &catalogue,
                arguments.operation.as_deref().unwrap_or_default(),
            )?,
            Vec::new(),
        ),
    };
    let (head, ()) = request.into_parts();
    let target = head
        .uri
        .path_and_query()
        .map_or("", http::uri::PathAndQuery::as_str);
    let about = Head {
        verb: &head.method,
        target,
        headers: &head.headers,
        has_body: !body.is_empty(),
    };
    let mut reader = vendor.read(about, &catalogue);
    if let Some(fault) = framing::check(&head, &[]) {
        reader.note(fault);
    }
    reader.feed(&body);
    let call = reader.finish();
    let grant = arguments
        .scopes
        .as_deref()
        .map(|scopes| Grant::declared(vendor.holding(&catalogue, codes(&catalogue, scopes))));
    let answer = answer(vendor, &catalogue, &call, grant.as_ref());
    if arguments.json {
        say_json(&answer);
    } else {
        tell(&answer);
    }
    Ok(match &answer.verdict {
        Some(verdict) if verdict.decision == "deny" => NO,
        _ => OK,
    })
}

/// The codes of a list that is separated by commas or blanks; some codes of vendors hold a blank.
fn codes<'s>(catalogue: &Catalogue, list: &'s str) -> Vec<&'s str> {
    list.split(',')
        .map(str::trim)
        .flat_map(|part| {
            let whole = catalogue.has_scope(part);
            let parts = part.split(' ').filter(move |_| !whole);
            parts.chain(whole.then_some(part))
        })
        .filter(|code| !code.is_empty())
        .collect()
}

fn answer(
    vendor: Vendor,
    catalogue: &Catalogue,
    call: &Call<'_, '_>,
    grant: Option<&Grant>,
) -> Answer {
    let listed = call.operation.operation();
    let (name, version) = (call.operation.name(), call.operation.version());
    let decision = grant.map(|grant| {
        let view = match call.credential {
            CredentialRead::One(_) => GrantView::Known(grant),
            CredentialRead::Missing | CredentialRead::Unclear => GrantView::None,
        };
        policy::decide(call, view, &Rules::default(), 0)
    });
    let verdict = decision.as_ref().map(|Decision { verdict, children }| {
        let goes_on = children.iter().filter(|child| child.permitted).count();
        VerdictAnswer {
            decision: match (verdict.permitted, verdict.reason) {
                (true, Reason::BatchMemberDenied) => "split",
                (true, _) => "permit",
                (false, _) => "deny",
            },
            reason: verdict.reason.as_str(),
            missing: verdict.missing.iter().map(ToString::to_string).collect(),
            remedy: verdict.reason.remedy(),
            goes_on: (!children.is_empty()).then_some(goes_on),
        }
    });
    Answer {
        vendor: vendor.name(),
        operation: listed.map_or(name, |operation| &operation.name).to_owned(),
        api_version: version.as_str(),
        listed: listed.is_some(),
        requirement: reading::needs(&call.operation),
        required: call
            .operation
            .need()
            .map(policy::required)
            .unwrap_or_default()
            .iter()
            .map(|set| set.iter().map(str::to_owned).collect())
            .collect(),
        access: listed.map(|operation| operation.access.as_str()),
        who: listed.map(|operation| operation.who.to_string()),
        deprecated: listed.map(|operation| operation.deprecated),
        source: listed.map(|operation| operation.provenance.source.to_string()),
        confidence: listed.map(|operation| operation.provenance.confidence.as_str()),
        note: listed
            .map(|operation| operation.provenance.note.to_string())
            .filter(|note| !note.is_empty()),
        read_as: ReadAs {
            story: reading::story(call),
            credential: credential(call),
            fault: call.fault.map(|fault| fault.reason.as_str()),
            detail: call.fault.map(|fault| fault.detail),
        },
        verdict,
        members: reading::members(call, decision.as_ref()),
        similar: match (listed, &call.operation) {
            (Some(_), _) | (None, Asked::TokenTraffic(_) | Asked::Preflight) => Vec::new(),
            (None, _) => catalogue
                .similar(version, name)
                .into_iter()
                .map(str::to_owned)
                .collect(),
        },
    }
}

fn credential(call: &Call<'_, '_>) -> String {
    match &call.credential {
        CredentialRead::Missing => "none".to_owned(),
        CredentialRead::Unclear => "more than one, or unclear".to_owned(),
        CredentialRead::One(one) => {
            format!("{} in the {}", one.kind.as_str(), one.location.as_str())
        }
    }
}

fn tell(answer: &Answer) {
    let version = if answer.api_version == ApiVersion::Sole.as_str() {
        String::new()
    } else {
        format!(" {}", answer.api_version)
    };
    say(&format!(
        "{} ({}{version})",
        answer.operation, answer.vendor
    ));
    say_under("needs", &answer.requirement);
    if let (Some(access), Some(who)) = (answer.access, &answer.who) {
        say_under("access", &format!("{access}, by {who}"));
    }
    if answer.deprecated == Some(true) {
        say_under("status", "deprecated");
    }
    if let (Some(source), Some(confidence)) = (&answer.source, answer.confidence) {
        say_under("source", &format!("{source} ({confidence})"));
    }
    if let Some(note) = &answer.note {
        say_under("note", note);
    }
    for (position, sentence) in answer.read_as.story.iter().enumerate() {
        say_under(if position == 0 { "read" } else { "" }, sentence);
    }
    if let (Some(fault), Some(detail)) = (answer.read_as.fault, answer.read_as.detail) {
        say_under("unclear", &format!("{fault}: {detail}"));
    }
    if !answer.similar.is_empty() {
        say_under("similar", &answer.similar.join(", "));
    }
    for member in &answer.members {
        say_under("member", &told(member));
    }
    if let Some(verdict) = &answer.verdict {
        let missing = match verdict.missing.as_slice() {
            [] => String::new(),
            missing => format!(", missing {}", missing.join(", ")),
        };
        let word = tint(verdict.decision, colour_of(verdict.decision));
        say_under("verdict", &format!("{word}: {}{missing}", verdict.reason));
        if !verdict.remedy.is_empty() {
            say_under("remedy", verdict.remedy);
        }
    }
}

/// A member of a batch in one line.
fn told(member: &MemberAnswer) -> String {
    let MemberAnswer {
        key,
        operation,
        needs,
        ..
    } = member;
    let refers = match member.refers_to.as_slice() {
        [] => String::new(),
        keys => format!(", refers to {}", keys.join(", ")),
    };
    let verdict = match (member.verdict, member.reason) {
        (Some(verdict), Some(reason)) => {
            format!("{}: {reason}", tint(verdict, colour_of(verdict)))
        }
        _ => format!("needs {needs}"),
    };
    let missing = match member.missing.as_slice() {
        [] => String::new(),
        missing => format!(", missing {}", missing.join(", ")),
    };
    format!("{key}: {operation}{refers}: {verdict}{missing}")
}

/// The request that calls an operation, with a token that stands for the one whose scopes are given.
fn request_for(
    vendor: Vendor,
    catalogue: &Catalogue,
    operation: &str,
) -> anyhow::Result<Request<()>> {
    let wrong = || WrongUse(unfit(catalogue, operation));
    let example = vendor.example(catalogue, operation).ok_or_else(wrong)?;
    let mut request = Request::builder()
        .method(Method::from_bytes(example.verb.as_bytes()).map_err(|_| wrong())?)
        .uri(example.target.as_str())
        .header(http::header::HOST, "gate.example")
        .body(())
        .map_err(|_| wrong())?;
    for (name, value) in example.headers {
        let value = HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
    }
    if example.wants_token {
        request.headers_mut().insert(
            http::header::AUTHORIZATION,
            HeaderValue::from_static("Bearer explained"),
        );
    }
    Ok(request)
}

/// Why no request calls an operation of this name.
fn unfit(catalogue: &Catalogue, operation: &str) -> String {
    if catalogue.find(ApiVersion::Sole, operation).is_some() {
        return format!("`{operation}` is a frame of the vendor's WebSocket, which no gate opens");
    }
    match catalogue.similar(ApiVersion::Sole, operation).as_slice() {
        [] => format!("`{operation}` is no name that the catalogue has, and no \"VERB /path\""),
        similar => format!(
            "`{operation}` is no name that the catalogue has; similar: {}",
            similar.join(", ")
        ),
    }
}

/// A raw request, read by the parser that hyper uses.
fn raw_request(bytes: &[u8]) -> anyhow::Result<(Request<()>, Vec<u8>)> {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(length) =
        parsed.parse(bytes).context("the file is no HTTP request")?
    else {
        return Err(
            WrongUse("the request's head has no end: an empty line is missing".to_owned()).into(),
        );
    };
    let mut request = Request::builder()
        .method(parsed.method.unwrap_or_default())
        .uri(parsed.path.unwrap_or_default());
    for field in parsed.headers.iter() {
        request = request.header(
            HeaderName::try_from(field.name)?,
            HeaderValue::from_bytes(field.value)?,
        );
    }
    Ok((
        request.body(())?,
        bytes.get(length..).unwrap_or_default().to_vec(),
    ))
}
