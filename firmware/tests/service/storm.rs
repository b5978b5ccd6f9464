//! What a bad wire makes of commands: lines cut, doubled and joined, surplus bytes, wrong digits, line ends of all kinds. Whatever
//! comes, each `%` has its one reply, and what it says is what the protocol, as written down here once more, would say.

use std::collections::HashMap;

use lrpet_runtime::session::Session;

use super::*;

const IMAGE: usize = 189;

/// What the protocol knows after the commands so far.
#[derive(Default)]
struct Expected {
    announced: usize,
    bytes: Vec<u8>,
    inferred: bool,
}

/// A reply as it must be.
#[derive(Debug, PartialEq)]
enum Reply {
    /// One line, an error.
    Error,
    /// No error; these lines where they are known.
    Lines(Option<Vec<String>>),
    /// The scores of the image that was loaded, behind other lines.
    Scores,
}

/// The command in what came up to a `%`: what follows the last byte that is no text, without blanks around it; `None` where it
/// is too long.
fn command(line: &[u8]) -> Option<String> {
    let text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let start = line.iter().rposition(|byte| !text(byte)).map_or(0, |at| at + 1);
    let line = line[start..].trim_ascii_start();
    (line.len() <= LINE_BYTES).then(|| String::from_utf8(line.trim_ascii().to_vec()).unwrap())
}

impl Expected {
    fn announce(&mut self, bytes: usize) {
        *self = Expected { announced: bytes, ..Expected::default() };
    }

    fn reply(&mut self, line: &[u8]) -> Reply {
        let Some(command) = command(line) else { return Reply::Error };
        let words: Vec<&str> = command.split_ascii_whitespace().collect();
        let lines = |lines: &[String]| Reply::Lines(Some(lines.to_vec()));
        let number =
            |word: &str| word.bytes().all(|x| x.is_ascii_digit()).then(|| word.parse::<u32>().ok())?;
        match words[..] {
            [] => lines(&[]),
            ["name" | "profile" | "timestamp" | "memory" | "help"] => Reply::Lines(None),
            ["db", "print"] => {
                let digits =
                    |bytes: &[u8]| bytes.iter().map(|byte| format!("-{byte:02x}")).collect::<String>();
                lines(
                    &self
                        .bytes
                        .chunks(8)
                        .map(|bytes| format!("m-buffer{}", digits(bytes)))
                        .collect::<Vec<_>>(),
                )
            }
            ["db", "load", word] => match number(word).map(|count| count as usize) {
                Some(count @ 1..=IMAGE) => {
                    self.announce(count);
                    lines(&[format!("m-[Expecting {count} bytes]")])
                }
                _ => Reply::Error,
            },
            ["db", digits] => {
                let hexadecimal =
                    digits.bytes().all(|x| x.is_ascii_hexdigit()) && digits.len().is_multiple_of(2);
                if !hexadecimal || self.announced == 0 {
                    return Reply::Error;
                }
                let pairs = digits.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
                self.bytes.extend(pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()));
                if self.bytes.len() > self.announced {
                    self.announce(0);
                    return Reply::Error;
                }
                let done = self.bytes.len() == self.announced;
                lines(&if done { vec!["m-load-done".to_owned()] } else { vec![] })
            }
            ["infer", count] | ["infer", count, _] => {
                let warm_up = words.get(2).map_or(Some(0), |word| number(word));
                let counts = number(count).is_some_and(|count| count > 0 && count <= MAX_INFERENCES);
                if !counts || warm_up.is_none_or(|count| count > MAX_INFERENCES) || self.bytes.len() != IMAGE
                {
                    return Reply::Error;
                }
                self.inferred = true;
                Reply::Scores
            }
            ["results"] if self.inferred => Reply::Scores,
            _ => Reply::Error,
        }
    }
}

/// A line with what happens to lines.
fn damaged(line: &str, random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut line = line.as_bytes().to_vec();
    let (a, b) = (random.random_range(0..line.len()), random.random_range(0..line.len()));
    let (from, to) = (a.min(b), a.max(b));
    let blanks: [&[u8]; 6] = [b" ", b"\r", b"\n", b"\r\n", b"\n\r", b"\t"];
    match random.random_range(0..120) {
        // Cut, and with that now and then the `%`.
        0 => drop(line.drain(from..=to)),
        1 => line.truncate(from),
        2 => {
            line.pop();
        }
        // Doubled, in part or whole.
        3 => line = [&line[..to], &line[from..]].concat(),
        4 => line = [&line[..], &line[..]].concat(),
        5 => line.insert(from, b'0'),
        6 => line.insert(from, random.random()),
        7 => line[from] = random.random(),
        8 => line[from] = b"0123456789abcdefz% "[random.random_range(0..19)],
        9 => drop(
            line.splice(from..from, blanks[random.random_range(0..6)].repeat(random.random_range(1..90))),
        ),
        10 => drop(line.splice(from..from, vec![b'a'; random.random_range(1..3000)])),
        11 => line.extend_from_slice(blanks[random.random_range(0..6)]),
        _ => {}
    }
    line
}

