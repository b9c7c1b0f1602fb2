//! The commands, from outside: exit codes, words, JSON.

mod support;

use serde_json::Value;
use support::gate::run;

fn json(arguments: &[&str]) -> (i32, Value) {
    let (code, out, err) = run(arguments);
    (
        code,
        serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}")),
    )
}

#[test]
fn explain_answers_with_the_engine_that_serves() {
    for (operation, scopes, code, decision, reason) in [
        ("crm.deal.list", "crm", 0, "permit", "permitted"),
        ("crm.deal.list", "user", 1, "deny", "scope_missing"),
        ("crm.deal.list", "", 1, "deny", "scope_missing"),
        ("CRM.Deal.List", "crm,user", 0, "permit", "permitted"),
        ("server.time", "", 0, "permit", "no_scope_needed"),
        ("no.such.method", "crm", 1, "deny", "operation_unlisted"),
        ("v3:tasks.task.get", "tasks", 0, "permit", "permitted"),
        ("v3:tasks.task.get", "task", 1, "deny", "scope_missing"),
        ("batch", "crm", 0, "permit", "no_scope_needed"),
        (
            "GET /rest/batch?cmd[a]=user.get",
            "crm",
            1,
            "deny",
            "batch_member_denied",
        ),
        ("GET /rest/crm.deal.list", "crm", 0, "permit", "permitted"),
        (
            "POST /rest/1/s3cret/crm.deal.list.json",
            "crm",
            0,
            "permit",
            "permitted",
        ),
        (
            "GET /rest/crm.deal.list?auth=a&auth=b",
            "crm",
            1,
            "deny",
            "ambiguous_credential",
        ),
        (
            "PUT /rest/crm.deal.list",
            "crm",
            1,
            "deny",
            "operation_unlisted",
        ),
    ] {
        let (got, answer) = json(&[
            "explain", "bitrix24", operation, "--scopes", scopes, "--json",
        ]);
        let verdict = &answer["verdict"];
        assert_eq!(
            (got, &verdict["decision"], &verdict["reason"]),
            (code, &decision.into(), &reason.into()),
            "{operation}"
        );
    }
    let (code, answer) = json(&["explain", "bitrix24", "user.current", "--json"]);
    assert_eq!((code, &answer["verdict"]), (0, &Value::Null));
    assert_eq!(
        answer["required"],
        serde_json::json!([["user"], ["user_brief"], ["user_basic"]])
    );
    assert_eq!(answer["confidence"], "documented");
    let (_, out, _) = run(&["explain", "bitrix24", "crm.deal.lst"]);
    assert!(out.contains("similar  crm.deal.list"), "{out}");
    let (_, out, _) = run(&["explain", "bitrix24", "voximplant.callback.start"]);
    assert!(
        out.contains("needs    call") && out.contains("page says telephony"),
        "{out}"
    );
}

#[test]
fn explain_reads_a_raw_request() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("request");
    let text = "POST /rest/crm.deal.list.json HTTP/1.1\r\nHost: portal\r\nContent-Type: application/json\r\n\r\n{\"auth\":\"T\"}";
    std::fs::write(&path, text).unwrap();
    let (code, answer) = json(&[
        "explain",
        "bitrix24",
        "--request",
        path.to_str().unwrap(),
        "--scopes",
        "crm",
        "--json",
    ]);
    assert_eq!(
        (code, &answer["verdict"]["reason"]),
        (0, &"permitted".into())
    );
    assert_eq!(answer["read_as"]["credential"], "access in the json");
    std::fs::write(&path, "nonsense").unwrap();
    assert_ne!(
        run(&["explain", "bitrix24", "--request", path.to_str().unwrap()]).0,
        0
    );
}

