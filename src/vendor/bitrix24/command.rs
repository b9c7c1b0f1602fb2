//! One command of a v2 batch: `method?query`, read as the portal's URL parser would, or refused.

use super::choice::{self, Values};
use super::form::{CERTAIN_PAIRS, FormScanner, Pairs};
use super::name::{Choice, Classified, Parameter, Watch, classify_encoded, is_plainly_other};
use super::reference::{ReferenceScanner, References};
use super::target::is_method;
use super::value::Collector;
use crate::catalogue::Catalogue;
use crate::model::{ApiVersion, Asked, Fault, OPERATION_NAME_CAP, Operation, Reason, cap_name};
use crate::vendor::decode::Decoder;

/// What a command says.
#[derive(Debug)]
pub(super) struct CommandRead<'c> {
    pub(super) asked: Asked<'c>,
    pub(super) references: References,
    pub(super) handler: Option<Box<str>>,
}

const COMMAND: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "a command is not `method?query`, without fragment and control characters",
};
const COMMAND_CREDENTIAL: Fault = Fault {
    reason: Reason::AmbiguousCredential,
    detail: "a command carries a credential of its own",
};
const COMMAND_PARAMETER: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "a command's query has a name that is too long or names a method",
};

/// Reads one command, which comes in pieces of any size.
pub(super) struct CommandReader<'c> {
    catalogue: &'c Catalogue,
    /// The method's name, until the `?`.
    name: Vec<u8>,
    /// The name that was looked up last: the commands of a batch mostly have one.
    known: Vec<u8>,
    /// What the catalogue has under this name.
    operation: Option<&'c Operation>,
    in_query: bool,
    scanner: FormScanner,
    query: Query,
    references: ReferenceScanner,
    fault: Option<Fault>,
}

impl<'c> CommandReader<'c> {
    pub(super) fn new(catalogue: &'c Catalogue) -> Self {
        Self {
            catalogue,
            name: Vec::new(),
            known: Vec::new(),
            operation: None,
            in_query: false,
            scanner: FormScanner::default(),
            query: Query::default(),
            references: ReferenceScanner::default(),
            fault: None,
        }
    }

    /// Reads the next bytes of the command, as they are after the transport's own decoding.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        // The portal's parser cuts at `#` and makes `_` of control characters: what it reads then is not what stands here.
        #[expect(
            clippy::needless_bitwise_bool,
            reason = "every byte is looked at, so that many are at once"
        )]
        let bad = bytes
            .iter()
            .fold(false, |bad, b| bad | (*b == b'#') | b.is_ascii_control());
        if bad {
            self.fault = Some(COMMAND);
        }
        if self.fault.is_some() {
            return;
        }
        let mut rest = bytes;
        if !self.in_query {
            let end = memchr::memchr(b'?', rest);
            let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
            if self.name.len() + name.len() > OPERATION_NAME_CAP {
                self.fault = Some(COMMAND);
                return;
            }
            self.name.extend_from_slice(name);
            let Some((_, after)) = after.split_first() else {
                return;
            };
            rest = after;
            self.in_query = true;
            self.find();
        }
        self.references.feed(rest);
        self.scanner.feed(rest, &mut self.query);
        self.fault = self.fault.or(self.query.fault);
    }

    fn find(&mut self) {
        if self.name != self.known {
            self.known.clone_from(&self.name);
            self.operation = std::str::from_utf8(&self.name)
                .ok()
                .and_then(|name| self.catalogue.find(ApiVersion::V2, name));
        }
        self.query.watch = self.operation.map(choice::watch_for).unwrap_or_default();
    }

    /// The command, if it can be read in one way only; the reader is as new.
    pub(super) fn finish(&mut self) -> Result<CommandRead<'c>, Fault> {
        if !self.in_query {
            self.find();
        }
        self.scanner.finish(&mut self.query);
        let read = self.read();
        self.name.clear();
        self.in_query = false;
        self.scanner.restart();
        self.query.restart();
        self.fault = None;
        read
    }

    fn read(&mut self) -> Result<CommandRead<'c>, Fault> {
        let references = self.references.finish();
        if let Some(fault) = self.fault.or(self.query.fault) {
            return Err(fault);
        }
        let name = match self.operation {
            Some(operation) => &operation.name,
            None => std::str::from_utf8(&self.name).unwrap_or_default(),
        };
        // What the catalogue has is a method's name.
        if self.operation.is_none() && (!is_method(name) || has_suffix(name)) {
            return Err(COMMAND);
        }
        let refers = !references.is_empty();
        match self.query.watch.choice {
            // What the reference brings may have names that are looked for.
            Some(Choice::Hcm) if refers => self.query.values.choice = super::value::present(),
            Some(Choice::EventName) if refers => return Err(choice::UNCLEAR),
            _ if self.query.values.choice.is_unclear() => return Err(choice::UNCLEAR),
            _ => {}
        }
        let values = &self.query.values;
        let closed = |why| Asked::Closed {
            version: ApiVersion::V2,
            name: cap_name(name),
            why,
        };
        let signed = self.operation.is_some_and(choice::is_signed);
        let asked = if choice::is_batch(name) {
            closed(choice::NESTED)
        } else if signed || !values.signed.is_absent() {
            closed("a signed call within a batch")
        } else {
            choice::asked_as(
                self.catalogue,
                self.operation,
                (ApiVersion::V2, name),
                Some(values),
            )
        };
        Ok(CommandRead {
            asked,
            references,
            handler: choice::handler_host(&values.handler),
        })
    }
}

