//! The demo, as someone sees it who pipes it: plain, and every command that it prints works.

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use support::gate::PROGRAM;

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn each_refusal_is_explained_by_the_command_that_is_printed() {
    let child = Command::new(PROGRAM)
        .arg("demo")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut demo = Running(child);
    let demo = &mut demo.0;
    // Should it never come to its end, this test does.
    let pid = rustix::process::Pid::from_child(demo);
    std::thread::spawn(move || {
        std::thread::park_timeout(std::time::Duration::from_secs(120));
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    });
    let mut lines = Vec::new();
    for line in BufReader::new(demo.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let last = line == "Ctrl-C ends it.";
        lines.push(line);
        if last {
            break;
        }
    }
    let text = lines.join("\n");
    assert!(!text.contains('\u{1b}'), "piped it is plain: {text}");
    for words in [
        "crm-sync  ──▶  gate",
        "dialer  ──▶  gate",
        "helpdesk-bot  ──▶  gate",
        "the gate learns what the token may do: crm, user_brief",
        "split  batch",
        "result_error: {\"task\"",
        "call.decision deny telephony.externalCall.register scope_missing (telephony)",
        "token.captured",
        "refreshed",
    ] {
        assert!(text.contains(words), "{words} in\n{text}");
    }
    let refusals = lines
        .iter()
        .filter(|line| line.starts_with("deny") || line.starts_with("split"));
    let commands: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.trim().strip_prefix("why: "))
        .collect();
    assert_eq!(commands.len(), refusals.count(), "{text}");
    assert_eq!(commands.len(), 4, "{text}");
    for command in commands {
        let done = Command::new("sh").args(["-c", command]).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        // Half of the batch is permitted.
        let (code, verdict) = if said.starts_with("batch") {
            (0, "verdict  split")
        } else {
            (1, "verdict  deny")
        };
        assert_eq!(done.status.code(), Some(code), "{command}: {said}");
        assert!(said.contains(verdict), "{command}: {said}");
    }
    let turn = lines
        .iter()
        .find_map(|line| line.trim().strip_prefix("the journal   "))
        .unwrap();
    let look = turn.trim_end_matches(" --follow");
    let done = Command::new("sh").args(["-c", look]).output().unwrap();
    assert!(String::from_utf8_lossy(&done.stdout).contains("audit.started"));
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(0), "it ends in order");
}
