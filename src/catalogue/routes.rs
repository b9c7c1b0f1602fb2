//! What is told by verb and path: templates such as `GET /restapi/v1.0/account/{accountId}`, walked segment by
//! segment. A literal segment goes before a parameter, as the vendors' own routers have it.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use crate::model::Verbs;

/// What a verb and a path lead to.
#[derive(Debug)]
pub enum Routed<'c, 'p, T> {
    /// What the template stands for, with the values of its parameters, as they stand in the path.
    Found(&'c T, Vec<&'p str>),
    /// A path that is known, of which the vendor offers other verbs only.
    OtherVerbs(Verbs),
    /// No path that is known.
    Unknown,
    /// The vendor's router might read the path otherwise; in words.
    Unclear(&'static str),
}

/// The templates of one vendor.
#[derive(Debug)]
pub(super) struct Routes<T> {
    nodes: Vec<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    literals: FxHashMap<Box<str>, usize>,
    /// With which bytes the literals begin, case folded.
    initials: Initials,
    parameter: Option<usize>,
    verbs: Vec<(Box<str>, T)>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            literals: FxHashMap::default(),
            initials: Initials::default(),
            parameter: None,
            verbs: Vec::new(),
        }
    }
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }
}

const SHAPE: &str = "the path holds an empty or dot segment, an escape or a character that routers read in several ways";
const CASE: &str = "a segment of the path differs from a documented one by case or escapes only";

impl<T> Routes<T> {
    /// Adds a template. False if its verb and path are taken.
    pub(super) fn add(&mut self, verb: &str, template: &str, leads_to: T) -> bool {
        let mut at = 0;
        for segment in segments(template) {
            let next = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else {
                return false;
            };
            at = if segment.starts_with('{') {
                *node.parameter.get_or_insert(next)
            } else {
                node.initials.add(segment);
                *node.literals.entry(segment.into()).or_insert(next)
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        let Some(node) = self.nodes.get_mut(at) else {
            return false;
        };
        if node.verbs.iter().any(|(known, _)| known.as_ref() == verb) {
            return false;
        }
        node.verbs.push((verb.into(), leads_to));
        true
    }

    /// Where a verb and a path lead. The path begins with a slash and has no query.
    pub(super) fn find<'c, 'p>(&'c self, verb: &str, path: &'p str) -> Routed<'c, 'p, T> {
        let mut walk = Walk {
            routes: self,
            verb,
            escapes: false,
            offered: Verbs::default(),
            values: Vec::new(),
        };
        walk.escapes = !is_plain_path(path);
        let told = if !walk.escapes || segments(path).all(is_plain) {
            walk.from(0, path.strip_prefix('/').unwrap_or(path))
        } else {
            Err(SHAPE)
        };
        match told {
            Err(why) => Routed::Unclear(why),
            Ok(Some(found)) => Routed::Found(found, walk.values),
            Ok(None) if walk.offered.is_empty() => Routed::Unknown,
            Ok(None) => Routed::OtherVerbs(walk.offered),
        }
    }

    /// A verb and the template of the first entry that fits; parameters have no names there.
    pub(super) fn template(&self, fits: impl Fn(&T) -> bool) -> Option<(String, String)> {
        let mut open = vec![(0, String::new())];
        while let Some((at, path)) = open.pop() {
            let node = self.nodes.get(at)?;
            if let Some((verb, _)) = node.verbs.iter().find(|(_, leads_to)| fits(leads_to)) {
                return Some((verb.to_string(), path));
            }
            let literals = node.literals.iter();
            open.extend(literals.map(|(segment, next)| (*next, format!("{path}/{segment}"))));
            open.extend(node.parameter.map(|next| (next, format!("{path}/{{}}"))));
        }
        None
    }

    /// The segments of a path that stand in a template, and a mark for each of the others: what a record may show.
    pub(super) fn outline(&self, path: &str) -> String {
        let mut outline = String::new();
        let mut node = self.nodes.first();
        for segment in segments(path) {
            let literal = node.and_then(|node| node.literals.get(segment));
            let next = literal.or_else(|| node?.parameter.as_ref());
            node = next.and_then(|next| self.nodes.get(*next));
            outline.push('/');
            outline.push_str(if literal.is_some() { segment } else { "{}" });
        }
        outline
    }
}

struct Walk<'c, 'v, 'p, T> {
    routes: &'c Routes<T>,
    verb: &'v str,
    /// The path holds something that a router may decode or trim.
    escapes: bool,
    /// Verbs of the templates that fit, where none of them has the one asked for.
    offered: Verbs,
    values: Vec<&'p str>,
}

impl<'c, 'p, T> Walk<'c, '_, 'p, T> {
    /// What the rest of a path leads to from a node on.
    fn from(&mut self, at: usize, rest: &'p str) -> Result<Option<&'c T>, &'static str> {
        let Some(node) = self.routes.nodes.get(at) else {
            return Ok(None);
        };
        let (segment, rest) = match memchr::memchr(b'/', rest.as_bytes()) {
            Some(slash) => (rest.get(..slash).unwrap_or_default(), rest.get(slash + 1..)),
            None => (rest, None),
        };
        // What no literal begins like is none of them.
        let literal = node
            .initials
            .has(segment)
            .then(|| node.literals.get(segment));
        if let Some(next) = literal.flatten() {
            if let Some(found) = self.onward(*next, rest)? {
                return Ok(Some(found));
            }
        } else if segment.is_empty() {
            return Err(SHAPE);
        } else if (self.escapes || node.initials.has(segment)) && node.resembles(segment) {
            return Err(CASE);
        }
        let Some(next) = node.parameter.filter(|_| !segment.is_empty()) else {
            return Ok(None);
        };
        self.values.push(segment);
        let found = self.onward(next, rest)?;
        if found.is_none() {
            self.values.pop();
        }
        Ok(found)
    }

