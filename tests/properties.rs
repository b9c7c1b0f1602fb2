//! What holds for every call and every batch, whatever is in it.

use grantgate::catalogue::Catalogue;
use grantgate::model::{Decision, Grant, GrantView, Mode, ScopeSet, Verdict};
use grantgate::policy::{self, BatchPolicy, Rules, Settings};
use grantgate::vendor::{Head, Vendor};
use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const SCOPES: [&str; 7] = [
    "crm",
    "user",
    "task",
    "tasks",
    "main",
    "placement",
    "telephony",
];

const COMMANDS: [&str; 9] = [
    "crm.lead.list",
    "crm.deal.get?id=$result[k0][ID]",
    "user.current",
    "task.item.list?x=$result[k1]",
    "event.bind?event=ONTASKADD",
    "placement.bind?PLACEMENT=CALL_CARD",
    "server.time",
    "batch?cmd[a]=user.get",
    "no.such.thing?x=%24result%5Bk2%5D",
];

fn decide(
    catalogue: &Catalogue,
    commands: &[&str],
    halt: bool,
    scopes: &[&str],
    settings: Settings,
) -> (Verdict<'static>, Vec<(bool, bool)>) {
    let commands: serde_json::Map<String, serde_json::Value> = commands
        .iter()
        .enumerate()
        .map(|(at, command)| (format!("k{at}"), (*command).into()))
        .collect();
    let body = serde_json::json!({"cmd": commands, "halt": halt, "auth": "T"}).to_string();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let head = Head {
        verb: &Method::POST,
        target: "/rest/batch",
        headers: &headers,
        has_body: true,
    };
    let mut reader = Vendor::Bitrix24.read(head, catalogue);
    reader.feed(body.as_bytes());
    let call = reader.finish();
    assert_eq!(call.fault, None);
    let grant = Grant::declared(scopes.iter().copied().collect::<ScopeSet>());
    let rules = Rules::new(settings, Vec::new(), catalogue.operations());
    let Decision { verdict, children } = policy::decide(&call, GrantView::Known(&grant), &rules, 0);
    let verdict = Verdict {
        permitted: verdict.permitted,
        reason: verdict.reason,
        missing: Vec::new(),
        mode: verdict.mode,
        rule: verdict.rule,
    };
    let children = children
        .iter()
        .map(|child| (child.permitted, child.holds_back()));
    (verdict, children.collect())
}

