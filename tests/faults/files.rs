//! What is done to the journal's files from outside, and by time and size: F08.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::rig::{
    between, is_ready, metric, nothing_unrecorded, report, setup, turn, until, verify,
};
use crate::support::gate::records;
use crate::support::load::{Load, Plan};
use crate::support::{Gate, Portal, exchange};

fn segments(gate: &Gate) -> Vec<PathBuf> {
    crate::rig::segments(&gate.state_dir().join("audit"))
}

/// What is done to the newest segment of a journal, and whether its records are lost by it.
type Harm = (&'static str, Harmed, fn(&Path));

#[derive(PartialEq)]
enum Harmed {
    /// They lie elsewhere.
    Moved,
    /// They are gone.
    Lost,
    /// Nothing is: the journal goes on in the same file.
    Nothing,
}

const HARMS: [Harm; 5] = [
    ("renamed", Harmed::Moved, |path| {
        fs::rename(path, path.with_extension("old")).unwrap();
    }),
    ("truncated", Harmed::Lost, |path| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(0).unwrap();
    }),
    // As logrotate's copytruncate does it.
    ("copied and truncated", Harmed::Lost, |path| {
        fs::copy(path, path.with_extension("1")).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(0).unwrap();
    }),
    ("deleted", Harmed::Lost, |path| {
        fs::remove_file(path).unwrap()
    }),
    ("closed to all", Harmed::Nothing, |path| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    }),
];

/// F08: a segment that is moved, cut or removed while calls go on is followed by a new one within a second, what was lost is
/// declared with its number, and from then on nothing is forwarded without a record.
fn harmed(times: usize) {
    for (what, harmed, harm) in &HARMS {
        let (mut slowest, mut lost, mut calls) = (Duration::ZERO, 0, 0);
        for _ in 0..times {
            let portal = Portal::start();
            let mut gate = setup(&portal).start();
            let load = Load::start(&Plan::of(&gate.address));
            load.more(200);
            // Once: what is cut next time might be the declaration of the last.
            let active = segments(&gate).pop().unwrap();
            harm(&active);
            if *harmed != Harmed::Nothing {
                let noticed = until(what, Duration::from_secs(1), || {
                    segments(&gate).last().is_some_and(|last| *last > active)
                });
                slowest = slowest.max(noticed);
            }
            // What was under way then may have its decision in what is gone.
            load.more(20);
            portal.take();
            load.more(100);
            let told = load.stop();
            until("green", Duration::from_secs(2), || is_ready(&gate));
            let counted = metric(&gate, "grantgate_journal_lost_records_total");
            gate.stop();
            calls += told.answers();
            assert_eq!(
                (told.answers(), told.broken),
                (told.of(200) + told.of(403), 0),
                "{what}"
            );
            nothing_unrecorded(&portal, &gate.state_dir());
            let records = gate.records();
            let gaps: u64 = records
                .iter()
                .filter(|record| record["event_kind"] == "audit.gap")
                .map(|record| record["lost"].as_u64().unwrap())
                .sum();
            let last = records.last().unwrap()["seq"].as_u64().unwrap();
            let left = u64::try_from(records.len()).unwrap();
            assert_eq!(counted, gaps as f64, "{what}: what wakes somebody");
            let said = gate.log().contains("has lost records");
            assert_eq!(said, gaps > 0, "{what}");
            match harmed {
                Harmed::Moved => {
                    assert_eq!(gaps, 0, "what lies elsewhere is not lost");
                    let moved = fs::read_to_string(active.with_extension("old")).unwrap();
                    let moved = u64::try_from(moved.lines().count()).unwrap();
                    assert_eq!(moved + left, last, "no number is missing over all files");
                }
                // Each new segment begins with what its records refer to; those lines were never lost.
                Harmed::Lost => assert_eq!(
                    left + gaps,
                    last,
                    "{what}: every number is there or declared"
                ),
                Harmed::Nothing => {
                    assert_eq!((gaps, left), (0, last), "{what}");
                    assert_eq!(verify(&gate.state_dir()).0, 0);
                }
            }
            lost += gaps;
        }
        report(
            "F08",
            &format!(
                "{what} {times} times: noticed within {slowest:?}, {lost} declared lost, {calls} calls, none failed"
            ),
        );
    }
}

#[test]
fn f08_segments_moved_cut_and_removed_from_outside() {
    let _turn = turn();
    harmed(1);
}

