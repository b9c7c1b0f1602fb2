//! What a request's parameters say, wherever they stand: the credential, and what the operation makes the reader look
//! for.

use std::borrow::Cow;

use super::choice::{Values, handler_host};
use super::command::CommandReader;
use super::commands::Commands;
use super::form::{CERTAIN_PAIRS, Pairs};
use super::lazy::Lazy;
use super::members::Inside;
use super::multipart::Parts;
use super::name::{
    Choice, Classified, Parameter, Watch, classify, classify_encoded, is_plainly_other,
};
use super::value::{Collector, Value, is_true, is_true_number, present};
use crate::catalogue::Catalogue;
use crate::model::{
    Credential, CredentialKind, CredentialRead, Fault, Location, Operation, Reason, Secret,
};
use crate::vendor::decode::Decoder;

const TWO_CREDENTIALS: Fault = Fault {
    reason: Reason::AmbiguousCredential,
    detail: "the request carries more than one credential",
};
pub(super) const UNCLEAR_CREDENTIAL: Fault = Fault {
    reason: Reason::AmbiguousCredential,
    detail: "the credential is not spelt in a documented way",
};
pub(super) const FOREIGN_CREDENTIAL: Fault = Fault {
    reason: Reason::AmbiguousCredential,
    detail: "the request uses a door that is not OAuth or a webhook",
};
pub(super) const ROUTING: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "a parameter names a method or page beside the path",
};
const TOO_LONG: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "a parameter is too long to be told",
};
const NUL: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "the parameters hold a NUL byte, at which PHP may cut them",
};

/// The longest token that is taken for one, in bytes; the vendor's have 70.
const LONGEST_TOKEN: usize = 4096;

/// What was read, and what is being read.
pub(super) struct Gather<'r, 'c> {
    pub(super) catalogue: &'c Catalogue,
    /// What the catalogue has under the target's name.
    pub(super) operation: Option<&'c Operation>,
    pub(super) watch: Watch,
    pub(super) credential: CredentialRead<'r>,
    pub(super) values: Lazy<Values>,
    pub(super) commands: Lazy<Commands<'c>>,
    /// `select` names a field of another object.
    pub(super) reaches: bool,
    pub(super) fault: Option<Fault>,
    /// Where the parameters at hand stand.
    pub(super) location: Location,
    pub(super) current: Option<Current>,
    command: Option<Box<CommandReader<'c>>>,
    pub(super) inside: Lazy<Inside>,
    scratch: Lazy<Scratch>,
    pairs: u32,
}

/// What is needed while a value is read.
#[derive(Default)]
struct Scratch {
    collector: Collector,
    decoder: Decoder,
    decoded: Vec<u8>,
}

/// The value that is being read.
pub(super) enum Current {
    /// Of a parameter.
    Parameter(Parameter),
    /// A command of a batch.
    Command,
}

impl<'r, 'c> Gather<'r, 'c> {
    pub(super) fn new(catalogue: &'c Catalogue) -> Self {
        Self {
            catalogue,
            operation: None,
            watch: Watch::default(),
            credential: CredentialRead::Missing,
            values: Lazy::new(),
            commands: Lazy::new(),
            reaches: false,
            fault: None,
            location: Location::Query,
            current: None,
            command: None,
            inside: Lazy::new(),
            scratch: Lazy::new(),
            pairs: 0,
        }
    }

    /// Notes what was found wrong; the reason that comes first in their order stays.
    pub(super) fn note(&mut self, fault: Fault) {
        if self.fault.is_none_or(|known| fault.reason < known.reason) {
            self.fault = Some(fault);
        }
    }

