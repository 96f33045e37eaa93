//! Unwinds a stack by call frame information (DWARF 5, section 6.4).

use std::{collections::HashMap, ops::Range};

use addr2line::gimli::{
    BaseAddresses, CfaRule, DebugFrame, EhFrame, Register, RegisterRule, UnwindContext,
    UnwindSection, X86_64,
};
use dormir_abi::backtrace::Registers;
use object::{Object, ObjectSection};

use super::{
    Elf, Interrupted,
    meter::{Meter, Metered},
};

/// The known words of a stack, by address.
pub(super) type Stack = HashMap<u64, u64>;

/// The most calls that are unwound: more than a guest can report.
const MAX_CALLS: usize = 400;

/// A call that has not returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) address: u64,
    /// Whether the address is the instruction's own, and not that behind a call instruction.
    pub(super) is_exact: bool,
}

impl Call {
    /// An address within the instruction, to look up what it belongs to: the one behind a call
    /// that never returns may belong to another function.
    pub(super) fn lookup(&self) -> u64 {
        if self.is_exact {
            self.address
        } else {
            self.address.wrapping_sub(1)
        }
    }
}

/// The call frame information of an ELF file.
pub(super) struct CallFrames<'a> {
    /// For functions without unwind tables, as in guests that abort at a panic.
    debug: DebugFrame<Metered<'a>>,
    /// For functions with unwind tables.
    eh: EhFrame<Metered<'a>>,
    bases: BaseAddresses,
    /// Whether there is none of it.
    is_missing: bool,
    /// The code, and its address.
    text: (u64, &'a [u8]),
}

impl<'a> CallFrames<'a> {
    pub(super) fn new(elf: Option<&Elf<'a>>, meter: &'a Meter) -> Self {
        let section = |name| elf.and_then(|elf| elf.section_by_name(name));
        let data = |name| section(name).and_then(|section| section.data().ok());
        let address = |name| section(name).map_or(0, |section| section.address());
        let read = |name| Metered::new(data(name).unwrap_or_default(), meter);
        let mut debug = DebugFrame::from(read(".debug_frame"));
        debug.set_address_size(8);
        Self {
            debug,
            eh: EhFrame::from(read(".eh_frame")),
            bases: BaseAddresses::default()
                .set_eh_frame(address(".eh_frame"))
                .set_text(address(".text")),
            is_missing: data(".debug_frame").or(data(".eh_frame")).is_none(),
            text: (address(".text"), data(".text").unwrap_or_default()),
        }
    }

    /// Whether there is a call instruction before `address`: a direct one (`e8` and four bytes), or
    /// an indirect one (`ff` and one to six bytes).
    fn follows_call(&self, address: u64) -> bool {
        const DIRECT: u8 = 0xe8;
        const INDIRECT: u8 = 0xff;
        /// In the byte after `ff`: the instruction is a call.
        const IS_CALL: u8 = 0b010 << 3;
        let (start, code) = self.text;
        let end = address.checked_sub(start).map(usize::try_from);
        let Some(before) = end.and_then(|end| code.get(..end.ok()?)) else {
            return false;
        };
        let at = |back: usize| before.len().checked_sub(back).map(|at| before[at]);
        let is_indirect = |back: usize| {
            at(back) == Some(INDIRECT) && at(back - 1).is_some_and(|byte| byte & 0o70 == IS_CALL)
        };
        at(5) == Some(DIRECT) || (2..=7).any(is_indirect)
    }

    /// Returns what can be calls on a stack, innermost first, for a file without call frame
    /// information. Some may have returned already. `handler` is the stack of an interrupt's
    /// handler.
    fn guess(&self, stack: &Stack, handler: Range<u64>) -> Vec<Call> {
        let words = stack
            .iter()
            .filter(|(address, _)| !handler.contains(address));
        let mut words: Vec<_> = words.collect();
        words.sort_unstable();
        let calls = words
            .into_iter()
            .filter(|(_, value)| self.follows_call(**value));
        let call = |(_, &address): (&u64, &u64)| Call {
            address,
            is_exact: false,
        };
        calls.map(call).collect()
    }

    /// Returns the state of the caller, if there is information on this call.
    fn caller(&self, call: Call, state: &State, stack: &Stack) -> Option<State> {
        Self::caller_by(&self.debug, &self.bases, call, state, stack)
            .or_else(|| Self::caller_by(&self.eh, &self.bases, call, state, stack))
    }

    fn caller_by<S: UnwindSection<Metered<'a>>>(
        section: &S,
        bases: &BaseAddresses,
        call: Call,
        state: &State,
        stack: &Stack,
    ) -> Option<State> {
        let mut context = UnwindContext::new();
        let row = section
            .unwind_info_for_address(bases, &mut context, call.lookup(), S::cie_from_offset)
            .ok()?;
        let CfaRule::RegisterAndOffset { register, offset } = row.cfa() else {
            return None;
        };
        let cfa = state.get(*register)?.wrapping_add_signed(*offset);
        let mut caller = State::default();
        for register in PRESERVED {
            let value = match row.register(register) {
                None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => {
                    state.get(register)
                }
                Some(RegisterRule::Offset(offset)) => {
                    stack.get(&cfa.wrapping_add_signed(offset)).copied()
                }
                Some(RegisterRule::ValOffset(offset)) => Some(cfa.wrapping_add_signed(offset)),
                Some(RegisterRule::Register(other)) => state.get(other),
                _ => None,
            };
            caller.set(register, value);
        }
        let Some(RegisterRule::Offset(offset)) = row.register(X86_64::RA) else {
            return None;
        };
        let back = stack.get(&cfa.wrapping_add_signed(offset)).copied();
        caller.set(X86_64::RA, back);
        caller.set(X86_64::RSP, Some(cfa));
        Some(caller)
    }
}

