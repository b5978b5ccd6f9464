//! Whether this processor is one for which the program was built.
//!
//! A Cortex-M meets an instruction that it does not have with a fault that says nothing, and no target of Rust's tells a
//! Cortex-M4 from an M7. So sessions ask the core first, which says what it is and has.

use core::fmt;

/// Why this processor cannot run the kernels of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MachineError {
    /// It lacks instructions.
    Core {
        /// Part number of the core, as its CPUID register states it.
        part: u16,
        /// The core for which the program was built.
        built_for: &'static str,
    },
    /// Its floating-point unit is switched off.
    FpuOff,
}

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Core { part, built_for } => {
                write!(f, "this was built for a {built_for}, and the core is ")?;
                match core_name(part) {
                    Some(name) => write!(f, "a {name}")?,
                    None => write!(f, "another one (part number {:#05x})", u32::from(part))?,
                }
                f.write_str(": build it for that core")
            }
            Self::FpuOff => f.write_str("the floating-point unit is off: switch it on at the start (CPACR)"),
        }
    }
}

impl core::error::Error for MachineError {}

/// The names of cores, by part number.
fn core_name(part: u16) -> Option<&'static str> {
    Some(match part {
        CORTEX_M4 => "Cortex-M4",
        CORTEX_M7 => "Cortex-M7",
        0xd21 => "Cortex-M33",
        0xd22 => "Cortex-M55",
        0xd23 => "Cortex-M85",
        0xd31 => "Cortex-M35P",
        _ => return None,
    })
}

const CORTEX_M4: u16 = 0xc24;
const CORTEX_M7: u16 = 0xc27;

/// An error where this processor cannot execute the kernels that were compiled for it without asking. Elsewhere than on a
/// Cortex-M the kernels are chosen by what the processor has.
pub fn check() -> Result<(), MachineError> {
    #[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
    if let Some(found) = cortex_m::Found::read() {
        return found.suits(&cortex_m::Needs::HERE);
    }
    Ok(())
}

#[cfg(any(test, all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
mod cortex_m {
    use super::{CORTEX_M7, MachineError};

    /// What kernels are made of.
    pub(super) struct Needs {
        /// Name of the core that has all of it.
        pub(super) core: &'static str,
        /// The instructions of Armv8-M.
        pub(super) v8: bool,
        /// FPv5: rounding conversions, minimum and maximum.
        pub(super) fpv5: bool,
        /// The vector unit with floating point.
        pub(super) vectors: bool,
    }

    /// What a core says that it is and has (Armv7-M and Armv8-M Architecture Reference Manuals, System Control Block).
    pub(super) struct Found {
        pub(super) part: u16,
        pub(super) mvfr: [u32; 3],
        pub(super) cpacr: u32,
    }

    impl Needs {
        /// Of this build.
        #[cfg(not(test))]
        pub(super) const HERE: Needs = Needs {
            core: if cfg!(cortex_m55) {
                "Cortex-M55"
            } else if cfg!(armv8m) {
                "Cortex-M33"
            } else if cfg!(fpv5) {
                "Cortex-M7"
            } else {
                "Cortex-M4F"
            },
            v8: cfg!(armv8m),
            fpv5: cfg!(fpv5),
            vectors: cfg!(cortex_m55),
        };
    }

    impl Found {
        /// Reads the registers; `None` where the program runs without privilege, for which reading them is a fault.
        #[cfg(not(test))]
        #[allow(unsafe_code)]
        pub(super) fn read() -> Option<Found> {
            let (control, exception): (u32, u32);
            // SAFETY: reads two special registers, which any code may, and changes nothing.
            unsafe {
                core::arch::asm!("mrs {}, CONTROL", "mrs {}, IPSR", out(reg) control, out(reg) exception,
                    options(nomem, nostack, preserves_flags));
            }
            if control & 1 == 1 && exception == 0 {
                return None;
            }
            let register = |address: usize| {
                // SAFETY: registers of the System Control Space, which every such core has; privileged code may read them,
                // and that changes nothing.
                unsafe { core::ptr::with_exposed_provenance::<u32>(address).read_volatile() }
            };
            Some(Found {
                part: (register(0xe000_ed00) >> 4 & 0xfff) as u16,
                mvfr: [0xe000_ef40, 0xe000_ef44, 0xe000_ef48].map(register),
                cpacr: register(0xe000_ed88),
            })
        }

