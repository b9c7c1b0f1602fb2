//! Disks that fail and hang, one directory or both: F05 and F06 in depth.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::rig::{
    between, decided, is_ready, metric, report, segments, setup, turn, until, verify,
};
use crate::support::gate::{Setup, run};
use crate::support::load::{Load, Plan};
use crate::support::{Gate, Portal};

/// A gate whose journal lies on disks that do as they are told.
pub struct Rig {
    pub dir: Arc<TempDir>,
    pub portal: Portal,
    pub setup: Setup,
    pub gate: Gate,
    pub load: Load,
}

impl Rig {
    /// With two directories or one; `None` where the stand-in for a failing disk cannot be built.
    pub fn start(two: bool, section: &str) -> Option<Self> {
        Self::of(two, section, "mode = \"enforce\"")
    }

    /// Of a gate that only watches, with one directory.
    pub fn watching(section: &str) -> Option<Self> {
        Self::of(false, section, "mode = \"report\"")
    }

    fn of(two: bool, section: &str, mode: &str) -> Option<Self> {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let Some(library) = between(dir.path(), "disk.c") else {
            report("F05", "skipped: no C compiler for the disk's stand-in");
            return None;
        };
        let portal = Portal::start();
        let second = if two {
            format!("second_dir = {:?}\n", dir.path().join("second"))
        } else {
            String::new()
        };
        let section = format!("[audit]\n{second}{section}");
        let mut setup = setup(&portal).section(&section).with(mode);
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        setup.env.insert("LD_PRELOAD".to_owned(), text(&library));
        let faults = text(&dir.path().join("faults"));
        setup.env.insert("DISK_FAULT".to_owned(), faults);
        let gate = Gate::start_in(&dir, &setup);
        let load = Load::start(&Plan {
            clients: 4,
            pause: Duration::from_millis(1),
            ..Plan::of(&gate.address)
        });
        load.more(100);
        Some(Self {
            dir,
            portal,
            setup,
            gate,
            load,
        })
    }

    pub fn first(&self) -> PathBuf {
        self.gate.state_dir().join("audit")
    }

    pub fn second(&self) -> PathBuf {
        self.dir.path().join("second")
    }

    /// The first, and the second if there are two.
    pub fn dirs(&self, two: bool) -> Vec<PathBuf> {
        let second = two.then(|| self.second());
        std::iter::once(self.first()).chain(second).collect()
    }

    /// From now on syncs in these directories fail, or take so long.
    pub fn ail(&self, millis: u32, dirs: &[&Path]) {
        self.ail_in(&["sync"], millis, dirs);
    }

    fn ail_in(&self, kinds: &[&str], millis: u32, dirs: &[&Path]) {
        let lines = dirs.iter().flat_map(|dir| {
            let line = move |kind: &&str| format!("{kind} {millis} {}\n", dir.display());
            kinds.iter().map(line)
        });
        let beside = self.dir.path().join("beside");
        fs::write(&beside, lines.collect::<String>()).unwrap();
        fs::rename(beside, self.dir.path().join("faults")).unwrap();
    }

    pub fn heal(&self) {
        self.ail(0, &[]);
    }

    fn calls_again(&self) {
        self.load.forget();
        until("calls again", Duration::from_secs(20), || {
            self.load.told().of(200) > 50
        });
    }

    /// Ends it, starts it again and looks at everything: each call that reached the portal has its decision, no number
    /// stands twice, the chain is whole, and what is declared lost is what is missing.
    fn ends_whole(mut self, experiment: &str, what: &str, dirs: &[PathBuf]) {
        let told = self.load.stop();
        assert_eq!(told.broken, 0, "{what}");
        assert!(self.gate.stop().success(), "{what}");
        for _ in 0..2 {
            for dir in dirs {
                let (code, out, err) =
                    run(&["audit", "verify", "--audit-dir", dir.to_str().unwrap()]);
                assert_eq!(code, 0, "{what}: {out}{err}");
            }
            // The next start goes on from there.
            Gate::start_in(&self.dir, &self.setup).stop();
        }
        let known = decided(&self.gate.state_dir());
        let aside = crate::rig::decided_aside(&self.gate.state_dir());
        let reached = self.portal.take();
        for request in &reached {
            let id = request.header("x-request-id").unwrap();
            assert!(
                known.contains(id) || aside.contains(id),
                "{what}: {id} reached the portal unrecorded"
            );
        }
        report(
            experiment,
            &format!(
                "{what}: {} calls reached the portal, each with its decision, whole after two more starts",
                reached.len()
            ),
        );
    }
}

