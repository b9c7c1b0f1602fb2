//! What must hold for any bytes. The fuzz targets and `tests/corpus.rs` share it.

use std::sync::OnceLock;

use bytes::Bytes;
use grantgate::catalogue::{Catalogue, CatalogueText};
use grantgate::model::{
    Batch, Call, CredentialRead, Grant, GrantView, Member, Mode, Reason, Verdict,
};
use grantgate::policy::{self, Rules};
use grantgate::vendor::{Head, Vendor, edited};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

fn catalogue(vendor: Vendor) -> &'static Catalogue {
    static CATALOGUES: OnceLock<Vec<(Vendor, Catalogue)>> = OnceLock::new();
    let all = CATALOGUES.get_or_init(|| {
        let parse = |vendor: Vendor| {
            let text = vendor.bundled_catalogue();
            (vendor, Catalogue::parse(text).expect("the bundled one"))
        };
        Vendor::ALL.map(parse).into()
    });
    let found = all.iter().find(|(known, _)| *known == vendor);
    &found.expect("every vendor").1
}

/// A request as HTTP's parser left it.
struct Request {
    verb: Method,
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Request {
    fn parse(data: &[u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut parsed = httparse::Request::new(&mut fields);
        let httparse::Status::Complete(length) = parsed.parse(data).ok()? else {
            return None;
        };
        let mut headers = HeaderMap::new();
        for field in parsed.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
        }
        Some(Self {
            verb: Method::from_bytes(parsed.method?.as_bytes()).ok()?,
            target: parsed.path?.to_owned(),
            headers,
            body: data[length..].to_vec(),
        })
    }

    fn read(&self, vendor: Vendor, pieces: usize) -> Call<'_, 'static> {
        let head = Head {
            verb: &self.verb,
            target: &self.target,
            headers: &self.headers,
            has_body: !self.body.is_empty(),
        };
        let mut reader = vendor.read(head, catalogue(vendor));
        for piece in self.body.chunks(pieces) {
            reader.feed(piece);
        }
        reader.finish()
    }
}

/// A request: read alike however it is cut, judged without surprises, and divided into what was judged.
pub fn request(data: &[u8]) {
    let Some(request) = Request::parse(data) else {
        return;
    };
    for vendor in Vendor::ALL {
        read_by(vendor, &request, data.len());
    }
}

fn read_by(vendor: Vendor, request: &Request, seed: usize) {
    let whole = request.read(vendor, usize::MAX);
    for pieces in [1, 7] {
        let cut = request.read(vendor, pieces);
        assert_eq!(
            shown(&whole),
            shown(&cut),
            "reading depends on how the bytes are cut"
        );
    }
    let few = decide(vendor, &whole, &["crm", "ReadAccounts", "chats--access:rw"]);
    let more = decide(
        vendor,
        &whole,
        &[
            "crm",
            "user",
            "task",
            "placement",
            "ReadAccounts",
            "SubscriptionWebhook",
            "chats--access:rw",
            "agents--all:rw",
        ],
    );
    assert!(
        !few.verdict.permitted || more.verdict.permitted,
        "more scopes turned permit into deny"
    );
    for (few, more) in few.children.iter().zip(&more.children) {
        assert!(
            !few.permitted || more.permitted,
            "more scopes turned permit into deny"
        );
    }
    if let Some(batch) = whole
        .batch
        .as_deref()
        .filter(|batch| batch.layout.is_some())
    {
        divide(vendor, request, batch, seed);
    }
}

/// Everything about a call that a verdict or a record could show.
fn shown(call: &Call<'_, '_>) -> String {
    let secret = match &call.credential {
        CredentialRead::One(one) => one.secret.expose(),
        CredentialRead::Missing | CredentialRead::Unclear => &[],
    };
    // Of a request that cannot be read, only that is certain.
    match call.fault {
        Some(_) => "unreadable".to_owned(),
        None => format!("{call:?} {secret:?}"),
    }
}

fn decide<'c>(
    vendor: Vendor,
    call: &Call<'_, 'c>,
    scopes: &[&str],
) -> grantgate::model::Decision<'c> {
    let grant = Grant::declared(vendor.holding(catalogue(vendor), scopes.iter().copied()));
    let view = match call.credential {
        CredentialRead::One(_) => GrantView::Known(&grant),
        CredentialRead::Missing | CredentialRead::Unclear => GrantView::None,
    };
    policy::decide(call, view, &Rules::default(), 0)
}

/// The key under which a member is answered; where that is its place, others move up.
fn key<'m>(vendor: Vendor, member: &'m Member<'_>) -> &'m str {
    match vendor {
        Vendor::LiveChat => "",
        _ => &member.key,
    }
}