/// The registers that a call preserves.
const PRESERVED: [Register; 6] = [
    X86_64::RBX,
    X86_64::RBP,
    X86_64::R12,
    X86_64::R13,
    X86_64::R14,
    X86_64::R15,
];

/// The values of the registers in a call, by DWARF's numbers; 16 is the instruction pointer.
#[derive(Clone, Debug, Default)]
struct State([Option<u64>; 17]);

impl State {
    fn new(registers: &Registers) -> Self {
        let [r12, r13, r14, r15] = registers.r12_to_r15;
        let mut state = Self::default();
        for (register, value) in [
            (X86_64::RBX, registers.rbx),
            (X86_64::RBP, registers.rbp),
            (X86_64::RSP, registers.rsp),
            (X86_64::R12, r12),
            (X86_64::R13, r13),
            (X86_64::R14, r14),
            (X86_64::R15, r15),
            (X86_64::RA, registers.rip),
        ] {
            state.set(register, Some(value));
        }
        state
    }

    fn get(&self, register: Register) -> Option<u64> {
        *self.0.get(usize::from(register.0))?
    }

    fn set(&mut self, register: Register, value: Option<u64>) {
        if let Some(place) = self.0.get_mut(usize::from(register.0)) {
            *place = value;
        }
    }
}

/// Unwinds. If the registers are those of an interrupt's handler, the result begins with what it
/// interrupted.
pub(super) fn calls(
    registers: &Registers,
    interrupted: Option<Interrupted>,
    stack: &Stack,
    call_frames: &CallFrames<'_>,
) -> Vec<Call> {
    let mut state = State::new(registers);
    if let Some(interrupted) = interrupted {
        // The handler has saved registers of what it interrupted. Its entry is in assembly, without
        // call frame information, and changes none of these.
        for _ in 0..MAX_CALLS {
            let Some(address) = state.get(X86_64::RA) else {
                break;
            };
            let call = Call {
                address,
                is_exact: false,
            };
            match call_frames.caller(call, &state, stack) {
                Some(caller) if caller.get(X86_64::RSP) <= Some(interrupted.frame) => {
                    state = caller;
                }
                _ => break,
            }
        }
        state.set(X86_64::RA, Some(interrupted.rip));
        state.set(X86_64::RSP, Some(interrupted.rsp));
    }
    let handler = interrupted.map_or(0..0, |interrupted| registers.rsp..interrupted.frame);
    let mut calls = unwind(state, stack, call_frames);
    if call_frames.is_missing {
        calls.truncate(1);
        calls.extend(call_frames.guess(stack, handler));
    }
    calls
}

fn unwind(mut state: State, stack: &Stack, call_frames: &CallFrames<'_>) -> Vec<Call> {
    let mut calls = Vec::new();
    while let Some(address) = state.get(X86_64::RA).filter(|_| calls.len() < MAX_CALLS) {
        let is_exact = calls.is_empty();
        let call = Call { address, is_exact };
        calls.push(call);
        let caller = match call_frames.caller(call, &state, stack) {
            // A jump to a bad address, or a function in assembly that has pushed nothing.
            None if is_exact => called_directly(&state, stack),
            caller => caller,
        };
        match caller {
            Some(caller) if caller.get(X86_64::RSP) > state.get(X86_64::RSP) => state = caller,
            _ => break,
        }
    }
    calls
}

/// Returns the caller's state, if the return address is the top word of the stack.
fn called_directly(state: &State, stack: &Stack) -> Option<State> {
    let rsp = state.get(X86_64::RSP)?;
    let mut caller = state.clone();
    caller.set(X86_64::RA, Some(*stack.get(&rsp)?));
    caller.set(X86_64::RSP, Some(rsp.wrapping_add(8)));
    Some(caller)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file without call frame information, with this code at 0x1000.
    fn without_information<'a>(code: &'a [u8], meter: &'a Meter) -> CallFrames<'a> {
        CallFrames {
            text: (0x1000, code),
            ..CallFrames::new(None, meter)
        }
    }

    #[test]
    fn without_information_calls_are_guessed_by_the_instructions_before() {
        // nop; call rel32; call rax; and, after some more, jmp rax.
        let mut code = vec![0x90, 0xe8, 1, 2, 3, 4, 0xff, 0xd0];
        code.extend([0x90; 8]);
        code.extend([0xff, 0xe0, 0x90]);
        let words = [
            (0x50, 0x1006),
            (0x58, 0x1008),
            (0x60, 0x1012),
            (0x68, 0x1000),
            (0x70, 0x2000),
            (0x78, 0),
            (0x90, 0x1006),
        ];
        let registers = Registers {
            rip: 0x100b,
            rsp: 0x90,
            ..Registers::default()
        };
        let interrupted = Interrupted {
            frame: 0x98,
            rip: 0x1001,
            rsp: 0x50,
        };
        let found = calls(
            &registers,
            Some(interrupted),
            &Stack::from(words),
            &without_information(&code, &Meter::of_time()),
        );
        let addresses: Vec<_> = found.iter().map(|call| call.address).collect();
        assert_eq!(addresses, [0x1001, 0x1006, 0x1008]);
        assert!(found[0].is_exact && !found[1].is_exact);
    }
}
