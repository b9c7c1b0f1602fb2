//! What the tests share: a gate as its own process, a scripted portal, a client that sends bytes as they are.

#![allow(
    dead_code,
    clippy::allow_attributes_without_reason,
    clippy::allow_attributes
)]

pub mod emulator;
pub mod gate;
pub mod http2;
pub mod load;
pub mod portal;
pub mod tls;
pub mod wire;

#[allow(unused_imports)]
pub use emulator::Emulator;
#[allow(unused_imports)]
pub use gate::Gate;
#[allow(unused_imports)]
pub use portal::{Portal, Received};
#[allow(unused_imports)]
pub use wire::{Answer, Client, exchange, post};

/// The memory that a process has of its own, in KiB.
pub fn resident_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