#[test]
fn catalogue_counts_and_lists() {
    let (_, counted) = json(&["catalogue", "--json"]);
    assert_eq!(
        (&counted[0]["operations"], &counted[0]["scopes"]),
        (&1716.into(), &70.into())
    );
    let (_, all) = json(&["catalogue", "bitrix24", "--json"]);
    assert_eq!(all.as_array().unwrap().len(), 1716);
    let (_, opened) = json(&[
        "catalogue",
        "bitrix24",
        "--scope",
        "messageservice",
        "--json",
    ]);
    assert_eq!(opened.as_array().unwrap().len(), 5);
    let (code, _, err) = run(&["catalogue", "bitrix24", "--scope", "nonsense"]);
    assert_eq!(code, 2);
    assert!(err.contains("messageservice"), "the codes are named: {err}");
    assert_eq!(run(&["catalogue", "nobody"]).0, 2);
}

fn check(text: &str) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("grantgate.toml");
    std::fs::write(&path, text.replace("DIR", dir.path().to_str().unwrap())).unwrap();
    let (code, out, err) = run(&["check", "--config", path.to_str().unwrap()]);
    (code, out + &err)
}

const VALID: &str = r#"[state]
dir = "DIR/var"
[[gate]]
name = "portal"
vendor = "bitrix24"
listen = "127.0.0.1:9404"
upstream = "https://portal.bitrix24.com"
"#;

#[test]
fn check_says_what_would_run() {
    let (code, out) = check(VALID);
    assert_eq!(code, 0, "{out}");
    for words in [
        "gate portal  bitrix24 on 127.0.0.1:9404",
        "mode       enforce, journal strict",
        "1716 operations",
        "a sync takes",
        "is valid",
    ] {
        assert!(out.contains(words), "{words} in {out}");
    }
}

#[test]
fn every_error_has_its_line_column_and_remedy_and_all_come_at_once() {
    let text = format!(
        "{VALID}moed = \"report\"\ngrant_source = \"both\"\nunlisted_operation = 7\nhosts = \"x\"\nauthorization_server = \"https://x/y\"\n\
         assumed_scopes = [\"crm\"]\nguarantee = \"best_effort\"\n[[gate.rule]]\noperations = [\"crm.nothing.*\"]\n\
         effect = \"refuse\"\nmode = \"report\"\n[[gate.grant]]\nscopes = [\"crm\"]\nexpires = \"tomorrow\"\n\
         [[gate]]\nname = \"a b\"\nvendor = \"zoom\"\nlisten = \"9404\"\nupstream = \"http://portal.example/x\"\n\
         [limits]\ninspected_body_mib = 0\n[audit]\ndeadline_ms = -1\nreserve_mib = 99999999\n[admin]\nport = 1\n"
    );
    let (code, out) = check(&text);
    assert_eq!(code, 2);
    for (words, place) in [
        ("unknown setting `moed`", ":8:1"),
        ("did you mean `mode`?", ""),
        ("`grant_source` has no value \"both\"", ":9:16"),
        (
            "`unlisted_operation` must be a string, not a whole number",
            ":10:22",
        ),
        ("`hosts` must be a list of strings, not a string", ":11:9"),
        (
            "`authorization_server` has more than a scheme and a host",
            ":12:24",
        ),
        ("`assumed_scopes` has no effect", ":13:19"),
        (
            "`best_effort` does not wait for the journal, and this gate enforces",
            ":14:13",
        ),
        (
            "no operation of the catalogue fits `crm.nothing.*`",
            ":16:15",
        ),
        ("an `effect` or a `mode`, never both", ":15:1"),
        ("`token` is missing", ":19:1"),
        ("`expires` is no time", ":21:11"),
        ("`name` is no name", ":23:8"),
        ("`vendor` has no value \"zoom\"", ":24:10"),
        ("`listen` is no address with a port", ":25:10"),
        ("`upstream` has more than a scheme and a host", ":26:12"),
        ("`inspected_body_mib` must be between 1 and 1024", ":28:22"),
        ("`deadline_ms` must be between 10 and 60000", ":30:15"),
        ("`reserve_mib` must be between 0 and 65536", ":31:15"),
        ("unknown setting `port`", ":33:1"),
    ] {
        assert!(out.contains(words), "{words} in\n{out}");
        assert!(
            out.contains(&format!("grantgate.toml{place}")),
            "{words} at {place} in\n{out}"
        );
    }
    assert!(out.contains("has 19 errors"), "{out}");
    assert_eq!(out.matches("= hint: ").count(), 19, "each has a remedy");
}

