//! Requests, most of them nearly right: what clients send, spelt in all the ways that PHP takes, then mutated.

use fastrand::Rng;

#[derive(Debug, Clone)]
pub struct Case {
    pub verb: &'static str,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

const PREFIXES: [&str; 12] = [
    "/rest/",
    "/rest/",
    "/rest/",
    "/rest/",
    "/rest//",
    "/rest/1/S/",
    "/rest/api/",
    "/rest//api/",
    "/rest/api/1/S/",
    "/rest/x.y/S1/",
    "/REST/",
    "/rest/../rest/",
];
const METHODS: [&str; 15] = [
    "crm.deal.list",
    "batch",
    "batch",
    "batch",
    "BATCH",
    "event.bind",
    "placement.bind",
    "userfieldconfig.list",
    "user.get",
    "crm.Lead.add",
    "download",
    "tasks.task.get",
    "event.offline.list",
    "crm.item.nothing",
    "sign.b2e.document.send",
];
const SUFFIXES: [&str; 9] = ["", "", "", "", ".json", ".xml", "/", ".json/", ".JSON"];
const NAMES: [&str; 60] = [
    "auth",
    "auth",
    "access_token",
    "access.token",
    "auth[]",
    "Auth",
    "%61uth",
    "+auth",
    "au th",
    "cmd[a]",
    "cmd[a]",
    "cmd[b]",
    "cmd[b]",
    "cmd[c]",
    "cmd[]",
    "cmd[]",
    "CMD[a]",
    "cmd[0]",
    "cmd[1]",
    "cmd[7]",
    "cmd[a][b]",
    "cmd",
    "cmd%5Ba%5D",
    "cmd%5B%5D",
    "c%6Dd[a]",
    "cmd[ a]",
    "cmd[a]b",
    "cmd[-1]",
    "cmd[01]",
    "cmd[a b]",
    "cmd[a%00]",
    "cmd[1.5]",
    "cmd[a.b]",
    "halt",
    "halt",
    "HALT",
    "halt[]",
    "event",
    "EVENT",
    "Event",
    "moduleId",
    "MODULEID",
    "PLACEMENT",
    "placement",
    "method",
    "token",
    "x",
    "filter[x]",
    "aplogin",
    "ap",
    "filter[EVENT_NAME]",
    "auth%00hcm",
    "0[method]",
    "x%5Bmethod%5D",
    "1[query][select][]",
    "auth[hcm]",
    "aplogin%00hcm",
    "x[hcmId]",
    "token%00x",
    "cmd[a",
];
const VALUES: [&str; 34] = [
    "T",
    "T",
    "T",
    "U",
    "",
    "0",
    "1",
    "false",
    "crm.deal.list",
    "crm.lead.add?x=1",
    "user.get?",
    "event.bind?event=ONCRMDEALADD",
    "event.bind?EVENT=ONTASKADD&handler=https://x",
    "http:user.get",
    "http://x/user.get",
    "user.get#x",
    "user.get?x=1#y",
    "//user.get",
    "batch?cmd[a]=user.get",
    "user.get?token=a|b|c",
    "event.bind?event=ONCRMDEALADD&EVENT=ONTASKADD",
    "event.bind?event=ONTASKADD&%65vent=ONCRMDEALADD",
    "user.get?auth=U",
    "user.get:80",
    "user.get.json",
    "USER.Get?x=a:b/c",
    "userfieldconfig.list?moduleId=crm&moduleId[]=rpa",
    "ONCRMDEALADD",
    "ONTASKADD",
    "crm",
    "rpa",
    "CALL_CARD",
    "disk|abc|sig",
    "crm.lead.list?filter[ID]=$result[a][ID]",
];
const KINDS: [&str; 12] = [
    "application/json",
    "application/json",
    "application/json; charset=utf-8",
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded",
    "Application/JSON",
    "multipart/form-data; boundary=XX",
    "multipart/form-data; boundary=XX",
    "multipart/form-data; boundary=\"XX\"",
    "multipart/form-data, boundary=XX",
    "text/plain",
    "application/json,x",
];
const BYTES: &[u8] = b"\0\t\n\r \"#%&'+,-./0:;=?AZ[\\]_az{|}\x7f\xc3\xa9";

pub fn case(rng: &mut Rng) -> Case {
    if rng.bool() {
        nearly_right(rng)
    } else {
        wild(rng)
    }
}

/// A batch as clients send it, with one thing in it that they do not.
fn nearly_right(rng: &mut Rng) -> Case {
    let mut keys: Vec<String> = ["a", "b", "", "", "7", "x_1", "lead list"]
        .iter()
        .map(|key| (*key).to_owned())
        .collect();
    rng.shuffle(&mut keys);
    keys.truncate(rng.usize(2..5));
    let good = [
        "crm.deal.list",
        "user.get?x=1",
        "event.bind?event=ONCRMDEALADD",
        "crm.lead.get?id=$result[a][ID]&y=a b",
        "placement.bind?PLACEMENT=CALL_CARD",
        "task.item.list?",
        "crm.lead.add?fields[TITLE]=é%26&x=1",
    ];
    let mut commands: Vec<(String, String)> = keys
        .into_iter()
        .map(|key| (key, pick(rng, &good).to_owned()))
        .collect();
    if rng.u8(..3) == 0 {
        let at = rng.usize(..commands.len());
        commands[at].1 = pick(rng, &VALUES).to_owned();
    }
    let halt = pick(rng, &["", "", "0", "1", "false"]);
    let (mut headers, mut target) = (
        Vec::new(),
        format!("/rest/{}", pick(rng, &["batch", "batch.json", "batch/"])),
    );
    let form = |rng: &mut Rng| {
        let mut pairs: Vec<String> = commands
            .iter()
            .map(|(key, text)| {
                let (key, text) = (encode(rng, key), encode(rng, text));
                format!(
                    "{}[{key}]={text}",
                    pick(rng, &["cmd", "cmd", "cmd", "cmd", "cmd", "CMD"])
                )
            })
            .collect();
        if !halt.is_empty() {
            pairs.push(format!("halt={halt}"));
        }
        let at = rng.usize(..=pairs.len());
        pairs.insert(at, "auth=T".to_owned());
        pairs.join("&")
    };
    let (verb, mut body) = match rng.u8(..4) {
        0 => {
            target = format!("{target}?{}", form(rng));
            ("GET", Vec::new())
        }
        1 => {
            headers.push((
                "content-type".to_owned(),
                "application/x-www-form-urlencoded".to_owned(),
            ));
            ("POST", form(rng).into_bytes())
        }
        2 => {
            headers.push((
                "content-type".to_owned(),
                "multipart/form-data; boundary=XX".to_owned(),
            ));
            let mut parts: Vec<(String, String)> = commands
                .iter()
                .map(|(key, text)| (format!("cmd[{key}]"), text.clone()))
                .collect();
            let at = rng.usize(..=parts.len());
            parts.insert(at, ("auth".to_owned(), "T".to_owned()));
            let parts: String = parts
                .iter()
                .map(|(name, text)| {
                    format!(
                        "--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n"
                    )
                })
                .collect();
            ("POST", format!("{parts}--XX--\r\n").into_bytes())
        }
        _ => {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
            let blank = pick(rng, &["", " ", "\r\n\t"]);
            let list = rng.bool();
            let commands: Vec<String> = commands
                .iter()
                .map(|(key, text)| {
                    let text = quoted(rng, text);
                    if list {
                        text
                    } else {
                        format!("{}{blank}:{blank}{text}", quoted(rng, key))
                    }
                })
                .collect();
            let (open, close) = if list { ('[', ']') } else { ('{', '}') };
            let commands = commands.join(&format!("{blank},{blank}"));
            let halt = if halt.is_empty() {
                String::new()
            } else {
                format!(
                    ",\"halt\":{}",
                    pick(rng, &["0", "1", "\"0\"", "\"\"", "null", "0.0"])
                )
            };
            (
                "POST",
                format!(
                    "{{\"cmd\":{blank}{open}{blank}{commands}{blank}{close},\"auth\":\"T\"{halt}}}"
                )
                .into_bytes(),
            )
        }
    };
    if rng.u8(..3) == 0 {
        mutate(rng, &mut body);
    }
    Case {
        verb,
        target,
        headers,
        body,
    }
}

/// Anything.
fn wild(rng: &mut Rng) -> Case {
    let method = pick(rng, &METHODS);
    let mut target = format!("{}{method}{}", pick(rng, &PREFIXES), pick(rng, &SUFFIXES));
    let post = rng.u8(..4) > 0;
    let mut headers = Vec::new();
    // Most calls carry one credential; where it stands is drawn.
    let place = rng.u8(..8);
    let in_query = place < 2;
    if place == 2 {
        headers.push(("authorization".to_owned(), "Bearer T".to_owned()));
    }
    if in_query || rng.u8(..3) == 0 {
        let pairs = pairs(rng, in_query, if post { 2 } else { 4 });
        target = format!("{target}?{pairs}");
    }
    let mut body = Vec::new();
    if post {
        let kind = pick(rng, &KINDS);
        headers.push(("content-type".to_owned(), kind.to_owned()));
        let with_auth = place > 2;
        body = if kind.contains("multipart") {
            multipart(rng, with_auth)
        } else if kind.to_ascii_lowercase().contains("json") {
            json(rng, with_auth, target.contains("/api/")).into_bytes()
        } else {
            pairs(rng, with_auth, 5).into_bytes()
        };
    }
    if rng.u8(..4) == 0 {
        mutate(rng, &mut body);
    }
    if rng.u8(..12) == 0 {
        let mut bytes = target.clone().into_bytes();
        mutate(rng, &mut bytes);
        let plain = |b: &u8| {
            b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'#')
        };
        if bytes.starts_with(b"/") && bytes.iter().all(plain) {
            target = String::from_utf8(bytes).unwrap();
        }
    }
    Case {
        verb: if post { "POST" } else { "GET" },
        target,
        headers,
        body,
    }
}

