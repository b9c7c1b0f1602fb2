//! Fault experiments: each brings one kind of trouble over a running gate, prints its figures, and says what must hold.
//!
//! The short ones run with all tests. The long ones, one after the other and with their figures:
//! `cargo test --release --test faults -- --ignored --nocapture --test-threads 1`. What each is, and where the others
//! of the list live: `tests/faults/README.md`.

mod support;

#[path = "faults/clients.rs"]
mod clients;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/files.rs"]
mod files;
#[path = "faults/floods.rs"]
mod floods;
#[path = "faults/grants.rs"]
mod grants;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/operators.rs"]
mod operators;
#[cfg(feature = "fault-injection")]
#[path = "faults/panics.rs"]
mod panics;
#[path = "faults/removed.rs"]
mod removed;
#[path = "faults/responses.rs"]
mod responses;
#[path = "faults/rig.rs"]
mod rig;
#[path = "faults/sinks.rs"]
mod sinks;
#[path = "faults/soak.rs"]
mod soak;
#[path = "faults/upstream.rs"]
mod upstream;
#[path = "faults/watching.rs"]
mod watching;
