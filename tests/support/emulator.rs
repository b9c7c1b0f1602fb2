//! An emulated vendor as its own process, as someone who rehearses would run it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::gate::PROGRAM;

pub struct Emulator {
    pub address: String,
    child: Child,
}

impl Emulator {
    /// `arguments` follow `emulate bitrix24`.
    pub fn start(arguments: &[&str]) -> Self {
        Self::of("bitrix24", arguments)
    }

    /// Of another vendor.
    pub fn of(vendor: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["emulate", vendor, "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let (_, rest) = line.split_once("://").expect("the emulator says where");
        let address = rest.split(';').next().unwrap().to_owned();
        Self { address, child }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