    /// A place of a credential. The second place is one too many, even if it is empty or says the same.
    pub(super) fn credential_found(
        &mut self,
        kind: CredentialKind,
        location: Location,
        token: Cow<'r, [u8]>,
    ) {
        let fits = token.len() <= LONGEST_TOKEN && token.iter().all(u8::is_ascii_graphic);
        let secret = Secret::new(token);
        match self.credential {
            CredentialRead::Missing if fits => {
                self.credential = CredentialRead::One(Credential {
                    kind,
                    location,
                    secret,
                });
            }
            CredentialRead::Missing => self.unclear(UNCLEAR_CREDENTIAL),
            CredentialRead::One(_) | CredentialRead::Unclear => self.unclear(TWO_CREDENTIALS),
        }
    }

    pub(super) fn unclear(&mut self, fault: Fault) {
        self.credential = CredentialRead::Unclear;
        self.note(fault);
    }

    /// A name that decides: true if its value is wanted. `spelling` is how it begins, `at` where the pair or part begins,
    /// `name` where the name stands as it is written.
    fn named(
        &mut self,
        classified: Classified<'_>,
        spelling: &[u8],
        is_file: bool,
        at: u64,
        name: std::ops::Range<u64>,
    ) -> bool {
        self.pairs = self.pairs.saturating_add(1);
        let certain = self.pairs <= CERTAIN_PAIRS && !is_file;
        match classified {
            Classified::Other => false,
            Classified::Plain(Parameter::Foreign) | Classified::Disguised(Parameter::Foreign) => {
                self.unclear(FOREIGN_CREDENTIAL);
                false
            }
            Classified::Plain(Parameter::Routing) | Classified::Disguised(Parameter::Routing) => {
                self.note(ROUTING);
                false
            }
            Classified::Plain(Parameter::Commands) => {
                self.note(super::commands::NO_LIST);
                false
            }
            Classified::Plain(parameter) if certain => {
                self.current = Some(Current::Parameter(parameter));
                true
            }
            Classified::Element(_, key) if certain => {
                let place = super::commands::Place {
                    location: self.location,
                    begins: at,
                    name,
                };
                match self.commands.get().begin(key, spelling, place) {
                    Ok(()) => {
                        self.begin_command();
                        true
                    }
                    Err(fault) => {
                        self.note(fault);
                        false
                    }
                }
            }
            Classified::Plain(parameter)
            | Classified::Element(parameter, _)
            | Classified::Disguised(parameter) => {
                self.disguised(parameter);
                false
            }
        }
    }

    /// A parameter that decides in PHP's reading, disguised: array, other spelling, file, or behind a thousand others.
    pub(super) fn disguised(&mut self, parameter: Parameter) {
        match parameter {
            Parameter::Token => self.unclear(UNCLEAR_CREDENTIAL),
            Parameter::Foreign => self.unclear(FOREIGN_CREDENTIAL),
            Parameter::Routing => self.note(ROUTING),
            Parameter::Commands if self.watch.items => self.note(super::commands::OUTSIDE),
            Parameter::Commands | Parameter::Halt => self.note(super::commands::DISGUISED),
            Parameter::Signed => self.values.get().signed.found(None),
            Parameter::Choice if self.watch.choice == Some(Choice::Hcm) => {
                self.values.get().choice = present();
            }
            Parameter::Choice => self.values.get().choice.found(None),
            Parameter::Handler => self.values.get().handler.found(None),
            Parameter::Select => self.reaches = true,
        }
    }

    /// A command of a batch begins; one reader reads them all.
    pub(super) fn begin_command(&mut self) {
        let catalogue = self.catalogue;
        self.command
            .get_or_insert_with(|| Box::new(CommandReader::new(catalogue)));
        self.current = Some(Current::Command);
    }

    /// The next piece of the value at hand.
    pub(super) fn piece(&mut self, piece: &[u8]) {
        match &mut self.current {
            Some(Current::Command) => {
                if let Some(reader) = &mut self.command {
                    reader.feed(piece);
                }
            }
            Some(Current::Parameter(_)) => self.scratch.get().collector.push(piece),
            None => {}
        }
    }