#[test]
#[ignore = "long: fifty times each"]
fn f08_fifty_times_each() {
    let _turn = turn();
    harmed(50);
}

/// Segments are closed by size, old ones go by total size, and no record is lost at a roll.
#[test]
fn segments_roll_by_age_and_the_old_ones_go() {
    let _turn = turn();
    let portal = Portal::start();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let Some(library) = between(dir.path(), "clock.c") else {
        return report("roll", "skipped: no C compiler for the clock's stand-in");
    };
    let offset = dir.path().join("offset");
    let mut setup = setup(&portal).section("[audit]\nsegment_hours = 1\nkeep_days = 2");
    for (name, path) in [("LD_PRELOAD", &library), ("CLOCK_OFFSET", &offset)] {
        let path = path.to_str().unwrap().to_owned();
        setup.env.insert(name.to_owned(), path);
    }
    let mut gate = Gate::start_in(&dir, &setup);
    let mut calls = 0;
    for (hours, left) in [(0, 1), (2, 2), (4, 3), (72, 1)] {
        fs::write(&offset, (hours * 3600).to_string()).unwrap();
        until("as many segments", Duration::from_secs(10), || {
            let call = b"GET /rest/crm.deal.list?auth=at-1 HTTP/1.1\r\nhost: gate\r\n\r\n";
            assert_eq!(exchange(&gate.address, call).unwrap().status, 200);
            calls += 1;
            segments(&gate).len() == left
        });
    }
    gate.stop();
    let (code, said) = verify(&gate.state_dir());
    assert_eq!(code, 0, "{said}");
    assert!(gate.records_of("audit.gap").is_empty(), "nothing was lost");
    assert!(gate.records_of("call.decision").len() < calls);
    report(
        "roll",
        "a segment an hour, and those older than two days are gone",
    );
}

#[test]
fn segments_roll_by_size_and_the_oldest_go() {
    let _turn = turn();
    let portal = Portal::start();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let setup = setup(&portal).section("[audit]\nsegment_mib = 1\nguarantee = \"durable\"");
    let mut gate = Gate::start_in(&dir, &setup);
    let load = Load::start(&Plan::of(&gate.address));
    until("three segments", Duration::from_secs(60), || {
        segments(&gate).len() >= 3
    });
    load.stop();
    gate.stop();
    let (code, said) = verify(&gate.state_dir());
    assert_eq!(code, 0, "{said}");
    let forwarded = nothing_unrecorded(&portal, &gate.state_dir());
    let all = gate.records();
    let mut numbers = all.iter().map(|record| record["seq"].as_u64().unwrap());
    assert!(
        numbers.by_ref().eq(1..=u64::try_from(all.len()).unwrap()),
        "no number is missing"
    );
    let ends: Vec<_> = all
        .iter()
        .filter(|record| record["next_segment"].is_string())
        .collect();
    for end in &ends {
        assert!(
            gate.state_dir()
                .join("audit")
                .join(end["next_segment"].as_str().unwrap())
                .exists()
        );
    }
    let heads = all.iter().filter(|record| {
        record["event_kind"] == "audit.checkpoint" && record["prev_hash"].is_string()
    });
    assert_eq!(heads.count(), ends.len());
    report(
        "roll",
        &format!(
            "{} segments, {} records, {forwarded} forwarded calls, all recorded",
            segments(&gate).len(),
            all.len()
        ),
    );
    // The oldest go at the next start, and what is left still holds.
    let before = segments(&gate).len();
    let setup = setup.section("keep_mib = 2");
    let mut gate = Gate::start_in(&dir, &setup);
    gate.stop();
    assert!(segments(&gate).len() < before);
    let (code, said) = verify(&gate.state_dir());
    assert_eq!(code, 0, "{said}");
}

