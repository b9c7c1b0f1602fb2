//! Vendor behaviour as executable prose: each example of the files in `bitrix24/`, `ringcentral/` and `livechat/` is read, decided and answered.

use grantgate::catalogue::Catalogue;
use grantgate::model::{CredentialRead, Grant, GrantView, Reason};
use grantgate::policy::{self, Rules};
use grantgate::vendor::{Head, Refusal, Vendor};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// Each file, its vendor, and how many examples it has at least.
const PROSE: [(&str, Vendor, &str, usize); 5] = [
    (
        "bitrix24/calls.md",
        Vendor::Bitrix24,
        include_str!("bitrix24/calls.md"),
        24,
    ),
    (
        "bitrix24/batches.md",
        Vendor::Bitrix24,
        include_str!("bitrix24/batches.md"),
        20,
    ),
    (
        "bitrix24/dialect.md",
        Vendor::Bitrix24,
        include_str!("bitrix24/dialect.md"),
        20,
    ),
    (
        "ringcentral/calls.md",
        Vendor::RingCentral,
        include_str!("ringcentral/calls.md"),
        30,
    ),
    (
        "livechat/calls.md",
        Vendor::LiveChat,
        include_str!("livechat/calls.md"),
        30,
    ),
];

struct Example<'p> {
    line: usize,
    scopes: Vec<&'p str>,
    verb: &'p str,
    target: &'p str,
    headers: HeaderMap,
    body: String,
    expected: &'p str,
}

fn examples(prose: &'static str) -> Vec<Example<'static>> {
    let mut examples = Vec::new();
    let mut lines = prose.lines().enumerate();
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
        // The lines between the head and what is expected; a form of several parts has several.
        let head = block.iter().skip(2).position(|text| text.is_empty());
        let body = head.map_or_else(String::new, |blank| {
            block[blank + 3..block.len() - 1].join("\r\n")
        });
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
    for (file, vendor, prose, least) in PROSE {
        let catalogue = Catalogue::parse(vendor.bundled_catalogue()).unwrap();
        let examples = examples(prose);
        assert!(examples.len() >= least, "{file}: {}", examples.len());
        for example in examples {
            let (line, target) = (example.line, example.target);
            assert_eq!(
                said(vendor, &catalogue, &example),
                example.expected,
                "the example at line {line} of {file}: {target}"
            );
        }
    }
}

/// The verdict and the answer in one line.
fn said(vendor: Vendor, catalogue: &Catalogue, example: &Example<'_>) -> String {
    let verb = Method::from_bytes(example.verb.as_bytes()).unwrap();
    let head = Head {
        verb: &verb,
        target: example.target,
        headers: &example.headers,
        has_body: !example.body.is_empty(),
    };
    let mut reader = vendor.read(head, catalogue);
    reader.feed(example.body.as_bytes());
    let call = reader.finish();
    let grant = Grant::declared(vendor.holding(catalogue, example.scopes.iter().copied()));
    let view = match &call.credential {
        CredentialRead::One(one)
            if [b"T".as_slice(), b"1/S", b"acc:pat"].contains(&one.secret.expose()) =>
        {
            GrantView::Known(&grant)
        }
        CredentialRead::One(_) => GrantView::Unknown,
        CredentialRead::Missing | CredentialRead::Unclear => GrantView::None,
    };
    let decision = policy::decide(&call, view, &Rules::default(), 0);
    let verdict = &decision.verdict;
    let mut words = vec![
        if verdict.permitted { "permit" } else { "deny" }.to_owned(),
        verdict.reason.as_str().to_owned(),
    ];
    if !verdict.permitted && verdict.reason != Reason::BatchMemberDenied {
        let answer = vendor.refuse(&Refusal {
            reason: verdict.reason,
            fault: call.fault,
            missing: &verdict.missing,
            version: call.operation.version(),
            answer: call.answer,
            credential: None,
        });
        words.extend([answer.status.to_string(), code(&answer.body)]);
    }
    words.push(verdict.missing.join(","));
    words.extend(
        call.members()
            .iter()
            .zip(&decision.children)
            .map(|(member, child)| {
                let missing = match child.missing.as_slice() {
                    [] => String::new(),
                    missing => format!("({})", missing.join(",")),
                };
                format!("{}={}{missing}", member.key, child.reason.as_str())
            }),
    );
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

/// The error's code, of whatever shape.
fn code(body: &str) -> String {
    if let Some(rest) = body.strip_prefix("<response><error>") {
        return format!("xml:{}", rest.split('<').next().unwrap());
    }
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let said = [
        "/error/code",
        "/error/type",
        "/sub_error",
        "/error",
        "/oauth_exception",
        "/errorCode",
        "/status",
    ];
    let code = said
        .into_iter()
        .find_map(|place| body.pointer(place)?.as_str());
    // The old API of LiveChat has no codes, only texts.
    let text = body
        .pointer("/errors/0")
        .and_then(serde_json::Value::as_str);
    let word = text.and_then(|text| text.split(' ').next());
    code.or(word).unwrap().to_owned()
}
