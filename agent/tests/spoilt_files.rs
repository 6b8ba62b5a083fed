//! Files spoilt in twenty thousand ways, the same ones in every run, never make an absurd value or a panic.
//!
//! `agent/fuzz` looks for more of them, guided by what the code does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod fake_host;
mod spoilt;

use spoilt::Spoilt;

const SPOILT: u32 = 30_000;

/// What is put in among the bytes, beside single ones.
const WORDS: [&[u8]; 8] =
    [b"18446744073709551615", b"9223372036854771712", b"-1", b"0", b"max", b"\n", b"1.7976931348623157e308", b"\xff\0"];

/// Xorshift, of Marsaglia: as random as this needs, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

/// One to three changes: cut off, a byte changed, a word put in or in place of the next digits, all once more.
fn spoil(text: &[u8], random: &mut Random) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(text.len() + 1);
        match random.below(5) {
            0 => text.truncate(at),
            1 => text.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
            2 => drop(text.splice(at..at, WORDS[random.below(WORDS.len())].iter().copied())),
            3 => {
                let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                drop(text.splice(at..at + digits, WORDS[random.below(WORDS.len())].iter().copied()));
            }
            _ => text.extend_from_within(..at),
        }
    }
    text
}

#[test]
fn no_spoilt_file_makes_an_absurd_value() {
    let mut host = Spoilt::new("spoilt");
    let whole: Vec<Vec<u8>> = host.beginnings().collect();
    let mut random = Random(0x5eed);
    for _ in 0..SPOILT {
        let [file, _, _, text @ ..] = &*whole[random.below(whole.len())] else {
            unreachable!("a story has a beginning")
        };
        // Now and then it is whole again, so that the next ones have something to be compared with.
        let text = if random.below(3) == 0 { text.to_vec() } else { spoil(text, &mut random) };
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        let step = u8::try_from(random.below(3)).unwrap();
        host.tell(&[&[*file, step, length], &text[..length.into()]].concat());
    }
    assert!(!host.is_measured(), "nothing is spoilt at last");
    // Within this many ticks each file has had its turn.
    (0..30).for_each(|_| whole.iter().for_each(|story| host.tell(story)));
    assert!(host.is_measured(), "what is whole again is not believed again");
}