/// Twice in a row at the very moment when a segment ends: its last record stands once.
#[test]
fn f05_syncs_fail_where_a_segment_ends() {
    let _turn = turn();
    let Some(rig) = Rig::start(false, "segment_mib = 1\ndeadline_ms = 500") else {
        return;
    };
    let first = rig.first();
    for _ in 0..3 {
        let before = segments(&first).len();
        // Close to the end, so that the roll falls into the trouble.
        until("nearly a segment", Duration::from_secs(60), || {
            let last = segments(&first).pop().unwrap();
            fs::metadata(last).is_ok_and(|meta| meta.len() > 1_040_000)
                || segments(&first).len() > before
        });
        rig.ail(0, &[&first]);
        until("a refusal", Duration::from_secs(10), || {
            rig.load.told().of(503) > 0
        });
        rig.heal();
        rig.calls_again();
    }
    rig.ends_whole("F05", "failures where segments end", &[first]);
}

/// A write fails, or takes less than it was given: what it left is cut back, and no record stands there in part.
#[test]
fn f05_writes_fail_or_are_cut_short() {
    let _turn = turn();
    let Some(rig) = Rig::start(false, "deadline_ms = 500") else {
        return;
    };
    let first = rig.first();
    for kind in ["write", "short", "write", "short"] {
        rig.ail_in(&[kind], 0, &[&first]);
        until("a refusal", Duration::from_secs(10), || {
            rig.load.told().of(503) > 0
        });
        rig.load.more(50);
        rig.heal();
        rig.calls_again();
    }
    until("green", Duration::from_secs(5), || is_ready(&rig.gate));
    rig.ends_whole("F05", "writes fail, or are cut short", &[first]);
}

/// One directory's syncs fail for a while, the other's do not: nothing is refused, and both can be gone on with.
#[test]
fn f05_one_of_two_directories_fails_for_a_while() {
    let _turn = turn();
    let Some(rig) = Rig::start(true, "") else {
        return;
    };
    let (first, second) = (rig.first(), rig.second());
    for _ in 0..3 {
        rig.ail(0, &[&second]);
        until("degraded", Duration::from_secs(5), || {
            metric(&rig.gate, "grantgate_journal_degraded") == 1.0
        });
        rig.load.more(200);
        rig.heal();
        until("both again", Duration::from_secs(5), || {
            metric(&rig.gate, "grantgate_journal_degraded") == 0.0
        });
        rig.load.more(100);
    }
    let told = rig.load.told();
    assert_eq!(
        told.answers(),
        told.of(200) + told.of(403),
        "nothing is refused: {:?}",
        told.statuses
    );
    rig.ends_whole("F05", "the second directory fails", &[first]);
}

/// Both directories' syncs fail: calls are refused, and no number is given twice.
#[test]
fn f05_both_directories_fail_at_once() {
    let _turn = turn();
    let Some(rig) = Rig::start(true, "") else {
        return;
    };
    let (first, second) = (rig.first(), rig.second());
    for _ in 0..3 {
        rig.ail(0, &[&first, &second]);
        until("a refusal", Duration::from_secs(10), || {
            rig.load.told().of(503) > 0
        });
        rig.load.more(50);
        rig.heal();
        rig.calls_again();
    }
    until("green", Duration::from_secs(5), || is_ready(&rig.gate));
    rig.ends_whole("F05", "both directories fail", &[first, second]);
}

