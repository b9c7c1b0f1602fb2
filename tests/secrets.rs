//! F29: planted tokens and webhook secrets appear nowhere but on the way to the portal.

mod support;

use support::gate::{Setup, journal_text, run};
use support::{Client, Portal};

const TOKEN: &str = "canary7token8known9aaaa";
const UNKNOWN: &str = "canary7token8unknown9bb";
const HOOK: &str = "canary7hook8secret9cccc";
const ENV: &str = "canary7env8token9dddddd";

const CANARIES: [&str; 4] = [TOKEN, UNKNOWN, HOOK, ENV];

/// A canary as it could have been written: raw, percent-encoded, escaped as JSON may, hex, and base64 at three offsets.
fn spellings(canary: &str) -> Vec<String> {
    let hex: String = canary.bytes().map(|byte| format!("{byte:02x}")).collect();
    let upper = hex.to_uppercase();
    let percent: String = canary.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let escaped: String = canary
        .bytes()
        .map(|byte| format!("\\u{byte:04x}"))
        .collect();
    let mut all = vec![
        canary.to_owned(),
        escaped,
        hex,
        upper,
        percent.clone(),
        percent.to_lowercase(),
    ];
    for offset in 0..3 {
        let text = base64(&[vec![b'x'; offset], canary.bytes().collect()].concat());
        // The first and last groups depend on what stands around.
        all.push(text[4..text.len() - 4].to_owned());
    }
    all
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let number = group.iter().enumerate().fold(0_u32, |sum, (at, byte)| {
            sum | u32::from(*byte) << (16 - 8 * at)
        });
        for place in 0..=group.len() {
            out.push(char::from(
                LETTERS[usize::try_from(number >> (18 - 6 * place) & 63).unwrap()],
            ));
        }
    }
    out
}

fn assert_clean(what: &str, text: &str) {
    for canary in CANARIES {
        for spelling in spellings(canary) {
            assert!(
                !text.contains(&spelling),
                "{what} shows {canary} as {spelling}"
            );
        }
    }
}

/// A secret in every place of batches, forms, signed calls and token traffic.
fn whole_dialect(token: &str) -> Vec<Vec<u8>> {
    let json = |target: &str, body: String| support::post(target, "application/json", &body);
    let form = "application/x-www-form-urlencoded";
    let parts = |name: &str| {
        let part = format!(
            "--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{token}\r\n--X--"
        );
        support::post(
            "/rest/disk.folder.uploadfile",
            "multipart/form-data; boundary=X",
            &part,
        )
    };
    let batch = |command: String| {
        json(
            "/rest/batch",
            format!(
                "{{\"cmd\":[\"{command}\",\"crm.lead.get\",\"user.get\"],\"auth\":\"{token}\"}}"
            ),
        )
    };
    vec![
        batch(format!("crm.lead.get?x={token}")),
        batch(format!("crm.lead.get?auth={token}")),
        batch(format!("crm.lead.get?token={token}|{token}|{token}")),
        batch(format!("crm.lead.get?x=$result[{token}]")),
        batch(format!("crm.lead.get?{token}=1")),
        batch(format!("crm.lead.get#{token}")),
        batch(format!(
            "event.bind?event=ONCRMDEALADD&handler=https://{token}@app.example/{token}?{token}"
        )),
        batch(format!("event.bind?event={token}&handler={token}")),
        json(
            "/rest/api/batch",
            format!(
                "{{\"0\":{{\"method\":\"tasks.task.get\",\"query\":{{\"x\":\"{token}\"}}}},\"auth\":\"{token}\"}}"
            ),
        ),
        json(
            "/rest/api/tasks.task.get",
            format!("{{\"select\":[\"a.{token}\"],\"auth\":\"{token}\"}}"),
        ),
        json(
            "/rest/userfieldconfig.list",
            format!("{{\"moduleId\":\"{token}\",\"auth\":\"{token}\"}}"),
        ),
        json(
            "/rest/crm.deal.add",
            format!(
                "{{\"file\":\"{}\",\"auth\":\"{token}\"}}",
                "x".repeat(300_000)
            ),
        ),
        parts("auth"),
        parts("x"),
        parts("SEF_APPLICATION_CUR_PAGE_URL"),
        support::post(
            &format!("/rest/upload.json?auth={token}&token=crm%7C{token}%7C{token}"),
            "multipart/form-data; boundary=X",
            &format!("--X\r\n{token}"),
        ),
        support::post(
            "/oauth/token/",
            form,
            &format!("grant_type=refresh_token&refresh_token={token}&client_secret={token}"),
        ),
        support::post(
            &format!("/oauth/token?code={token}&client_secret={token}"),
            form,
            &format!("auth={token}"),
        ),
    ]
}

