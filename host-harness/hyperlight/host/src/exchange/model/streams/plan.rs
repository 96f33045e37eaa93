//! What the functions of the model do with their streams.

use dormir_hyperlight_protocol::STREAM_WINDOW;

use super::super::Random;
use crate::streams::{Input, Output};

/// What a function does with its streams; the call's argument says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// 0: it sends; 1: it reads, and sends a little; 2: it sends what it reads; 3: it reads a
    /// little and sends; 4: it sends, and fails; 5: it sends, and panics.
    pub(super) kind: u8,
    number: u32,
    /// How long its input and its own output are.
    pub(super) input: u32,
    pub(super) output: u32,
}

impl Plan {
    pub(super) fn new(number: u32, random: &mut Random) -> Self {
        let mut length = || {
            let longest = [1, 200, 5000, 3 * STREAM_WINDOW][random.below(4)];
            random.below(longest) as u32
        };
        let (input, output) = (length(), length());
        Self {
            kind: random.below(6) as u8,
            number,
            input,
            output,
        }
    }

    pub(super) fn argument(self) -> Vec<u8> {
        let words = [self.number, self.input, self.output];
        let mut argument = vec![self.kind];
        argument.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        argument
    }

    pub(super) fn of(argument: &[u8]) -> Self {
        let word = |index: usize| {
            let word = argument[1 + 4 * index..][..4].try_into();
            u32::from_le_bytes(word.expect("four bytes"))
        };
        Self {
            kind: argument[0],
            number: word(0),
            input: word(1),
            output: word(2),
        }
    }

    /// A byte of the streams of this call.
    fn byte(self, at: usize) -> u8 {
        (at / 3) as u8 ^ self.number as u8
    }

    pub(super) fn bytes(self, begin: usize, length: usize) -> Vec<u8> {
        (begin..begin + length).map(|at| self.byte(at)).collect()
    }

    /// How long the output is, if the call ends by itself.
    pub(super) fn expected(self) -> usize {
        match self.kind {
            1 => 1,
            2 => self.input as usize,
            _ => self.output as usize,
        }
    }
}

/// Reads an input, which is to be the plan's; `all` of it, or a piece.
async fn read(plan: Plan, input: &mut Input, all: bool) -> Result<usize, String> {
    let mut length = 0;
    while let Some(piece) = input.next().await {
        let piece = piece.map_err(|error| error.to_string())?;
        if piece != plan.bytes(length, piece.len()) {
            return Err(format!("the input is wrong behind {length}"));
        }
        length += piece.len();
        if !all {
            break;
        }
    }
    let is_right = !all || length == plan.input as usize;
    is_right
        .then_some(length)
        .ok_or_else(|| format!("{length} bytes of input"))
}

async fn send(plan: Plan, begin: usize, length: usize, output: &mut Output) -> Result<(), String> {
    let mut at = begin;
    while at < begin + length {
        let piece = (7 + at).min(begin + length - at);
        let sent = output.send(plan.bytes(at, piece)).await;
        sent.map_err(|error| error.to_string())?;
        at += piece;
    }
    Ok(())
}

/// The function.
pub(super) async fn stream(
    argument: Vec<u8>,
    mut input: Input,
    mut output: Output,
) -> Result<(), String> {
    let plan = Plan::of(&argument);
    let length = plan.output as usize;
    match plan.kind {
        1 => {
            read(plan, &mut input, true).await?;
            send(plan, 0, 1, &mut output).await
        }
        2 => {
            let mut length = 0;
            while let Some(piece) = input.next().await {
                let piece = piece.map_err(|error| error.to_string())?;
                if piece != plan.bytes(length, piece.len()) {
                    return Err(format!("the input is wrong behind {length}"));
                }
                length += piece.len();
                let sent = output.send(piece).await;
                sent.map_err(|error| error.to_string())?;
            }
            Ok(())
        }
        3 => {
            read(plan, &mut input, false).await?;
            send(plan, 0, length, &mut output).await
        }
        kind => {
            send(plan, 0, length, &mut output).await?;
            match kind {
                4 => Err("on purpose".into()),
                5 => std::panic::resume_unwind(Box::new("on purpose")),
                _ => Ok(()),
            }
        }
    }
}
