//! What fuzzing found and what it began with, replayed; and a little mutated, so that a run without a fuzzer searches too.

#[path = "../fuzz/harness.rs"]
mod harness;

use std::path::Path;

use fastrand::Rng;

fn replay(target: &str, run: fn(&[u8]), rounds: usize) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", dir.display());
    let corpus: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    for text in &corpus {
        run(text);
    }
    let mut rng = Rng::with_seed(1);
    for _ in 0..rounds {
        let mut text = corpus[rng.usize(..corpus.len())].clone();
        for _ in 0..rng.usize(1..4) {
            mutate(&mut rng, &mut text, &corpus);
        }
        run(&text);
    }
}

fn mutate(rng: &mut Rng, text: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = rng.usize(..=text.len());
    match rng.u8(..4) {
        0 if at < text.len() => text[at] = rng.u8(..),
        1 if at < text.len() => {
            text.remove(at);
        }
        2 => text.insert(
            at,
            *b"\0\r\n\"%&=[]{},:;?#+\\".get(rng.usize(..18)).unwrap(),
        ),
        _ => {
            let other = &corpus[rng.usize(..corpus.len())];
            let from = rng.usize(..=other.len());
            let to = (from + rng.usize(..24)).min(other.len());
            text.splice(at..at, other[from..to].iter().copied());
        }
    }
}

#[test]
fn requests_are_read_alike_and_divided_into_what_was_judged() {
    replay("request", harness::request, 20_000);
}

#[test]
fn answers_are_spliced_alike() {
    replay("answer", harness::answer, 20_000);
    replay("listed_answer", harness::listed_answer, 20_000);
}

#[test]
fn catalogues_are_read_or_refused_with_their_line() {
    replay("catalogue", harness::catalogue_text, 20);
}
