//! Several instances of one app's gate, which tell each other what they learn by a Redis server that the tests start.

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::gate::{Setup, run};
use support::portal::{Reply, ok};
use support::{Gate, Portal, exchange, post};

/// A Redis server on a port of its own; `None` where there is none on this machine.
struct Redis {
    port: u16,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Redis {
    fn start(arguments: &[&str]) -> Option<Self> {
        // A port that was free a moment ago: Redis cannot say which it took.
        let port = {
            let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            probe.local_addr().unwrap().port()
        };
        Self::start_at(port, arguments)
    }

    fn start_at(port: u16, arguments: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let started = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &port.to_string()])
            .args(arguments)
            .arg("--dir")
            .arg(dir.path())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = started else {
            let required = std::env::var_os("GRANTGATE_REQUIRE_REDIS").is_some();
            assert!(!required, "redis-server is not here");
            println!("skipped: redis-server is not here");
            return None;
        };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("Ready to accept connections"));
        assert!(ready, "Redis is ready");
        // Whoever does not read it would hold it up.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self {
            port,
            child,
            _dir: dir,
        })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command, and the answer as it comes on the wire.
fn command(port: u16, parts: &[&str]) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut text = format!("*{}\r\n", parts.len());
    for part in parts {
        text += &format!("${}\r\n{part}\r\n", part.len());
    }
    text += "*1\r\n$4\r\nQUIT\r\n";
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn portal() -> Portal {
    Portal::scripted(|request| {
        if request.target.starts_with("/restapi/oauth/token") {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let name = body.split("name=").nth(1).unwrap();
            return Reply::Bytes(ok(&format!(
                r#"{{"access_token":"A-{name}","refresh_token":"R-{name}","session_id":"S-{name}","scope":"ReadCallLog","expires_in":3600}}"#
            )));
        }
        Reply::Bytes(ok("{}"))
    })
}

const FORM: &str = "application/x-www-form-urlencoded";
const CALLS: &str = "/restapi/v1.0/account/~/extension/~/call-log";

/// An instance of the app's gate: all have the same key, and each a state directory of its own.
fn instance(platform: &Portal, redis: &str) -> Gate {
    Setup {
        state: None,
        ..Setup::before(&platform.address)
    }
    .of("ringcentral")
    .section(&format!(
        "token_id_key = \"a key that all instances have\"\nredis = {redis:?}"
    ))
    .start()
}

fn login(gate: &Gate, name: &str) {
    let form = format!("grant_type=password&client_id=c&name={name}");
    let answer = exchange(&gate.address, &post("/restapi/oauth/token", FORM, &form));
    assert_eq!(answer.unwrap().status, 200);
}

fn revoke(gate: &Gate, token: &str) {
    let form = format!("token={token}");
    let answer = exchange(&gate.address, &post("/restapi/oauth/revoke", FORM, &form));
    assert_eq!(answer.unwrap().status, 200);
}

fn reason(gate: &Gate, token: &str) -> String {
    let request =
        format!("GET {CALLS} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {token}\r\n\r\n");
    let answer = exchange(&gate.address, request.as_bytes()).unwrap();
    answer.reason().to_owned()
}

/// How long it took until a call with this token came to this.
fn until(gate: &Gate, token: &str, wanted: &str, most: Duration) -> Duration {
    let began = Instant::now();
    while reason(gate, token) != wanted {
        assert!(
            began.elapsed() < most,
            "{token} is not {wanted} after {most:?}"
        );
        std::thread::yield_now();
    }
    began.elapsed()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_one_instance_learns_the_others_know() {
    let Some(redis) = Redis::start(&["--requirepass", "s3cret"]) else {
        return;
    };
    let url = format!("redis://:s3cret@127.0.0.1:{}/3", redis.port);
    let platform = portal();
    let [one, two] = [(); 2].map(|()| instance(&platform, &url));
    login(&one, "x");
    assert_eq!(reason(&one, "A-x"), "-");
    let learned = until(&two, "A-x", "-", SECOND);
    // The other one hears of its end: of the whole session, by the refresh token.
    revoke(&two, "R-x");
    assert_eq!(reason(&two, "A-x"), "token_revoked");
    let ended = until(&one, "A-x", "token_revoked", SECOND);
    println!("instances: learned after {learned:.1?}, ended after {ended:.1?}");
    // Whoever starts later catches up.
    login(&one, "y");
    let mut three = instance(&platform, &url);
    until(&three, "A-y", "-", SECOND);
    assert_eq!(reason(&three, "A-x"), "token_revoked");
    three.stop();
    let state = three.state_dir();
    for entry in std::fs::read_dir(state).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let leaked = bytes.windows(6).any(|window| window == b"s3cret");
        assert!(!leaked, "{:?}", entry.path());
    }
    for line in three.log().lines() {
        assert!(!line.contains("s3cret"), "{line}");
    }
}

