//! What the guarantees of the journal cost: CPU a call of `strict` beside `best_effort`, both while they only watch, with one
//! core for the gate and another one for its clients and its portal.
//!
//! `cargo bench --bench guarantees` takes a minute, prints a line for each number of connections, and fails if 64 cost more
//! than a quarter more. The fewer calls share a sync, the more of it each pays.

#[path = "../tests/support/mod.rs"]
mod support;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::gate::Setup;
use support::load::{Load, Plan};
use support::portal::{Reply, ok};
use support::{Gate, Portal};

/// Pairs of spells, and how long each is: they take turns, so that what else the machine does falls on both.
const PAIRS: usize = 12;
const SPELL: Duration = Duration::from_secs(1);

/// What 64 connections may cost.
const MOST: f64 = 1.25;

fn main() {
    let pinned = Command::new("taskset")
        .args(["-p", "-c", "1"])
        .arg(std::process::id().to_string())
        .output();
    if !pinned.is_ok_and(|output| output.status.success()) {
        println!("skipped: taskset and a second core are needed");
        return;
    }
    let portal = Portal::forgetful(|_| Reply::Bytes(ok("{\"result\":true}")));
    let (strict, best_effort) = (gate(&portal, "strict"), gate(&portal, "best_effort"));
    for connections in [8, 64, 256] {
        let mut ratios = Vec::new();
        let (mut costs, mut rates) = (Vec::new(), Vec::new());
        for pair in 0..=PAIRS {
            let (dear, rate) = cost(&strict, connections);
            let (cheap, _) = cost(&best_effort, connections);
            // The first is for warming up.
            if pair > 0 {
                ratios.push(dear / cheap);
                costs.push(dear);
                rates.push(rate);
            }
        }
        for figures in [&mut ratios, &mut costs, &mut rates] {
            figures.sort_by(f64::total_cmp);
        }
        let ratio = ratios[PAIRS / 2];
        println!(
            "{connections:>3} connections: strict {:.1} us a call, {ratio:.2} times best_effort (quartiles {:.2} to {:.2}), {:.1} million records a minute",
            costs[PAIRS / 2],
            ratios[PAIRS / 4],
            ratios[PAIRS * 3 / 4],
            rates[PAIRS / 2] * 2.0 * 60.0 / 1e6
        );
        assert!(connections != 64 || ratio <= MOST, "{ratio} times");
    }
}

/// A gate with the first core for itself.
fn gate(portal: &Portal, guarantee: &str) -> Gate {
    let mut setup = Setup::before(&portal.address)
        .grant("at-1", &["crm"])
        .with("mode = \"report\"")
        .with(&format!("guarantee = \"{guarantee}\""))
        .section("[limits]\ncalls_per_token = 4096\n[audit]\nkeep_mib = 512");
    setup.env.insert("RUST_LOG".to_owned(), "info".to_owned());
    setup.under = ["taskset", "-c", "0"].map(str::to_owned).into();
    // On a disk: where the build's files are. A directory for temporary files may lie in memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    Gate::start_in(&Arc::new(dir), &setup)
}

/// Microseconds of CPU a call, and calls a second.
fn cost(gate: &Gate, connections: usize) -> (f64, f64) {
    let load = Load::start(&Plan {
        clients: connections,
        refused: 0,
        ..Plan::of(&gate.address)
    });
    load.more(u64::try_from(connections).unwrap() * 2);
    let (began, answered, spent) = (Instant::now(), load.answered(), cpu(gate.pid()));
    std::thread::park_timeout(SPELL);
    let (spent, calls) = (cpu(gate.pid()) - spent, load.answered() - answered);
    let took = began.elapsed();
    let told = load.stop();
    assert_eq!(told.answers(), told.of(200), "{:?}", told.statuses);
    (
        spent.as_secs_f64() * 1e6 / calls as f64,
        calls as f64 / took.as_secs_f64(),
    )
}

/// What the threads of a process have spent, to the nanosecond.
fn cpu(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let spent = threads.filter_map(|thread| -> Option<u64> {
        let stat = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse().ok()
    });
    Duration::from_nanos(spent.sum())
}
