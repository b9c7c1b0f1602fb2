//! How a request was read, in words.

use serde::Serialize;

use crate::catalogue::{self};
use crate::model::{
    AnswerShape, ApiVersion, Asked, Call, CredentialRead, Decision, Inspected, Layout, Location,
    Verdict,
};

/// One member of a batch.
#[derive(Debug, Serialize)]
pub(super) struct MemberAnswer {
    pub(super) key: String,
    pub(super) operation: String,
    pub(super) needs: String,
    /// Keys of the members whose answers it refers to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) refers_to: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) missing: Vec<String>,
}

/// The members of a batch, with their verdicts where there are any.
pub(super) fn members(call: &Call<'_, '_>, decision: Option<&Decision<'_>>) -> Vec<MemberAnswer> {
    let verdict = |position: usize| decision?.children.get(position);
    call.members()
        .iter()
        .enumerate()
        .map(|(position, member)| {
            let verdict: Option<&Verdict<'_>> = verdict(position);
            let refers = member.refers.iter().filter_map(|position| {
                let referred = call.members().get(usize::from(*position))?;
                Some(referred.key.to_string())
            });
            MemberAnswer {
                key: member.key.to_string(),
                operation: member.asked.name().to_owned(),
                needs: needs(&member.asked),
                refers_to: refers.collect(),
                verdict: verdict.map(|one| if one.permitted { "permit" } else { "deny" }),
                reason: verdict.map(|one| one.reason.as_str()),
                missing: verdict
                    .map(|one| one.missing.iter().map(ToString::to_string).collect())
                    .unwrap_or_default(),
            }
        })
        .collect()
}

/// What an operation needs as it was called.
pub(super) fn needs(asked: &Asked<'_>) -> String {
    let known = asked.operation().map_or_else(
        || "not in the catalogue".to_owned(),
        |operation| catalogue::describe(&operation.requirement),
    );
    match asked {
        Asked::Chosen {
            need: Some(need), ..
        } => format!("{known}; as it is called: {}", catalogue::describe(need)),
        Asked::Chosen { need: None, .. } => {
            format!("{known}; the call names no value that is known")
        }
        Asked::Unlisted {
            assumed: Some(need),
            ..
        } => format!(
            "{known}; by the vendor's rule for names: {} (assumed)",
            catalogue::describe(need)
        ),
        Asked::Closed { why, .. } => format!("never opened: {why}"),
        Asked::TokenTraffic(_) => "nothing: traffic of the token endpoint".to_owned(),
        Asked::Preflight => "nothing: a CORS preflight".to_owned(),
        Asked::Listed(_) | Asked::Unlisted { .. } | Asked::Unparsed => known,
    }
}

/// What was read from where, and what follows from that: one sentence a line.
pub(super) fn story(call: &Call<'_, '_>) -> Vec<String> {
    let mut story = Vec::new();
    let name = call.operation.name();
    story.push(match &call.operation {
        Asked::Unparsed => "The target names no operation.".to_owned(),
        Asked::Preflight => {
            "An OPTIONS without a credential: the browser asks for leave.".to_owned()
        }
        Asked::TokenTraffic(_) => {
            "The token endpoint: it goes to the authorization server, unjudged.".to_owned()
        }
        operation => {
            let version = match operation.version() {
                ApiVersion::Sole => String::new(),
                version => format!(" of version {}", version.as_str()),
            };
            format!("The target names `{name}`{version}.")
        }
    });
    story.push(match &call.credential {
        CredentialRead::Missing => "No place holds a credential.".to_owned(),
        CredentialRead::Unclear => "The credential cannot be told: see `unclear`.".to_owned(),
        CredentialRead::One(one) => {
            let place = match one.location {
                Location::Header => "the Authorization header",
                Location::Query => "the query",
                Location::Form => "the form",
                Location::Json => "the JSON body",
                Location::Path => "the path",
            };
            let kind = one.kind.as_str();
            format!("One credential, a token of kind `{kind}`, in {place}.")
        }
    });
    match call.inspected {
        Inspected::None => {}
        Inspected::Full => story.push("The body was read to its end.".to_owned()),
        Inspected::OverCap => story.push("The body is larger than what is read.".to_owned()),
        Inspected::Unparseable => story.push("The body was not read.".to_owned()),
    }
    if call.signed {
        story.push(
            "A `token` that the vendor signed brings the scope, before its first `|`.".to_owned(),
        );
    }
    if call.answer == AnswerShape::Xml {
        story.push("The answer is asked for as XML, and so are refusals.".to_owned());
    }
    if let Some(batch) = &call.batch {
        let count = batch.members.len();
        let halts = if batch.halt {
            ", stopping at the first error"
        } else {
            ""
        };
        story.push(format!("A batch of {count} commands{halts}."));
        story.push(match &batch.layout {
            None => {
                "It is all or nothing: its answer cannot be put together from parts.".to_owned()
            }
            Some(layout) => {
                let place = match layout {
                    Layout::Query => "pairs of the query",
                    Layout::Pairs => "pairs of the form",
                    Layout::Parts => "parts of the multipart form",
                    Layout::Object(_) => "members of a JSON object",
                    Layout::Array(_) => "elements of a JSON list, whose keys are their positions",
                };
                format!("Its commands are {place}; refused ones can be taken out.")
            }
        });
    }
    for host in &call.handlers {
        story.push(format!(
            "It makes the vendor send data to {host}, past the gate."
        ));
    }
    story
}
