//! Multipart forms (RFC 7578), scanned in pieces of any size, in the one spelling in which PHP and everybody else agree.
//!
//! PHP takes bare line feeds, the first of two boundaries and the last of two names, unknown quotings and folded lines.
//! None of that is read here: a form is refused unless each delimiter stands on a line of its own, each part has one
//! `Content-Disposition: form-data; name="…"`, and nothing stands before the first or behind the last delimiter.

/// The longest head of a part, in bytes. PHP cuts a line at 5120 bytes and takes what follows for the next one.
const LONGEST_HEAD: usize = 4 * 1024;

/// The longest boundary (RFC 2046 section 5.1.1).
const LONGEST_BOUNDARY: usize = 70;

/// Is told of the parts of a form, in order.
pub(super) trait Parts {
    /// A part begins: its delimiter stands at `at`, its name at `name_at`. True if its content is wanted.
    fn part(&mut self, name: &[u8], is_file: bool, at: u64, name_at: u64) -> bool;
    /// The next piece of a wanted content.
    fn content(&mut self, piece: &[u8]);
    /// The end of a wanted part: the next delimiter stands at `at`.
    fn end(&mut self, at: u64);
}

/// The form is not in the one spelling.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) struct Malformed;

/// Scans one form.
pub(super) struct MultipartScanner {
    /// `\r\n--BOUNDARY`, beneath which the form's own first line break is thought.
    delimiter: Vec<u8>,
    state: State,
    /// What may be the beginning of a delimiter, of the rest of its line, or of a head.
    carry: Vec<u8>,
    wanted: bool,
    /// Bytes scanned.
    position: u64,
    /// Where the delimiter of the part at hand begins.
    begun: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the very beginning: the first delimiter, without its line break.
    Start,
    /// After a delimiter: `\r\n` or `--`.
    AfterDelimiter,
    Head,
    Content,
    /// After the last delimiter: nothing, or one line break.
    Epilogue,
}

