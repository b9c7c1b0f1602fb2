//! Ends that nobody asked for, and those that somebody did: killed, without power, stopped. F01, F02 and F20.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::rig::{decided, report, rounds, segments, setup, turn, until, verify};
use crate::support::gate::{Setup, records};
use crate::support::load::{Load, Plan};
use crate::support::portal::{Reply, ok};
use crate::support::{Client, Gate, Portal};

/// Rounds that share a state directory: each start has more to look through, and a thousand would not fit.
const ROUNDS_A_DIRECTORY: usize = 10;

/// F01: killed at random under load, again and again. What reached the portal has its decision in the journal, and so has
/// what an app was refused; the chain is whole after each start, what was torn is cut and declared, and every call gets its end.
fn killed(rounds: usize) {
    let portal = Portal::start();
    let (mut reached, mut denied, mut torn, mut unknown) = (0, 0, 0, 0);
    let mut slowest = Duration::ZERO;
    let mut chance = 1_u64;
    for from in (0..rounds).step_by(ROUNDS_A_DIRECTORY) {
        let guarantee = ["strict", "durable"][from / ROUNDS_A_DIRECTORY % 2];
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let setup = setup(&portal).with(&format!("guarantee = \"{guarantee}\""));
        let (mut tail, mut cut) = (0, 0);
        for round in from..rounds.min(from + ROUNDS_A_DIRECTORY) {
            let began = Instant::now();
            let mut gate = Gate::start_in(&dir, &setup);
            slowest = slowest.max(began.elapsed());
            let (code, said) = verify(&gate.state_dir());
            assert_eq!(code, 0, "round {round}: {said}");
            if tail > 0 {
                let told = gate.records_of("audit.recovered");
                let told = told.last().map(|record| record["cut_bytes"].clone());
                assert_eq!(
                    told,
                    Some(tail.into()),
                    "round {round}: what was cut is declared"
                );
                cut += 1;
            }
            let load = Load::start(&Plan {
                clients: 64,
                ..Plan::of(&gate.address)
            });
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            load.more(1);
            std::thread::park_timeout(Duration::from_millis((chance >> 33) % 500));
            gate.kill();
            let told = load.stop();
            let known = decided(&gate.state_dir());
            denied += told.denied.len();
            for id in &told.denied {
                assert!(
                    known.contains(id),
                    "round {round}, {guarantee}: {id} was refused without a decision"
                );
            }
            portal.settle();
            let seen = portal.take();
            reached += seen.len();
            for request in &seen {
                let id = request.header("x-request-id").unwrap();
                assert!(
                    known.contains(id),
                    "round {round}, {guarantee}: {id} reached the portal without a decision"
                );
            }
            tail = torn_bytes(&gate.state_dir());
        }
        torn += cut;
        Gate::start_in(&dir, &setup).stop();
        let state = dir.path().join("var");
        assert_eq!(verify(&state).0, 0, "{guarantee}");
        unknown += ends_unknown(&state);
    }
    report(
        "F01",
        &format!(
            "{rounds} rounds, {reached} calls reached the portal and {denied} were refused, each with its decision; {torn} torn tails cut and declared, {unknown} ends unknown, slowest start {slowest:?}"
        ),
    );
    assert!(
        slowest < Duration::from_secs(1),
        "ready again in {slowest:?}"
    );
}

/// What stands after the last whole line of a journal.
fn torn_bytes(state_dir: &Path) -> usize {
    let last = segments(&state_dir.join("audit")).pop().unwrap();
    let bytes = fs::read(last).unwrap();
    bytes.len()
        - bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1)
}

