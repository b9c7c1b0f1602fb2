//! The Bitrix24 catalogue: nothing that was collected is lost, and what each scope opens stands in a table that
//! people review.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use grantgate::catalogue::Catalogue;
use grantgate::model::{
    ApiVersion, Asked, Call, Confidence, Credential, CredentialKind, CredentialRead, Grant,
    GrantView, Holding, Location, Operation, Reason, Requirement, ScopeSet, Secret,
};
use grantgate::policy::{self, Rules};
use grantgate::vendor::Vendor;

const COLLECTED: &str = include_str!("bitrix24/collected.tsv");
const COLLECTED_SCOPES: &str = include_str!("bitrix24/collected-scopes.txt");

fn catalogue() -> Catalogue {
    Catalogue::parse(Vendor::Bitrix24.bundled_catalogue()).unwrap()
}

/// The scope codes that a requirement names, and its parameter.
fn codes(requirement: &Requirement) -> BTreeSet<String> {
    match requirement {
        Requirement::Open | Requirement::NoScope => BTreeSet::from(["basic".to_owned()]),
        Requirement::Unknown => BTreeSet::from(["?".to_owned()]),
        Requirement::AnyOf(sets) => sets
            .iter()
            .flat_map(|set| set.iter().map(str::to_owned))
            .collect(),
        Requirement::Conditional(alternatives) => alternatives
            .iter()
            .flat_map(|one| {
                one.scopes
                    .iter()
                    .map(str::to_owned)
                    .chain([one.parameter.to_string()])
            })
            .collect(),
    }
}

#[test]
fn no_collected_method_is_lost() {
    let catalogue = catalogue();
    let rows: Vec<Vec<&str>> = COLLECTED
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(rows.iter().filter(|row| row[0] == "main").count(), 1709);
    assert_eq!(rows.iter().filter(|row| row[0] == "v3").count(), 110);
    let v3: BTreeSet<&str> = rows
        .iter()
        .filter(|row| row[0] == "v3")
        .map(|row| row[1])
        .collect();
    // Names that exist in both versions stand in the main table with the previous version's scopes.
    let both = [
        "batch",
        "tasks.task.add",
        "tasks.task.delete",
        "tasks.task.get",
        "tasks.task.list",
    ]
    .into_iter()
    .chain(["tasks.task.result.list", "tasks.task.update"])
    .collect::<BTreeSet<_>>();
    let mut seen = BTreeSet::new();
    for row in &rows {
        let (table, name, scopes, mode) = (row[0], row[1], row[2], row[3]);
        let only_v3 = table == "main" && v3.contains(name) && !both.contains(name);
        let version = if table == "v3" || only_v3 {
            ApiVersion::V3
        } else {
            ApiVersion::V2
        };
        let operation = catalogue
            .find(version, name)
            .unwrap_or_else(|| panic!("{name} is lost"));
        assert_eq!(
            operation.name.as_ref(),
            name,
            "the documented spelling is kept"
        );
        seen.insert(operation.index);
        let mut expected: BTreeSet<String> = scopes.split(',').map(str::to_owned).collect();
        // Methods whose documented row hides a need that hangs on a parameter.
        if let Requirement::Conditional(alternatives) = &operation.requirement {
            let parameter = alternatives[0].parameter.to_string();
            if ["{event}", "{event?}", "{hcm?}"].contains(&parameter.as_str()) {
                expected.remove("basic");
                expected.insert(parameter);
            }
        }
        assert_eq!(codes(&operation.requirement), expected, "{name}");
        if let Requirement::AnyOf(sets) = &operation.requirement {
            let whole = sets.len() == 1 && sets[0].len() > 1;
            assert_eq!(
                whole,
                mode == "all" && expected.len() > 1,
                "{name} needs {mode}"
            );
        }
    }
    assert_eq!(
        seen.len(),
        catalogue.operations().len(),
        "every line of the catalogue was collected"
    );
    assert!(
        rows.iter()
            .filter(|row| row[0] == "main" && v3.contains(row[1]))
            .count()
            == 110
    );
}

#[test]
fn no_collected_scope_is_lost() {
    let catalogue = catalogue();
    let collected: BTreeSet<&str> = COLLECTED_SCOPES.lines().collect();
    let known: BTreeSet<&str> = catalogue
        .scopes()
        .iter()
        .map(|info| info.code.as_ref())
        .collect();
    assert_eq!(known, collected);
    assert_eq!(known.len(), 70);
}

#[test]
fn conflicts_are_resolved_and_say_so() {
    let catalogue = catalogue();
    let settled: Vec<&Operation> = catalogue
        .operations()
        .filter(|operation| !operation.provenance.note.is_empty())
        .collect();
    assert_eq!(settled.len(), 31);
    for (name, needs, confidence) in [
        ("voximplant.callback.start", "call", Confidence::Observed),
        ("placement.get", "placement", Confidence::Observed),
        ("sale.delivery.add", "delivery", Confidence::Documented),
        ("sonet_group.create", "sonet_group", Confidence::Documented),
    ] {
        let operation = catalogue.find(ApiVersion::V2, name).unwrap();
        assert_eq!(
            codes(&operation.requirement),
            BTreeSet::from([needs.to_owned()]),
            "{name}"
        );
        assert_eq!(operation.provenance.confidence, confidence, "{name}");
        assert!(operation.provenance.note.contains("sources say"), "{name}");
    }
}

