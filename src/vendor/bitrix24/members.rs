//! JSON bodies: what their members say.

use std::borrow::Cow;

use super::choice;
use super::command::CommandRead;
use super::commands::{DISGUISED, NO_LIST, NO_TEXT, Place};
use super::gather::{Current, FOREIGN_CREDENTIAL, Gather, ROUTING, UNCLEAR_CREDENTIAL};
use super::name::{Choice, Parameter, named};
use super::reference::References;
use super::target::is_method;
use super::value::present;
use crate::model::{ApiVersion, Asked, CredentialKind, Fault, Location, Reason, cap_name};
use crate::vendor::json::{Kind, LONGEST_NAME, Members};

const ITEM: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "an item of the batch is not an object with one `method` and one `query`",
};

/// Where in a JSON text a reader stands.
#[derive(Debug, Default)]
pub(super) struct Inside {
    /// The root is an array: its elements have no names.
    array: bool,
    /// What the member at the top is that is being read.
    top: Top,
    /// The value that follows is the one that a need hangs on.
    chosen: bool,
    /// The value that is read is a number.
    pub(super) number: bool,
    /// The key of the command that follows.
    key: Vec<u8>,
    item: Item,
    /// Text at this depth or deeper names fields that an answer is to hold.
    select: Option<u32>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Top {
    /// Nothing that decides.
    #[default]
    Other,
    Is(Parameter),
    Commands {
        array: bool,
    },
    Item,
}

/// One item of a batch of REST 3.0.
#[derive(Debug, Default)]
struct Item {
    begins: u64,
    method: Option<Vec<u8>>,
    /// The member of the item that is being read.
    member: ItemMember,
    queries: u32,
    reaches: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ItemMember {
    #[default]
    Other,
    Method,
    Query,
}

impl Members for Gather<'_, '_> {
    fn name(&mut self, depth: u32, name: &[u8], at: u64) {
        self.inside.get().chosen = depth > 1
            && self
                .watch
                .choice
                .is_some_and(|choice| choice.is_deep() && choice.is_at(name));
        match (depth, self.inside.get().top) {
            (1, _) => {
                self.inside.get().top = named(name, self.watch).map_or(Top::Other, Top::Is);
                if self.watch.items {
                    self.begin_named(name, at);
                }
            }
            (2, Top::Commands { .. }) => self.begin_named(name, at),
            (2, Top::Item) => {
                self.inside.get().item.member = match name {
                    b"method" => ItemMember::Method,
                    b"query" => ItemMember::Query,
                    _ => ItemMember::Other,
                };
            }
            (3, Top::Item)
                if self.inside.get().item.member == ItemMember::Query && name == b"select" =>
            {
                self.inside.get().select = Some(3);
            }
            // What an earlier answer puts in the place of the query may be anything.
            (3, Top::Item)
                if self.inside.get().item.member == ItemMember::Query && name.starts_with(b"$") =>
            {
                self.reaches_out();
            }
            _ => {}
        }
    }

    fn begin(&mut self, depth: u32, kind: Kind, at: u64) -> bool {
        if let Some(select) = self.inside.get().select {
            // A text that names fields is looked into, a list gone into; an object may be a reference to an answer.
            if kind == Kind::Object {
                self.reaches_out();
            }
            return depth >= select && matches!(kind, Kind::Array | Kind::Text);
        }
        if std::mem::take(&mut self.inside.get().chosen) {
            return self.begin_choice(kind);
        }
        match (depth, self.inside.get().top) {
            (0, _) => {
                self.inside.get().array = kind == Kind::Array;
                true
            }
            (1, Top::Is(parameter)) => self.begin_parameter(parameter, kind, at),
            (1, _) if self.watch.items => self.begin_item(kind, at),
            (2, Top::Commands { array }) => self.begin_member(array, kind, at),
            (2, Top::Item) => self.begin_item_member(kind),
            (_, Top::Item) => false,
            _ => self.is_deep() && matches!(kind, Kind::Object | Kind::Array),
        }
    }

    fn text(&mut self, piece: &[u8]) {
        if self.inside.get().select.is_some() {
            if piece.iter().any(|b| matches!(b, b'.' | b'$')) {
                self.reaches_out();
            }
        } else if self.inside.get().top == Top::Item {
            let method = self.inside.get().item.method.get_or_insert_default();
            if method.len() <= LONGEST_NAME {
                method.extend_from_slice(piece);
            }
        } else {
            self.piece(piece);
        }
    }

    fn end(&mut self, depth: u32, at: u64) {
        if self
            .inside
            .get()
            .select
            .is_some_and(|select| depth <= select)
        {
            self.inside.get().select = None;
        }
        if self.current.is_some() {
            self.ended(at);
        }
        match (depth, self.inside.get().top) {
            (1, Top::Commands { .. }) => self.commands.get().end_frame(at),
            (1, Top::Item) => self.end_item(at),
            (2, Top::Item) => self.inside.get().item.member = ItemMember::Other,
            _ => {}
        }
        if depth == 1 {
            self.inside.get().top = Top::Other;
        }
    }
}

impl Gather<'_, '_> {
    /// Fields of another object are asked for, or may be.
    fn reaches_out(&mut self) {
        if self.inside.get().top == Top::Item {
            self.inside.get().item.reaches = true;
        } else {
            self.reaches = true;
        }
    }

    /// A command or item begins with its name, which is its key.
    fn begin_named(&mut self, name: &[u8], at: u64) {
        let inside = self.inside.get();
        inside.key.clear();
        inside.key.extend_from_slice(name);
        inside.item.begins = at;
    }

    fn is_deep(&self) -> bool {
        self.watch.choice.is_some_and(Choice::is_deep)
    }

