//! F31: mixed load with faults at random.

use std::io::{BufRead as _, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::rig::{descriptors, is_ready, metric, report, segments, setup, turn, until, verify};
use crate::support::load::{Load, Plan, Told};
use crate::support::portal::{Reply, ok};
use crate::support::{Client, Portal, resident_kib};

fn soak(length: Duration) {
    let number = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&number);
    let portal = Portal::forgetful(move |_| {
        let whole = ok("{\"result\":true}");
        match (counted
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_mul(2_654_435_761)
            >> 7)
            % 500
        {
            0 => Reply::Last(Vec::new()),
            1 => Reply::Last(whole[..whole.len() - 3].to_vec()),
            2 => Reply::Hang(whole[..20].to_vec()),
            _ => Reply::Bytes(whole),
        }
    });
    let section = "[limits]\nfirst_byte_secs = 2\nanswer_idle_secs = 2\ncalls_per_token = 6\n[audit]\nsegment_mib = 8";
    let mut gate = setup(&portal)
        .section(section)
        .grant("other", &["crm"])
        .start();
    // Six clients share what four may do at once now and then: some calls are shed.
    let pause = Duration::from_millis(4);
    let loads = [
        Load::start(&Plan {
            clients: 10,
            pause,
            ..Plan::of(&gate.address)
        }),
        Load::start(&Plan {
            clients: 4,
            pause,
            token: "other",
            refused: 1,
            ..Plan::of(&gate.address)
        }),
        Load::start(&Plan {
            clients: 2,
            pause,
            token: "nobody",
            ..Plan::of(&gate.address)
        }),
    ];
    let stop = Arc::new(AtomicBool::new(false));
    let garbage = std::thread::spawn({
        let (stop, address) = (Arc::clone(&stop), gate.address.clone());
        move || garbage(&address, &stop)
    });
    let began = Instant::now();
    let mut samples = Vec::new();
    let mut told: Vec<Told> = vec![Told::default(); 3];
    while began.elapsed() < length {
        std::thread::park_timeout(length.min(Duration::from_secs(10)) / 2);
        gate.signal(Signal::HUP);
        let secs = began.elapsed().as_secs_f64();
        samples.push((secs, resident_kib(gate.pid()), descriptors(gate.pid())));
        for (told, load) in told.iter_mut().zip(&loads) {
            let more = load.forget();
            for (status, count) in more.statuses {
                *told.statuses.entry(status).or_default() += count;
            }
            told.broken += more.broken;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let garbage = garbage.join().unwrap();
    let mut all = Told::default();
    for (before, load) in told.into_iter().zip(loads) {
        for one in [before, load.stop()] {
            for (status, count) in one.statuses {
                *all.statuses.entry(status).or_default() += count;
            }
            all.broken += one.broken;
        }
    }
    assert!(is_ready(&gate));
    until("everything ended", Duration::from_secs(10), || {
        metric(&gate, "grantgate_calls_in_flight{gate=\"portal\"}") == 0.0
    });
    // What is shed is summed up twice a second.
    until("all counted", Duration::from_secs(5), || {
        let page = gate.admin("/metrics").text();
        sum(&page, "shed_total", "what=\"call\"") == all.of(503)
    });
    let page = gate.admin("/metrics").text();
    let counted = |family: &str, with: &str| sum(&page, family, with);
    let measured = [
        counted("calls_total", "decision=\"allow\""),
        counted("calls_total", "decision=\"deny\""),
        counted("rejected_total", ""),
        counted("shed_total", "what=\"call\""),
    ];
    gate.stop();
    // After warm-up.
    let steady = &samples[samples.len() / 4..];
    let (first, last) = (steady[0], *steady.last().unwrap());
    let slope = kib_a_minute(steady);
    let Journal {
        decisions,
        completions,
        allowed,
        denied,
        rejected,
        shed,
    } = Journal::of(&gate.state_dir());
    let received = all.answers() + all.broken + garbage;
    let (code, said) = verify(&gate.state_dir());
    report(
        "F31",
        &format!(
            "{:.0} s: {received} calls = {allowed} allowed + {denied} denied + {rejected} rejected + {shed} shed; memory {} to {} KiB ({slope:.0} KiB a minute), descriptors {} to {}; {:?}, {} broken off; {}",
            began.elapsed().as_secs_f64(),
            first.1,
            last.1,
            first.2,
            last.2,
            all.statuses,
            all.broken,
            said.lines().next().unwrap_or_default()
        ),
    );
    assert_eq!(code, 0, "{said}");
    assert_eq!(decisions, completions);
    assert_eq!(decisions, allowed + denied);
    assert_eq!(received, allowed + denied + rejected + shed);
    // The metrics say the same: by then nobody called any more.
    assert_eq!(measured, [allowed, denied, rejected, shed]);
    assert!(
        measured.iter().all(|count| *count > 0),
        "something of each: {measured:?}"
    );
    if length > Duration::from_secs(300) {
        assert!(slope < 1024.0, "{slope} KiB a minute");
        assert!(
            last.2 <= first.2 + 32,
            "descriptors grew from {} to {}",
            first.2,
            last.2
        );
    }
}

/// Sends what is no HTTP, now and then, until told to stop; how often.
fn garbage(address: &str, stop: &AtomicBool) -> u64 {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        if let Some(mut client) = Client::try_connect(address) {
            let answer = client.send(b"NO HTTP AT ALL\r\n\r\n").answer();
            assert_eq!(answer.map(|answer| answer.status), Some(400));
            sent += 1;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    sent
}

/// The sum of a family's samples that have these labels.
fn sum(page: &str, family: &str, with: &str) -> u64 {
    let name = format!("grantgate_{family}{{");
    page.lines()
        .filter(|line| line.starts_with(&name) && line.contains(with))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// How memory grows: the line that fits the samples best.
fn kib_a_minute(samples: &[(f64, u64, usize)]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: &dyn Fn(&(f64, u64, usize)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (time, memory) = (mean(&|one| one.0), mean(&|one| one.1 as f64));
    let over = mean(&|one| (one.0 - time) * (one.1 as f64 - memory));
    let under = mean(&|one| (one.0 - time).powi(2));
    if under > 0.0 {
        over / under * 60.0
    } else {
        0.0
    }
}

/// What a journal adds up to.
#[derive(Default)]
struct Journal {
    decisions: u64,
    completions: u64,
    allowed: u64,
    denied: u64,
    rejected: u64,
    shed: u64,
}

impl Journal {
    /// Line by line: the records of twenty minutes do not fit into memory as values.
    fn of(state_dir: &std::path::Path) -> Self {
        let mut told = Self::default();
        for segment in segments(&state_dir.join("audit")) {
            let lines = BufReader::new(std::fs::File::open(segment).unwrap()).lines();
            for line in lines.map(Result::unwrap) {
                let record: serde_json::Value = serde_json::from_str(&line).unwrap();
                match record["event_kind"].as_str().unwrap() {
                    "call.decision" => told.decisions += 1,
                    "call.completion" => told.completions += 1,
                    "call.rejected" => told.rejected += record["count"].as_u64().unwrap_or(1),
                    "call.shed" => told.shed += record["shed"]["calls"].as_u64().unwrap(),
                    _ => {}
                }
                match record["decision"].as_str() {
                    _ if record["operation"] == "unparsed" => {}
                    Some("allow") => told.allowed += 1,
                    Some("deny") => told.denied += 1,
                    _ => {}
                }
            }
        }
        told
    }
}

#[test]
fn f31_mixed_load_with_faults_at_random() {
    let _turn = turn();
    soak(Duration::from_secs(6));
}

#[test]
#[ignore = "long: twenty minutes"]
fn f31_twenty_minutes() {
    let _turn = turn();
    let minutes = std::env::var("GRANTGATE_SOAK_MINUTES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20);
    soak(Duration::from_secs(minutes * 60));
}