/// Lines of sessions as a runner begins them, damaged, in one stream.
fn stream(lines: usize) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let (mut stream, mut count) = (Vec::new(), 0);
    while count < lines {
        let image: Vec<u8> = if random.random_bool(0.5) {
            vec![random.random(); IMAGE]
        } else {
            (0..IMAGE).map(|_| random.random()).collect()
        };
        let others =
            ["name%", "profile%", "db load 189%", "db print%", "results%", "infer 1 0%", "db 00%", "what%"];
        let other = |random: &mut ChaCha8Rng| others[random.random_range(0..others.len())];
        let session =
            format!("{}{}infer 1 0%results%{}", other(&mut random), load(&image), other(&mut random));
        for line in session.split_inclusive('%') {
            stream.extend(damaged(line, &mut random));
            count += 1;
        }
    }
    stream
}

#[test]
fn damaged_lines_have_the_replies_that_the_protocol_says() {
    let mut stream = stream(20_000);
    // Whatever came before, a new session works.
    stream.extend(b"%");
    stream.extend(load(&[9; IMAGE]).bytes());
    stream.extend(b"infer 1 0%results%");

    let file = small_model(INPUT, 8, CLASSES as u32).unwrap();
    let mut flash = Box::new(Arena([0; 1 << 14]));
    flash.0[..file.len()].copy_from_slice(&file);
    let model = Model::new_checked(&flash.0[..file.len()]).unwrap();
    let mut arena = Box::new(Arena([0; 1 << 14]));
    let mut session = Session::new(&model, &mut arena.0).unwrap();
    let mut known: HashMap<Vec<u8>, Vec<f32>> = HashMap::new();
    let mut scores = |image: &[u8]| {
        let found = known.entry(image.to_vec()).or_insert_with(|| {
            let mut logits = [0.0; CLASSES];
            session.run_image(image, &mut logits, &mut ()).unwrap();
            softmax(&logits)
        });
        found.clone()
    };

    let outcome = serve(stream.chunks(13).map(|piece| Ok(piece.to_vec())));
    let replies: Vec<&[String]> = outcome.lines.split(|line| line == "m-ready").collect();
    let lines: Vec<&[u8]> = stream.split(|byte| *byte == b'%').collect();
    // Before the first command the greeting, behind the last `%` and the last `m-ready` nothing.
    assert_eq!(replies.len() - 1, lines.len());
    let (mut expected, mut errors, mut inferred) = (Expected::default(), 0, 0);
    for (line, reply) in lines.iter().zip(&replies[1..]).take(lines.len() - 1) {
        let wanted = expected.reply(line);
        let what = || format!("{:?}: {reply:?}, and not {wanted:?}", String::from_utf8_lossy(line));
        match &wanted {
            Reply::Error => {
                assert!(reply.len() == 1 && reply[0].starts_with("e-["), "{}", what());
                errors += 1;
            }
            Reply::Lines(lines) => {
                assert!(lines.as_ref().is_none_or(|lines| lines == reply), "{}", what());
                assert!(!reply.iter().any(|line| line.starts_with("e-[")), "{}", what());
            }
            Reply::Scores => {
                let last = reply.last().and_then(|line| line.strip_prefix("m-results-[")?.strip_suffix(']'));
                let found: Vec<f32> = last
                    .unwrap_or_else(|| panic!("{}", what()))
                    .split(',')
                    .map(|x| x.parse().unwrap())
                    .collect();
                let close = |(found, wanted): (&f32, f32)| (found - wanted).abs() < 2e-3;
                assert!(found.iter().zip(scores(&expected.bytes)).all(close), "{}", what());
                inferred += 1;
            }
        }
    }
    assert!(errors > 2000 && inferred > 1000, "{errors} errors, {inferred} replies with scores");
    let last = outcome.lines[outcome.lines.len() - 2].as_str();
    assert!(last.starts_with("m-results-["), "{last}");
}
