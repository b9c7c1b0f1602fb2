//! Many, slow and pressing clients, and too little of what they take: F13, F15, F17, F24 and F25.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::rig::{
    cpu, descriptors, has, metric, nothing_unrecorded, report, setup, turn, until, verify,
};
use crate::support::load::{Load, Plan};
use crate::support::portal::{Reply, ok};
use crate::support::{Client, Portal, exchange, resident_kib};

/// Opens this many connections, as far as there are descriptors, from several addresses.
fn connections(address: &str, count: usize) -> Vec<TcpStream> {
    use socket2::{Domain, Socket, Type};
    let to: std::net::SocketAddr = address.parse().unwrap();
    (0..count)
        .map(|number| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let from: std::net::SocketAddr =
                format!("127.0.0.{}:0", 2 + number % 4).parse().unwrap();
            socket.bind(&from.into()).unwrap();
            // A peer that takes little at a time.
            socket.set_recv_buffer_size(4096).unwrap();
            socket.connect(&to.into()).unwrap();
            TcpStream::from(socket)
        })
        .collect()
}

/// The 99th percentile in the middle one of five spells of so many answers: one spell may be another program's.
fn p99(load: &Load, answers: u64) -> Duration {
    let mut spells: Vec<Duration> = (0..5)
        .map(|_| {
            load.forget();
            load.more(answers);
            load.forget().percentile(99)
        })
        .collect();
    spells.sort_unstable();
    spells[2]
}

