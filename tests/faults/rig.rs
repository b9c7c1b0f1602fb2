//! What the experiments share.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::gate::{Setup, journal_text, run};
use crate::support::{Gate, Portal};

pub const TOKEN: &str = "at-1";

/// A gate before a portal, with the scopes that seven of ten calls of the load need.
pub fn setup(portal: &Portal) -> Setup {
    Setup::before(&portal.address).grant(TOKEN, &["crm"])
}

/// Prints an experiment's result.
pub fn report(experiment: &str, figures: &str) {
    println!("{experiment}: {figures}");
}

/// What `audit verify` says of a journal.
pub fn verify(state_dir: &Path) -> (i32, String) {
    let dir = state_dir.to_str().unwrap();
    let (code, out, err) = run(&["audit", "verify", "--state-dir", dir]);
    (code, out + &err)
}

/// The request ids of the decisions in a journal.
pub fn decided(state_dir: &Path) -> BTreeSet<String> {
    // The tail may be torn while the gate writes or after it was killed.
    request_ids(&journal_text(state_dir)).collect()
}

/// The same of the segments that were put aside after a failed sync: what stands in them is acknowledged.
pub fn decided_aside(state_dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(state_dir.join("audit")).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "failed"))
        .flat_map(|path| {
            let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
            request_ids(&text).collect::<Vec<_>>()
        })
        .collect()
}

fn request_ids(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter(|line| line.starts_with("{\"event_kind\":\"call.decision\""))
        .filter_map(|line| line.split("\"client_request_id\":\"").nth(1))
        .filter_map(|rest| rest.split('"').next())
        .map(str::to_owned)
}

/// The segments of a journal, oldest first.
pub fn segments(audit: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(audit)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "ndjson"))
        .collect();
    found.sort();
    found
}

/// How often an experiment is repeated: as the environment says, or as often as its criterion asks.
pub fn rounds(variable: &str, asked: usize) -> usize {
    std::env::var(variable)
        .ok()
        .map_or(asked, |text| text.parse().expect("a number of rounds"))
}

/// Nothing reached the portal without a decision in the journal, and nothing twice.
pub fn nothing_unrecorded(portal: &Portal, state_dir: &Path) -> usize {
    let decided = decided(state_dir);
    let mut seen = BTreeSet::new();
    for request in portal.take() {
        let id = request.header("x-request-id").unwrap().to_owned();
        assert!(
            decided.contains(&id),
            "{id} reached the portal without a decision"
        );
        assert!(seen.insert(id.clone()), "{id} reached the portal twice");
    }
    seen.len()
}

/// Experiments take turns: what they measure must not be each other. Held by each test for as long as it runs.
pub fn turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Waits for something, at most so long; how long it took.
pub fn until(what: &str, most: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < most, "{what} took longer than {most:?}");
        std::thread::yield_now();
    }
    began.elapsed()
}

pub fn is_ready(gate: &Gate) -> bool {
    gate.admin("/readyz").status == 200
}

/// The value of a metric's line.
pub fn metric(gate: &Gate, line: &str) -> f64 {
    let text = gate.admin("/metrics").text();
    let found = text
        .lines()
        .find_map(|one| one.strip_prefix(line)?.strip_prefix(' '));
    // What has not been counted yet has no line.
    found.map_or(0.0, |value| value.parse().unwrap())
}

/// Time that a process has spent on a processor.
pub fn cpu(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count()
}

/// True if a program can be run here.
pub fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    found.is_ok_and(|found| found.status.success())
}

/// Builds a library of this folder that stands between a program and the system; `None` without a C compiler.
pub fn between(dir: &Path, source: &str) -> Option<PathBuf> {
    let library = dir.join(source).with_extension("so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/faults")
        .join(source);
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status()
        .ok()?;
    assert!(made.success());
    Some(library)
}

/// A small file system of its own, until it is dropped; `None` where none can be mounted.
pub struct Mounted(PathBuf);

impl Mounted {
    pub fn tmpfs(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Self(at.to_owned()))
    }

    /// Takes all the room there is; it is free again once the file is removed.
    pub fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        for piece in [65_536, 4096, 256, 16] {
            while std::io::Write::write_all(&mut file, &vec![0; piece]).is_ok() {}
        }
        filler
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
