//! What happens around learned grants: strangers, vendors that do not answer, races, disks, clocks. F14, F21, F22, F23.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::rig::{has, metric, report, turn, until, verify};
use crate::support::gate::Setup;
use crate::support::load::{Load, Plan};
use crate::support::portal::{Reply, ok};
use crate::support::{Answer, Client, Gate, Portal, exchange, post, resident_kib};

const DEALS: &str = "/rest/crm.deal.list";

fn call(token: &str) -> Vec<u8> {
    format!("GET {DEALS} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {token}\r\n\r\n")
        .into_bytes()
}

fn told(gate: &Gate, token: &str) -> (u16, String) {
    let answer = exchange(&gate.address, &call(token)).unwrap();
    (answer.status, answer.reason().to_owned())
}

fn unauthorized() -> Vec<u8> {
    let body = r#"{"error":"invalid_token"}"#;
    format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// F14: strangers come with tokens that nobody knows: memory and questions stay bounded, each refusal is recorded, and
/// calls with known tokens go on.
fn random_tokens(count: u64, a_second: u64) -> (Duration, Duration) {
    let questions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&questions);
    let portal = Portal::forgetful(move |request| {
        if request.target.starts_with("/rest/scope") {
            counted.fetch_add(1, Ordering::SeqCst);
            return Reply::Bytes(unauthorized());
        }
        Reply::Bytes(ok(r#"{"result":true}"#))
    });
    let mut setup = Setup::before(&portal.address)
        .with("unknown_token = \"ask\"\nquestions_per_minute = 60\nguarantee = \"durable\"")
        .grant("at-1", &["crm"]);
    // As an operator would run it: a line of log for each step of each call is no part of this.
    setup.env.insert("RUST_LOG".to_owned(), "info".to_owned());
    let mut gate = setup.start();
    let known = Plan {
        clients: 2,
        pause: Duration::from_millis(2),
        refused: 0,
        ..Plan::of(&gate.address)
    };
    let load = Load::start(&known);
    load.more(1000);
    let base = load.stop().percentile(99);
    let before = resident_kib(gate.pid());
    let load = Load::start(&known);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..4 {
            let address = &gate.address;
            scope.spawn(move || {
                let mut connection = Client::connect(address);
                for number in 0..count / 4 {
                    // At its pace, and never ahead of it.
                    let due = Duration::from_secs_f64((number * 4) as f64 / a_second as f64);
                    std::thread::sleep(due.saturating_sub(began.elapsed()));
                    let token = format!("stranger-{client}-{number}");
                    let answer = connection.send(&call(&token)).answer().unwrap();
                    assert!(matches!(answer.status, 401 | 503), "{}", answer.status);
                }
            });
        }
    });
    let took = began.elapsed();
    let flooded = load.stop();
    let grown = resident_kib(gate.pid()).saturating_sub(before);
    let asked = questions.load(Ordering::SeqCst);
    let most = 20 + took.as_secs() + 1;
    assert!(asked <= most, "{asked} questions in {took:?}");
    assert!(grown < 64 * 1024, "{grown} KiB more");
    assert_eq!(flooded.answers(), flooded.of(200), "{:?}", flooded.statuses);
    let grants = metric(&gate, "grantgate_grants{gate=\"portal\"}");
    assert_eq!(grants, 0.0, "strangers leave nothing behind");
    gate.stop();
    assert_eq!(verify(&gate.state_dir()).0, 0);
    let denied = crate::support::gate::journal_text(&gate.state_dir())
        .lines()
        .filter(|line| line.starts_with("{\"event_kind\":\"call.decision\""))
        .filter(|line| line.contains("_deny\"") || line.contains("\"decision\":\"deny\""))
        .count();
    assert_eq!(u64::try_from(denied).unwrap(), count / 4 * 4);
    let during = flooded.percentile(99);
    report(
        "F14",
        &format!(
            "{count} random tokens in {took:.1?}: {asked} questions of at most {most}, {grown} KiB more, every refusal recorded; known tokens' p99 {base:.2?} -> {during:.2?}"
        ),
    );
    (base, during)
}

#[test]
fn f14_random_tokens() {
    let _turn = turn();
    random_tokens(3000, 1000);
}

#[test]
#[ignore = "long: a million tokens in 200 s, in a release build"]
fn f14_a_million_random_tokens() {
    let _turn = turn();
    let (base, during) = random_tokens(1_000_000, 5000);
    assert!(during < base * 2, "{base:?} -> {during:?}");
}

