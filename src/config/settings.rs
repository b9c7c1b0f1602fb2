//! Every setting: what it is, its values, its default and why. The reader takes names, bounds and defaults from here; the JSON
//! Schema and the documentation are written from it.

mod gate;
#[cfg(test)]
mod page;
mod process;
mod schema;

#[cfg(test)]
pub(crate) use page::settings_page;
pub(crate) use schema::schema;

/// A table of the configuration.
#[derive(Debug)]
pub(super) struct Table {
    /// How messages and the documentation call it: `gate.tls`; empty for the file itself.
    pub(super) path: &'static str,
    pub(super) settings: &'static [Setting],
}

/// One setting.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Default,
    /// What it is and why its default is what it is, in words that a cell of a Markdown table can hold.
    pub(super) about: &'static str,
}

/// What values a setting takes.
#[derive(Debug)]
pub(super) enum Kind {
    Text(Form),
    /// `{ env = "NAME" }`, `{ file = "PATH" }`, or a string, which is warned of.
    Secret,
    Flag,
    /// A whole number from the first to the second.
    Whole(u64, u64),
    Word(&'static [&'static str]),
    Texts,
    Table(&'static Table),
    Tables(&'static Table),
}

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// A file or directory, relative to the working directory.
    Path,
    /// Scheme and host, and a port where it is not the scheme's.
    Origin,
    Url,
    /// An IP address and a port.
    Address,
    /// A time as in RFC 3339.
    Time,
}

/// What holds where a setting is not there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Default {
    /// It has to be there; such a value would do.
    Required(&'static str),
    Text(&'static str),
    Number(u64),
    Off,
    /// What holds follows from something else.
    Said(&'static str),
    Nothing,
}

/// The whole file.
pub(super) const ROOT: Table = Table {
    path: "",
    settings: &[
        Setting {
            name: "state",
            kind: Kind::Table(&process::STATE),
            default: Default::Nothing,
            about: "What outlives the process, and what instances share",
        },
        Setting {
            name: "audit",
            kind: Kind::Table(&process::AUDIT),
            default: Default::Nothing,
            about: "How the journal is kept",
        },
        Setting {
            name: "admin",
            kind: Kind::Table(&process::ADMIN),
            default: Default::Nothing,
            about: "Metrics, health and grants",
        },
        Setting {
            name: "limits",
            kind: Kind::Table(&process::LIMITS),
            default: Default::Nothing,
            about: "What one process takes on at most",
        },
        Setting {
            name: "catalogue_dir",
            kind: Kind::Text(Form::Path),
            default: Default::Said("compiled in"),
            about: "`DIR/VENDOR/{operations,scopes,choices,prefixes,routes}.tsv` replace what is known, as far as the \
                    vendor has them",
        },
        Setting {
            name: "gate",
            kind: Kind::Tables(&gate::GATE),
            default: Default::Required("[[gate]]"),
            about: "One entrance: a listener, a vendor, an upstream, its mode and rules",
        },
    ],
};

/// Where a secret comes from.
pub(super) const SECRET: Table = Table {
    path: "secret",
    settings: &[
        Setting {
            name: "env",
            kind: Kind::Text(Form::Plain),
            default: Default::Nothing,
            about: "The environment variable that holds it",
        },
        Setting {
            name: "file",
            kind: Kind::Text(Form::Path),
            default: Default::Nothing,
            about: "The file that holds it; a newline at its end does not count. It is read again when it changes",
        },
    ],
};

impl Table {
    pub(super) fn setting(&self, name: &str) -> Option<&'static Setting> {
        self.settings.iter().find(|setting| setting.name == name)
    }
}

impl Setting {
    pub(super) fn is_required(&self) -> bool {
        matches!(self.default, Default::Required(_))
    }
}