    /// The value of a member at the top that decides.
    fn begin_parameter(&mut self, parameter: Parameter, kind: Kind, at: u64) -> bool {
        let container = matches!(kind, Kind::Object | Kind::Array);
        match (parameter, kind) {
            (Parameter::Token, Kind::Text) => {}
            // `null` overrides a credential of the query, so it is one place more.
            (Parameter::Token, Kind::Null) => {
                let none = Cow::Borrowed([].as_slice());
                self.credential_found(CredentialKind::Access, Location::Json, none);
                return false;
            }
            (Parameter::Token, _) => {
                self.unclear(UNCLEAR_CREDENTIAL);
                return false;
            }
            (Parameter::Foreign, _) => {
                self.unclear(FOREIGN_CREDENTIAL);
                return false;
            }
            (Parameter::Routing, _) => {
                self.note(ROUTING);
                return false;
            }
            (Parameter::Commands, Kind::Object | Kind::Array) => {
                let array = kind == Kind::Array;
                if let Err(fault) = self.commands.get().begin_frame(array, at) {
                    self.note(fault);
                    return false;
                }
                self.inside.get().top = Top::Commands { array };
                return true;
            }
            (Parameter::Commands, _) => {
                self.note(NO_LIST);
                return false;
            }
            (Parameter::Halt, Kind::Object | Kind::Array) => {
                self.note(DISGUISED);
                return false;
            }
            (Parameter::Halt, Kind::True | Kind::False | Kind::Null) => {
                let found = self.commands.get().halt(kind == Kind::True);
                found.unwrap_or_else(|fault| self.note(fault));
                return false;
            }
            (Parameter::Halt, Kind::Text | Kind::Number) => {
                self.inside.get().number = kind == Kind::Number;
            }
            (Parameter::Choice, _) => return self.begin_choice(kind),
            (Parameter::Select, Kind::Object | Kind::Array | Kind::Text) => {
                self.inside.get().select = Some(1);
                if kind == Kind::Object {
                    self.reaches_out();
                }
                return kind != Kind::Object;
            }
            (Parameter::Signed | Parameter::Handler, Kind::Text) => {}
            (parameter, _) => {
                self.disguised(parameter);
                return container && self.is_deep();
            }
        }
        self.current = Some(Current::Parameter(parameter));
        true
    }

    /// The value that a need hangs on.
    fn begin_choice(&mut self, kind: Kind) -> bool {
        if self.watch.choice == Some(Choice::Hcm) {
            self.values.get().choice = present();
            return false;
        }
        if kind == Kind::Text {
            self.current = Some(Current::Parameter(Parameter::Choice));
            return true;
        }
        self.values.get().choice.found(None);
        false
    }

    fn begin_member(&mut self, array: bool, kind: Kind, at: u64) -> bool {
        if kind != Kind::Text {
            self.note(NO_TEXT);
            return false;
        }
        let mut key = std::mem::take(&mut self.inside.get().key);
        if array {
            key = self.commands.get().len().to_string().into_bytes();
        }
        let begins = if array {
            at
        } else {
            self.inside.get().item.begins
        };
        let place = Place {
            location: Location::Json,
            begins,
            name: at..at,
        };
        let begun = self.commands.get().begin(&key, b"cmd", place);
        self.inside.get().key = key;
        match begun {
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

    /// An item of a batch of REST 3.0: an element of the root, or a member of it that is an object.
    fn begin_item(&mut self, kind: Kind, at: u64) -> bool {
        match kind {
            Kind::Object => {}
            // One client spreads its array into an object that holds the credential as well.
            _ if !self.inside.get().array && kind != Kind::Array => return false,
            _ => {
                self.note(ITEM);
                return false;
            }
        }
        let begins = if self.inside.get().array {
            self.inside.get().key = self.commands.get().len().to_string().into_bytes();
            at
        } else {
            self.inside.get().item.begins
        };
        self.inside.get().item = Item {
            begins,
            ..Item::default()
        };
        self.inside.get().top = Top::Item;
        true
    }

    fn begin_item_member(&mut self, kind: Kind) -> bool {
        match (self.inside.get().item.member, kind) {
            (ItemMember::Method, Kind::Text) if self.inside.get().item.method.is_none() => {
                self.inside.get().item.method = Some(Vec::new());
                true
            }
            (ItemMember::Method, _) => {
                self.note(ITEM);
                false
            }
            (ItemMember::Query, _) => {
                self.inside.get().item.queries += 1;
                if self.inside.get().item.queries > 1 {
                    self.note(ITEM);
                }
                kind == Kind::Object
            }
            (ItemMember::Other, _) => false,
        }
    }

    fn end_item(&mut self, at: u64) {
        let item = std::mem::take(&mut self.inside.get().item);
        let method = item.method.unwrap_or_default();
        let name = std::str::from_utf8(&method)
            .ok()
            .filter(|name| is_method(name));
        let Some(name) = name else {
            return self.note(ITEM);
        };
        let key = std::mem::take(&mut self.inside.get().key);
        let place = Place {
            location: Location::Json,
            begins: item.begins,
            name: at..at,
        };
        if let Err(fault) = self.commands.get().begin(&key, b"cmd", place) {
            return self.note(fault);
        }
        let mut asked = choice::asked(self.catalogue, ApiVersion::V3, name, None);
        if choice::is_batch(name) {
            asked = Asked::Closed {
                version: ApiVersion::V3,
                name: cap_name(name),
                why: choice::NESTED,
            };
        } else if item.reaches {
            asked = Asked::Closed {
                version: ApiVersion::V3,
                name: cap_name(name),
                why: choice::REACHES,
            };
        }
        let command = CommandRead {
            asked,
            references: References::default(),
            handler: None,
        };
        self.commands.get().end(command, at);
    }
}
