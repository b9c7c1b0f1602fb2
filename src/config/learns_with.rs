//! `learns_with`: gates of a vendor's several hosts that know the same of tokens.

use super::gate::GateConfig;
use super::section::{Section, printable};

/// A gate that learns with another trusts what was learned as long as that one does.
pub(super) fn trust_alike(gates: &mut [GateConfig]) {
    let trusts: Vec<(String, Option<u32>)> = gates
        .iter()
        .map(|gate| (gate.name.clone(), gate.asking.limits.longest_trust))
        .collect();
    for gate in gates {
        let home = gate.asking.learns_with.as_ref();
        let home = home.and_then(|home| trusts.iter().find(|(name, _)| name == home));
        if let Some((_, trust)) = home {
            gate.asking.limits.longest_trust = *trust;
        }
    }
}

/// Checks that a gate learns with one that can be learned with.
pub(super) fn check(section: &Section<'_, '_>, gate: &GateConfig, gates: &[GateConfig]) {
    let Some(name) = &gate.asking.learns_with else {
        return;
    };
    let other = gates.iter().find(|other| other.name == *name);
    let (message, hint) = match other {
        Some(other) if other.name == gate.name => ("is this gate itself", "name another gate"),
        Some(other) if other.vendor != gate.vendor => (
            "is a gate of another vendor",
            "a token is one vendor's: name a gate of the same one",
        ),
        Some(other) if other.asking.learns_with.is_some() => (
            "learns with another gate itself",
            "name the gate by which the logins pass",
        ),
        Some(_) if gate.asking.asks => (
            "and `unknown_token = \"ask\"` do not go together",
            "the other gate asks, and this one knows what it is told: remove `unknown_token`",
        ),
        Some(other) if other.authorization_server.url != gate.authorization_server.url => (
            "has another authorization server",
            "tokens of one server are nothing to the other: give both gates the same",
        ),
        Some(_) => return,
        None => (
            "is no gate of this configuration",
            "write the name of a gate",
        ),
    };
    let span = section.value("learns_with").map(|(_, span)| span);
    section.problem_at(
        &span.unwrap_or_default(),
        format!("`learns_with = \"{}\"` {message}", printable(name)),
        hint,
    );
}
