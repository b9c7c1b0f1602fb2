//! Vendor behaviour as executable prose: each example of `bitrix24/calls.md` is read, decided and answered.

use std::sync::Arc;

use grantgate::catalogue::Catalogue;
use grantgate::model::{CredentialRead, Grant, GrantSource, GrantView, ScopeSet};
use grantgate::policy::{self, Rules};
use grantgate::vendor::{Head, Refusal, Vendor};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

const PROSE: &str = include_str!("bitrix24/calls.md");

struct Example<'p> {
    line: usize,
    scopes: ScopeSet,
    verb: &'p str,
    target: &'p str,
    headers: HeaderMap,
    body: &'p str,
    expected: &'p str,
}

fn examples() -> Vec<Example<'static>> {
    let mut examples = Vec::new();
    let mut lines = PROSE.lines().enumerate();
    while let Some((line, text)) = lines.next() {
        if text != "```" {
            continue;
        }
        let block: Vec<&str> = lines
            .by_ref()
            .map(|(_, text)| text)
            .take_while(|text| *text != "```")
            .collect();
        let (verb, target) = block[1].split_once(' ').unwrap();
        let headers = block[2..block.len() - 1]
            .iter()
            .take_while(|text| !text.is_empty());
        let headers = headers
            .filter_map(|text| text.split_once(": "))
            .map(|(name, value)| {
                (
                    HeaderName::try_from(name).unwrap(),
                    HeaderValue::try_from(value).unwrap(),
                )
            });
        let body = block
            .iter()
            .skip(2)
            .position(|text| text.is_empty())
            .map_or("", |blank| block[blank + 3]);
        examples.push(Example {
            line: line + 1,
            scopes: block[0]
                .split(' ')
                .filter(|scope| !scope.is_empty())
                .collect(),
            verb,
            target,
            headers: headers.collect(),
            body,
            expected: block.last().unwrap(),
        });
    }
    examples
}

#[test]
fn every_example_holds() {
    let catalogue = Catalogue::parse(Vendor::Bitrix24.bundled_catalogue()).unwrap();
    let examples = examples();
    assert!(examples.len() >= 24, "{} examples", examples.len());
    for example in examples {
        let verb = Method::from_bytes(example.verb.as_bytes()).unwrap();
        let head = Head {
            verb: &verb,
            target: example.target,
            headers: &example.headers,
            has_body: !example.body.is_empty(),
        };
        let mut reader = Vendor::Bitrix24.read(head, &catalogue);
        reader.feed(example.body.as_bytes());
        let call = reader.finish();
        let grant = Grant {
            scopes: Arc::new(example.scopes.clone()),
            user: None,
            obtained: 0,
            expires: Grant::NEVER,
            source: GrantSource::Config,
        };
        let view = match &call.credential {
            CredentialRead::One(one)
                if [b"T".as_slice(), b"1/S"].contains(&one.secret.expose()) =>
            {
                GrantView::Known(&grant)
            }
            CredentialRead::One(_) => GrantView::Unknown,
            CredentialRead::Missing | CredentialRead::Unclear => GrantView::None,
        };
        let verdict = policy::decide(&call, view, &Rules::default(), 0).verdict;
        let said = if verdict.permitted {
            format!("permit {}", verdict.reason.as_str())
        } else {
            let answer = Vendor::Bitrix24.refuse(&Refusal {
                reason: verdict.reason,
                fault: call.fault,
                missing: &verdict.missing,
                version: call.operation.version(),
                credential: None,
            });
            let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            let words = [
                "deny".to_owned(),
                verdict.reason.as_str().to_owned(),
                answer.status.to_string(),
                body["error"].as_str().unwrap().to_owned(),
                verdict.missing.join(","),
            ];
            words.join(" ").trim_end().to_owned()
        };
        assert_eq!(
            said, example.expected,
            "the example at line {}: {}",
            example.line, example.target
        );
    }
}