/// A call that was open when its segment was closed, and when the gate was killed, gets its end at the next start.
#[test]
fn an_open_call_of_an_earlier_segment_is_closed_after_a_crash() {
    let _turn = turn();
    use crate::support::portal::{Reply, ok};
    let portal = Portal::scripted(|request| {
        if request.target.contains("crm.deal.get") {
            Reply::Hang(Vec::new())
        } else {
            Reply::Bytes(ok("{\"result\":true}"))
        }
    });
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let setup = setup(&portal).section("[audit]\nsegment_mib = 1\nguarantee = \"durable\"");
    let mut gate = Gate::start_in(&dir, &setup);
    let mut client = crate::support::Client::connect(&gate.address);
    client.send(b"GET /rest/crm.deal.get HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\nx-request-id: open\r\n\r\n");
    until("the call", Duration::from_secs(5), || {
        crate::rig::decided(&gate.state_dir()).contains("open")
    });
    let load = Load::start(&Plan::of(&gate.address));
    until("three segments", Duration::from_secs(60), || {
        segments(&gate).len() >= 3
    });
    gate.kill();
    load.stop();
    let mut gate = Gate::start_in(&dir, &setup);
    gate.stop();
    let all = gate.records();
    let open = all
        .iter()
        .find(|record| record["client_request_id"] == "open")
        .unwrap();
    let end = all.iter().find(|record| {
        record["event_kind"] == "call.completion" && record["event_group"] == open["event_group"]
    });
    assert_eq!(end.unwrap()["outcome"], "outcome_unknown");
    let count = |kind: &str| {
        all.iter()
            .filter(|record| record["event_kind"] == kind)
            .count()
    };
    assert_eq!(count("call.decision"), count("call.completion"));
    assert_eq!(verify(&gate.state_dir()).0, 0);
}

/// Two directories: one is enough, whichever it is, and a restart goes on from the one that has more.
#[test]
fn one_of_two_directories_is_enough() {
    let _turn = turn();
    use crate::rig::{Mounted, metric};
    for full in ["second", "first"] {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let (state, second) = (dir.path().join("var"), dir.path().join("second"));
        let small = if full == "first" { &state } else { &second };
        let Some(disk) = Mounted::tmpfs(small, "8m") else {
            return report("two", "skipped: no small file system can be mounted here");
        };
        let portal = Portal::start();
        let section =
            format!("[audit]\ndeadline_ms = 60000\nreserve_mib = 1\nsecond_dir = {second:?}");
        let setup = setup(&portal).section(&section);
        let mut gate = Gate::start_in(&dir, &setup);
        let load = Load::start(&Plan::of(&gate.address));
        load.more(200);
        let filler = disk.fill();
        until("degraded", Duration::from_secs(10), || {
            metric(&gate, "grantgate_journal_degraded") == 1.0
        });
        load.more(300);
        assert!(is_ready(&gate), "one is enough");
        fs::remove_file(&filler).unwrap();
        until("both again", Duration::from_secs(5), || {
            metric(&gate, "grantgate_journal_degraded") == 0.0
        });
        load.more(100);
        let told = load.stop();
        assert_eq!(
            told.answers(),
            told.of(200) + told.of(403),
            "{:?}",
            told.statuses
        );
        gate.stop();
        let whole = if full == "first" {
            second.clone()
        } else {
            state.join("audit")
        };
        let check = |audit: &Path| {
            crate::support::gate::run(&["audit", "verify", "--audit-dir", audit.to_str().unwrap()])
        };
        let (code, said, _) = check(&whole);
        assert_eq!(code, 0, "{said}");
        let mut again = Gate::start_in(&dir, &setup);
        again.stop();
        let (code, said, _) = check(&whole);
        assert_eq!(code, 0, "{said}");
        report(
            "two",
            &format!(
                "the {full} full: {} calls as ever, none refused; the other one whole",
                told.answers()
            ),
        );
    }
}

/// Killed under load, two directories rarely end with the same record: the next start gives each what the other has more.
#[test]
fn two_directories_are_made_even_after_a_kill() {
    let _turn = turn();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let state = dir.path().join("var");
    let second = dir.path().join("second");
    let portal = Portal::start();
    let setup = setup(&portal).section(&format!("[audit]\nsecond_dir = {second:?}"));
    let audits = [state.join("audit"), second];
    let mut lagged = 0;
    for round in 0..6 {
        let mut gate = Gate::start_in(&dir, &setup);
        let load = Load::start(&Plan::of(&gate.address));
        load.more(100);
        gate.kill();
        load.stop();
        if round % 2 == 0 {
            // Cut as a disk that was slower would have been: in its last segment, after a whole record.
            let newest = crate::rig::segments(&audits[round / 2 % 2]).pop().unwrap();
            let text = fs::read_to_string(&newest).unwrap();
            let lines: Vec<_> = text.split_inclusive('\n').collect();
            fs::write(&newest, lines[..lines.len() / 2].concat()).unwrap();
            lagged += 1;
        }
        let mut again = Gate::start_in(&dir, &setup);
        again.stop();
        let told = audits.each_ref().map(|audit| {
            let (code, said, _) = crate::support::gate::run(&[
                "audit",
                "verify",
                "--audit-dir",
                audit.to_str().unwrap(),
            ]);
            assert_eq!(code, 0, "{audit:?}: {said}");
            crate::rig::segments(audit)
                .iter()
                .flat_map(|path| fs::read(path).unwrap())
                .collect::<Vec<u8>>()
        });
        assert!(
            told[0] == told[1],
            "round {round}: the same records in both"
        );
    }
    report(
        "two",
        &format!(
            "6 kills, {lagged} with half a segment missing: the same records in both afterwards"
        ),
    );
}