/// What is left of a batch reads as what was kept of it.
fn divide(vendor: Vendor, request: &Request, batch: &Batch<'_>, seed: usize) {
    let keeps = |position: usize| (seed >> (position % 8)) & 1 == 0;
    let verdicts: Vec<Verdict<'_>> = (0..batch.members.len())
        .map(|position| Verdict {
            permitted: keeps(position),
            reason: Reason::ScopeMissing,
            missing: Vec::new(),
            mode: Mode::Enforce,
            rule: None,
        })
        .collect();
    let kept: Vec<_> = batch
        .members
        .iter()
        .enumerate()
        .filter(|(position, _)| keeps(*position))
        .map(|(_, member)| (key(vendor, member), member.asked.name()))
        .collect();
    if kept.is_empty() {
        return;
    }
    let division = vendor.divide(&request.target, batch, &verdicts);
    let division = division.expect("a batch with a layout can be divided");
    let rest = Request {
        verb: request.verb.clone(),
        target: division.target.unwrap_or_else(|| request.target.clone()),
        headers: request.headers.clone(),
        body: edited(&request.body, &division.body),
    };
    let call = rest.read(vendor, usize::MAX);
    assert!(
        call.fault.is_none(),
        "what is left cannot be read: {:?}",
        call.fault
    );
    let left: Vec<_> = call
        .members()
        .iter()
        .map(|member| (key(vendor, member), member.asked.name()))
        .collect();
    assert_eq!(left, kept, "what is left is not what was kept");
}

/// An answer to a divided batch: whatever it is, nothing of it is lost but the errors, and cutting makes no difference.
pub fn answer(data: &[u8]) {
    const BATCH: &[u8] = b"POST /rest/batch HTTP/1.1\r\ncontent-type: application/json\r\n\r\n\
        {\"cmd\":{\"a\":\"user.get\",\"b\":\"crm.lead.get\"},\"auth\":\"T\"}";
    let request = Request::parse(BATCH).expect("a request");
    let vendor = Vendor::Bitrix24;
    let call = request.read(vendor, usize::MAX);
    let batch = call.batch.as_deref().expect("a batch");
    let decision = decide(vendor, &call, &["crm"]);
    let spliced = |pieces: usize| {
        let division = vendor.divide(&request.target, batch, &decision.children);
        let division = division.expect("a batch with a layout can be divided");
        let mut splicer = division.splicer;
        let mut out = Vec::new();
        for piece in data.chunks(pieces) {
            out.extend_from_slice(&splicer.feed(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&splicer.finish());
        out
    };
    let whole = spliced(usize::MAX);
    assert!(
        whole.len() + 64 >= data.len()
            || whole
                .windows(18)
                .any(|window| window == b"insufficient_scope")
    );
    // A text that breaks off behind the errors is told apart only once it breaks: what went on cannot be taken back.
    assert_eq!(
        spliced(1).len(),
        spliced(5).len(),
        "splicing depends on how the bytes are cut"
    );
}

/// An answer to a divided batch whose elements are told by their places: it is put together, or it goes nowhere.
pub fn listed_answer(data: &[u8]) {
    const BATCH: &[u8] = b"POST /v3.6/configuration/action/batch_create_agents HTTP/1.1\r\n\
        authorization: Bearer T\r\ncontent-type: application/json\r\n\r\n\
        {\"requests\":[{\"id\":\"a\"},{\"id\":\"x\",\"role\":\"owner\"},{\"id\":\"b\"}]}";
    let request = Request::parse(BATCH).expect("a request");
    let vendor = Vendor::LiveChat;
    let call = request.read(vendor, usize::MAX);
    let batch = call.batch.as_deref().expect("a batch");
    let decision = decide(vendor, &call, &["accounts--all:rw"]);
    let spliced = |pieces: usize| {
        let division = vendor.divide(&request.target, batch, &decision.children);
        let mut splicer = division.expect("a batch with a layout").splicer;
        for piece in data.chunks(pieces) {
            let early = splicer.feed(Bytes::copy_from_slice(piece));
            assert!(early.is_empty(), "nothing leaves before the end");
        }
        let whole = splicer.finish();
        (!splicer.has_failed()).then_some(whole)
    };
    let whole = spliced(usize::MAX);
    assert_eq!(
        spliced(3),
        whole,
        "splicing depends on how the bytes are cut"
    );
    if let Some(whole) = whole {
        let error = b"missing scope accounts.roles.lc--all:rw";
        assert!(whole.len() > data.len());
        assert!(whole.windows(error.len()).any(|window| window == error));
    }
}

/// A catalogue: read, or refused with its line.
pub fn catalogue_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for vendor in Vendor::ALL {
        catalogue_of(vendor.bundled_catalogue(), text);
    }
}

fn catalogue_of(bundled: CatalogueText<'_>, text: &str) {
    for text in [
        CatalogueText {
            operations: text,
            ..bundled
        },
        CatalogueText {
            scopes: text,
            ..bundled
        },
        CatalogueText {
            choices: text,
            ..bundled
        },
        CatalogueText {
            prefixes: text,
            ..bundled
        },
        CatalogueText {
            routes: text,
            ..bundled
        },
    ] {
        if let Err(error) = Catalogue::parse(text) {
            assert!(error.to_string().contains(", line "), "{error}");
        }
    }
}
