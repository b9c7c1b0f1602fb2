//! F26: faults of the program itself. Needs the feature `fault-injection`, with which every hundredth call panics.

use crate::rig::{is_ready, nothing_unrecorded, report, setup, turn, verify};
use crate::support::Portal;
use crate::support::load::{Load, Plan};

#[test]
fn f26_a_panic_ends_its_own_call_only() {
    let _turn = turn();
    let portal = Portal::start();
    let mut gate = setup(&portal).start();
    let load = Load::start(&Plan {
        refused: 0,
        ..Plan::of(&gate.address)
    });
    load.more(2000);
    let told = load.stop();
    assert!(is_ready(&gate));
    assert_eq!(told.broken, 0, "connections stand");
    assert_eq!(told.answers(), told.of(200) + told.of(500));
    gate.stop();
    let panics = gate
        .records_of("call.completion")
        .iter()
        .filter(|record| record["outcome"] == "panic")
        .count();
    assert_eq!(u64::try_from(panics).unwrap(), told.of(500));
    assert_eq!(panics, usize::try_from(told.answers() / 100).unwrap());
    nothing_unrecorded(&portal, &gate.state_dir());
    assert_eq!(verify(&gate.state_dir()).0, 0);
    report(
        "F26",
        &format!(
            "{} calls, {panics} panics: 500 and a record each, the others untouched",
            told.answers()
        ),
    );
}