/// F13: idle connections cost little memory, slow nobody, and are closed by their timer.
fn idle(count: usize, spell: u64) {
    let portal = Portal::forgetful(|_| Reply::Bytes(ok(r#"{"result":true}"#)));
    let limits = "[limits]\nconnections = 20000\nhead_secs = 30";
    let mut setup = setup(&portal).section(limits);
    // Ten thousand lines on a pipe are not what is measured.
    setup.env.insert("RUST_LOG".to_owned(), "info".to_owned());
    let gate = setup.start();
    // Two thousand calls a second.
    let load = Load::start(&Plan {
        clients: 8,
        pause: Duration::from_millis(4),
        ..Plan::of(&gate.address)
    });
    load.more(1000);
    let base = p99(&load, spell);
    let (before, began) = (resident_kib(gate.pid()), Instant::now());
    let idle = connections(&gate.address, count);
    let opened = began.elapsed();
    let (then, calls) = (Instant::now(), load.answered());
    let beside = p99(&load, spell);
    let rate = (load.answered() - calls) as f64 / then.elapsed().as_secs_f64();
    let resident = resident_kib(gate.pid());
    until("the idle ones closed", Duration::from_secs(60), || {
        metric(&gate, "grantgate_connections{gate=\"portal\"}") <= 8.0
    });
    drop(idle);
    let told = load.stop();
    assert_eq!(told.broken, 0);
    report(
        "F13",
        &format!(
            "{count} idle connections in {opened:?}: {} KiB beside {before}; {rate:.0} calls a second, p99 {base:?} before, {beside:?} beside them",
            resident - before
        ),
    );
    assert!(resident < 250 * 1024, "{resident} KiB");
    // The experiments of a test run share the machine with other builds and tests; the long one is run by itself.
    let floor = Duration::from_millis(if cfg!(debug_assertions) { 20 } else { 2 });
    assert!(beside < (base * 2).max(floor), "{beside:?} after {base:?}");
}

#[test]
fn f13_idle_connections() {
    let _turn = turn();
    idle(300, 100);
}

#[test]
#[ignore = "long: ten thousand connections need as many descriptors on both sides"]
fn f13_ten_thousand_idle_connections() {
    let _turn = turn();
    idle(10_000, 4000);
}

/// F15: who sends its head, its body or takes its answer too slowly is closed in time, and nobody waits for it.
fn slow(count: usize) {
    // More than the buffers of two connections hold.
    let length = 16_000_000;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    let portal = Portal::forgetful(move |_| {
        Reply::Endless(head.clone().into_bytes(), vec![b'x'; 8192], Duration::ZERO)
    });
    let limits = "[limits]\nconnections = 20000\nhead_secs = 2\nbody_idle_secs = 2\nbody_secs = 3\nanswer_idle_secs = 2\ncalls_in_flight = 20000\ncalls_per_token = 20000";
    let gate = setup(&portal).section(limits).start();
    let kinds: [(&str, &[u8]); 3] = [
        ("head", b"GET /rest/crm.deal.list HTTP/1.1\r\nhost: ga"),
        ("body", b"POST /rest/crm.deal.add HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\nx-request-id: s\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{"),
        ("answer", b"GET /rest/crm.deal.list HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\nx-request-id: s\r\n\r\n"),
    ];
    let mut told = Vec::new();
    for (what, bytes) in kinds {
        let began = Instant::now();
        let mut slow = connections(&gate.address, count);
        for one in &mut slow {
            let _ = one.write_all(bytes);
        }
        let answer = exchange(&gate.address, b"GET /rest/task.item.list HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\nx-request-id: q\r\n\r\n").unwrap();
        assert_eq!(answer.status, 403, "others are answered");
        until(what, Duration::from_secs(20), || {
            metric(&gate, "grantgate_connections{gate=\"portal\"}") == 0.0
        });
        told.push(format!(
            "{count} slow with the {what} closed after {:?}",
            began.elapsed()
        ));
    }
    report("F15", &told.join(", "));
}

/// F15: who sends a byte now and then is never idle, and ends in time all the same.
#[test]
fn f15_who_trickles_is_closed_in_time() {
    let _turn = turn();
    let portal = Portal::start();
    let limits = "[limits]\nhead_secs = 2\nbody_idle_secs = 2\nbody_secs = 2\nanswer_secs = 2";
    let mut setup = setup(&portal).section(limits);
    setup.after +=
        "[[gate]]\nname = \"streams\"\nvendor = \"ringcentral\"\nlisten = \"127.0.0.1:0\"\n";
    setup.after += &format!(
        "upstream = \"http://{}\"\n[[gate.grant]]\ntoken = \"at-1\"\nscopes = [\"Faxes\"]\n",
        portal.address
    );
    let gate = setup.start();
    let streams = &gate.addresses["streams"];
    let mut told = Vec::new();
    for (what, address, bytes) in [
        (
            "a head",
            &gate.address,
            "GET /rest/crm.deal.list HTTP/1.1\r\nx: ",
        ),
        (
            "a body",
            &gate.address,
            "POST /rest/crm.deal.add HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{\"",
        ),
        (
            "a body that streams",
            streams,
            "POST /restapi/v1.0/account/~/extension/~/fax HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\ncontent-type: multipart/form-data; boundary=x\r\ncontent-length: 999\r\n\r\n",
        ),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let took = until(what, Duration::from_secs(8), || {
            let sent = stream.write_all(b"y");
            let read = stream.read(&mut [0; 4096]);
            sent.is_err()
                || matches!(read, Ok(0))
                || read.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
        });
        told.push(format!("{what} after {took:?}"));
    }
    until("nothing held", Duration::from_secs(5), || {
        metric(&gate, "grantgate_calls_in_flight{gate=\"streams\"}") == 0.0
    });
    report(
        "F15",
        &format!("a byte every 0.2 s, closed: {}", told.join(", ")),
    );
}

#[test]
fn f15_slow_clients() {
    let _turn = turn();
    slow(100);
}

#[test]
#[ignore = "long: two thousand of each"]
fn f15_two_thousand_slow_clients() {
    let _turn = turn();
    slow(2000);
}

/// F17: a flood outside the scopes: each answer has its record, what is over the limit is shed and counted, and calls
/// within the scopes go on.
fn a_flood(flooding: usize, spell: u64, least: f64) {
    let portal = Portal::start();
    // The disk is not what is tried here, and other tests press it.
    let limits = "[limits]\ncalls_per_token = 4\n[audit]\ndeadline_ms = 60000";
    let mut gate = setup(&portal)
        .section(limits)
        .grant("other", &["crm"])
        .start();
    let good = Load::start(&Plan {
        clients: 2,
        refused: 0,
        token: "other",
        ..Plan::of(&gate.address)
    });
    good.more(100);
    good.forget();
    let rate = |calls: u64| {
        let began = Instant::now();
        good.more(calls);
        calls as f64 / began.elapsed().as_secs_f64()
    };
    let base = rate(spell);
    let flood = Load::start(&Plan {
        clients: flooding,
        refused: 10,
        ..Plan::of(&gate.address)
    });
    flood.more(500);
    let beside = rate(spell);
    let (good, flood) = (good.stop(), flood.stop());
    gate.stop();
    let decisions = gate.records_of("call.decision");
    let denied = decisions
        .iter()
        .filter(|record| record["decision"] == "deny")
        .count();
    let shed: u64 = gate
        .records_of("call.shed")
        .iter()
        .map(|record| record["shed"]["calls"].as_u64().unwrap())
        .sum();
    assert_eq!(u64::try_from(denied).unwrap(), flood.of(403));
    assert_eq!(shed, flood.of(503) + good.of(503));
    assert_eq!(flood.answers(), flood.of(403) + flood.of(503));
    assert_eq!(verify(&gate.state_dir()).0, 0);
    nothing_unrecorded(&portal, &gate.state_dir());
    report(
        "F17",
        &format!(
            "{} refused with a record each, {shed} shed and counted; calls within the scopes {base:.0} a second before, {beside:.0} beside the flood",
            flood.of(403)
        ),
    );
    // Clients, flood, gate and portal share this machine's cores.
    assert!(beside > base * least, "{beside} of {base}");
}

#[test]
fn f17_a_flood_of_refused_calls() {
    let _turn = turn();
    a_flood(8, 1000, 0.3);
}

#[test]
#[ignore = "long: many floods at once, and half of the rate beside them"]
fn f17_a_flood_by_sixty_four() {
    let _turn = turn();
    a_flood(64, 10_000, 0.5);
}

/// Whoever holds the admin listener's connections takes none from calls.
#[test]
fn f24_admin_pages_take_no_descriptors_of_calls() {
    let _turn = turn();
    let portal = Portal::start();
    let gate = setup(&portal).start();
    assert_eq!(gate.admin("/healthz").status, 200);
    let before = descriptors(gate.pid());
    let held = connections(&gate.admin, 100);
    let call = b"GET /rest/crm.deal.list HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\nconnection: close\r\n\r\n";
    for _ in 0..200 {
        assert_eq!(exchange(&gate.address, call).unwrap().status, 200);
    }
    let taken = descriptors(gate.pid()).saturating_sub(before);
    assert!(taken < 40, "{taken}");
    drop(held);
    assert_eq!(gate.admin("/healthz").status, 200);
    report(
        "F24",
        &format!("100 connections to the admin listener take {taken} descriptors"),
    );
}

/// F24: without descriptors nothing burns, the journal goes on, and it comes back.
#[test]
fn f24_no_descriptors_left() {
    let _turn = turn();
    if !has("prlimit") {
        return report("F24", "skipped: prlimit is not here");
    }
    let portal = Portal::start();
    let mut setup = setup(&portal).section("[limits]\nhead_secs = 2");
    setup.under = vec!["prlimit".to_owned(), "--nofile=256".to_owned()];
    let mut gate = setup.start();
    let mut client = Client::connect(&gate.address);
    let call = b"GET /rest/task.item.list HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\nx-request-id: d\r\n\r\n";
    assert_eq!(client.send(call).answer().unwrap().status, 403);
    let idle = connections(&gate.address, 1000);
    // What is over the room is closed at once, before descriptors run out.
    until("full", Duration::from_secs(10), || {
        metric(
            &gate,
            "grantgate_shed_total{gate=\"portal\",what=\"connection\"}",
        ) > 800.0
    });
    assert!(descriptors(gate.pid()) < 240, "{}", descriptors(gate.pid()));
    let (spent, began) = (cpu(gate.pid()), Instant::now());
    // While it is full, a connection that stands is served and recorded, whoever else comes.
    let mut answers = 1;
    while began.elapsed() < Duration::from_secs(1) {
        let answer = client.send(call).answer();
        assert_eq!(answer.map(|answer| answer.status), Some(403));
        answers += 1;
        drop(Client::try_connect(&gate.address));
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert_eq!(gate.records_of("call.decision").len(), answers);
    let busy = (cpu(gate.pid()) - spent).as_secs_f64() / began.elapsed().as_secs_f64();
    drop(idle);
    until("it answers again", Duration::from_secs(10), || {
        exchange(&gate.address, call).is_some_and(|answer| answer.status == 403)
    });
    gate.stop();
    assert_eq!(verify(&gate.state_dir()).0, 0);
    report(
        "F24",
        &format!(
            "1000 connections on 256 descriptors: {:.0} % of a core while full, served again after",
            busy * 100.0
        ),
    );
    assert!(busy < 0.2, "{busy}");
}

/// F25: with 512 MiB of address space big bodies are refused or served, and the gate lives.
#[test]
fn f25_little_memory() {
    let _turn = turn();
    if !has("prlimit") {
        return report("F25", "skipped: prlimit is not here");
    }
    let portal = Portal::start();
    let mut setup = setup(&portal).section("[limits]\ninspected_total_mib = 64");
    setup.under = vec!["prlimit".to_owned(), format!("--as={}", 512_u64 << 20)];
    let mut gate = setup.start();
    let body = format!("{{\"auth\":\"at-1\",\"x\":\"{}\"}}", "y".repeat(20 << 20));
    let request = crate::support::post("/rest/crm.deal.add", "application/json", &body);
    let told: Vec<u16> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..12)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect(&gate.address);
                    client
                        .send(&request)
                        .answer()
                        .map_or(0, |answer| answer.status)
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(
        told.iter().all(|status| matches!(status, 200 | 413 | 503)),
        "{told:?}"
    );
    // What was refused has given its room back.
    assert_eq!(exchange(&gate.address, &request).unwrap().status, 200);
    let resident = resident_kib(gate.pid());
    let status = std::fs::read_to_string(format!("/proc/{}/status", gate.pid())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmPeak"));
    let peak = peak.unwrap().replace(['\t', ' '], "");
    assert_eq!(gate.stop().code(), Some(0));
    assert_eq!(verify(&gate.state_dir()).0, 0);
    report(
        "F25",
        &format!(
            "twelve bodies of 20 MiB at once: {told:?}, {resident} KiB resident afterwards, {peak}"
        ),
    );
}

/// Everything that a client sent is read before it is hung up on, so that it sees its answer.
#[test]
fn a_client_that_only_sends_is_answered_and_closed() {
    let _turn = turn();
    let portal = Portal::start();
    let gate = setup(&portal).start();
    let mut stream = TcpStream::connect(&gate.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.write_all(b"NOT HTTP AT ALL\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}
