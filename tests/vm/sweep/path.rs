//! The path that the vCPU took through the program, checked against the disassembly.

use std::{fmt::Write, fs};

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Formatter, Instruction, IntelFormatter, Mnemonic,
    OpKind,
};
use libtest_mimic::Failed;
use object::{Object, ObjectSection, ObjectSymbol, SectionKind};
use rustc_demangle::demangle;

/// A guest image's code and symbols.
pub(crate) struct Disassembly {
    text_start: u64,
    text: Vec<u8>,
    /// Name and address, by address.
    symbols: Vec<(String, u64)>,
}

impl Disassembly {
    pub(crate) fn read(path: &std::path::Path) -> Result<Self, Failed> {
        let bytes = fs::read(path)?;
        let file = object::File::parse(&*bytes)?;
        let text = file
            .sections()
            .find(|section| section.kind() == SectionKind::Text)
            .ok_or("the image has no code")?;
        let mut symbols: Vec<(String, u64)> = file
            .symbols()
            .filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), symbol.address())))
            .filter(|(name, _)| !name.is_empty())
            .collect();
        symbols.sort_by_key(|(_, address)| *address);
        Ok(Self {
            text_start: text.address(),
            text: text.data()?.to_vec(),
            symbols,
        })
    }

    pub(crate) fn symbol(&self, name: &str) -> Result<u64, Failed> {
        let found = self.symbols.iter().find(|(symbol, _)| symbol == name);
        found
            .map(|(_, address)| *address)
            .ok_or_else(|| format!("the image has no symbol `{name}`").into())
    }

    fn is_symbol(&self, address: u64) -> bool {
        self.symbols.iter().any(|(_, symbol)| *symbol == address)
    }

    fn instruction(&self, address: u64) -> Result<Instruction, Failed> {
        let offset = address
            .checked_sub(self.text_start)
            .map(|offset| offset as usize);
        let bytes = offset
            .and_then(|offset| self.text.get(offset..))
            .ok_or_else(|| format!("{address:#x} is not in the image's code"))?;
        let instruction = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
        if instruction.code() == Code::INVALID {
            return Err(format!("there is no instruction at {address:#x}").into());
        }
        Ok(instruction)
    }

    /// Returns `symbol+offset` for an address.
    fn describe(&self, address: u64) -> String {
        let after = self
            .symbols
            .partition_point(|(_, symbol)| *symbol <= address);
        match after.checked_sub(1).map(|index| &self.symbols[index]) {
            // Without the hash of the mangled name.
            Some((name, symbol)) => format!("{:#}+{:#x}", demangle(name), address - symbol),
            None => String::new(),
        }
    }
}

/// The path, as a list of instructions. Boundary K lies before instruction K: an interrupt there
/// records that instruction's address.
pub(crate) struct InterruptedPath<'a> {
    image: &'a Disassembly,
    instructions: Vec<Instruction>,
    start: Start,
}

/// Whether an interrupt is taken at a boundary.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Boundary {
    Open,
    /// Behind a `sti`: one instruction later.
    Shadow,
    Masked,
}

/// Where a path begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// In a task, with interrupts unmasked.
    Task,
    /// In a handler, with interrupts masked.
    Handler,
}