/// A directory that hangs is said to be degraded within its deadline; when the other one fails as well calls are refused, and
/// the gate comes back, and stops when it is asked to.
#[test]
fn f06_one_directory_hangs_and_then_the_other_fails() {
    let _turn = turn();
    let Some(rig) = Rig::start(true, "deadline_ms = 500") else {
        return;
    };
    let (first, second) = (rig.first(), rig.second());
    rig.ail(4000, &[&second]);
    rig.load.more(20);
    until("degraded", Duration::from_secs(3), || {
        metric(&rig.gate, "grantgate_journal_degraded") == 1.0
    });
    let told = rig.load.told();
    assert_eq!(
        told.answers(),
        told.of(200) + told.of(403),
        "one is enough: {:?}",
        told.statuses
    );
    rig.ail(0, &[&first]);
    until("a refusal", Duration::from_secs(10), || {
        rig.load.told().of(503) > 0
    });
    rig.heal();
    rig.calls_again();
    until("both again", Duration::from_secs(10), || {
        metric(&rig.gate, "grantgate_journal_degraded") == 0.0
    });
    rig.ends_whole("F06", "one hangs, the other fails", &[first]);
}

/// F06 and F20: a disk that hangs does not keep the gate from ending when it is asked twice; the calls get their ends at the
/// next start.
#[test]
fn f20_a_disk_that_hangs_does_not_hold_the_end() {
    let _turn = turn();
    for with_grants in [false, true] {
        ends_while_the_disk_hangs(with_grants);
    }
}

/// F20: who asks again when the calls have ended, and only the journal is waited for, waits no longer either.
#[test]
fn f20_asked_again_while_the_journal_closes() {
    let _turn = turn();
    let Some(rig) = Rig::start(false, "deadline_ms = 500") else {
        return;
    };
    rig.ail(30_000, &[&rig.first()]);
    until("a refusal", Duration::from_secs(10), || {
        rig.load.told().of(503) > 0
    });
    let Rig { load, mut gate, .. } = rig;
    load.stop();
    gate.signal(rustix::process::Signal::TERM);
    // The admin pages go when the calls have ended.
    until("drained", Duration::from_secs(5), || {
        std::net::TcpStream::connect(&gate.admin).is_err()
    });
    gate.signal(rustix::process::Signal::TERM);
    let asked = std::time::Instant::now();
    assert_eq!(gate.wait().code(), Some(1));
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    report(
        "F20",
        &format!("asked again while the journal closes: gone after {took:?}"),
    );
}

/// The journal's disk hangs, and the database of grants may lie on it.
fn ends_while_the_disk_hangs(with_grants: bool) {
    let Some(mut rig) = Rig::start(false, "deadline_ms = 500") else {
        return;
    };
    if with_grants {
        rig.ail_in(&["sync", "fsync"], 30_000, &[&rig.gate.state_dir()]);
    } else {
        rig.ail(30_000, &[&rig.first()]);
    }
    until("a refusal", Duration::from_secs(10), || {
        rig.load.told().of(503) > 0
    });
    rig.gate.signal(rustix::process::Signal::TERM);
    until("stopping", Duration::from_secs(5), || {
        rig.gate.admin("/readyz").text().contains("stopping")
    });
    rig.gate.signal(rustix::process::Signal::TERM);
    let asked = std::time::Instant::now();
    let code = rig.gate.wait().code();
    let took = asked.elapsed();
    rig.load.stop();
    report(
        "F20",
        &format!(
            "asked twice while the disk hangs, with the grants {with_grants}: gone after {took:?} with {code:?}"
        ),
    );
    assert_eq!(code, Some(1));
    let most = if with_grants { 8 } else { 5 };
    assert!(took < Duration::from_secs(most), "{took:?}");
    let log = rig.gate.log();
    assert!(log.contains("does not answer"));
    assert_eq!(
        log.contains("database of grants does not answer"),
        with_grants
    );
    rig.setup.env.clear();
    Gate::start_in(&rig.dir, &rig.setup).stop();
    assert_eq!(verify(&rig.gate.state_dir()).0, 0);
}
