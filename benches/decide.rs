//! What a call costs before it is forwarded: reading, identifying and deciding, with a million grants known.
//!
//! `cargo bench` prints the memory that a grant takes, then the times.

use std::hint::black_box;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use grantgate::audit::GateText;
use grantgate::catalogue::Catalogue;
use grantgate::grants::{Grants, Learned, Precedence, Scene};
use grantgate::model::{ApiVersion, CredentialRead, Decision, Grant, Secret, Standing, TokenIdKey};
use grantgate::policy::{self, Rules};
use grantgate::store::GrantRow;
use grantgate::vendor::{Head, Vendor};
use http::{HeaderMap, HeaderValue, Method};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const GRANTS: u32 = 1_000_000;

struct World {
    catalogue: Catalogue,
    grants: Grants,
    key: TokenIdKey,
    rules: Rules,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let catalogue = Catalogue::parse(Vendor::Bitrix24.bundled_catalogue()).unwrap();
        let key = TokenIdKey::new(b"a key for the benches alone");
        let learned = Arc::new(Learned::new("bench", None, usize::MAX, Arc::default()));
        let scene = Scene {
            vendor: Vendor::Bitrix24,
            catalogue: Arc::new(Catalogue::parse(Vendor::Bitrix24.bundled_catalogue()).unwrap()),
            key: Arc::new(TokenIdKey::new(b"a key for the benches alone")),
            text: GateText::default(),
            recorder: None,
            metrics: Arc::default(),
            drifts: Arc::default(),
        };
        let before_them = resident();
        for number in 0..GRANTS {
            let row = GrantRow {
                token: key.identify(&Secret::new(token(number).into_bytes())),
                scopes: ["crm", "user", "telephony"].map(str::to_owned).to_vec(),
                user: Some(number.to_string()),
                tenant: Some("a223c6b3710f85df22e9377d6c4f7553".to_owned()),
                session: None,
                source: "capture".to_owned(),
                obtained: learned.now(),
                expires: Grant::NEVER,
                used: 0,
                standing: Standing::Valid,
            };
            learned.remember(&row, &scene);
        }
        let grants = Grants::new([], Precedence::Declared, None, learned, scene, None, 0);
        assert_eq!(grants.len(), 1_000_000);
        println!(
            "{} bytes a grant, with its user and tenant, of {GRANTS}",
            (resident() - before_them) / 1_000_000
        );
        World {
            catalogue,
            grants,
            key,
            rules: Rules::default(),
        }
    })
}

fn token(number: u32) -> String {
    format!("token-{number:032}")
}

/// Resident memory in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn main() {
    world();
    Paths::of(Vendor::RingCentral).print_slowest();
    Paths::of(Vendor::LiveChat).print_slowest();
    divan::main();
}

/// Reads and decides one call; gives what the decision was.
fn decide(verb: &Method, target: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let world = world();
    let head = Head {
        verb,
        target,
        headers,
        has_body: !body.is_empty(),
    };
    let mut reader = Vendor::Bitrix24.read(head, &world.catalogue);
    if !body.is_empty() {
        reader.feed(body);
    }
    let call = reader.finish();
    let CredentialRead::One(credential) = &call.credential else {
        return false;
    };
    let known = world.grants.find(world.key.identify(&credential.secret), 0);
    let decision: Decision<'_> = policy::decide(&call, known.view(), &world.rules, 0);
    decision.verdict.permitted
}

// Twenty heads at a time are as warm as a head that was just parsed; the grants are drawn from the million.
#[divan::bench(sample_count = 5000, sample_size = 20)]
fn header_token(bencher: Bencher<'_, '_>) {
    world();
    bencher
        .with_inputs(|| {
            let mut headers = HeaderMap::new();
            let value = format!("Bearer {}", token(fastrand::u32(..GRANTS)));
            headers.insert("host", HeaderValue::from_static("portal.bitrix24.com"));
            headers.insert("authorization", HeaderValue::try_from(value).unwrap());
            headers
        })
        .bench_refs(|headers| {
            assert!(decide(
                &Method::GET,
                "/rest/crm.deal.list?filter%5BID%5D=7",
                headers,
                b""
            ))
        });
}