/// A suffix is the name's own within a batch, and no name ends so.
fn has_suffix(name: &str) -> bool {
    let last = name.rsplit_once('.').map_or(name, |(_, last)| last);
    last.eq_ignore_ascii_case("json") || last.eq_ignore_ascii_case("xml")
}

/// What a command's query says.
#[derive(Default)]
struct Query {
    watch: Watch,
    values: Values,
    decoder: Decoder,
    decoded: Vec<u8>,
    collector: Collector,
    current: Option<Parameter>,
    pairs: u32,
    fault: Option<Fault>,
}

impl Pairs for Query {
    const MAY_HOLD_NUL: bool = false;

    fn name(&mut self, raw: &[u8], _at: u64) -> bool {
        self.pairs = self.pairs.saturating_add(1);
        if is_plainly_other(raw, self.watch) {
            return false;
        }
        let classified = classify_encoded(raw, &mut self.decoded, self.watch);
        let decided = !matches!(classified, Classified::Other);
        if decided && memchr::memmem::find(raw, b"%00").is_some() {
            self.fault = Some(COMMAND_PARAMETER);
            return false;
        }
        let parameter = match classified {
            Classified::Other => return false,
            Classified::Plain(Parameter::Token | Parameter::Foreign)
            | Classified::Disguised(Parameter::Token | Parameter::Foreign) => {
                self.fault = Some(COMMAND_CREDENTIAL);
                return false;
            }
            Classified::Plain(Parameter::Routing) | Classified::Disguised(Parameter::Routing) => {
                self.fault = Some(COMMAND_PARAMETER);
                return false;
            }
            Classified::Disguised(parameter) | Classified::Element(parameter, _) => {
                self.found(parameter, None);
                return false;
            }
            // PHP may stop before it.
            Classified::Plain(parameter) if self.pairs > CERTAIN_PAIRS => {
                self.found(parameter, None);
                return false;
            }
            Classified::Plain(parameter) => parameter,
        };
        self.current = Some(parameter);
        true
    }

    fn value(&mut self, raw: &[u8]) {
        self.decoded.clear();
        self.decoder.feed(raw, &mut self.decoded);
        self.collector.push(&self.decoded);
    }

    fn end(&mut self, _at: u64) {
        self.decoded.clear();
        self.decoder.finish(&mut self.decoded);
        self.collector.push(&self.decoded);
        let value = self.collector.take();
        if let Some(parameter) = self.current.take() {
            self.found(parameter, value);
        }
    }

    fn too_long(&mut self) {
        self.fault = Some(COMMAND_PARAMETER);
    }

    fn nul(&mut self) {}
}

impl Query {
    /// As new, with room for the next query.
    fn restart(&mut self) {
        self.watch = Watch::default();
        if !self.values.are_absent() {
            self.values = Values::default();
        }
        self.decoder = Decoder::default();
        self.current = None;
        self.pairs = 0;
        self.fault = None;
    }

    fn found(&mut self, parameter: Parameter, value: Option<Vec<u8>>) {
        match parameter {
            Parameter::Choice if self.watch.choice == Some(Choice::Hcm) => {
                self.values.choice = super::value::present();
            }
            Parameter::Choice => self.values.choice.found(value),
            Parameter::Signed => self.values.signed.found(value),
            Parameter::Handler => self.values.handler.found(value),
            Parameter::Token
            | Parameter::Foreign
            | Parameter::Routing
            | Parameter::Commands
            | Parameter::Halt
            | Parameter::Select => {}
        }
    }
}

impl std::fmt::Debug for CommandReader<'_> {
    /// Without what was read: it may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommandReader").finish_non_exhaustive()
    }
}
