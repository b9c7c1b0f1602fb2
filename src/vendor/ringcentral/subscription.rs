//! Subscriptions: what they need stands in the body, in the transport and in every event filter.

use std::borrow::Cow;

use crate::catalogue::{Catalogue, Routed};
use crate::model::{Asked, Fault, Operation, Reason, Requirement};
use crate::vendor::json::{JsonScanner, Kind, Members, resembles};

const BODY: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "the subscription is not one strict JSON object",
};
const TWICE: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "a member that the subscription's need hangs on stands twice, or is spelt in another case",
};
const KIND: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "the subscription's transport is no text, or its filters are no list of texts",
};
const FILTER: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "an event filter can be read in more than one way",
};

/// The longest text that is kept, in bytes.
const LONGEST: usize = 2048;
/// The most filters that are judged; the platform takes far fewer.
const MOST: usize = 256;

/// Reads the body of a subscription.
pub(super) struct Subscription<'c> {
    operation: &'c Operation,
    scanner: JsonScanner,
    members: Said,
    begun: bool,
    malformed: bool,
}

#[derive(Default)]
struct Said {
    transport: Option<Vec<u8>>,
    address: Option<Vec<u8>>,
    filters: Vec<Vec<u8>>,
    has_filters: bool,
    has_delivery: bool,
    /// What stands at the top that is being read.
    top: Top,
    /// What the text at hand is.
    text: Option<Text>,
    fault: Option<Fault>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Top {
    #[default]
    Other,
    Delivery,
    Filters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Transport,
    Address,
    Filter,
}

/// What a subscription came to.
pub(super) struct Read<'c> {
    pub(super) asked: Asked<'c>,
    /// The outside host that its events go to.
    pub(super) handler: Option<Box<str>>,
    pub(super) fault: Option<Fault>,
}

impl<'c> Subscription<'c> {
    pub(super) fn new(operation: &'c Operation) -> Self {
        Self {
            operation,
            scanner: JsonScanner::new(),
            members: Said::default(),
            begun: false,
            malformed: false,
        }
    }

    /// Reads the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.begun |= !bytes.is_empty();
        if !self.malformed && self.scanner.feed(bytes, &mut self.members).is_err() {
            self.malformed = true;
        }
    }

    /// What it needs as it was read.
    pub(super) fn finish(self, catalogue: &'c Catalogue) -> Read<'c> {
        let Self {
            operation,
            scanner,
            members,
            begun,
            malformed,
        } = self;
        let broken = malformed || (begun && scanner.finish().is_err());
        let fault = broken.then_some(BODY).or(members.fault);
        let need = match fault {
            Some(_) => Ok(None),
            None => need(operation, &members, catalogue),
        };
        let (need, fault) = match need {
            Ok(need) => (need, fault),
            Err(unclear) => (None, Some(unclear)),
        };
        Read {
            asked: Asked::Chosen {
                operation,
                need: need.map(Cow::Owned),
            },
            handler: members.address.as_deref().and_then(host),
            fault,
        }
    }
}

/// What transport and filters ask for together; `None` where one of them is not known. A renewal may leave both out.
fn need(
    operation: &Operation,
    said: &Said,
    catalogue: &Catalogue,
) -> Result<Option<Requirement>, Fault> {
    let creates = operation.name.starts_with("POST ");
    if creates && (said.transport.is_none() || said.filters.is_empty()) {
        return Ok(None);
    }
    // Without its transport, the rest of a delivery mode cannot be judged: an address says where events go.
    if said.has_delivery && said.transport.is_none() {
        return Ok(None);
    }
    let mut whole = Requirement::NoScope;
    if let Some(transport) = &said.transport {
        let known = std::str::from_utf8(transport)
            .ok()
            .and_then(|transport| catalogue.chosen("transport", transport));
        let Some(need) = known else {
            return Ok(None);
        };
        whole = whole.and(need);
    }
    for filter in &said.filters {
        let Ok(filter) = std::str::from_utf8(filter) else {
            return Err(FILTER);
        };
        let path = filter.split('?').next().unwrap_or(filter);
        if !path.starts_with('/') {
            return Ok(None);
        }
        match catalogue.filter(path) {
            Routed::Found(need, _) => whole = whole.and(need),
            Routed::Unclear(_) => return Err(FILTER),
            Routed::OtherVerbs(_) | Routed::Unknown => return Ok(None),
        }
    }
    Ok(Some(whole))
}

