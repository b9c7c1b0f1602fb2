//! A gate as its own process, as an operator would run it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_grantgate");

/// A running gate, with its state in a directory of its own.
pub struct Gate {
    pub address: String,
    pub admin: String,
    /// Every gate's address, by name.
    pub addresses: HashMap<String, String>,
    child: Child,
    /// The gate's own process, which is not the child where it runs under something.
    process: Pid,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    /// The log that nobody takes.
    _unheard: Option<ChildStderr>,
    dir: Arc<TempDir>,
}

/// How a gate is to be run: the settings of its `[[gate]]` and whatever stands before it.
#[derive(Clone, Default)]
pub struct Setup {
    pub top: String,
    /// The vendor; Bitrix24 if nothing is said.
    pub vendor: Option<&'static str>,
    pub gate: String,
    pub after: String,
    pub env: HashMap<String, String>,
    /// The program to run the gate under, with its arguments, such as `strace`.
    pub under: Vec<String>,
    /// The state directory, where it is not the gate's own.
    pub state: Option<PathBuf>,
    /// Once it is ready nobody takes its log any more, and little of it finds room.
    pub unheard: bool,
}

impl Setup {
    /// A gate before this portal.
    pub fn before(portal: &str) -> Self {
        Self {
            gate: format!("upstream = \"http://{portal}\"\n"),
            ..Self::default()
        }
    }

    /// Of another vendor.
    #[must_use]
    pub fn of(mut self, vendor: &'static str) -> Self {
        self.vendor = Some(vendor);
        self
    }

    /// Adds a setting to the gate.
    #[must_use]
    pub fn with(mut self, line: &str) -> Self {
        self.gate += line;
        self.gate += "\n";
        self
    }

    /// Adds a section, such as `[limits]`.
    #[must_use]
    pub fn section(mut self, text: &str) -> Self {
        self.top += text;
        self.top += "\n";
        self
    }

    /// Declares a grant.
    #[must_use]
    pub fn grant(mut self, token: &str, scopes: &[&str]) -> Self {
        self.after += &format!("[[gate.grant]]\ntoken = {token:?}\nscopes = {scopes:?}\n");
        self
    }

    /// Adds what follows the gate, such as `[[gate.rule]]`.
    #[must_use]
    pub fn rule(mut self, text: &str) -> Self {
        self.after += &format!("[[gate.rule]]\n{text}\n");
        self
    }

    pub fn start(self) -> Gate {
        Gate::start_in(&Arc::new(tempfile::tempdir().unwrap()), &self)
    }

    pub fn text(&self, dir: &Path) -> String {
        let state = self.state.clone().unwrap_or_else(|| dir.join("var"));
        format!(
            "[state]\ndir = {state:?}\n{}\n[admin]\nlisten = \"127.0.0.1:0\"\n[[gate]]\nname = \"portal\"\nvendor = \
             {:?}\nlisten = \"127.0.0.1:0\"\n{}{}",
            self.top,
            self.vendor.unwrap_or("bitrix24"),
            self.gate,
            self.after
        )
    }
}

impl Gate {
    pub fn start_in(dir: &Arc<TempDir>, setup: &Setup) -> Self {
        Self::try_start_in(dir, setup)
            .unwrap_or_else(|log| panic!("the gate did not start:\n{log}"))
    }

    /// As [`Gate::start_in`]; what a gate that does not start says.
    pub fn try_start_in(dir: &Arc<TempDir>, setup: &Setup) -> Result<Self, String> {
        let config = dir.path().join("grantgate.toml");
        let ready = dir.path().join("ready");
        std::fs::write(&config, setup.text(dir.path())).unwrap();
        let _ = std::fs::remove_file(&ready);
        let mut command = match setup.under.split_first() {
            None => Command::new(PROGRAM),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(PROGRAM);
                command
            }
        };
        let mut child = command
            .args(["serve", "--config"])
            .arg(&config)
            .arg("--ready-file")
            .arg(&ready)
            .env("RUST_LOG", "trace")
            .envs(&setup.env)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (mut stderr, kept) = (
            BufReader::new(child.stderr.take().unwrap()),
            Arc::clone(&log),
        );
        for line in stderr.by_ref().lines() {
            let line = line.unwrap();
            let is_ready = line.contains(" ready admin=");
            *kept.lock().unwrap() += &(line + "\n");
            if is_ready {
                break;
            }
        }
        let (unheard, reader) = if setup.unheard {
            let stderr = stderr.into_inner();
            rustix::pipe::fcntl_setpipe_size(&stderr, 4096).unwrap();
            (Some(stderr), None)
        } else {
            let reader = std::thread::spawn(move || {
                for line in stderr.lines().map_while(Result::ok) {
                    *kept.lock().unwrap() += &(line + "\n");
                }
            });
            (None, Some(reader))
        };
        let Ok(text) = std::fs::read_to_string(&ready) else {
            child.wait().unwrap();
            return Err(log.lock().unwrap().clone());
        };
        let ready: Value = serde_json::from_str(&text).unwrap();
        Ok(Self {
            address: ready["gates"]["portal"].as_str().unwrap().to_owned(),
            admin: ready["admin"].as_str().unwrap().to_owned(),
            addresses: serde_json::from_value(ready["gates"].clone()).unwrap(),
            process: Pid::from_raw(i32::try_from(ready["pid"].as_u64().unwrap()).unwrap()).unwrap(),
            child,
            log,
            reader,
            _unheard: unheard,
            dir: Arc::clone(dir),
        })
    }

    /// Another gate in the same directory.
    pub fn restart(&self, setup: &Setup) -> Self {
        Self::start_in(&self.dir, setup)
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("var")
    }

    pub fn pid(&self) -> u32 {
        u32::try_from(self.process.as_raw_nonzero().get()).unwrap()
    }

    /// The process log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the process log, which comes by a thread of its own, has this.
    pub fn wait_for_log(&self, text: &str) {
        let began = Instant::now();
        while !self.log().contains(text) {
            let waited = began.elapsed();
            assert!(waited < Duration::from_secs(5), "{text}: {}", self.log());
            std::thread::yield_now();
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.process, signal).unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }

    /// Asks the gate to stop and waits for it; its journal is whole then.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    pub fn kill(&mut self) {
        let _ = kill_process(self.process, Signal::KILL);
        self.wait();
    }

    /// The records in the journal, oldest first.
    pub fn records(&self) -> Vec<Value> {
        records(&self.state_dir())
    }

    /// The records of a kind.
    pub fn records_of(&self, kind: &str) -> Vec<Value> {
        self.records()
            .into_iter()
            .filter(|record| record["event_kind"] == kind)
            .collect()
    }

    /// A page of the admin listener.
    pub fn admin(&self, path: &str) -> super::Answer {
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        super::exchange(&self.admin, request.as_bytes()).unwrap()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.try_wait().map(|ended| {
            if ended.is_none() {
                let _ = kill_process(self.process, Signal::KILL);
            }
        });
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of a journal.
pub fn journal_text(state_dir: &Path) -> String {
    let mut names: Vec<PathBuf> = std::fs::read_dir(state_dir.join("audit"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "ndjson")
        })
        .collect();
    names.sort();
    names
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

pub fn records(state_dir: &Path) -> Vec<Value> {
    // While the gate writes, the last line may be there in part.
    journal_text(state_dir)
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Runs a command of the program: exit code, stdout, stderr.
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(PROGRAM)
        .args(arguments)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}
