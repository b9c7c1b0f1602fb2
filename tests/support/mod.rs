//! What the tests share: a gate as its own process, a scripted portal, a client that sends bytes as they are.

#![allow(
    dead_code,
    clippy::allow_attributes_without_reason,
    clippy::allow_attributes
)]

pub mod emulator;
pub mod gate;
pub mod portal;
pub mod wire;

#[allow(unused_imports)]
pub use emulator::Emulator;
#[allow(unused_imports)]
pub use gate::Gate;
#[allow(unused_imports)]
pub use portal::{Portal, Received};
#[allow(unused_imports)]
pub use wire::{Answer, Client, exchange, post};