/// F21: the vendor that is asked is down, slow and flapping: what is known is good as long as it is trusted, then the app
/// hears 503; nothing is let through unasked, and no token has two questions at once.
#[test]
fn f21_the_vendor_that_is_asked_is_out_of_order() {
    let _turn = turn();
    // 0 answers, 1 is down, 2 is slow, 3 flaps.
    let mood = Arc::new(AtomicU8::new(0));
    let (questions, under_way, most) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
    );
    let seen = (
        Arc::clone(&mood),
        Arc::clone(&questions),
        Arc::clone(&under_way),
        Arc::clone(&most),
    );
    let portal = Portal::forgetful(move |request| {
        if !request.target.starts_with("/rest/scope") {
            return Reply::Bytes(ok(r#"{"result":true}"#));
        }
        let (mood, questions, under_way, most) = &seen;
        let number = questions.fetch_add(1, Ordering::SeqCst);
        most.fetch_max(
            under_way.fetch_add(1, Ordering::SeqCst) + 1,
            Ordering::SeqCst,
        );
        let reply = match mood.load(Ordering::SeqCst) {
            1 => Reply::Last(Vec::new()),
            2 => Reply::Hang(Vec::new()),
            3 if number.is_multiple_of(2) => Reply::Last(Vec::new()),
            _ => Reply::Bytes(ok(r#"{"result":["crm"]}"#)),
        };
        under_way.fetch_sub(1, Ordering::SeqCst);
        reply
    });
    let gate = Setup::before(&portal.address)
        .with("unknown_token = \"ask\"\nask_secs = 1\nquestions_per_minute = 6000\nmax_grant_age_secs = 2")
        .start();
    assert_eq!(told(&gate, "T"), (200, "-".to_owned()));
    let learned = Instant::now();
    mood.store(1, Ordering::SeqCst);
    assert_eq!(told(&gate, "T").0, 200, "it is known");
    let unavailable = (503, "grant_unavailable".to_owned());
    until("the end of trust", Duration::from_secs(10), || {
        told(&gate, "T") == unavailable
    });
    assert!(learned.elapsed() >= Duration::from_secs(1));
    for mood_now in [1, 2] {
        mood.store(mood_now, Ordering::SeqCst);
        let before = questions.load(Ordering::SeqCst);
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| assert_eq!(told(&gate, "T"), unavailable));
            }
        });
        let asked = questions.load(Ordering::SeqCst) - before;
        assert!(asked <= 20, "{asked}");
    }
    mood.store(3, Ordering::SeqCst);
    until("an answer", Duration::from_secs(10), || {
        told(&gate, "T").0 == 200
    });
    assert_eq!(most.load(Ordering::SeqCst), 1, "one question at a time");
    report(
        "F21",
        &format!(
            "{} questions, one at a time; down and slow: 503 once the grant was past its trust, and 200 with the first answer",
            questions.load(Ordering::SeqCst)
        ),
    );
}

/// F22: revocations and refreshes race with calls: none that begins after the app heard of the end is let through.
fn races(lasts: Duration) {
    let made = Arc::new(AtomicU64::new(0));
    let number = Arc::clone(&made);
    let platform = Portal::forgetful(move |request| {
        if request.target == "/restapi/oauth/token" {
            let one = number.fetch_add(1, Ordering::SeqCst);
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let session = body
                .split('&')
                .find_map(|pair| pair.strip_prefix("refresh_token=R-"))
                .and_then(|rest| rest.split('-').next())
                .map_or_else(|| one.to_string(), str::to_owned);
            return Reply::Bytes(ok(&format!(
                r#"{{"access_token":"A-{one}","refresh_token":"R-{session}-{one}","session_id":"S-{session}","scope":"ReadCallLog","expires_in":3600}}"#
            )));
        }
        Reply::Bytes(ok("{}"))
    });
    let gate = Setup::before(&platform.address)
        .of("ringcentral")
        .with("guarantee = \"durable\"")
        .start();
    let ends = AtomicU64::new(0);
    let calls = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (gate, ends, calls) = (&gate, &ends, &calls);
            scope.spawn(move || {
                let began = Instant::now();
                let mut client = Client::connect(&gate.address);
                let mut number = worker;
                while began.elapsed() < lasts {
                    number += 1;
                    race(gate, &mut client, number, calls);
                    ends.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    report(
        "F22",
        &format!(
            "{} revocations and refreshes among {} calls: none let through after its token's end",
            ends.load(Ordering::SeqCst),
            calls.load(Ordering::SeqCst)
        ),
    );
}

const FORM: &str = "application/x-www-form-urlencoded";
const CALLS: &str = "/restapi/v1.0/account/~/extension/~/call-log";

fn field(answer: &Answer, name: &str) -> String {
    answer.json()[name].as_str().unwrap().to_owned()
}

/// One session: a caller goes on while its token is revoked, or replaced by a refresh.
fn race(gate: &Gate, client: &mut Client, number: u64, calls: &AtomicU64) {
    let login = post(
        "/restapi/oauth/token",
        FORM,
        "grant_type=password&client_id=c",
    );
    let issued = client.send(&login).answer().unwrap();
    let (access, refresh) = (
        field(&issued, "access_token"),
        field(&issued, "refresh_token"),
    );
    let ended = AtomicBool::new(false);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut caller = Client::connect(&gate.address);
            let request = format!(
                "GET {CALLS} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {access}\r\n\r\n"
            );
            let mut after = 0;
            while after < 3 {
                let begun_after = ended.load(Ordering::SeqCst);
                let answer = caller.send(request.as_bytes()).answer().unwrap();
                calls.fetch_add(1, Ordering::SeqCst);
                if begun_after {
                    after += 1;
                    let told = (answer.status, answer.reason().to_owned());
                    assert_eq!(told, (401, "token_revoked".to_owned()), "{access}");
                } else {
                    assert!(matches!(answer.status, 200 | 401), "{}", answer.status);
                }
            }
            over.store(true, Ordering::SeqCst);
        });
        let end = if number.is_multiple_of(2) {
            post("/restapi/oauth/revoke", FORM, &format!("token={refresh}"))
        } else {
            let form = format!("grant_type=refresh_token&client_id=c&refresh_token={refresh}");
            post("/restapi/oauth/token", FORM, &form)
        };
        let answer = client.send(&end).answer().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        ended.store(true, Ordering::SeqCst);
    });
    assert!(over.load(Ordering::SeqCst));
}