/// Puts these segments into the journal's directory, and nothing else.
fn as_it_was(gate: &Gate, whole: &[(PathBuf, Vec<u8>)]) {
    for path in segments(gate) {
        fs::remove_file(path).unwrap();
    }
    for (path, text) in whole {
        fs::write(path, text).unwrap();
    }
}

/// What a crash, or somebody, may leave of the newest segment: a piece of its first record goes, whole records never do.
#[test]
fn the_newest_segment_is_repaired_or_refused_and_never_thrown_away() {
    let _turn = turn();
    use crate::support::gate::run;
    let portal = Portal::start();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let setup = setup(&portal).section("[audit]\nsegment_mib = 1\nguarantee = \"durable\"");
    let mut gate = Gate::start_in(&dir, &setup);
    let load = Load::start(&Plan::of(&gate.address));
    until("two segments", Duration::from_secs(60), || {
        segments(&gate).len() >= 2
    });
    load.more(50);
    load.stop();
    gate.stop();
    let whole: Vec<(PathBuf, Vec<u8>)> = segments(&gate)
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    let (last, text) = whole.last().unwrap();
    let first_line = text.iter().position(|b| *b == b'\n').unwrap() + 1;
    let mut changed = text.clone();
    changed[first_line - 2] = b'x';
    let mut zeros = text[..200].to_vec();
    zeros[100..].fill(0);
    for (what, left, goes_on) in [
        ("torn in its first record", text[..200].to_vec(), true),
        ("a page that was never stored", zeros, true),
        ("empty", Vec::new(), true),
        ("its first record changed", changed, false),
    ] {
        as_it_was(&gate, &whole);
        fs::write(last, &left).unwrap();
        if goes_on {
            let mut again = Gate::start_in(&dir, &setup);
            again.stop();
            let (code, said) = verify(&gate.state_dir());
            assert_eq!(code, 0, "{what}: {said}");
        } else {
            let config = dir.path().join("grantgate.toml");
            let (code, _, err) = run(&["serve", "--config", config.to_str().unwrap()]);
            assert_eq!(code, 1, "{what}");
            assert!(err.contains("cannot be continued"), "{what}: {err}");
            assert_eq!(
                fs::read(last).unwrap(),
                left,
                "{what}: nothing is taken away"
            );
        }
    }
    // A gate that died before the successor of a put aside segment stood.
    as_it_was(&gate, &whole);
    fs::rename(last, last.with_extension("ndjson.failed")).unwrap();
    let before = records(&gate.state_dir()).len();
    let mut again = Gate::start_in(&dir, &setup);
    again.stop();
    assert!(records(&gate.state_dir()).len() > before);
    let (code, said) = verify(&gate.state_dir());
    assert_eq!(code, 0, "{said}");
}

/// Two journals in one directory would be none: the start says so.
#[test]
fn a_directory_belongs_to_one_journal() {
    use crate::support::gate::run;
    let _turn = turn();
    let portal = Portal::start();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let second = dir.path().join("second");
    let section = format!("[audit]\nsecond_dir = {second:?}");
    let _gate = Gate::start_in(&dir, &setup(&portal).section(&section));
    let elsewhere = tempfile::tempdir().unwrap();
    let own = elsewhere.path().join("var/audit");
    for shared in [second, own] {
        let section = format!("[audit]\nsecond_dir = {shared:?}");
        let config = elsewhere.path().join("grantgate.toml");
        fs::write(
            &config,
            setup(&portal).section(&section).text(elsewhere.path()),
        )
        .unwrap();
        let (code, _, err) = run(&["serve", "--config", config.to_str().unwrap()]);
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("a journal is kept there already"), "{err}");
    }
}
