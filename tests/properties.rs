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