#[test]
fn without_redis_each_goes_on_with_what_it_knows_and_says_so() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let (port, url) = (redis.port, format!("redis://127.0.0.1:{}", redis.port));
    let platform = portal();
    let [one, two] = [(); 2].map(|()| instance(&platform, &url));
    login(&one, "x");
    until(&two, "A-x", "-", SECOND);
    // Whoever can write to Redis, and has not the key, is not believed.
    let stream = command(port, &["KEYS", "*"]);
    let stream = stream.lines().nth(2).unwrap().trim();
    let read = command(port, &["XRANGE", stream, "-", "+"]);
    let entry = read
        .lines()
        .find(|line| line.contains("\"grant\""))
        .unwrap();
    assert!(!entry.contains("A-x"), "no token stands there");
    let wide = entry.replace("ReadCallLog", "ReadMessages");
    let seal = read
        .lines()
        .skip_while(|line| *line != entry)
        .nth(4)
        .unwrap();
    assert_eq!(seal.len(), 32, "{read}");
    command(port, &["XADD", stream, "*", "change", &wide, "seal", seal]);
    login(&one, "z");
    until(&two, "A-z", "-", SECOND);
    assert_eq!(reason(&two, "A-x"), "-", "it holds what it held");
    drop(redis);
    let degraded = |gate: &Gate| {
        let answer = gate.admin("/readyz");
        assert_eq!(answer.status, 200, "calls can be served");
        answer.json()["degraded"][0]["part"] == "redis"
    };
    let began = Instant::now();
    while !(degraded(&one) && degraded(&two)) {
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::yield_now();
    }
    assert!(
        one.admin("/metrics")
            .text()
            .contains("grantgate_shared_up 0")
    );
    // Nobody waits for it.
    let began = Instant::now();
    login(&one, "y");
    revoke(&one, "A-x");
    assert_eq!(reason(&one, "A-y"), "-");
    assert_eq!(reason(&two, "A-x"), "-", "what it knows");
    assert!(began.elapsed() < SECOND);
    // It comes back with nothing: what was not told yet is told then.
    let redis = Redis::start_at(port, &[]).unwrap();
    until(&two, "A-x", "token_revoked", Duration::from_secs(5));
    until(&two, "A-y", "-", Duration::from_secs(5));
    assert!(!degraded(&one));
    drop(redis);
}

#[test]
fn redis_may_speak_tls() {
    let certs = support::tls::certificates();
    let path = |name: &str| certs.path().join(name).to_str().unwrap().to_owned();
    let tls_port = {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap().port().to_string()
    };
    let Some(_redis) = Redis::start_at(
        0,
        &[
            "--tls-port",
            &tls_port,
            "--tls-cert-file",
            &path("gate.pem"),
            "--tls-key-file",
            &path("gate.key"),
            "--tls-ca-cert-file",
            &path("ca.pem"),
            "--tls-auth-clients",
            "no",
        ],
    ) else {
        return;
    };
    let platform = portal();
    let url = format!("rediss://localhost:{tls_port}");
    let trusting = |ca: &str| {
        Setup::before(&platform.address)
            .of("ringcentral")
            .section(&format!(
                "token_id_key = \"a key that all instances have\"\nredis = {url:?}\n{ca}"
            ))
            .start()
    };
    let ca = format!("redis_ca = {:?}", path("ca.pem"));
    let [one, two] = [(); 2].map(|()| trusting(&ca));
    login(&one, "x");
    until(&two, "A-x", "-", SECOND);
    // A server that nobody vouches for is not talked to.
    let wary = trusting("");
    wary.wait_for_log("no TLS with the upstream");
    assert_eq!(reason(&wary, "A-x"), "token_unknown");
}

#[test]
fn what_cannot_work_is_told() {
    for (line, word) in [
        ("redis = \"redis://127.0.0.1\"", "without `token_id_key`"),
        (
            "token_id_key = \"0123456789abcdef\"\nredis = \"http://127.0.0.1\"",
            "no URL of Redis",
        ),
        ("redis_ca = \"ca.pem\"", "`redis_ca` has no effect"),
    ] {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let setup = Setup::before("127.0.0.1:9").section(line);
        let path = dir.path().join("c.toml");
        std::fs::write(&path, setup.text(dir.path())).unwrap();
        let (code, _, said) = run(&["check", "--config", path.to_str().unwrap()]);
        assert_eq!(code, 2, "{line}: {said}");
        assert!(said.contains(word), "{line}: {said}");
    }
}