impl MultipartScanner {
    /// A scanner for the boundary of a `Content-Type`'s parameters; `None` unless they are one plain boundary.
    pub(super) fn new(parameters: &[u8]) -> Option<Self> {
        let value = parameters.strip_prefix(b";")?.trim_ascii_start();
        let (name, boundary) = value.split_at_checked(9)?;
        let quoted = boundary
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""));
        let boundary = quoted.unwrap_or(boundary);
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'\'');
        let fits = (1..=LONGEST_BOUNDARY).contains(&boundary.len()) && boundary.iter().all(plain);
        (name == b"boundary=" && fits).then(|| Self {
            delimiter: [b"\r\n--", boundary].concat(),
            state: State::Start,
            carry: Vec::new(),
            wanted: false,
            position: 0,
            begun: 0,
        })
    }

    /// Scans the next bytes, in order.
    pub(super) fn feed(&mut self, bytes: &[u8], parts: &mut impl Parts) -> Result<(), Malformed> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.state {
                State::Start => self.start(rest)?,
                State::AfterDelimiter => self.after_delimiter(rest)?,
                State::Head => self.head(rest, parts)?,
                State::Content => self.content(rest, parts)?,
                State::Epilogue => self.epilogue(rest)?,
            };
        }
        Ok(())
    }

    /// Ends the form.
    pub(super) fn finish(&self) -> Result<(), Malformed> {
        let whole = self.state == State::Epilogue && matches!(self.carry.as_slice(), b"" | b"\r\n");
        if whole { Ok(()) } else { Err(Malformed) }
    }

    fn start<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Malformed> {
        let first = self.delimiter.get(2..).unwrap_or_default();
        let expected = first.get(self.carry.len()..).unwrap_or_default();
        let (piece, rest) = bytes.split_at(expected.len().min(bytes.len()));
        if !expected.starts_with(piece) {
            return Err(Malformed);
        }
        let whole = piece.len() == expected.len();
        self.carry.extend_from_slice(piece);
        self.advance(piece.len());
        if whole {
            self.carry.clear();
            self.state = State::AfterDelimiter;
        }
        Ok(rest)
    }

    fn after_delimiter<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Malformed> {
        let (piece, rest) = bytes.split_at(1);
        self.carry.extend_from_slice(piece);
        self.advance(1);
        self.state = match self.carry.as_slice() {
            b"\r" | b"-" => return Ok(rest),
            b"\r\n" => State::Head,
            b"--" => State::Epilogue,
            _ => return Err(Malformed),
        };
        self.carry.clear();
        Ok(rest)
    }

    fn head<'b>(&mut self, bytes: &'b [u8], parts: &mut impl Parts) -> Result<&'b [u8], Malformed> {
        let begun = self.carry.len();
        let room = LONGEST_HEAD.saturating_sub(begun).min(bytes.len());
        let (taken, _) = bytes.split_at(room);
        self.carry.extend_from_slice(taken);
        let Some(end) = memchr::memmem::find(&self.carry, b"\r\n\r\n") else {
            if self.carry.len() >= LONGEST_HEAD {
                return Err(Malformed);
            }
            self.advance(room);
            return Ok(bytes.get(room..).unwrap_or_default());
        };
        let used = (end + 4).saturating_sub(begun);
        let head_at = self.position - as_u64(begun);
        let head = std::mem::take(&mut self.carry);
        let read = Head::read(head.get(..end).unwrap_or_default())?;
        self.wanted = parts.part(
            read.name,
            read.is_file,
            self.begun,
            head_at + as_u64(read.name_at),
        );
        self.advance(used);
        self.state = State::Content;
        // An empty part's delimiter begins with the line break that ends its head; PHP and others see it.
        Ok(bytes.get(used..).unwrap_or_default())
    }

    fn content<'b>(
        &mut self,
        bytes: &'b [u8],
        parts: &mut impl Parts,
    ) -> Result<&'b [u8], Malformed> {
        if self.carry.is_empty() {
            // Either line end is looked for: PHP takes a bare line feed before a delimiter too.
            let plain = memchr::memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
            let (text, rest) = bytes.split_at(plain);
            if self.wanted && !text.is_empty() {
                parts.content(text);
            }
            self.advance(plain);
            let (piece, rest) = rest.split_at(rest.len().min(1));
            self.carry.extend_from_slice(piece);
            self.advance(piece.len());
            return Ok(rest);
        }
        let (piece, rest) = bytes.split_at(1);
        self.carry.extend_from_slice(piece);
        if self.delimiter == self.carry {
            self.advance(1);
            self.end_content(parts);
            return Ok(rest);
        }
        if self.delimiter.starts_with(&self.carry) {
            self.advance(1);
            return Ok(rest);
        }
        let bare = self.delimiter.get(1..).unwrap_or_default();
        if bare == self.carry {
            return Err(Malformed);
        }
        if bare.starts_with(&self.carry) {
            self.advance(1);
            return Ok(rest);
        }
        // It was content: all of it but the last byte, which may begin a delimiter itself.
        self.carry.pop();
        let text = std::mem::take(&mut self.carry);
        if text.is_empty() {
            return Ok(bytes);
        }
        // `\r` then `\n--BOUNDARY`, and `\r\r\n--BOUNDARY`: what follows a carriage return is looked at afresh.
        if self.wanted {
            parts.content(&text);
        }
        Ok(bytes)
    }

    fn end_content(&mut self, parts: &mut impl Parts) {
        self.carry.clear();
        self.begun = self.position - as_u64(self.delimiter.len()) + 2;
        if std::mem::take(&mut self.wanted) {
            parts.end(self.begun);
        }
        self.state = State::AfterDelimiter;
    }

    fn epilogue<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Malformed> {
        let (piece, rest) = bytes.split_at(1);
        self.carry.extend_from_slice(piece);
        self.advance(1);
        if b"\r\n".starts_with(&self.carry) {
            Ok(rest)
        } else {
            Err(Malformed)
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.position += as_u64(bytes);
    }
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The head of one part.
struct Head<'h> {
    name: &'h [u8],
    name_at: usize,
    is_file: bool,
}