#[test]
fn f22_revoke_and_refresh_race_with_calls() {
    let _turn = turn();
    races(Duration::from_secs(3));
}

#[test]
#[ignore = "long: a minute"]
fn f22_a_minute_of_races() {
    let _turn = turn();
    races(Duration::from_secs(60));
}

/// A disk that takes no more: what is learned then is known until the process ends, and the log says so.
#[test]
fn a_full_disk_does_not_keep_anybody_from_learning() {
    let _turn = turn();
    if !has("strace") {
        return report("grants", "skipped: strace is not here");
    }
    let portal = Portal::start_tokens();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut setup = Setup::before(&portal.address);
    let log = dir.path().join("var/grants.db-wal");
    let plain = Gate::start_in(&dir, &setup);
    drop(plain);
    setup.under = vec![
        "strace".to_owned(),
        "-f".to_owned(),
        "-o".to_owned(),
        "/dev/null".to_owned(),
        "-P".to_owned(),
        log.to_str().unwrap().to_owned(),
        "-e".to_owned(),
        "inject=pwrite64:error=ENOSPC".to_owned(),
    ];
    let mut gate = Gate::start_in(&dir, &setup);
    let answer = exchange(
        &gate.address,
        b"GET /oauth/token/?grant_type=authorization_code&code=c HTTP/1.1\r\nhost: gate\r\n\r\n",
    );
    assert_eq!(answer.unwrap().status, 200);
    assert_eq!(told(&gate, "T"), (200, "-".to_owned()));
    gate.wait_for_log("until the process ends only");
    gate.stop();
    setup.under.clear();
    let gate = Gate::start_in(&dir, &setup);
    assert_eq!(told(&gate, "T"), (403, "token_unknown".to_owned()));
    report(
        "grants",
        "a full disk: learned, known until the end, and said so",
    );
}

impl Portal {
    /// A portal that gives the token `T` to everyone who asks.
    fn start_tokens() -> Self {
        Self::scripted(|request| {
            Reply::Bytes(ok(if request.target.starts_with("/oauth/token") {
                r#"{"access_token":"T","scope":"crm","expires_in":1800}"#
            } else {
                r#"{"result":true}"#
            }))
        })
    }
}

/// Killed at any moment around a token answer: whoever has the whole answer has a token that the next start knows.
#[test]
fn a_token_that_was_handed_out_is_known_after_a_kill() {
    let _turn = turn();
    let made = AtomicU64::new(0);
    let portal = Portal::scripted(move |_| {
        let one = made.fetch_add(1, Ordering::SeqCst);
        Reply::Bytes(ok(&format!(
            r#"{{"access_token":"T{one}","scope":"crm","expires_in":1800}}"#
        )))
    });
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let setup = Setup::before(&portal.address);
    let mut all: VecDeque<String> = VecDeque::new();
    for round in 0..8 {
        let mut gate = Gate::start_in(&dir, &setup);
        for token in &all {
            let answer = exchange(&gate.address, &call(token)).unwrap();
            assert_eq!(answer.status, 200, "{token} after round {round}");
        }
        let given = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..3)
                .map(|_| {
                    let (address, given) = (gate.address.clone(), &given);
                    scope.spawn(move || {
                        let Some(mut client) = Client::try_connect(&address) else {
                            return;
                        };
                        let request = b"GET /oauth/token/?grant_type=authorization_code&code=c HTTP/1.1\r\nhost: gate\r\n\r\n";
                        while let Some(answer) = client.send(request).answer() {
                            if !answer.whole {
                                return;
                            }
                            given.lock().unwrap().push(field(&answer, "access_token"));
                        }
                    })
                })
                .collect();
            until("some tokens", Duration::from_secs(20), || {
                given.lock().unwrap().len() > 5 + round
            });
            gate.kill();
            for handle in handles {
                handle.join().unwrap();
            }
        });
        all.extend(given.into_inner().unwrap());
        while all.len() > 60 {
            all.pop_front();
        }
    }
    report(
        "grants",
        &format!(
            "8 kills: all of the last {} tokens known afterwards",
            all.len()
        ),
    );
}
