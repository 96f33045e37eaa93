//! The devices of a guest: those of its [`Bus`], and those that KVM must know.

use dormir_abi::port::{CLOCK, SERIAL_IRQ};
use kvm_bindings::kvm_clock_data;
use kvm_ioctls::{VcpuFd, VmFd};

use super::{
    boot::Memory,
    bus::{Bus, little_endian},
    event::new_event,
    host_interrupt::{self, HostInterrupts},
    outlet::Outlet,
    serial::SerialLine,
    virtio::VirtioDevices,
};
use crate::vmm::{error::RunError, outcome::Outcome};

/// The devices of one guest.
pub(super) struct Devices {
    /// Held so that the serial line's interrupt stays connected.
    vm: VmFd,
    bus: Bus,
    /// `None` until the guest asks for an interrupt.
    host_interrupts: Option<HostInterrupts>,
}

impl Devices {
    pub(super) fn new(vm: VmFd, memory: Memory, virtio: VirtioDevices) -> Result<Self, RunError> {
        let interrupt = new_event().map_err(|cause| RunError::Resource {
            what: "an event for the serial line",
            cause,
        })?;
        vm.register_irqfd(&interrupt, SERIAL_IRQ.into())
            .map_err(RunError::kvm("connect the serial line's interrupt"))?;
        Ok(Self {
            vm,
            bus: Bus::new(memory, SerialLine::new(interrupt), virtio),
            host_interrupts: None,
        })
    }

    /// The devices that KVM need not know.
    pub(super) fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Handles the guest's write of `data` to `port`.
    ///
    /// # Errors
    ///
    /// How this ends the run.
    pub(super) fn write(
        &self,
        port: u16,
        data: &[u8],
        console: &mut Outlet<'_>,
    ) -> Result<(), Outcome> {
        if port != CLOCK {
            return self.bus.write(port, data, console);
        }
        let millis = little_endian(data).cast_signed();
        move_clock(&self.vm, millis).map_err(|error| {
            Outcome::Died(format!(
                "KVM does not set its paravirtual clock ({error}): leave out what moves it"
            ))
        })
    }

    /// Handles the guest's request for an interrupt from the host, which is at `address`.
    ///
    /// # Errors
    ///
    /// How this ends the run.
    pub(super) fn interrupt_from_host(
        &mut self,
        vcpu: &VcpuFd,
        address: u32,
    ) -> Result<(), Outcome> {
        let Self {
            vm,
            bus,
            host_interrupts,
        } = self;
        host_interrupt::on_write(host_interrupts, vm, vcpu, bus.memory(), address)
    }
}

/// Sets the paravirtual clock ahead or back, but not below zero.
fn move_clock(vm: &VmFd, millis: i32) -> Result<(), kvm_ioctls::Error> {
    let now = vm.get_clock()?.clock;
    let clock = now.saturating_add_signed(i64::from(millis) * 1_000_000);
    // Without flags: independent of the host's own clocks.
    vm.set_clock(&kvm_clock_data {
        clock,
        ..Default::default()
    })
}