impl<'h> Head<'h> {
    fn read(head: &'h [u8]) -> Result<Self, Malformed> {
        let mut found = None;
        let mut at = 0;
        for line in split_lines(head) {
            let colon = memchr::memchr(b':', line).ok_or(Malformed)?;
            let (field, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default();
            if !line.iter().all(|b| (0x20..0x7f).contains(b) || *b >= 0x80) {
                return Err(Malformed);
            }
            if field.eq_ignore_ascii_case(b"content-disposition") {
                if found.is_some() {
                    return Err(Malformed);
                }
                let blank = value.len() - value.trim_ascii_start().len();
                let mut head = disposition(value.get(blank..).unwrap_or_default())?;
                head.name_at += at + colon + 1 + blank;
                found = Some(head);
            } else if !field.eq_ignore_ascii_case(b"content-type")
                && !field.eq_ignore_ascii_case(b"content-length")
                && !field.eq_ignore_ascii_case(b"content-transfer-encoding")
            {
                return Err(Malformed);
            }
            at += line.len() + 2;
        }
        found.ok_or(Malformed)
    }
}

fn split_lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(head);
    std::iter::from_fn(move || {
        let text = rest?;
        if let Some(end) = memchr::memmem::find(text, b"\r\n") {
            rest = text.get(end + 2..);
            return text.get(..end);
        }
        rest = None;
        Some(text)
    })
}

/// `form-data; name="…"`, and for a file `; filename="…"` and `; filename*=…`.
fn disposition(value: &[u8]) -> Result<Head<'_>, Malformed> {
    let begin = b"form-data; name=\"";
    let rest = value.strip_prefix(begin).ok_or(Malformed)?;
    let (name, mut rest) = quoted(rest)?;
    let mut is_file = false;
    while !rest.is_empty() {
        let parameter = rest.strip_prefix(b"; ").ok_or(Malformed)?;
        if let Some(after) = parameter.strip_prefix(b"filename=\"") {
            (_, rest) = quoted(after)?;
        } else if let Some(after) = parameter.strip_prefix(b"filename*=") {
            let plain = |b: &u8| {
                b.is_ascii_alphanumeric()
                    || matches!(b, b'-' | b'_' | b'.' | b'\'' | b'%' | b'~' | b'!')
            };
            if !after.iter().all(plain) {
                return Err(Malformed);
            }
            rest = &[];
        } else {
            return Err(Malformed);
        }
        is_file = true;
    }
    Ok(Head {
        name,
        name_at: begin.len(),
        is_file,
    })
}

/// The text up to the closing quote, and what follows; no escapes, which PHP and browsers read differently.
fn quoted(text: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let end = memchr::memchr(b'"', text).ok_or(Malformed)?;
    let (inner, after) = text.split_at(end);
    if inner.contains(&b'\\') {
        return Err(Malformed);
    }
    Ok((inner, after.get(1..).unwrap_or_default()))
}

impl std::fmt::Debug for MultipartScanner {
    /// Without what was read: it may be a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MultipartScanner")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Drop for MultipartScanner {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.carry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Vec<String>);

    impl Parts for Heard {
        fn part(&mut self, name: &[u8], is_file: bool, at: u64, name_at: u64) -> bool {
            let name = String::from_utf8_lossy(name);
            self.0.push(format!("{at} {name_at} {name} {is_file}:"));
            true
        }
        fn content(&mut self, piece: &[u8]) {
            let last = self.0.last_mut().unwrap();
            last.push_str(&piece.escape_ascii().to_string());
        }
        fn end(&mut self, at: u64) {
            self.0.last_mut().unwrap().push_str(&format!(":{at}"));
        }
    }

    fn scan(pieces: &[&[u8]]) -> Result<Vec<String>, Malformed> {
        let mut heard = Heard::default();
        let mut scanner = MultipartScanner::new(b"; boundary=BB").unwrap();
        for piece in pieces {
            scanner.feed(piece, &mut heard)?;
        }
        scanner.finish()?;
        Ok(heard.0)
    }

    const FORM: &[u8] = b"--BB\r\nContent-Disposition: form-data; name=\"auth\"\r\n\r\nT\r\n--BB\r\ncontent-type: text/plain\r\ncontent-disposition: form-data; name=\"f\"; filename=\"a;b.txt\"\r\n\r\n\r\r\n-\r\n--B\n\r\n--BB\r\nContent-Disposition: form-data; name=\"e\"\r\n\r\n\r\n--BB--\r\n";