fn catalogue() -> &'static Catalogue {
    static CATALOGUE: std::sync::OnceLock<Catalogue> = std::sync::OnceLock::new();
    CATALOGUE.get_or_init(|| Catalogue::parse(Vendor::Bitrix24.bundled_catalogue()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn more_scopes_never_turn_permit_into_deny(
        commands in prop::collection::vec(select(&COMMANDS[..]), 0..8),
        halt: bool,
        more in subsequence(&SCOPES[..], 0..=7),
        cut in 0..8_usize,
    ) {
        let catalogue = catalogue();
        let few = &more[..cut.min(more.len())];
        let (call, members) = decide(catalogue, &commands, halt, few, Settings::default());
        let (wider, others) = decide(catalogue, &commands, halt, &more, Settings::default());
        prop_assert!(!call.permitted || wider.permitted);
        for (member, other) in members.iter().zip(&others) {
            prop_assert!(!member.0 || other.0);
        }
    }

    #[test]
    fn adding_a_member_never_turns_deny_into_permit(
        commands in prop::collection::vec(select(&COMMANDS[..]), 1..8),
        added in select(&COMMANDS[..]),
        halt: bool,
        scopes in subsequence(&SCOPES[..], 0..=7),
    ) {
        let catalogue = catalogue();
        let longer = [commands.as_slice(), &[added]].concat();
        let (_, members) = decide(catalogue, &commands, halt, &scopes, Settings::default());
        let (_, others) = decide(catalogue, &longer, halt, &scopes, Settings::default());
        for (member, other) in members.iter().zip(&others) {
            prop_assert!(member.0 || !other.0, "what was refused alone is refused beside another");
        }
        let whole = Settings { batch: BatchPolicy::Reject, ..Settings::default() };
        let (call, _) = decide(catalogue, &commands, halt, &scopes, whole);
        let (wider, _) = decide(catalogue, &longer, halt, &scopes, whole);
        prop_assert!(call.permitted || !wider.permitted);
    }

    #[test]
    fn report_holds_nothing_back_and_judges_as_enforce_does(
        commands in prop::collection::vec(select(&COMMANDS[..]), 0..8),
        scopes in subsequence(&SCOPES[..], 0..=7),
    ) {
        let catalogue = catalogue();
        let watching = Settings { mode: Mode::Report, ..Settings::default() };
        let (call, members) = decide(catalogue, &commands, false, &scopes, watching);
        let (_, enforced) = decide(catalogue, &commands, false, &scopes, Settings::default());
        prop_assert_eq!(call.mode, Mode::Report);
        prop_assert!(members.iter().all(|member| !member.1));
        let refused = |members: &[(bool, bool)]| members.iter().any(|member| !member.0);
        prop_assert_eq!(refused(&members), refused(&enforced));
        prop_assert_eq!(call.permitted, !refused(&members));
    }
}

/// A request of another vendor, with a token of these scopes.
fn verdict_of(
    vendor: Vendor,
    target: &str,
    body: &str,
    scopes: &[&str],
    pieces: usize,
) -> (bool, Vec<bool>) {
    static CATALOGUES: std::sync::OnceLock<Vec<Catalogue>> = std::sync::OnceLock::new();
    let parse = |vendor: Vendor| Catalogue::parse(vendor.bundled_catalogue()).unwrap();
    let all = CATALOGUES.get_or_init(|| Vendor::ALL.map(parse).into());
    let place = Vendor::ALL.iter().position(|known| *known == vendor);
    let catalogue = &all[place.unwrap()];
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("authorization", HeaderValue::from_static("Bearer T"));
    let head = Head {
        verb: &Method::POST,
        target,
        headers: &headers,
        has_body: true,
    };
    let mut reader = vendor.read(head, catalogue);
    for piece in body.as_bytes().chunks(pieces) {
        reader.feed(piece);
    }
    let call = reader.finish();
    let grant = Grant::declared(vendor.holding(catalogue, scopes.iter().copied()));
    let decision = policy::decide(&call, GrantView::Known(&grant), &Rules::default(), 0);
    let children = decision.children.iter().map(|child| child.permitted);
    (
        decision.verdict.permitted && decision.children.iter().all(|child| child.permitted),
        children.collect(),
    )
}

const FILTERS: [&str; 6] = [
    "/restapi/v1.0/account/~/extension",
    "/restapi/v1.0/account/~/extension/~/presence?detailedTelephonyState=true",
    "/restapi/v1.0/account/~/telephony/sessions",
    "/restapi/v1.0/account/~/extension/7/message-store",
    "/team-messaging/v1/posts",
    "/restapi/v1.0/account/~/no-such-thing",
];

const PERMISSIONS: [&str; 8] = [
    "SubscriptionWebhook",
    "ReadAccounts",
    "EditAccounts",
    "ReadPresence",
    "CallControl",
    "SMS",
    "Glip",
    "UnifiedAppDesktop",
];

fn subscription(filters: &[&str]) -> String {
    serde_json::json!({
        "eventFilters": filters,
        "deliveryMode": { "transportType": "WebHook", "address": "https://app.example/" },
    })
    .to_string()
}

const ELEMENTS: [&str; 5] = [
    r#"{"id":"a"}"#,
    r#"{"id":"b","role":"normal"}"#,
    r#"{"id":"c","role":"administrator"}"#,
    r#"{"id":"d","awaiting_approval":false}"#,
    r#"{"id":"e","awaiting_approval":true,"role":["x"]}"#,
];

const CODES: [&str; 6] = [
    "accounts--all:rc",
    "accounts--all:rw",
    "accounts.roles.lc--all:rw",
    "subscription.lc:rw",
    "agents--all:rw",
    "agents--all:write",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Of a subscription and of a batch alike: more scopes never turn permit into deny, another filter or element never
    /// deny into permit, and how the body is cut changes nothing.
    #[test]
    fn needs_that_stand_in_a_body_only_add_up(
        filters in proptest::collection::vec(select(&FILTERS[..]), 1..5),
        another in select(&FILTERS[..]),
        elements in proptest::collection::vec(select(&ELEMENTS[..]), 1..6),
        element in select(&ELEMENTS[..]),
        permissions in subsequence(&PERMISSIONS[..], 0..=8),
        codes in subsequence(&CODES[..], 0..=6),
        pieces in 1_usize..40,
    ) {
        let target = "/restapi/v1.0/subscription";
        let ask = |filters: &[&str], scopes: &[&str], pieces| {
            verdict_of(Vendor::RingCentral, target, &subscription(filters), scopes, pieces)
        };
        let (permitted, _) = ask(&filters, &permissions, usize::MAX);
        prop_assert_eq!(ask(&filters, &permissions, pieces).0, permitted);
        prop_assert!(!permitted || ask(&filters, &PERMISSIONS, usize::MAX).0);
        let more: Vec<&str> = filters.iter().copied().chain([another]).collect();
        prop_assert!(permitted || !ask(&more, &permissions, usize::MAX).0);

        let target = "/v3.6/configuration/action/batch_create_agents";
        let ask = |elements: &[&str], scopes: &[&str], pieces| {
            let body = format!("{{\"requests\":[{}]}}", elements.join(","));
            verdict_of(Vendor::LiveChat, target, &body, scopes, pieces)
        };
        let (permitted, children) = ask(&elements, &codes, usize::MAX);
        prop_assert_eq!(ask(&elements, &codes, pieces), (permitted, children.clone()));
        let (_, wide) = ask(&elements, &CODES, usize::MAX);
        prop_assert!(children.iter().zip(&wide).all(|(few, more)| !few || *more));
        let more: Vec<&str> = elements.iter().copied().chain([element]).collect();
        let (whole, grown) = ask(&more, &codes, usize::MAX);
        prop_assert!(permitted || !whole);
        prop_assert_eq!(&grown[..children.len()], &children[..], "one element does not decide for another");
    }
}