/// How many calls ended nobody knows how. Each decision has one completion.
fn ends_unknown(state_dir: &Path) -> usize {
    let (mut open, mut unknown) = (BTreeSet::new(), 0);
    for record in records(state_dir) {
        let group = record["event_group"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        match record["event_kind"].as_str().unwrap() {
            "call.decision" => assert!(open.insert(group)),
            "call.completion" => {
                unknown += usize::from(record["outcome"] == "outcome_unknown");
                assert!(open.remove(&group), "each decision is completed once");
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "each decision is completed");
    unknown
}

#[test]
fn f01_killed_under_load() {
    let _turn = turn();
    killed(40);
}

#[test]
#[ignore = "long: a thousand kills"]
fn f01_killed_a_thousand_times() {
    let _turn = turn();
    killed(rounds("GRANTGATE_KILL_ROUNDS", 1000));
}

/// F02: the power goes: what a disk holds at any moment has a decision for every call that reached the portal or was
/// refused, over segments that roll.
#[test]
#[ignore = "long: needs to mount file systems"]
fn f02_the_power_goes() {
    let _turn = turn();
    let rounds = rounds("GRANTGATE_POWER_ROUNDS", 200);
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let image = dir.path().join("disk");
    let state = dir.path().join("var");
    fs::create_dir(&state).unwrap();
    let shell = |command: &str| {
        Command::new("sh")
            .args(["-c", command])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let (image_text, state_text) = (image.to_str().unwrap(), state.to_str().unwrap());
    if !shell(&format!(
        "truncate -s 64M {image_text} && mkfs.ext4 -q {image_text} && mount -o loop {image_text} {state_text}"
    )) {
        return report("F02", "skipped: no loop device can be mounted here");
    }
    let portal = Portal::start();
    // What is looked for is in the last few segments, and the rest has to go: the disk is small.
    let section = "[audit]\nreserve_mib = 1\nsegment_mib = 1\nkeep_mib = 24";
    let mut gate = Gate::start_in(&dir, &setup(&portal).section(section));
    let load = Load::start(&Plan {
        pause: Duration::from_millis(4),
        ..Plan::of(&gate.address)
    });
    let (mut reached, mut denied, mut rolled) = (0, 0, 0);
    for round in 0..rounds {
        load.more(40 + u64::try_from(round).unwrap() % 50 * 7);
        gate.signal(Signal::STOP);
        // What has reached the portal, or was refused, since the last time must be in what the disk holds now.
        let told = load.forget();
        assert_eq!(told.answers(), told.of(200) + told.of(403));
        let seen = portal.take();
        let seen = seen
            .iter()
            .map(|one| one.header("x-request-id").unwrap().to_owned());
        let (before, refused) = (reached, told.denied.len());
        let seen: Vec<String> = seen.chain(told.denied).collect();
        denied += refused;
        reached = before + seen.len() - refused;
        let copy = dir.path().join("copy");
        fs::copy(&image, &copy).unwrap();
        gate.signal(Signal::CONT);
        let at = dir.path().join("at");
        fs::create_dir_all(at.join("var")).unwrap();
        assert!(shell(&format!(
            "mount -o loop {} {}",
            copy.display(),
            at.join("var").display()
        )));
        let known = decided(&at.join("var"));
        let missing: Vec<&String> = seen.iter().filter(|id| !known.contains(*id)).collect();
        let (code, said) = {
            // As after a crash: the next start repairs, then the journal holds.
            let mut again = Gate::start_in(
                &Arc::new(tempfile::tempdir_in(dir.path()).unwrap()),
                &at_state(&portal, &at.join("var")),
            );
            again.stop();
            verify(&at.join("var"))
        };
        assert!(shell(&format!("umount {}", at.join("var").display())));
        assert!(missing.is_empty(), "round {round}: {missing:?}");
        assert_eq!(code, 0, "{said}");
        rolled = segments(&state.join("audit")).len();
    }
    load.stop();
    assert!(
        rolled > 1 && denied > 0,
        "{rolled} segments, {denied} refused"
    );
    gate.stop();
    drop(gate);
    shell(&format!("umount {state_text}"));
    report(
        "F02",
        &format!(
            "{rounds} copies of the disk; {reached} calls reached the portal and {denied} were refused, each with its decision; chain whole after repair"
        ),
    );
}

/// A gate on a state directory that is there already.
fn at_state(portal: &Portal, state: &Path) -> Setup {
    let mut setup = setup(portal);
    setup.state = Some(state.to_owned());
    setup
}

/// A portal that takes its time for each answer, two hundred calls under way, and one connection that does nothing.
fn two_hundred_under_way(time: Duration) -> (Portal, Gate, Vec<Client>, Client) {
    let arrived = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&arrived);
    let portal = Portal::scripted(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        std::thread::park_timeout(time);
        Reply::Bytes(ok("{\"result\":1}"))
    });
    let gate = setup(&portal).start();
    let idle = Client::connect(&gate.address);
    let mut clients: Vec<Client> = (0..200).map(|_| Client::connect(&gate.address)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /rest/crm.deal.list HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\nx-request-id: {number}\r\n\r\n").as_bytes());
    }
    until("200 calls", Duration::from_secs(10), || {
        arrived.load(Ordering::Relaxed) == 200
    });
    gate.signal(Signal::TERM);
    until("stopping", Duration::from_secs(5), || {
        gate.admin("/readyz").status != 200
    });
    assert!(gate.admin("/readyz").text().contains("stopping"));
    (portal, gate, clients, idle)
}

fn outcomes(gate: &Gate, word: &str) -> usize {
    let ends = gate.records_of("call.completion");
    ends.iter().filter(|end| end["outcome"] == word).count()
}

/// F20: calls under way end, new connections are refused, and every decision has its completion.
#[test]
fn f20_sigterm_drains() {
    let _turn = turn();
    let (_portal, mut gate, mut clients, mut idle) = two_hundred_under_way(Duration::from_secs(1));
    let asked = Instant::now();
    assert!(idle.is_closed(), "an idle connection is closed");
    let newcomer = Client::try_connect(&gate.address);
    assert!(
        newcomer.is_none_or(|mut client| client.is_closed()),
        "a new connection is refused"
    );
    for client in &mut clients {
        assert_eq!(client.answer().unwrap().status, 200);
    }
    assert_eq!(gate.wait().code(), Some(0));
    let took = asked.elapsed();
    assert_eq!(outcomes(&gate, "ok"), 200);
    assert_eq!(verify(&gate.state_dir()).0, 0);
    report(
        "F20",
        &format!("200 calls under way ended with 200, the gate {took:?} after it was asked"),
    );
    assert!(took < Duration::from_secs(30), "the grace is not used up");
}

/// F20: who asks twice waits for nobody, and each call that is broken off has that in the journal.
#[test]
fn f20_a_second_signal_stops_at_once_and_says_so() {
    let _turn = turn();
    let (_portal, mut gate, _clients, _idle) = two_hundred_under_way(Duration::from_secs(20));
    gate.signal(Signal::TERM);
    let asked = Instant::now();
    assert_eq!(gate.wait().code(), Some(0));
    let took = asked.elapsed();
    let aborted = outcomes(&gate, "aborted");
    assert_eq!(verify(&gate.state_dir()).0, 0);
    report(
        "F20",
        &format!("asked twice: gone after {took:?}, {aborted} calls recorded as aborted"),
    );
    assert_eq!(aborted, 200);
    assert!(took < Duration::from_secs(1), "{took:?}");
}