#[test]
fn set_ups_that_cannot_work_are_refused() {
    for (change, words) in [
        (
            ("https://portal.bitrix24.com", "http://127.0.0.1:9404"),
            "is a gate of this configuration",
        ),
        (
            (
                "upstream = \"https://portal.bitrix24.com\"",
                "upstream = \"https://portal.bitrix24.com\"\nauthorization_server = \"http://127.0.0.1:9404\"",
            ),
            "the authorization_server http://127.0.0.1:9404 is a gate of this configuration",
        ),
        (
            ("https://portal.bitrix24.com", "http://portal.example"),
            "tokens would travel in the clear",
        ),
        (
            ("https://portal.bitrix24.com", "ftp://portal.example"),
            "neither https nor http",
        ),
        (
            ("127.0.0.1:9404", "127.0.0.1:9440"),
            "is listened on already",
        ),
        (("[[gate]]", "[gate]"), "two brackets"),
        (("name = \"portal\"\n", ""), "`name` is missing"),
        (("[state]", "[state"), "-->"),
        (
            ("vendor", "unknown_token = \"assume\"\nvendor"),
            "without `assumed_scopes`",
        ),
        (
            (
                "vendor",
                "tls = { cert = \"nowhere.pem\", key = \"nowhere.key\" }\nvendor",
            ),
            "cannot read nowhere.pem",
        ),
    ] {
        let (code, out) = check(&VALID.replace(change.0, change.1));
        assert_eq!(code, 2, "{out}");
        assert!(out.contains(words), "{words} in\n{out}");
    }
    for (other, words) in [
        ("", "is no gate of this configuration"),
        (
            "name = \"second\"\nvendor = \"livechat\"\nupstream = \"https://api.livechatinc.com\"\n",
            "is a gate of another vendor",
        ),
        (
            "name = \"second\"\nvendor = \"bitrix24\"\nupstream = \"https://b.example\"\nlearns_with = \"portal\"\n",
            "learns with another gate itself",
        ),
        (
            "name = \"second\"\nvendor = \"bitrix24\"\nupstream = \"https://b.example\"\nauthorization_server = \"https://c.example\"\n",
            "has another authorization server",
        ),
    ] {
        let second = if other.is_empty() {
            String::new()
        } else {
            format!("[[gate]]\nlisten = \"127.0.0.1:9405\"\n{other}")
        };
        let (code, out) = check(&format!("{VALID}learns_with = \"second\"\n{second}"));
        assert_eq!(code, 2, "{out}");
        assert!(out.contains(words), "{words} in\n{out}");
    }
    let (code, out) = check("");
    assert_eq!(code, 2);
    assert!(out.contains("no gate is configured"), "{out}");
    let (code, _, err) = run(&["serve", "--config", "nowhere.toml"]);
    assert_eq!(code, 2);
    assert!(
        err.contains("cannot read the configuration nowhere.toml: No such file"),
        "{err}"
    );
}

#[test]
fn a_port_in_use_is_exit_1() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("grantgate.toml");
    let address = listener.local_addr().unwrap().to_string();
    let text = VALID
        .replace("DIR", dir.path().to_str().unwrap())
        .replace("127.0.0.1:9404", &address);
    std::fs::write(&path, text + "[admin]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let (code, _, err) = run(&["serve", "--config", path.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(
        err.contains("cannot listen on") && err.contains("the gate `portal`"),
        "{err}"
    );
}

#[test]
fn shipped_configurations_are_valid() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut checked = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            grantgate::config::Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
            checked += 1;
        }
    }
    assert!(checked >= 1);
}

#[test]
fn audit_commands_say_what_they_cannot_read() {
    for command in ["verify", "show"] {
        let (code, _, err) = run(&["audit", command, "--state-dir", "nowhere"]);
        assert_eq!(code, 2, "{command}");
        assert!(err.contains("cannot read the journal"), "{err}");
    }
}
