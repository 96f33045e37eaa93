//! Exceptions, and interrupts without a handler: all of them call one function, with the registers.

use core::{arch::global_asm, fmt};

use spin::Once;
use x86_64::registers::control::Cr2;

use super::interrupt::InterruptFrame;

/// The registers that the processor and the entry stub saved when an exception came.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::arch::x86_64::exceptions::{ExceptionFrame, GENERAL_NAMES};
/// use dormir_guest::println;
///
/// /// A handler for `platform::bare::install_tables`.
/// fn on_exception(frame: &ExceptionFrame) -> ! {
///     // Such as "page fault writing unmapped address 0x10 at 0x201234".
///     println!("{frame}");
///     for (name, value) in GENERAL_NAMES.iter().zip(frame.general) {
///         println!("{name:>3} {value:#018x}");
///     }
///     dormir_guest::exit(0)
/// }
/// # let (rip, cs, rflags, rsp, ss) = (0x20_1234, 8, 2, 0x30_0000, 16);
/// # let general = [0; 15];
/// # on_exception(&ExceptionFrame { general, vector: 3, error_code: 0, rip, cs, rflags, rsp, ss });
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExceptionFrame {
    /// General registers in the order R15, R14, ... R8, RDI, RSI, RBP, RDX, RCX, RBX, RAX.
    pub general: [u64; 15],
    /// The number of the exception, 0 to 31 (SDM vol. 3, table 7-1), or the vector of an interrupt
    /// that has no handler.
    pub vector: u64,
    /// The error code; 0 for exceptions that have none.
    pub error_code: u64,
    /// The address of the instruction that was interrupted.
    pub rip: u64,
    /// Its code segment.
    pub cs: u64,
    /// Its flags.
    pub rflags: u64,
    /// Its stack pointer.
    pub rsp: u64,
    /// Its stack segment.
    pub ss: u64,
}

/// The names of the registers in [`ExceptionFrame::general`], in its order.
pub const GENERAL_NAMES: [&str; 15] = [
    "r15", "r14", "r13", "r12", "r11", "r10", "r9", "r8", "rdi", "rsi", "rbp", "rdx", "rcx", "rbx",
    "rax",
];

/// The exceptions by number (SDM vol. 3, table 7-1).
static NAMES: [&str; super::vector::EXCEPTIONS as usize] = [
    "divide error",
    "debug exception",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor segment overrun",
    "invalid TSS",
    "segment not present",
    "stack-segment fault",
    "general protection fault",
    "page fault",
    "reserved exception",
    "x87 floating-point error",
    "alignment check",
    "machine check",
    "SIMD floating-point exception",
    "virtualization exception",
    "control protection exception",
    "reserved exception",
    "reserved exception",
    "reserved exception",
    "reserved exception",
    "reserved exception",
    "reserved exception",
    "hypervisor injection exception",
    "VMM communication exception",
    "security exception",
    "reserved exception",
];

const PAGE_FAULT: u64 = 14;
const DOUBLE_FAULT: u64 = 8;
const EXCEPTIONS: u64 = super::vector::EXCEPTIONS as u64;

impl ExceptionFrame {
    /// The exception's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let name = usize::try_from(self.vector)
            .ok()
            .and_then(|vector| NAMES.get(vector));
        name.copied().unwrap_or("interrupt")
    }

    /// The address whose use failed: for a page fault, and for a double fault that began as one.
    #[must_use]
    pub fn fault_address(&self) -> Option<u64> {
        matches!(self.vector, PAGE_FAULT | DOUBLE_FAULT).then(Cr2::read_raw)
    }
}

/// One line: the exception and its address.
impl fmt::Display for ExceptionFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.vector >= EXCEPTIONS {
            let (vector, rip) = (self.vector, self.rip);
            return write!(
                f,
                "interrupt {vector:#04x}, for which there is no handler, at {rip:#x}"
            );
        }
        f.write_str(self.name())?;
        if self.vector == PAGE_FAULT {
            let what = match self.error_code & 0b1_0011 {
                code if code & 0b1_0000 != 0 => "executing",
                code if code & 0b10 != 0 => "writing",
                _ => "reading",
            };
            let why = if self.error_code & 1 != 0 {
                "protected"
            } else {
                "unmapped"
            };
            write!(f, " {what} {why} address {:#x}", Cr2::read_raw())?;
        } else if self.error_code != 0 {
            write!(f, " (error code {:#x})", self.error_code)?;
        }
        write!(f, " at {:#x}", self.rip)
    }
}

// A stub of 8 bytes for each vector. It pushes a zero where the processor pushes no error code (the
// mask has a bit for each exception that pushes one). Its call pushes an address within the stub,
// from which the vector is calculated. The processor had aligned the stack, and 22 words are on it
// at the call of the handler: it is a multiple of 16.
global_asm!(
    ".pushsection .text.dormir_exceptions, \"ax\", @progbits",
    ".balign 16",
    ".globl dormir_exception_stubs",
    "dormir_exception_stubs:",
    ".set dormir_vector, 0",
    ".rept 256",
    "    .balign 8",
    "    .if dormir_vector >= 32 || ((0x60227d00 >> dormir_vector) & 1) == 0",
    "    pushq $0",
    "    .endif",
    "    call dormir_exception_common",
    "    .set dormir_vector, dormir_vector + 1",
    ".endr",
    "dormir_exception_common:",
    "    pushq %rax",
    "    pushq %rbx",
    "    pushq %rcx",
    "    pushq %rdx",
    "    pushq %rbp",
    "    pushq %rsi",
    "    pushq %rdi",
    "    pushq %r8",
    "    pushq %r9",
    "    pushq %r10",
    "    pushq %r11",
    "    pushq %r12",
    "    pushq %r13",
    "    pushq %r14",
    "    pushq %r15",
    // The call's return address, above the 15 registers, becomes the vector.
    "    leaq dormir_exception_stubs(%rip), %rax",
    "    subq %rax, 120(%rsp)",
    "    shrq $3, 120(%rsp)",
    "    cld",
    "    movq %rsp, %rdi",
    "    call {handler}",
    "    ud2",
    ".popsection",
    handler = sym on_exception,
    options(att_syntax),
);

/// Bytes from one stub to the next.
const STUB_STRIDE: u64 = 8;

unsafe extern "C" {
    static dormir_exception_stubs: u8;
}

/// The address of the stub of `vector`.
pub(super) fn stub(vector: u8) -> u64 {
    (&raw const dormir_exception_stubs) as u64 + u64::from(vector) * STUB_STRIDE
}

/// The guest's handlers.
pub(super) struct Handlers {
    /// For exceptions, and for interrupts that have no entry.
    pub(super) on_exception: fn(&ExceptionFrame) -> !,
    /// For NMIs.
    pub(super) on_nmi: fn(&InterruptFrame),
}

pub(super) static HANDLERS: Once<Handlers> = Once::new();

extern "sysv64" fn on_exception(frame: &ExceptionFrame) -> ! {
    if let Some(handlers) = HANDLERS.get() {
        (handlers.on_exception)(frame);
    }
    // Not reached: the handlers are set before the table that leads here is loaded.
    x86_64::instructions::interrupts::disable();
    loop {
        core::hint::spin_loop();
    }
}