    fn onward(&mut self, at: usize, rest: Option<&'p str>) -> Result<Option<&'c T>, &'static str> {
        if let Some(rest) = rest {
            return self.from(at, rest);
        }
        let verbs = self
            .routes
            .nodes
            .get(at)
            .map_or([].as_slice(), |node| &node.verbs);
        let found = verbs.iter().find(|(verb, _)| verb.as_ref() == self.verb);
        if found.is_none() {
            self.offered = verbs
                .iter()
                .fold(self.offered, |offered, (verb, _)| offered.with(verb));
        }
        Ok(found.map(|(_, leads_to)| leads_to))
    }
}

impl<T> Node<T> {
    /// True if a router that folds case, decodes before it compares, trims, or cuts a suffix off (`.json`) would take the
    /// segment for one of the literals.
    fn resembles(&self, segment: &str) -> bool {
        let decoded = decoded(segment);
        let trimmed = decoded.trim_matches(|c: char| !c.is_ascii_graphic());
        let stem = trimmed.split('.').next().unwrap_or(trimmed);
        self.literals.keys().any(|literal| {
            literal.eq_ignore_ascii_case(trimmed) || literal.eq_ignore_ascii_case(stem)
        })
    }
}

/// A set of the bytes with which names begin, ASCII case folded.
#[derive(Debug, Clone, Copy, Default)]
struct Initials(u128);

impl Initials {
    fn add(&mut self, name: &str) {
        self.0 |= Self::bit(name);
    }

    const fn has(self, name: &str) -> bool {
        self.0 & Self::bit(name) != 0
    }

    /// Bytes above ASCII share one bit with NUL.
    const fn bit(name: &str) -> u128 {
        match name.as_bytes().first() {
            Some(first) if first.is_ascii() => 1 << first.to_ascii_lowercase(),
            _ => 1,
        }
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

/// A segment that every router takes for one segment: RFC 3986's `pchar` without `;` (some cut parameters off there), with
/// escapes that stand for neither a delimiter nor a control character, and no dot segment.
fn is_plain(segment: &str) -> bool {
    let decoded = decoded(segment);
    let plain = |b: u8| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b'='
                    | b':'
                    | b'@'
            )
    };
    let raw = segment.bytes().all(|b| plain(b) || b == b'%');
    let inner = match &decoded {
        Cow::Borrowed(_) => !segment.contains('%'),
        Cow::Owned(decoded) => decoded
            .bytes()
            .all(|b| plain(b) || matches!(b, b' ' | b'"' | b'<' | b'>' | b'[' | b']') || b >= 0x80),
    };
    raw && inner && !matches!(decoded.as_ref(), "." | "..")
}

/// True if no byte of a path needs a second look: letters, digits and a few marks, and nothing that begins with a dot.
fn is_plain_path(path: &str) -> bool {
    // Every byte is looked at, so that many are at once.
    let plain = path.bytes().fold(true, |plain, b| {
        let fits = b.is_ascii_alphanumeric() | matches!(b, b'-'..=b'/' | b'_' | b'~' | b',');
        plain & fits
    });
    let pairs = path.bytes().zip(path.bytes().skip(1));
    let dotted = pairs.fold(path.starts_with('.'), |dotted, pair| {
        dotted || pair == (b'/', b'.')
    });
    plain && !dotted
}

/// The segment with its escapes decoded once; unchanged where there are none, or where they are no text.
fn decoded(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escape = after
            .first_chunk::<2>()
            .filter(|_| byte == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escape.unwrap_or(byte));
        rest = if escape.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(segment), Cow::Owned)
}