/// The host of an address: all of it that a record shows.
fn host(address: &[u8]) -> Option<Box<str>> {
    let address = std::str::from_utf8(address).ok()?;
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit('@').next()?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    (!host.is_empty() && host.bytes().all(fits)).then(|| host.chars().take(255).collect())
}

impl Said {
    fn note(&mut self, fault: Fault) {
        self.fault = self.fault.or(Some(fault));
    }

    /// True for the name itself; a name that differs by case only is one too many.
    fn is(&mut self, name: &[u8], known: &str) -> bool {
        if resembles(name, known) {
            self.note(TWICE);
        }
        name == known.as_bytes()
    }
}

impl Members for Said {
    fn name(&mut self, depth: u32, name: &[u8], _at: u64) {
        if depth == 1 {
            // A lenient reader may drop what joins words, or look for the transport where it does not belong.
            let joined: Vec<u8> = name
                .iter()
                .copied()
                .filter(|b| !matches!(b, b'_' | b'-'))
                .collect();
            let misplaced = ["transportType", "address"]
                .iter()
                .any(|one| joined == one.as_bytes() || resembles(&joined, one));
            let joined_known = joined != name
                && ["deliveryMode", "eventFilters"]
                    .iter()
                    .any(|one| joined == one.as_bytes() || resembles(&joined, one));
            if misplaced || joined_known {
                self.note(TWICE);
            }
            self.top = Top::Other;
            if self.is(name, "deliveryMode") {
                self.top = Top::Delivery;
                if std::mem::replace(&mut self.has_delivery, true) {
                    self.note(TWICE);
                }
            } else if self.is(name, "eventFilters") {
                self.top = Top::Filters;
                if std::mem::replace(&mut self.has_filters, true) {
                    self.note(TWICE);
                }
            }
        } else if depth == 2 && self.top == Top::Delivery {
            self.text = None;
            if self.is(name, "transportType") {
                self.text = Some(Text::Transport);
            } else if self.is(name, "address") {
                self.text = Some(Text::Address);
            }
        }
    }

    fn begin(&mut self, depth: u32, kind: Kind, _at: u64) -> bool {
        match (depth, self.top) {
            (0, _) => {
                if kind != Kind::Object {
                    self.note(BODY);
                }
                true
            }
            (1, Top::Delivery) => {
                if kind != Kind::Object {
                    self.note(KIND);
                }
                true
            }
            (1, Top::Filters) => {
                if kind != Kind::Array {
                    self.note(KIND);
                }
                true
            }
            (2, Top::Delivery) => {
                let place = match self.text {
                    Some(Text::Transport) => &mut self.transport,
                    Some(Text::Address) => &mut self.address,
                    _ => return false,
                };
                let twice = place.replace(Vec::new()).is_some();
                if twice {
                    self.note(TWICE);
                } else if kind != Kind::Text {
                    self.note(KIND);
                }
                kind == Kind::Text
            }
            (2, Top::Filters) => {
                if kind != Kind::Text || self.filters.len() == MOST {
                    self.note(KIND);
                    return false;
                }
                self.text = Some(Text::Filter);
                self.filters.push(Vec::new());
                true
            }
            _ => false,
        }
    }

    fn text(&mut self, piece: &[u8]) {
        let place = match self.text {
            Some(Text::Transport) => self.transport.as_mut(),
            Some(Text::Address) => self.address.as_mut(),
            Some(Text::Filter) => self.filters.last_mut(),
            None => None,
        };
        let Some(place) = place else {
            return;
        };
        if place.len() + piece.len() > LONGEST {
            self.note(KIND);
        } else {
            place.extend_from_slice(piece);
        }
    }

    fn end(&mut self, depth: u32, _at: u64) {
        if depth == 2 {
            self.text = None;
        }
    }
}

impl std::fmt::Debug for Subscription<'_> {
    /// Without what was read: an address may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}
