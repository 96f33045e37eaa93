//! Interrupt entries: from the processor's interrupt frame to a Rust function and back.

#[cfg(target_feature = "sse")]
compile_error!(
    "dormir's interrupt entries save no vector registers: build the guest for soft float, as the \
     target x86_64-unknown-none does, without -Ctarget-feature=+sse"
);

/// What the processor pushes when an interrupt comes (SDM vol. 3, figure 7-4).
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use core::sync::atomic::{AtomicU64, Ordering};
/// use dormir::{arch::x86_64::interrupt::InterruptFrame, platform::bare};
///
/// /// Where the program was when the profiling interrupt came.
/// static SAMPLE: AtomicU64 = AtomicU64::new(0);
///
/// extern "sysv64" fn on_sample(frame: &InterruptFrame) {
///     SAMPLE.store(frame.rip, Ordering::Relaxed);
///     bare::end_of_interrupt();
/// }
/// dormir::interrupt_entry!(sample_entry => on_sample);
/// # use dormir::arch::x86_64::{halt::{halt_if, halt_instruction}, vector};
/// # // SAFETY: made by `interrupt_entry!`, and ends the local APIC's interrupt.
/// # unsafe { bare::set_interrupt_handler(vector::FREE, sample_entry) };
/// # x86_64::instructions::interrupts::disable();
/// # let apic = bare::machine().and_then(|machine| machine.apic).expect("an APIC");
/// # apic.interrupt_self(vector::FREE);
/// # halt_if(|| true);
/// # assert_eq!(SAMPLE.load(Ordering::Relaxed), halt_instruction() + 1);
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptFrame {
    /// The address at which the interrupted code continues.
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

/// The function whose address is in the interrupt table. Only an interrupt may enter it: it returns
/// by the frame that the processor pushed, which a call does not push.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::{
///     arch::x86_64::{interrupt::{InterruptEntry, InterruptFrame}, pic, vector},
///     interrupt_entry, platform::bare,
/// };
///
/// extern "sysv64" fn on_keyboard(_frame: &InterruptFrame) {
///     pic::end_of_interrupt(1);
/// }
/// interrupt_entry!(keyboard_entry => on_keyboard);
///
/// const HANDLERS: [(u8, InterruptEntry); 1] = [(vector::PIC_FIRST + 1, keyboard_entry)];
/// for (vector, entry) in HANDLERS {
///     // SAFETY: made by `interrupt_entry!`, and ends the PIC's interrupt.
///     unsafe { bare::set_interrupt_handler(vector, entry) };
/// }
/// ```
pub type InterruptEntry = unsafe extern "C" fn();

/// Defines an interrupt entry: a function whose address goes into the interrupt table, and which
/// calls a handler of type `extern "sysv64" fn(&InterruptFrame)`.
///
/// The entry saves the general registers that the handler may change, clears the direction flag and
/// aligns the stack. It saves no vector registers: guests are built for soft float, as the target
/// `x86_64-unknown-none` is. The handler, not the entry, acknowledges the interrupt. The handler
/// must not panic where panics unwind. Entries are not for exceptions, some of which push an error
/// code.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::{
///     arch::x86_64::{interrupt::InterruptFrame, vector},
///     interrupt_entry, platform::bare,
/// };
///
/// extern "sysv64" fn on_device(_frame: &InterruptFrame) {
///     // Wake the task that waits for the device, then:
///     bare::end_of_interrupt();
/// }
/// interrupt_entry!(device_entry => on_device);
///
/// // SAFETY: made by `interrupt_entry!`, and ends the local APIC's interrupt.
/// unsafe { bare::set_interrupt_handler(vector::FREE, device_entry) };
/// # let apic = bare::machine().and_then(|machine| machine.apic).expect("there is a local APIC");
/// # apic.interrupt_self(vector::FREE);
/// ```
#[macro_export]
macro_rules! interrupt_entry {
    ($(#[$meta:meta])* $visibility:vis $entry:ident => $handler:path) => {
        $crate::interrupt_entry!(
            @entry ($(#[$meta])* $visibility) $entry => $handler as
            extern "sysv64" fn(&$crate::arch::x86_64::interrupt::InterruptFrame)
        );
    };
    (@entry ($($prefix:tt)*) $entry:ident => $handler:path as $type:ty) => {
        /// # Safety
        ///
        /// Only an interrupt may enter it.
        #[unsafe(naked)]
        $($prefix)* unsafe extern "C" fn $entry() {
            // Checks the handler's type, which the assembly below cannot.
            const _: $type = $handler;
            // The processor has aligned the stack to 16 bytes and pushed five words, and the entry
            // pushes nine. So the stack is a multiple of 16 at the call, as the System V ABI
            // requires.
            ::core::arch::naked_asm!(
                "push rax",
                "push rcx",
                "push rdx",
                "push rsi",
                "push rdi",
                "push r8",
                "push r9",
                "push r10",
                "push r11",
                "cld",
                "lea rdi, [rsp + 72]",
                "call {handler}",
                "pop r11",
                "pop r10",
                "pop r9",
                "pop r8",
                "pop rdi",
                "pop rsi",
                "pop rdx",
                "pop rcx",
                "pop rax",
                "iretq",
                handler = sym $handler,
            )
        }
    };
}