/// F29: the whole corpus of calls, then a search of everything that the gate has written or said.
#[test]
fn f29_planted_secrets_appear_nowhere() {
    let portal = Portal::start();
    let mut setup = Setup::before(&portal.address)
        .grant(TOKEN, &["crm"])
        .grant(&format!("1/{HOOK}"), &["crm"]);
    setup.after += "[[gate.grant]]\ntoken = { env = \"CANARY_TOKEN\" }\nscopes = [\"user\"]\n";
    setup.env.insert("CANARY_TOKEN".into(), ENV.into());
    for mode in ["enforce", "report"] {
        let mut gate = setup.clone().with(&format!("mode = \"{mode}\"")).start();
        let mut answers = String::new();
        for token in [TOKEN, UNKNOWN, ENV] {
            for method in [
                "crm.deal.list",
                "task.item.list",
                "no.such.method",
                "batch",
                "crm.deal.list.xml",
            ] {
                for request in [
                    format!("GET /rest/{method}?auth={token} HTTP/1.1\r\nhost: gate\r\n\r\n"),
                    format!(
                        "GET /rest/{method}?auth={token}&auth={token} HTTP/1.1\r\nhost: gate\r\n\r\n"
                    ),
                    format!(
                        "GET /rest/{method} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {token}\r\n\r\n"
                    ),
                    format!(
                        "GET /rest/{method} HTTP/1.1\r\nhost: gate\r\nauthorization: {token}\r\n\r\n"
                    ),
                    format!("GET /rest/1/{HOOK}/{method} HTTP/1.1\r\nhost: gate\r\n\r\n"),
                    format!("GET /rest/1/{HOOK}/{method}/%2e HTTP/1.1\r\nhost: gate\r\n\r\n"),
                    format!("GET /rest/1/{HOOK} HTTP/1.1\r\nhost: gate\r\n\r\n"),
                    format!("GET /other/{HOOK} HTTP/1.1\r\nhost: gate\r\n\r\n"),
                    format!("GET /rest/{method} HTTP/1.1\r\nhost: {token}\r\nhost: x\r\n\r\n"),
                    format!(
                        "GET /rest/{method} HTTP/1.1\r\nhost: gate\r\nx-{token}: x\r\nconnection: {token}\r\n\r\n"
                    ),
                    body(
                        method,
                        "application/json",
                        &format!("{{\"auth\":\"{token}\"}}"),
                    ),
                    body(
                        method,
                        "application/json",
                        &format!("{{\"auth\":\"{token}\""),
                    ),
                    body(
                        method,
                        "application/x-www-form-urlencoded",
                        &format!("auth={token}"),
                    ),
                    body(method, &format!("text/{token}"), &format!("auth={token}")),
                    format!("{token} / HTTP/1.1\r\n\r\n"),
                ] {
                    let mut client = Client::connect(&gate.address);
                    client.send(request.as_bytes());
                    if let Some(answer) = client.answer() {
                        answers += &format!("{:?} {}\n", answer.headers, answer.text());
                    }
                }
            }
        }
        for token in [TOKEN, UNKNOWN, ENV] {
            for request in whole_dialect(token) {
                let mut client = Client::connect(&gate.address);
                client.send(&request);
                if let Some(answer) = client.answer() {
                    answers += &format!("{:?} {}\n", answer.headers, answer.text());
                }
            }
        }
        assert!(
            portal
                .take()
                .iter()
                .any(|request| request.target.contains(TOKEN)),
            "the portal gets its token"
        );
        let pages: String = ["/metrics", "/readyz", "/healthz", "/"]
            .iter()
            .map(|page| gate.admin(page).text())
            .collect();
        let arguments = std::fs::read(format!("/proc/{}/cmdline", gate.pid())).unwrap();
        gate.stop();
        assert_clean("the command line", &String::from_utf8_lossy(&arguments));
        assert_clean("an answer", &answers);
        assert_clean("an admin page", &pages);
        assert!(
            gate.log().contains("plain") || gate.log().contains("clear"),
            "the warning of a plain token is there"
        );
        assert_clean("the process log", &gate.log());
        let journal = journal_text(&gate.state_dir());
        assert!(journal.lines().count() > 100);
        assert_clean("the journal", &journal);
        let (_, shown, err) = run(&[
            "audit",
            "show",
            "--state-dir",
            gate.state_dir().to_str().unwrap(),
        ]);
        assert_clean("audit show", &(shown + &err));
        for entry in std::fs::read_dir(gate.state_dir()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                assert_clean(
                    "the state directory",
                    &String::from_utf8_lossy(&std::fs::read(&path).unwrap()),
                );
            }
        }
    }
}