impl<'a> InterruptedPath<'a> {
    pub(crate) fn new(
        image: &'a Disassembly,
        addresses: Vec<u64>,
        start: Start,
    ) -> Result<Self, Failed> {
        let instructions = addresses
            .into_iter()
            .map(|address| image.instruction(address))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            image,
            instructions,
            start,
        })
    }

    /// Returns whether all boundaries from `index` on lie after the `hlt`: from here on, the vCPU
    /// slept.
    fn is_asleep_at(&self, index: usize) -> bool {
        let last = self.instructions[self.instructions.len() - 1].ip();
        self.instructions[index..]
            .iter()
            .all(|instruction| instruction.ip() == last)
    }

    /// Checks that each address follows from the instruction before it, so that none was left out.
    pub(crate) fn check_unbroken(&self) -> Result<(), Failed> {
        // The return addresses of the calls on the path; the path begins inside some calls.
        let mut returns = Vec::new();
        for (index, pair) in self.instructions.windows(2).enumerate() {
            let (this, next) = (&pair[0], pair[1].ip());
            if self.is_asleep_at(index) {
                return Ok(());
            }
            if matches!(
                this.flow_control(),
                FlowControl::Call | FlowControl::IndirectCall
            ) {
                returns.push(this.next_ip());
            }
            let repeats = this.ip() == next && (this.has_rep_prefix() || this.has_repne_prefix());
            let follows = match this.flow_control() {
                FlowControl::Next => next == this.next_ip(),
                FlowControl::UnconditionalBranch | FlowControl::Call => {
                    next == this.near_branch_target()
                }
                FlowControl::ConditionalBranch => {
                    next == this.next_ip() || next == this.near_branch_target()
                }
                FlowControl::IndirectCall => self.image.is_symbol(next),
                FlowControl::Return => returns.pop().is_none_or(|expected| expected == next),
                FlowControl::IndirectBranch => true,
                _ => false,
            };
            if !follows && !repeats {
                return Err(format!(
                    "steps {} and {}: {next:#x} does not follow {:#x} ({})",
                    index + 1,
                    index + 2,
                    this.ip(),
                    self.text(this),
                )
                .into());
            }
        }
        Err("the steps end before the vCPU sleeps: more are needed".into())
    }

    /// Checks that the path leads through `sti` and the `hlt` at `halt`, and sleeps after it.
    pub(crate) fn check_ends_asleep(&self, halt: u64) -> Result<(), Failed> {
        let at = self
            .instructions
            .iter()
            .position(|instruction| instruction.ip() == halt);
        let at = at.ok_or("no interrupt came between `sti` and `hlt`")?;
        let before = at
            .checked_sub(1)
            .map(|index| self.instructions[index].mnemonic());
        if before != Some(Mnemonic::Sti) || !self.is_asleep_at(at + 1) {
            return Err("the path does not end with `sti`, `hlt` and sleep".into());
        }
        Ok(())
    }

    /// Counts the locked instructions on the path, including `xchg` with memory.
    pub(crate) fn locked_instructions(&self) -> usize {
        let awake = (0..self.instructions.len()).take_while(|&index| !self.is_asleep_at(index));
        awake
            .filter(|&index| {
                let instruction = &self.instructions[index];
                let exchanges = instruction.mnemonic() == Mnemonic::Xchg
                    && (0..instruction.op_count())
                        .any(|operand| instruction.op_kind(operand) == OpKind::Memory);
                instruction.has_lock_prefix() || exchanges
            })
            .count()
    }

    /// Checks that a maskable interrupt that is pending from boundary K on is delivered at the
    /// first boundary from K on where interrupts are unmasked and not in the shadow of `sti`.
    pub(crate) fn check_delivery(&self, delivered: &[u64]) -> Result<(), Failed> {
        let open = self.open_boundaries();
        for (index, &address) in delivered.iter().enumerate() {
            let expected = (index..open.len()).find(|&boundary| open[boundary]);
            let expected = expected.map(|boundary| self.instructions[boundary].ip());
            if expected != Some(address) {
                return Err(format!(
                    "step {}: the interrupt came at {address:#x}, not at {expected:x?}",
                    index + 1
                )
                .into());
            }
        }
        Ok(())
    }

    /// Returns for each boundary whether an interrupt is taken there.
    fn open_boundaries(&self) -> Vec<bool> {
        let boundaries = self.boundaries().into_iter();
        boundaries
            .map(|boundary| boundary == Boundary::Open)
            .collect()
    }

    fn boundaries(&self) -> Vec<Boundary> {
        let (mut unmasked, mut shadow) = (self.start == Start::Task, false);
        let mut boundaries = Vec::with_capacity(self.instructions.len());
        for (index, instruction) in self.instructions.iter().enumerate() {
            // During the sleep every boundary is open.
            boundaries.push(match (unmasked, shadow) {
                _ if self.is_asleep_at(index) => Boundary::Open,
                (true, false) => Boundary::Open,
                (true, true) => Boundary::Shadow,
                (false, _) => Boundary::Masked,
            });
            shadow = false;
            match instruction.mnemonic() {
                Mnemonic::Cli => unmasked = false,
                Mnemonic::Sti => {
                    shadow = !unmasked;
                    unmasked = true;
                }
                // An interrupt handler's: what it has interrupted was unmasked.
                Mnemonic::Iretq => unmasked = true,
                _ => {}
            }
        }
        boundaries
    }

    /// Returns for each boundary where the vCPU goes on after an NMI there: if that is in the
    /// window before the `hlt`, behind it.
    pub(crate) fn after_nmi(&self) -> Result<Vec<u64>, Failed> {
        let window = self.image.symbol("dormir_halt_window")?
            ..=self.image.symbol("dormir_halt_instruction")?;
        let over = self.image.symbol("dormir_halt_over")?;
        let addresses = self.instructions.iter().map(Instruction::ip);
        Ok(addresses
            .map(|address| {
                if window.contains(&address) {
                    over
                } else {
                    address
                }
            })
            .collect())
    }

    /// Returns for each boundary where an interrupt is taken that is pending when an NMI there
    /// returns.
    pub(crate) fn pending_after_nmi(&self) -> Result<Vec<u64>, Failed> {
        let begin = self.image.symbol("dormir_halt")?;
        // The NMI's flag, which the first instruction compares.
        let flag = self.image.instruction(begin)?.memory_displacement64();
        let lowered = self.instructions.iter().position(|instruction| {
            instruction.mnemonic() == Mnemonic::Mov
                && instruction.op0_kind() == OpKind::Memory
                && instruction.memory_displacement64() == flag
        });
        let lowered = lowered.ok_or("nothing on the path lowers the NMI's flag")?;
        let is_call = |instruction: &&Instruction| {
            instruction.flow_control() == FlowControl::Call
                && instruction.near_branch_target() == begin
        };
        let call = self.instructions.iter().find(is_call);
        // After an NMI that raised the flag the vCPU unmasks interrupts by `sti`, whose shadow
        // covers the return.
        let unhalted = call.ok_or("nothing on the path calls the halt")?.next_ip();
        let (boundaries, returns) = (self.boundaries(), self.after_nmi()?);
        let taken = |index: usize| {
            // An NMI ends the shadow.
            if boundaries[index] != Boundary::Masked {
                return Some(returns[index]);
            }
            if index > lowered {
                return Some(unhalted);
            }
            let mut later = index..boundaries.len();
            let next = later.find(|&boundary| boundaries[boundary] == Boundary::Open)?;
            Some(self.instructions[next].ip())
        };
        let all: Option<Vec<u64>> = (0..boundaries.len()).map(taken).collect();
        Ok(all.ok_or("the path ends masked")?)
    }

    /// Returns a listing for readers: step, NMI address, interrupt address, instruction, function.
    pub(crate) fn listing(&self, delivered: &[u64]) -> String {
        let mut text = String::from("step  nmi       interrupt  instruction\n");
        for (index, instruction) in self.instructions.iter().enumerate() {
            let _ = writeln!(
                text,
                "{:>4}  {:#x}  {:#x}   {:<48} {}",
                index + 1,
                instruction.ip(),
                delivered.get(index).copied().unwrap_or_default(),
                self.text(instruction),
                self.image.describe(instruction.ip()),
            );
            if self.is_asleep_at(index) {
                let _ = writeln!(
                    text,
                    "and so on to step {}: asleep",
                    self.instructions.len()
                );
                break;
            }
        }
        text
    }

    fn text(&self, instruction: &Instruction) -> String {
        let mut text = String::new();
        IntelFormatter::new().format(instruction, &mut text);
        text
    }
}