    #[test]
    fn parts_are_told_with_their_places_however_cut() {
        let whole = scan(&[FORM]).unwrap();
        assert_eq!(
            whole,
            [
                "0 44 auth false:T:56",
                "56 126 f true:\\r\\r\\n-\\r\\n--B\\n:164",
                "164 208 e false::216"
            ]
        );
        for part in &whole {
            let mut places = part.split([' ', ':']);
            let (at, name_at) = (places.next().unwrap(), places.next().unwrap());
            let (at, name_at): (usize, usize) = (at.parse().unwrap(), name_at.parse().unwrap());
            assert!(FORM[at..].starts_with(b"--BB\r\n"), "{part}");
            assert_eq!(FORM[name_at - 1], b'"', "{part}");
        }
        for at in 0..FORM.len() {
            let (head, tail) = FORM.split_at(at);
            assert_eq!(scan(&[head, tail]).as_ref(), Ok(&whole), "cut at {at}");
        }
        assert_eq!(scan(&FORM.chunks(1).collect::<Vec<_>>()), Ok(whole));
    }

    #[test]
    fn other_spellings_are_malformed() {
        let part = |head: &str| format!("--BB\r\n{head}\r\n\r\nT\r\n--BB--");
        for form in [
            String::new(),
            "--BB".to_owned(),
            "--BB--x".to_owned(),
            "preamble\r\n--BB--".to_owned(),
            "--BB--\r\n\r\n".to_owned(),
            "--BB--\n".to_owned(),
            "--BBB\r\n".to_owned(),
            part("Content-Disposition: form-data; name=auth"),
            part("Content-Disposition: form-data; name=\"a\"; name=\"auth\""),
            part("Content-Disposition: form-data; name=\"a\\\"uth\""),
            part("Content-Disposition: form-data;\r\n name=\"auth\""),
            part(
                "Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"b\"",
            ),
            part("Content-Disposition: attachment; name=\"a\""),
            part("Content-Type: text/plain"),
            part("X-Other: 1\r\nContent-Disposition: form-data; name=\"a\""),
            part("Content-Disposition: form-data; name=\"a\"\r\nX"),
            "--BB\r\nContent-Disposition: form-data; name=\"a\"\n\nT\r\n--BB--".to_owned(),
            "--BB\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nT\n--BB--".to_owned(),
            "--BB\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nT\r\n--BBx\r\n--BB--"
                .to_owned(),
            "--BB\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nT\n--BBx\r\n--BB--"
                .to_owned(),
            "--BB\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nT\r\n--BB \r\n--BB--"
                .to_owned(),
        ] {
            assert_eq!(scan(&[form.as_bytes()]), Err(Malformed), "{form:?}");
        }
        assert_eq!(
            scan(&[part("Content-Disposition: form-data; name=\"a\"").as_bytes()]).unwrap(),
            ["0 44 a false:T:53"]
        );
    }

    #[test]
    fn only_one_plain_boundary_is_taken() {
        for (parameters, fits) in [
            ("; boundary=a-b_c.1'", true),
            ("; boundary=\"ab\"", true),
            (";boundary=ab", true),
            ("; Boundary=ab", false),
            ("; boundary=", false),
            ("; boundary=a b", false),
            ("; boundary=ab; boundary=cd", false),
            ("; boundary=ab, boundary=cd", false),
            ("; charset=utf-8; boundary=ab", false),
            (", boundary=ab", false),
            ("; xboundary=ab", false),
            ("; boundary=ab; charset=utf-8", false),
        ] {
            assert_eq!(
                MultipartScanner::new(parameters.as_bytes()).is_some(),
                fits,
                "{parameters}"
            );
        }
        let filler = "a".repeat(5106);
        let hidden = format!(
            "--BB\r\nContent-Type: {filler}Content-Disposition: form-data; name=\"auth\"\r\n\
             Content-Disposition: form-data; name=\"x\"\r\n\r\nT\r\n--BB--\r\n"
        );
        assert_eq!(
            scan(&[hidden.as_bytes()]),
            Err(Malformed),
            "PHP cuts long lines"
        );
        let long = format!("; boundary={}", "b".repeat(71));
        assert!(MultipartScanner::new(long.as_bytes()).is_none());
    }
}