/// F29: the same of the other vendors' places for credentials, personal access tokens in base64 among them.
#[test]
fn f29_secrets_of_ringcentral_and_livechat_appear_nowhere() {
    let basic = |pat: &str| base64(format!("account:{pat}").as_bytes());
    for (vendor, scope, targets) in [
        (
            "ringcentral",
            "ReadMessages",
            [
                "/restapi/v1.0/account/~/extension/~/message-store",
                "/restapi/v1.0/account/~/call-log",
                "/restapi/v1.0/no/such/thing",
                "/restapi/oauth/token",
                "/restapi/oauth/revoke",
            ],
        ),
        (
            "livechat",
            "chats--all:ro",
            [
                "/v3.6/agent/action/list_chats",
                "/v3.6/agent/action/send_event",
                "/v3.6/agent/action/no_such",
                "/v2/token",
                "/v2/info",
            ],
        ),
    ] {
        let portal = Portal::start();
        let mut gate = Setup::before(&portal.address)
            .of(vendor)
            .with(&format!(
                "authorization_server = \"http://{}\"",
                portal.address
            ))
            .grant(TOKEN, &[scope])
            .grant(&format!("account:{HOOK}"), &[scope])
            .start();
        let mut answers = String::new();
        for target in targets {
            for token in [TOKEN, UNKNOWN, HOOK] {
                let pat = basic(token);
                for (field, query, body) in [
                    (
                        format!("authorization: Bearer {token}"),
                        String::new(),
                        "{}".to_owned(),
                    ),
                    (
                        format!("authorization: Basic {pat}"),
                        String::new(),
                        "{}".to_owned(),
                    ),
                    (
                        format!("authorization: {token}"),
                        String::new(),
                        "{}".to_owned(),
                    ),
                    (
                        format!("x-{token}: {token}"),
                        format!("?access_token={token}"),
                        "{}".to_owned(),
                    ),
                    (
                        format!("authorization: Bearer {token}"),
                        format!("?access_token={token}&{token}={token}&x[{token}]=%22{token}"),
                        format!("{{\"token\":\"{token}\",\"{token}\":1}}"),
                    ),
                    (
                        format!("cookie: {token}\r\nx-api-version: {token}"),
                        format!("?region={token}"),
                        format!("{{\"x\":\"\\u0022{token}"),
                    ),
                ] {
                    for kind in ["application/json", "application/x-www-form-urlencoded"] {
                        let body = if kind == "application/json" {
                            body.clone()
                        } else {
                            format!(
                                "grant_type=refresh_token&refresh_token={token}&client_secret={token}&token={token}"
                            )
                        };
                        let request = format!(
                            "POST {target}{query} HTTP/1.1\r\nhost: gate\r\n{field}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
                            body.len()
                        );
                        let mut client = Client::connect(&gate.address);
                        client.send(request.as_bytes());
                        if let Some(answer) = client.answer() {
                            answers += &format!("{:?} {}\n", answer.headers, answer.text());
                        }
                    }
                }
            }
        }
        let pages: String = ["/metrics", "/readyz", "/healthz", "/grants", "/"]
            .iter()
            .map(|page| gate.admin(page).text())
            .collect();
        gate.stop();
        assert_clean("an answer", &answers);
        assert_clean("an admin page", &pages);
        assert_clean("the process log", &gate.log());
        let journal = journal_text(&gate.state_dir());
        assert!(journal.lines().count() > 100, "{vendor}");
        assert_clean("the journal", &journal);
    }
}

