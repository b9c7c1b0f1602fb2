//! The network between app, gate and portal: packets that are lost, names that change. F27 and F28.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::rig::{nothing_unrecorded, report, setup, turn, until, verify};
use crate::support::gate::Setup;
use crate::support::load::{Load, Plan};
use crate::support::portal::{Reply, ok};
use crate::support::{Portal, exchange};

/// Runs a test of this binary again within namespaces of its own, where the network is only ours. Where that cannot be
/// had, it says so.
fn within_namespaces(experiment: &str, test: &str, prepare: &str) {
    let program = std::env::current_exe().unwrap();
    let within = |what: &str| {
        Command::new("unshare")
            .args([
                "-mn",
                "sh",
                "-c",
                &format!("ip link set lo up && {prepare} && {what}"),
            ])
            .env("GRANTGATE_WITHIN", "1")
            .output()
    };
    match within("true") {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr)
                .trim()
                .replace('\n', "; ");
            report(experiment, &format!("skipped: {said}"));
            return;
        }
        Err(_) => {
            report(experiment, "skipped: unshare is not here");
            return;
        }
    }
    let again = format!(
        "exec {} --include-ignored --exact {test} --nocapture",
        program.display()
    );
    let output = within(&again).unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // The test's harness would print this line twice.
    let figures = said.lines().find(|line| line.starts_with(experiment));
    println!("{}", figures.unwrap());
}

fn is_within() -> bool {
    std::env::var_os("GRANTGATE_WITHIN").is_some()
}

/// What makes the loopback interface of a namespace a bad line: packets of an ordinary size, one megabit a second, and every
/// twentieth packet lost. By a shaper and a filter, since few kernels of small machines have netem.
const BAD_LINE: &str = "ip link set lo mtu 1500 \
    && tc qdisc add dev lo root tbf rate 1mbit burst 16kb latency 2s \
    && iptables -A INPUT -i lo -m statistic --mode random --probability 0.05 -j DROP";

/// F27: five of a hundred packets are lost and the line is narrow: no wrong answer, nothing reaches the portal twice.
fn a_bad_line(calls: u64, test: &str) {
    if !is_within() {
        within_namespaces("F27", test, BAD_LINE);
        return;
    }
    // Answers are told apart by what was asked.
    let portal = Portal::scripted(|request| {
        let id = request.header("x-request-id").unwrap();
        Reply::Bytes(ok(&format!("{{\"result\":{id:?}}}")))
    });
    let mut gate = setup(&portal).start();
    let load = Load::start(&Plan {
        clients: 8,
        is_echoed: true,
        ..Plan::of(&gate.address)
    });
    let began = Instant::now();
    load.more(calls);
    let took = began.elapsed();
    let told = load.stop();
    gate.stop();
    assert_eq!(told.strange, 0, "an answer to another call");
    assert_eq!(
        told.answers(),
        told.of(200) + told.of(403),
        "{:?}",
        told.statuses
    );
    let reached = nothing_unrecorded(&portal, &gate.state_dir());
    assert_eq!(verify(&gate.state_dir()).0, 0);
    report(
        "F27",
        &format!(
            "{} answers in {took:?}, all right, {} broken off, {reached} calls reached the portal, each once; middle {:?}, p99 {:?}",
            told.answers(),
            told.broken,
            told.percentile(50),
            told.percentile(99)
        ),
    );
}

#[test]
fn f27_a_bad_network() {
    let _turn = turn();
    a_bad_line(60, "network::f27_a_bad_network");
}

#[test]
#[ignore = "long: two thousand calls on a narrow line"]
fn f27_two_thousand_calls_on_a_bad_network() {
    let _turn = turn();
    a_bad_line(2000, "network::f27_two_thousand_calls_on_a_bad_network");
}

const CALL: &[u8] = b"GET /rest/crm.deal.list?auth=at-1 HTTP/1.1\r\nhost: gate\r\n\r\n";

/// F28: the portal's name gets another address, then none: the new one is used, and what stands goes on.
#[test]
fn f28_a_name_gets_another_address() {
    let _turn = turn();
    let prepare = "echo 'nameserver 127.0.0.1' > /tmp/grantgate-resolv.$$ && mount --bind /tmp/grantgate-resolv.$$ /etc/resolv.conf";
    if !is_within() {
        within_namespaces("F28", "network::f28_a_name_gets_another_address", prepare);
        return;
    }
    let address = Arc::new(std::sync::Mutex::new(Some([127, 0, 0, 2])));
    serve_names(Arc::clone(&address));
    let first = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let port = first.local_addr().unwrap().port();
    let second = std::net::TcpListener::bind(("127.0.0.3", port)).unwrap();
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    let answers = move |listener: std::net::TcpListener,
                        name: &'static str,
                        alive: Arc<AtomicBool>| {
        let count = Arc::clone(&count);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (alive, count) = (Arc::clone(&alive), Arc::clone(&count));
                std::thread::spawn(move || {
                    while alive.load(Ordering::Relaxed)
                        && stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0)
                    {
                        count.fetch_add(1, Ordering::Relaxed);
                        let body = format!("{{\"result\":{name:?}}}");
                        let _ = write!(
                            stream,
                            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                            body.len()
                        );
                    }
                });
            }
        });
    };
    let (one, two) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(true)),
    );
    answers(first, "first", Arc::clone(&one));
    answers(second, "second", two);
    let setup = Setup::before(&format!("portal.test:{port}"))
        .with("allow_plain_upstream = true")
        .grant("at-1", &["crm"]);
    let mut gate = setup.clone().start();
    let ask = || exchange(&gate.address, CALL).unwrap();
    assert!(ask().text().contains("first"));
    *address.lock().unwrap() = Some([127, 0, 0, 3]);
    one.store(false, Ordering::Relaxed);
    let mut failures = 0;
    let moved = until("the new address", Duration::from_secs(10), || {
        let answer = ask();
        failures += usize::from(answer.status != 200);
        answer.text().contains("second")
    });
    // With private addresses refused, the same answer leads nowhere, and says why.
    let mut cautious = setup.with("private_addresses = \"refuse\"").start();
    let before = answered.load(Ordering::Relaxed);
    let refused = exchange(&cautious.address, CALL).unwrap();
    assert_eq!(
        (refused.status, refused.reason()),
        (502, "upstream_unreachable")
    );
    assert_eq!(answered.load(Ordering::Relaxed), before, "nobody was asked");
    cautious.wait_for_log("which `private_addresses` refuses");
    cautious.stop();
    *address.lock().unwrap() = None;
    for _ in 0..20 {
        assert_eq!(
            ask().status,
            200,
            "a connection that stands goes on without a name"
        );
    }
    gate.stop();
    report(
        "F28",
        &format!(
            "new address after {moved:?} and {failures} failures; private ones are refused where that is set; without any the standing connection goes on"
        ),
    );
}

/// Answers every question for an address with the one at hand, or that there is no such name.
fn serve_names(address: Arc<std::sync::Mutex<Option<[u8; 4]>>>) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:53").unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let question = &query[12..length];
            let end = question.iter().position(|b| *b == 0).unwrap() + 5;
            let is_a = question[end - 4..end - 2] == [0, 1];
            let known = *address.lock().unwrap();
            let answers = known.filter(|_| is_a);
            let mut answer = query[..2].to_vec();
            answer.extend([
                0x81,
                if known.is_some() { 0x80 } else { 0x83 },
                0,
                1,
                0,
                u8::from(answers.is_some()),
                0,
                0,
                0,
                0,
            ]);
            answer.extend(&question[..end]);
            if let Some(address) = answers {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                answer.extend(address);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
}
