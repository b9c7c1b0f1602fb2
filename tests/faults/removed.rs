//! What is done to segments from outside, in one directory or both, and whether what is gone by it is declared: F08 in depth.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::rig::{is_ready, report, segments, turn, until, verify};
use crate::sinks::Rig;
use crate::support::Gate;
use crate::support::gate::journal_text;

/// F08: where no new segment can be begun after one was removed, an enforcing gate refuses: it does not go on in a file that
/// is gone. What was lost is declared once.
#[test]
fn f08_no_segment_can_follow_one_that_was_removed() {
    let _turn = turn();
    for harm in ["removed", "truncated"] {
        let Some(mut rig) = Rig::start(false, "deadline_ms = 500") else {
            return;
        };
        let audit = rig.first();
        let active = segments(&audit).pop().unwrap();
        // A file where the directory should be made: nobody, root neither, can begin a segment in it.
        let aside = rig.dir.path().join("aside");
        if harm == "removed" {
            fs::remove_file(&active).unwrap();
        } else {
            fs::File::options()
                .write(true)
                .open(&active)
                .unwrap()
                .set_len(700)
                .unwrap();
        }
        fs::rename(&audit, &aside).unwrap();
        fs::write(&audit, "").unwrap();
        until("red", Duration::from_secs(2), || !is_ready(&rig.gate));
        rig.load.more(20);
        rig.portal.take();
        rig.load.more(50);
        assert!(rig.portal.take().is_empty(), "{harm}: nothing is forwarded");
        fs::remove_file(&audit).unwrap();
        fs::rename(&aside, &audit).unwrap();
        until("calls again", Duration::from_secs(20), || {
            !rig.portal.received().is_empty()
        });
        let told = rig.load.stop();
        rig.gate.stop();
        // A stump is no record; whatever else is there counts.
        let text = journal_text(&rig.gate.state_dir());
        let records: Vec<serde_json::Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let of = |name: &str| {
            records
                .iter()
                .filter_map(|record| record[name].as_u64())
                .collect::<Vec<u64>>()
        };
        let (numbers, gaps) = (of("seq"), of("lost"));
        let missing = numbers.last().unwrap() - u64::try_from(numbers.len()).unwrap();
        report(
            "F08",
            &format!(
                "{harm}, and no segment could follow: {} refused until one could; {gaps:?} declared, {missing} numbers missing",
                told.of(503)
            ),
        );
        assert!(missing > 0);
        assert_eq!(
            gaps.iter().sum::<u64>(),
            missing + told.of(503),
            "{harm}: what is gone, and what was refused, once"
        );
    }
}

/// F08: what is gone from one directory and stands in the other is not lost; what is gone from both is declared.
#[test]
fn f08_segments_are_removed_from_two_directories() {
    let _turn = turn();
    let Some(mut rig) = Rig::start(true, "") else {
        return;
    };
    let (first, second) = (rig.first(), rig.second());
    let newest = |dir: &Path| segments(dir).pop().unwrap();
    // From one: the other has everything.
    let gone = newest(&second);
    fs::remove_file(&gone).unwrap();
    until("a new segment", Duration::from_secs(2), || {
        rig.load.more(5);
        segments(&second).last().is_some_and(|last| *last > gone)
    });
    assert_eq!(rig.gate.records_of("audit.gap").len(), 0);
    // From both: what is now in the second directory was in both.
    for dir in [&first, &second] {
        fs::remove_file(newest(dir)).unwrap();
    }
    until("a declaration", Duration::from_secs(2), || {
        rig.load.more(5);
        !segments(&first).is_empty() && !rig.gate.records_of("audit.gap").is_empty()
    });
    rig.load.stop();
    rig.gate.stop();
    let records = rig.gate.records();
    let lost = declared_lost(&rig.gate);
    let from = records[0]["seq"].as_u64().unwrap();
    let begun: u64 = gone_first(&second);
    report(
        "F08",
        &format!(
            "both directories' segments removed: {lost} declared, first record left {from} and {begun}"
        ),
    );
    assert_eq!(lost, from.min(begun) - 1, "records that neither has");
    assert_eq!(verify(&rig.gate.state_dir()).0, 0);
}