fn pick<'t>(rng: &mut Rng, from: &[&'t str]) -> &'t str {
    from[rng.usize(..from.len())]
}

/// Names that decide nothing for most operations, so that most requests stay readable.
fn name(rng: &mut Rng) -> &'static str {
    match rng.u8(..10) {
        0..4 => pick(rng, &["cmd[a]", "cmd[b]", "cmd[]", "cmd[7]", "cmd[x_1]"]),
        4 => pick(
            rng,
            &["event", "PLACEMENT", "moduleId", "halt", "x", "filter[x]"],
        ),
        _ => pick(rng, &NAMES),
    }
}

fn encode(rng: &mut Rng, text: &str) -> String {
    let all = rng.bool();
    text.bytes()
        .map(|byte| match byte {
            b'&' | b'#' | b'+' | b'%' | b' ' => format!("%{byte:02X}"),
            byte if byte.is_ascii_alphanumeric() || b"._-/?=:|$[]".contains(&byte) => {
                if all && !byte.is_ascii_alphanumeric() {
                    format!("%{byte:02x}")
                } else {
                    char::from(byte).to_string()
                }
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn pairs(rng: &mut Rng, with_auth: bool, most: usize) -> String {
    let mut pairs: Vec<String> = (0..rng.usize(..=most))
        .map(|_| {
            let value = pick(rng, &VALUES);
            format!("{}={}", name(rng), encode(rng, value))
        })
        .collect();
    if with_auth {
        let at = rng.usize(..=pairs.len());
        pairs.insert(
            at,
            pick(rng, &["auth=T", "auth=T", "access_token=T"]).to_owned(),
        );
    }
    pairs.join(pick(rng, &["&", "&", "&", "&&"]))
}

fn quoted(rng: &mut Rng, text: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    if rng.u8(..6) > 0 || text.len() < 3 {
        return text;
    }
    // One character as an escape.
    let at = 1 + rng.usize(..text.len() - 2);
    let byte = text.as_bytes()[at];
    if byte == b'\\' || text.as_bytes()[at - 1] == b'\\' || !byte.is_ascii_alphanumeric() {
        return text;
    }
    format!("{}\\u{byte:04x}{}", &text[..at], &text[at + 1..])
}

fn value(rng: &mut Rng, depth: u8) -> String {
    match rng.u8(..12) {
        0 if depth > 0 => format!("{{{}}}", members(rng, 2, depth - 1).join(",")),
        1 if depth > 0 => {
            let items: Vec<String> = (0..rng.u8(..3)).map(|_| value(rng, depth - 1)).collect();
            format!("[{}]", items.join(","))
        }
        2 => (pick(
            rng,
            &[
                "0",
                "1",
                "-0.0",
                "1e3",
                "true",
                "false",
                "null",
                "12345678901234567890",
            ],
        ))
        .to_owned(),
        _ => {
            let text = pick(rng, &VALUES);
            quoted(rng, text)
        }
    }
}

fn members(rng: &mut Rng, most: u8, depth: u8) -> Vec<String> {
    (0..rng.u8(..=most))
        .map(|_| {
            let name = pick(
                rng,
                &[
                    "x",
                    "filter",
                    "auth",
                    "event",
                    "EVENT",
                    "moduleId",
                    "PLACEMENT",
                    "halt",
                    "HALT",
                    "cmd",
                    "CMD",
                    "method",
                    "token",
                    "select",
                    "query",
                    "",
                    "0",
                ],
            );
            format!("{}:{}", quoted(rng, name), value(rng, depth))
        })
        .collect()
}

fn command(rng: &mut Rng) -> String {
    if rng.u8(..20) == 0 {
        return value(rng, 1);
    }
    let good = [
        "crm.deal.list",
        "user.get?x=1",
        "event.bind?event=ONCRMDEALADD",
        "crm.lead.get?id=$result[a]",
        "placement.bind?PLACEMENT=CALL_CARD",
    ];
    let text = if rng.u8(..3) > 0 {
        pick(rng, &good)
    } else {
        pick(rng, &VALUES)
    };
    quoted(rng, text)
}

fn json(rng: &mut Rng, with_auth: bool, rest3: bool) -> String {
    let blank = pick(rng, &["", "", "", " ", "\n"]);
    let mut all: Vec<String> = if rng.u8(..3) == 0 {
        members(rng, 3, 2)
    } else {
        Vec::new()
    };
    if rest3 && rng.bool() {
        let items: Vec<String> = (0..rng.u8(..4))
            .map(|_| {
                let method = pick(
                    rng,
                    &["tasks.task.get", "main.eventlog.list", "batch", "user.get"],
                );
                format!(
                    "{{\"method\":{},\"query\":{}}}",
                    quoted(rng, method),
                    value(rng, 2)
                )
            })
            .collect();
        if !with_auth {
            return format!("{blank}[{}]", items.join(","));
        }
        all.extend(
            items
                .iter()
                .enumerate()
                .map(|(at, item)| format!("\"{at}\":{item}")),
        );
    } else if rng.u8(..4) > 0 {
        let commands: Vec<String> = (0..rng.u8(..5)).map(|_| command(rng)).collect();
        let list = rng.bool();
        let commands: Vec<String> = commands
            .into_iter()
            .enumerate()
            .map(|(at, text)| {
                let key = match rng.u8(..8) {
                    0 => pick(rng, &["a", "1", "01", "-1", "", "a b", "é", "1.5"]).to_owned(),
                    _ => format!("k{at}"),
                };
                if list {
                    text
                } else {
                    format!("{}:{blank}{text}", quoted(rng, &key))
                }
            })
            .collect();
        let (open, close) = if list { ('[', ']') } else { ('{', '}') };
        let separator = format!("{blank},{blank}");
        let name = pick(rng, &["cmd", "cmd", "cmd", "CMD", "Cmd"]);
        all.push(format!(
            "\"{name}\":{blank}{open}{blank}{}{blank}{close}",
            commands.join(&separator)
        ));
    }
    if with_auth {
        let at = rng.usize(..=all.len());
        all.insert(
            at,
            (pick(
                rng,
                &[
                    "\"auth\":\"T\"",
                    "\"auth\" : \"T\"",
                    "\"access_token\":\"T\"",
                ],
            ))
            .to_owned(),
        );
    }
    format!("{blank}{{{}}}{blank}", all.join(","))
}

fn multipart(rng: &mut Rng, with_auth: bool) -> Vec<u8> {
    let end = if rng.u8(..12) == 0 { "\n" } else { "\r\n" };
    let mut parts: Vec<(String, String)> = (0..rng.u8(..5))
        .map(|_| {
            let value = pick(rng, &VALUES);
            (name(rng).to_owned(), value.to_owned())
        })
        .collect();
    if with_auth {
        let at = rng.usize(..=parts.len());
        parts.insert(at, ("auth".to_owned(), "T".to_owned()));
    }
    let mut text = String::new();
    // PHP cuts lines at 5120 bytes.
    let filler = "a".repeat(rng.usize(3900..5200));
    for (name, value) in parts {
        let more = pick(
            rng,
            &[
                "",
                "",
                "",
                "",
                "; filename=\"f\"",
                "; name=\"auth\"",
                "; filename=\"a;b'c\"",
            ],
        );
        let field = pick(
            rng,
            &[
                "Content-Disposition",
                "Content-Disposition",
                "content-disposition",
            ],
        );
        if rng.u8(..8) == 0 {
            text += &format!(
                "--XX{end}Content-Type: {filler}Content-Disposition: form-data; name=\"auth\"{end}\
                 Content-Disposition: form-data; name=\"x\"{end}{end}U{end}"
            );
        }
        text +=
            &format!("--XX{end}{field}: form-data; name=\"{name}\"{more}{end}{end}{value}{end}");
    }
    text += "--XX--";
    text += pick(rng, &["", end]);
    text.into_bytes()
}

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.u8(1..4) {
        let at = rng.usize(..=bytes.len());
        let byte = BYTES[rng.usize(..BYTES.len())];
        match rng.u8(..4) {
            0 => bytes.insert(at, byte),
            1 if at < bytes.len() => bytes[at] = byte,
            2 if at < bytes.len() => {
                bytes.remove(at);
            }
            _ => {
                // A piece of it twice, or a piece cut off.
                let end = (at + rng.usize(..12)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = rng.usize(..=bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
}