#[test]
fn versions_are_separate_and_case_is_folded() {
    let catalogue = catalogue();
    assert!(catalogue.find(ApiVersion::V2, "CRM.Deal.LIST").is_some());
    assert!(
        catalogue
            .find(ApiVersion::V2, "mail.mailbox.list")
            .is_none(),
        "open under /rest/api/ only"
    );
    assert!(
        catalogue
            .find(ApiVersion::V2, "crm.deal.lis\u{212a}")
            .is_none()
    );
    assert!(catalogue.find(ApiVersion::V2, &"x".repeat(500)).is_none());
    let of = |version| {
        codes(
            &catalogue
                .find(version, "tasks.task.get")
                .unwrap()
                .requirement,
        )
    };
    assert_eq!(
        (of(ApiVersion::V2), of(ApiVersion::V3)),
        (["task".into()].into(), ["tasks".into()].into())
    );
}

/// A call of an operation with a token of these scopes.
fn verdict(operation: &Operation, scopes: &ScopeSet) -> (bool, Reason, Vec<String>) {
    judged(operation, scopes.clone().into())
}

fn judged(operation: &Operation, scopes: Holding) -> (bool, Reason, Vec<String>) {
    let secret = Secret::new(b"t".as_slice());
    let credential = CredentialRead::One(Credential {
        kind: CredentialKind::Access,
        location: Location::Header,
        secret,
    });
    let call = Call::new(credential, Asked::Listed(operation));
    let grant = Grant::declared(scopes);
    let decision = policy::decide(&call, GrantView::Known(&grant), &Rules::default(), 0);
    let missing = decision
        .verdict
        .missing
        .iter()
        .map(ToString::to_string)
        .collect();
    (decision.verdict.permitted, decision.verdict.reason, missing)
}

/// For each operation: the verdict with no scope, the single scopes that open it, and the verdict with all scopes.
fn table(vendor: Vendor, catalogue: &Catalogue) -> String {
    let codes: Vec<&str> = catalogue
        .scopes()
        .iter()
        .map(|info| info.code.as_ref())
        .collect();
    let held = |operation: &Operation, codes: &[&str]| {
        judged(operation, vendor.holding(catalogue, codes.iter().copied()))
    };
    let mut out =
        String::from("# operation | with no scope | opened by one scope alone | with all scopes\n");
    for operation in catalogue.operations() {
        let word = |(permitted, reason, _): (bool, Reason, Vec<String>)| {
            format!(
                "{} {}",
                if permitted { "permit" } else { "deny" },
                reason.as_str()
            )
        };
        let open: Vec<&str> = codes
            .iter()
            .copied()
            .filter(|code| held(operation, &[*code]).0)
            .collect();
        let open = match open.len() {
            0 => "none".to_owned(),
            count if count == codes.len() => "any".to_owned(),
            _ => open.join(" "),
        };
        let (none, all) = (word(held(operation, &[])), word(held(operation, &codes)));
        writeln!(
            out,
            "{} {} | {none} | {open} | {all}",
            operation.version.as_str(),
            operation.name
        )
        .unwrap();
    }
    out
}

#[test]
fn the_decision_table_is_as_reviewed() {
    for vendor in Vendor::ALL {
        let catalogue = Catalogue::parse(vendor.bundled_catalogue()).unwrap();
        compare_table(vendor, &catalogue);
    }
}

fn compare_table(vendor: Vendor, catalogue: &Catalogue) {
    let name = format!("tests/tables/{}-decisions.txt", vendor.name());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let table = table(vendor, catalogue);
    if std::env::var_os("UPDATE_TABLES").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
    let changed: Vec<&str> = table
        .lines()
        .filter(|line| !reviewed.lines().any(|known| known == *line))
        .collect();
    assert!(
        table == reviewed,
        "the table has changed; review it and run again with UPDATE_TABLES=1; first changes: {:#?}",
        &changed[..changed.len().min(10)]
    );
}

#[test]
fn a_scope_stands_for_another_only_where_the_vendor_says_so() {
    let catalogue = catalogue();
    let with = |name: &str, scope: &str| {
        verdict(
            catalogue.find(ApiVersion::V2, name).unwrap(),
            &ScopeSet::new([scope]),
        )
    };
    assert!(with("user.current", "user_brief").0);
    assert!(with("user.current", "user_basic").0);
    assert_eq!(
        with("user.add", "user_basic"),
        (false, Reason::ScopeMissing, vec!["user".to_owned()])
    );
    assert_eq!(with("tasks.task.get", "tasks").1, Reason::ScopeMissing);
    assert_eq!(
        with("socialnetwork.api.workgroup.list", "sonet_group").1,
        Reason::ScopeMissing
    );
    assert_eq!(
        with("userfieldconfig.list", "userfieldconfig").1,
        Reason::OperationUnlisted
    );
}

#[test]
fn more_scopes_never_turn_permit_into_deny() {
    let catalogue = catalogue();
    let codes: Vec<&str> = catalogue
        .scopes()
        .iter()
        .map(|info| info.code.as_ref())
        .collect();
    for operation in catalogue.operations() {
        let mut held: Vec<&str> = Vec::new();
        let mut permitted = verdict(operation, &ScopeSet::default()).0;
        for code in &codes {
            held.push(code);
            let now = verdict(operation, &held.iter().copied().collect()).0;
            assert!(now >= permitted, "{} with {code}", operation.name);
            permitted = now;
        }
    }
}