/// How many records the journal says it has lost.
fn declared_lost(gate: &Gate) -> u64 {
    let gaps = gate.records_of("audit.gap");
    gaps.iter().map(|gap| gap["lost"].as_u64().unwrap()).sum()
}

fn gone_first(dir: &Path) -> u64 {
    let first = segments(dir).into_iter().next().unwrap();
    first
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap()
}

/// F08: a directory that nobody may look into any more costs nothing as long as its segment is open, and is no alarm.
#[test]
fn f08_a_directory_is_closed_to_all() {
    let _turn = turn();
    let Some(mut rig) = Rig::start(false, "") else {
        return;
    };
    let audit = rig.first();
    fs::set_permissions(&audit, fs::Permissions::from_mode(0o000)).unwrap();
    rig.load.more(300);
    fs::set_permissions(&audit, fs::Permissions::from_mode(0o700)).unwrap();
    let told = rig.load.stop();
    rig.gate.stop();
    assert_eq!(told.answers(), told.of(200) + told.of(403));
    assert_eq!(rig.gate.records_of("audit.gap").len(), 0);
    assert_eq!(verify(&rig.gate.state_dir()).0, 0);
}

/// F08: what was removed a moment before the gate was told to stop is declared as well, by its last records or by the next
/// start.
#[test]
fn f08_segments_are_removed_right_before_the_end() {
    let _turn = turn();
    // How long a sync of the second takes, in milliseconds: a slow one has not looked when the last records are written.
    for (two, slow) in [(false, 0), (true, 0), (true, 0), (true, 900)] {
        let Some(mut rig) = Rig::start(two, "") else {
            return;
        };
        let dirs = rig.dirs(two);
        if slow > 0 {
            rig.ail(slow, &[&rig.second()]);
            rig.load.more(50);
        }
        rig.load.stop();
        // The segments are looked at every 0.4 s: this is over before the next look.
        for dir in &dirs {
            fs::remove_file(segments(dir).pop().unwrap()).unwrap();
        }
        assert!(rig.gate.stop().success());
        rig.setup.env.clear();
        Gate::start_in(&rig.dir, &rig.setup).stop();
        let missing = missing(&dirs);
        let lost = declared_lost(&rig.gate);
        report(
            "F08",
            &format!(
                "{}{} removed right before the end: {lost} declared, {missing} missing",
                if two { "both segments" } else { "the segment" },
                if slow > 0 { ", one of them slow," } else { "" },
            ),
        );
        assert!(missing > 100, "what was written before is gone");
        assert_eq!(lost, missing, "what is gone is declared once");
        assert_eq!(verify(&rig.gate.state_dir()).0, 0);
    }
}

/// F08: what a segment had declared lost is declared again when it is lost itself.
#[test]
fn f08_a_declaration_is_removed_as_well() {
    let _turn = turn();
    for two in [false, true] {
        let Some(mut rig) = Rig::start(two, "") else {
            return;
        };
        let dirs = rig.dirs(two);
        for _ in 0..3 {
            let gone: Vec<_> = dirs
                .iter()
                .map(|dir| segments(dir).pop().unwrap())
                .collect();
            for segment in gone {
                fs::remove_file(segment).unwrap();
            }
            until("a declaration", Duration::from_secs(3), || {
                rig.load.more(5);
                let begun = dirs.iter().all(|dir| !segments(dir).is_empty());
                begun && !rig.gate.records_of("audit.gap").is_empty()
            });
            rig.load.more(100);
        }
        rig.load.stop();
        rig.gate.stop();
        let missing = missing(&dirs);
        let lost = declared_lost(&rig.gate);
        report(
            "F08",
            &format!(
                "removed three times with what they declared, {} directories: {lost} declared, {missing} missing",
                dirs.len()
            ),
        );
        assert_eq!(lost, missing, "what is gone is declared once");
    }
}

/// How many numbers have no record in any of these directories.
fn missing(dirs: &[PathBuf]) -> u64 {
    let mut numbers = BTreeSet::new();
    for segment in dirs.iter().flat_map(|dir| segments(dir)) {
        for line in fs::read_to_string(segment).unwrap().lines() {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            numbers.insert(record["seq"].as_u64().unwrap());
        }
    }
    numbers.last().unwrap() - u64::try_from(numbers.len()).unwrap()
}