/// F29: a crash leaves no memory, and so no token, on a disk.
#[test]
fn f29_a_crash_leaves_no_core_file() {
    use std::os::unix::process::ExitStatusExt as _;
    let unlimited = ["prlimit", "--core=unlimited"];
    let shell = std::process::Command::new(unlimited[0])
        .args([unlimited[1], "sh", "-c", "cd \"$0\" && kill -ABRT $$"])
        .arg(tempfile::tempdir().unwrap().path())
        .status();
    if !shell.is_ok_and(|status| status.core_dumped()) {
        return println!("F29: skipped: other programs leave no core file here either");
    }
    let portal = Portal::start();
    let mut setup = Setup::before(&portal.address).grant(TOKEN, &["crm"]);
    setup.under = unlimited.map(str::to_owned).to_vec();
    let mut gate = setup.start();
    gate.signal(rustix::process::Signal::ABORT);
    let ended = gate.wait();
    assert_eq!(ended.signal(), Some(6));
    assert!(!ended.core_dumped());
}

fn body(method: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /rest/{method} HTTP/1.1\r\nhost: gate\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[test]
fn a_configuration_error_does_not_show_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wrong.toml");
    let text = format!(
        "[[gate]]\nname = \"x\"\n[[gate.grant]]\ntoken = \"{TOKEN}\"\nscope = [\"crm\"]\n[[gate.grant]]\ntoken = [\"{HOOK}\"]\n"
    );
    std::fs::write(&path, text).unwrap();
    for json in [false, true] {
        let mut arguments = vec!["check", "--config", path.to_str().unwrap()];
        arguments.extend(json.then_some("--json"));
        let (code, out, err) = run(&arguments);
        assert_eq!(code, 2);
        assert_clean("check", &(out + &err));
    }
}

#[test]
fn audit_id_finds_the_records_of_a_token() {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .grant(TOKEN, &["crm"])
        .start();
    let request = format!("GET /rest/crm.deal.list?auth={TOKEN} HTTP/1.1\r\nhost: gate\r\n\r\n");
    support::exchange(&gate.address, request.as_bytes()).unwrap();
    gate.stop();
    let state = gate.state_dir();
    let mut child = std::process::Command::new(support::gate::PROGRAM)
        .args(["audit", "id", "--state-dir"])
        .arg(&state)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(
        &mut child.stdin.take().unwrap(),
        format!("{TOKEN}\n").as_bytes(),
    )
    .unwrap();
    let id = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(
        gate.records_of("call.decision")[0]["token"]["ref"],
        id.trim()
    );
    let (_, shown, _) = run(&[
        "audit",
        "show",
        "--state-dir",
        state.to_str().unwrap(),
        "--token",
        id.trim(),
        "--json",
    ]);
    assert_eq!(shown.lines().count(), 1);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(state.join("token-id.key"))
            .unwrap()
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}