#[divan::bench(sample_count = 5000, sample_size = 20)]
fn json_token(bencher: Bencher<'_, '_>) {
    world();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    bencher
        .with_inputs(|| {
            let token = token(fastrand::u32(..GRANTS));
            format!(r#"{{"filter":{{"ID":7}},"select":["ID","TITLE"],"start":0,"auth":"{token}"}}"#)
        })
        .bench_refs(|body| {
            assert!(decide(
                &Method::POST,
                "/rest/crm.deal.list.json",
                &headers,
                body.as_bytes()
            ))
        });
}

#[divan::bench]
fn json_of_one_mebibyte(bencher: Bencher<'_, '_>) {
    world();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let rows = r#"{"TITLE":"a deal of ordinary length","OPPORTUNITY":"1000.00","ID":4711},"#
        .repeat(14_000);
    let body = format!(r#"{{"rows":[{}{{}}],"auth":"{}"}}"#, rows, token(1));
    bencher.counter(BytesCount::new(body.len())).bench(|| {
        assert!(decide(
            &Method::POST,
            "/rest/crm.deal.list",
            &headers,
            black_box(body.as_bytes())
        ))
    });
}

#[divan::bench]
fn json_batch_of_fifty(bencher: Bencher<'_, '_>) {
    world();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let commands: Vec<String> = (0..50)
        .map(|at| {
            format!(
                "\"k{at}\":\"crm.deal.list?select[0]=ID&order[ID]=ASC&filter[%3EID]=%24result%5Bk{}%5D%5B49%5D%5BID%5D&start=-1\"",
                at - i32::from(at > 0)
            )
        })
        .collect();
    let body = format!(
        r#"{{"halt":0,"cmd":{{{}}},"auth":"{}"}}"#,
        commands.join(","),
        token(1)
    );
    bencher.counter(BytesCount::new(body.len())).bench(|| {
        assert!(decide(
            &Method::POST,
            "/rest/batch",
            &headers,
            black_box(body.as_bytes())
        ))
    });
}

/// A request of each operation that another vendor tells by its path, with one declared token.
struct Paths {
    vendor: Vendor,
    catalogue: Catalogue,
    headers: HeaderMap,
    requests: Vec<(Method, String)>,
}

impl Paths {
    fn of(vendor: Vendor) -> Self {
        let catalogue = Catalogue::parse(vendor.bundled_catalogue()).unwrap();
        let mut headers = HeaderMap::new();
        let value = format!("Bearer {}", token(1));
        headers.insert("host", HeaderValue::from_static("vendor.example"));
        headers.insert("authorization", HeaderValue::try_from(value).unwrap());
        let requests = catalogue
            .operations()
            .filter_map(|operation| catalogue.path_of(operation))
            .map(|(verb, path)| (verb.parse().unwrap(), path.replace("{}", "1234567890")))
            .collect();
        Self {
            vendor,
            catalogue,
            headers,
            requests,
        }
    }

    fn decide(&self, verb: &Method, target: &str) -> bool {
        let head = Head {
            verb,
            target,
            headers: &self.headers,
            has_body: false,
        };
        let call = self.vendor.read(head, &self.catalogue).finish();
        let CredentialRead::One(credential) = &call.credential else {
            return false;
        };
        let world = world();
        let known = world.grants.find(world.key.identify(&credential.secret), 0);
        let decision: Decision<'_> = policy::decide(&call, known.view(), &world.rules, 0);
        decision.verdict.permitted
    }

    /// Prints the operation that takes the longest, each at its best of several rounds: a noisy machine makes every
    /// single round longer, none shorter.
    fn print_slowest(&self) {
        const ROUNDS: u32 = 60;
        const CALLS: u32 = 40;
        let mut best = vec![Duration::MAX; self.requests.len()];
        for _ in 0..ROUNDS {
            for ((verb, target), best) in self.requests.iter().zip(&mut best) {
                let begun = Instant::now();
                for _ in 0..CALLS {
                    black_box(self.decide(verb, black_box(target)));
                }
                *best = (*best).min(begun.elapsed() / CALLS);
            }
        }
        let (took, (verb, target)) = best
            .iter()
            .zip(&self.requests)
            .max_by_key(|(took, _)| **took)
            .unwrap();
        println!(
            "{}: the slowest of {} operations takes {} ns: {verb} {target}",
            self.vendor.name(),
            self.requests.len(),
            took.as_nanos(),
        );
    }
}

/// Every operation of a vendor once.
#[divan::bench(args = [Vendor::RingCentral, Vendor::LiveChat], sample_count = 100)]
fn every_path(bencher: Bencher<'_, '_>, vendor: &Vendor) {
    let paths = Paths::of(*vendor);
    bencher
        .counter(ItemsCount::new(paths.requests.len()))
        .bench(|| {
            paths
                .requests
                .iter()
                .filter(|(verb, target)| paths.decide(verb, black_box(target)))
                .count()
        });
}

#[divan::bench]
fn token_id(bencher: Bencher<'_, '_>) {
    let secret = Secret::new(token(1).into_bytes());
    bencher.bench(|| world().key.identify(black_box(&secret)));
}

#[divan::bench(sample_count = 100, sample_size = 1000)]
fn find_operation(bencher: Bencher<'_, '_>) {
    let world = world();
    bencher.bench(|| {
        world
            .catalogue
            .find(ApiVersion::V2, black_box("crm.deal.list"))
            .is_some()
    });
}

#[divan::bench(sample_count = 100, sample_size = 1000)]
fn find_grant(bencher: Bencher<'_, '_>) {
    let world = world();
    bencher
        .with_inputs(|| {
            world
                .key
                .identify(&Secret::new(token(fastrand::u32(..GRANTS)).into_bytes()))
        })
        .bench_refs(|id| world.grants.find(*id, 0).grant().is_some());
}