    /// The value at hand has ended; `at` is where its pair, part or member ends.
    pub(super) fn ended(&mut self, at: u64) {
        match self.current.take() {
            Some(Current::Command) => match self.command.as_mut().map(|reader| reader.finish()) {
                Some(Ok(command)) => self.commands.get().end(command, at),
                Some(Err(fault)) => self.note(fault),
                None => {}
            },
            Some(Current::Parameter(parameter)) => {
                let value = self.scratch.get().collector.take();
                self.value(parameter, value);
            }
            None => {}
        }
    }

    fn value(&mut self, parameter: Parameter, value: Option<Vec<u8>>) {
        match (parameter, value) {
            (Parameter::Token, Some(token)) => {
                self.credential_found(CredentialKind::Access, self.location, Cow::Owned(token));
            }
            (Parameter::Token, None) => self.note(TOO_LONG),
            (Parameter::Halt, Some(value)) => {
                let on = if std::mem::take(&mut self.inside.get().number) {
                    is_true_number(&value)
                } else {
                    is_true(&value)
                };
                let found = self.commands.get().halt(on);
                found.unwrap_or_else(|fault| self.note(fault));
            }
            (Parameter::Choice, Some(_)) if self.watch.choice == Some(Choice::Hcm) => {
                self.values.get().choice = present();
            }
            (Parameter::Choice, value) => self.values.get().choice.found(value),
            (Parameter::Signed, value) => self.values.get().signed.found(value),
            (Parameter::Handler, value) => self.values.get().handler.found(value),
            (parameter, _) => self.disguised(parameter),
        }
    }

    /// The signed token, where something stands for one.
    pub(super) fn signed(&self) -> Option<&Value> {
        let values = self.values.peek()?;
        (!values.signed.is_absent()).then_some(&values.signed)
    }

    /// The outside host that the call itself names.
    pub(super) fn handler(&self) -> Option<Box<str>> {
        handler_host(&self.values.peek()?.handler)
    }
}

impl Pairs for Gather<'_, '_> {
    fn name(&mut self, raw: &[u8], at: u64) -> bool {
        if is_plainly_other(raw, self.watch) {
            self.pairs = self.pairs.saturating_add(1);
            return false;
        }
        let name = at..at + u64::try_from(raw.len()).unwrap_or_default();
        let mut decoded = std::mem::take(&mut self.scratch.get().decoded);
        let classified = classify_encoded(raw, &mut decoded, self.watch);
        let decided = !matches!(classified, Classified::Other);
        if decided && memchr::memmem::find(raw, b"%00").is_some() {
            self.note(NUL);
        }
        let wanted = self.named(classified, raw, false, at, name);
        self.scratch.get().decoded = decoded;
        wanted
    }

    fn value(&mut self, raw: &[u8]) {
        let mut decoded = std::mem::take(&mut self.scratch.get().decoded);
        decoded.clear();
        self.scratch.get().decoder.feed(raw, &mut decoded);
        self.piece(&decoded);
        zeroize::Zeroize::zeroize(&mut decoded);
        self.scratch.get().decoded = decoded;
    }

    fn end(&mut self, at: u64) {
        let mut decoded = Vec::new();
        self.scratch.get().decoder.finish(&mut decoded);
        self.piece(&decoded);
        self.ended(at);
    }

    fn too_long(&mut self) {
        self.note(TOO_LONG);
    }

    fn nul(&mut self) {
        self.note(NUL);
    }
}

impl Parts for Gather<'_, '_> {
    fn part(&mut self, name: &[u8], is_file: bool, at: u64, name_at: u64) -> bool {
        if memchr::memchr(0, name).is_some() {
            self.note(NUL);
        }
        let written = name_at..name_at + u64::try_from(name.len()).unwrap_or_default();
        self.named(classify(name, self.watch), name, is_file, at, written)
    }

    fn content(&mut self, piece: &[u8]) {
        self.piece(piece);
    }

    fn end(&mut self, at: u64) {
        self.ended(at);
    }
}

impl std::fmt::Debug for Gather<'_, '_> {
    /// Without what was read: it may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gather")
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}
