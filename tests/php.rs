//! PHP is the judge: whatever the gate would forward must name to PHP the same method, the same commands, the same
//! credential and the same choices as the gate read.
//!
//! `oracle/portal.php` reads as a portal does, behind nginx where there is one. `GRANTGATE_ORACLE_SECS` makes the search
//! as long as one likes, `GRANTGATE_ORACLE_SEED` repeats one. Without PHP the test says that it was skipped;
//! `GRANTGATE_REQUIRE_PHP` makes that a failure.

#[path = "oracle/generate.rs"]
mod generate;
#[path = "oracle/server.rs"]
mod server;

use std::time::{Duration, Instant};

use fastrand::Rng;
use generate::Case;
use grantgate::catalogue::Catalogue;
use grantgate::model::{ApiVersion, Asked, Call, CredentialRead, Inspected, Mode, Reason, Verdict};
use grantgate::vendor::{Head, Vendor, edited};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;
use server::Oracle;

/// How many requests the gate must have been ready to forward: fewer, and the search says little.
const FORWARDED: u32 = 400;

#[test]
fn php_reads_what_the_gate_read() {
    let Some(mut oracle) = Oracle::start() else {
        assert!(
            std::env::var_os("GRANTGATE_REQUIRE_PHP").is_none(),
            "php is required and missing"
        );
        eprintln!("skipped: there is no php to ask");
        return;
    };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("GRANTGATE_ORACLE_SEED").unwrap_or(1);
    let until =
        number("GRANTGATE_ORACLE_SECS").map(|secs| Instant::now() + Duration::from_secs(secs));
    let catalogue = Catalogue::parse(Vendor::Bitrix24.bundled_catalogue()).unwrap();
    let mut rng = Rng::with_seed(seed);
    let (mut made, mut forwarded, mut batches, mut divided) = (0, 0, 0, 0);
    while until.map_or(forwarded < FORWARDED, |until| Instant::now() < until) {
        made += 1;
        let case = generate::case(&mut rng);
        let Some(headers) = headers(&case) else {
            continue;
        };
        let call = read(&catalogue, &case, &headers);
        if !would_forward(&call) {
            continue;
        }
        forwarded += 1;
        compare(
            &catalogue,
            &oracle.ask(&case),
            &call,
            &case,
            &vec![true; call.members().len()],
        );
        let Some(batch) = call
            .batch
            .as_deref()
            .filter(|batch| batch.members.len() > 1)
        else {
            continue;
        };
        batches += 1;
        let kept: Vec<bool> = batch.members.iter().map(|_| rng.bool()).collect();
        if batch.layout.is_none() || !kept.contains(&true) || !kept.contains(&false) {
            continue;
        }
        divided += 1;
        let verdicts: Vec<Verdict<'_>> = kept.iter().map(|kept| verdict(*kept)).collect();
        let division = Vendor::Bitrix24
            .divide(&case.target, batch, &verdicts)
            .unwrap();
        let rest = Case {
            target: division.target.unwrap_or_else(|| case.target.clone()),
            body: edited(&case.body, &division.body),
            ..case.clone()
        };
        compare(&catalogue, &oracle.ask(&rest), &call, &rest, &kept);
    }
    eprintln!(
        "seed {seed}: {made} made, {forwarded} forwarded, {batches} batches, {divided} divided"
    );
    assert!(
        batches > forwarded / 20 && divided > 0,
        "the search finds batches"
    );
}

fn headers(case: &Case) -> Option<HeaderMap> {
    case.headers
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::try_from(name.as_str()).ok()?;
            Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
        })
        .collect()
}

fn read<'r, 'c>(catalogue: &'c Catalogue, case: &'r Case, headers: &'r HeaderMap) -> Call<'r, 'c> {
    let verb: &'static Method = if case.verb == "POST" {
        &Method::POST
    } else {
        &Method::GET
    };
    let head = Head {
        verb,
        target: &case.target,
        headers,
        has_body: !case.body.is_empty(),
    };
    let mut reader = Vendor::Bitrix24.read(head, catalogue);
    for piece in case.body.chunks(7) {
        reader.feed(piece);
    }
    reader.finish()
}

/// True for a call that some set of scopes would open.
fn would_forward(call: &Call<'_, '_>) -> bool {
    let named = matches!(
        call.operation,
        Asked::Listed(_) | Asked::Unlisted { .. } | Asked::Chosen { need: Some(_), .. }
    );
    call.fault.is_none()
        && named
        && matches!(call.credential, CredentialRead::One(_))
        && call.inspected != Inspected::Unparseable
}

fn compare(catalogue: &Catalogue, php: &Value, call: &Call<'_, '_>, case: &Case, kept: &[bool]) {
    if php.is_null() {
        // The server in front refused it: nothing runs.
        return;
    }
    let said = format!("{case:?}\nPHP: {php}\ngate: {call:?}");
    let lower = |name: &str| name.to_ascii_lowercase();
    let api = if call.operation.version() == ApiVersion::V3 {
        "v3"
    } else {
        "v2"
    };
    assert_eq!(php["api"], api, "{said}");
    assert_eq!(php["method"], lower(call.operation.name()), "{said}");
    let CredentialRead::One(credential) = &call.credential else {
        panic!("only calls with a credential are compared")
    };
    let credential = String::from_utf8_lossy(credential.secret.expose()).into_owned();
    assert_eq!(php["credential"], credential, "{said}");
    assert_eq!(php["signed"], call.signed, "{said}");
    compare_choice(catalogue, &php["choices"], &call.operation, &said);
    let commands = php["commands"].as_array().unwrap();
    let members: Vec<_> = call
        .members()
        .iter()
        .zip(kept)
        .filter(|(_, kept)| **kept)
        .map(|(member, _)| member)
        .collect();
    assert_eq!(commands.len(), members.len(), "{said}");
    for (command, member) in commands.iter().zip(members) {
        assert_eq!(command["key"], *member.key, "{said}");
        assert_eq!(command["method"], lower(member.asked.name()), "{said}");
        let closed = matches!(member.asked, Asked::Closed { .. });
        assert!(closed || command["token"] == false, "{said}");
        compare_choice(catalogue, &command["choices"], &member.asked, &said);
    }
    if let Some(batch) = &call.batch {
        assert_eq!(php["halt"], batch.halt, "{said}");
    }
}

/// The need that was chosen is the one of the value that PHP reads.
fn compare_choice(catalogue: &Catalogue, choices: &Value, asked: &Asked<'_>, said: &str) {
    let Asked::Chosen {
        operation,
        need: Some(need),
    } = asked
    else {
        return;
    };
    let parameter = match operation.name.to_ascii_lowercase().as_str() {
        "event.bind" => "event",
        "placement.bind" => "placement",
        name if name.starts_with("userfieldconfig.") => "moduleid",
        _ => return,
    };
    let value = choices[parameter].as_str();
    assert_eq!(
        catalogue.choose(operation, value),
        Some(need.as_ref()),
        "{parameter} {value:?}: {said}"
    );
}

fn verdict(kept: bool) -> Verdict<'static> {
    Verdict {
        permitted: kept,
        reason: if kept {
            Reason::Permitted
        } else {
            Reason::ScopeMissing
        },
        missing: Vec::new(),
        mode: Mode::Enforce,
        rule: None,
    }
}