        pub(super) fn suits(&self, needs: &Needs) -> Result<(), MachineError> {
            let field = |register: u32, at: u32| register >> at & 0xf;
            let [mvfr0, mvfr1, mvfr2] = self.mvfr;
            let v7 = (0xc20..=CORTEX_M7).contains(&self.part);
            let has = [
                // Single precision.
                field(mvfr0, 4) >= 2,
                !needs.v8 || !v7,
                !needs.fpv5 || field(mvfr2, 4) >= 4,
                !needs.vectors || field(mvfr1, 8) == 2,
            ];
            if has.contains(&false) {
                return Err(MachineError::Core { part: self.part, built_for: needs.core });
            }
            // Both bits of coprocessors 10 and 11, or those for privileged code alone.
            if field(self.cpacr, 20) & 0b0101 != 0b0101 {
                return Err(MachineError::FpuOff);
            }
            Ok(())
        }
    }

    #[cfg(test)]
    mod tests {
        use std::string::ToString;

        use super::super::CORTEX_M4;
        use super::*;

        const ON: u32 = 0xf << 20;

        /// As the cores' manuals state their registers.
        fn core(part: u16) -> Found {
            let mvfr = match part {
                CORTEX_M4 => [0x1011_0021, 0x1100_0011, 0],
                0xd22 => [0x1011_0221, 0x1210_0211, 0x40],
                _ => [0x1011_0021, 0x1100_0011, 0x40],
            };
            Found { part, mvfr, cpacr: ON }
        }

        #[test]
        fn each_build_runs_on_the_cores_that_have_its_instructions() {
            let build = |core, v8, fpv5, vectors| Needs { core, v8, fpv5, vectors };
            let (m4, m7) = (build("Cortex-M4F", false, false, false), build("Cortex-M7", false, true, false));
            let (m33, m55) = (build("Cortex-M33", true, true, false), build("Cortex-M55", true, true, true));
            for (needs, parts) in [
                (&m4, &[CORTEX_M4, CORTEX_M7, 0xd21, 0xd22][..]),
                (&m7, &[CORTEX_M7, 0xd21, 0xd22]),
                (&m33, &[0xd21, 0xd22]),
                (&m55, &[0xd22]),
            ] {
                for part in [CORTEX_M4, CORTEX_M7, 0xd21, 0xd22] {
                    let refused = MachineError::Core { part, built_for: needs.core };
                    let expected = if parts.contains(&part) { Ok(()) } else { Err(refused) };
                    assert_eq!(core(part).suits(needs), expected, "{} on {part:#x}", needs.core);
                }
            }
            let text = core(CORTEX_M4).suits(&m7).unwrap_err().to_string();
            assert_eq!(
                text,
                "this was built for a Cortex-M7, and the core is a Cortex-M4: build it for that core"
            );
            let none = Found { part: 0xc23, mvfr: [0; 3], cpacr: 0 };
            let text = none.suits(&m4).unwrap_err().to_string();
            assert!(text.contains("Cortex-M4F") && text.contains("part number 0xc23"), "{text}");
        }

        #[test]
        fn a_unit_that_is_off_is_named() {
            let needs = Needs { core: "Cortex-M4F", v8: false, fpv5: false, vectors: false };
            let off = Found { cpacr: 0, ..core(CORTEX_M4) };
            assert_eq!(off.suits(&needs), Err(MachineError::FpuOff));
            let privileged = Found { cpacr: 0x5 << 20, ..core(CORTEX_M4) };
            assert_eq!(privileged.suits(&needs), Ok(()));
        }
    }
}
