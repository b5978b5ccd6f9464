//! A plugin for QEMU (version 1 of its interface: QEMU 4.2 to 8.2) that counts executed instructions by address, in a
//! program (`qemu-aarch64`) or on a board (`qemu-system-arm`) with one processor:
//! `qemu-aarch64 -plugin liblrpet_counter.so,out=FILE,base=0,mark=0x1234 PROGRAM`.
//!
//! A *mark* is the address of an instruction, relative to the program's first byte of code plus `base` where the option
//! `base` is given, absolute otherwise. Execution of a mark ends a segment and begins the next one, which has counts of its
//! own, so that what happens between two marks is counted apart from all else.
//!
//! `FILE` is text, written when the emulator ends, all numbers hexadecimal but counts and indices:
//! - `bias B`: what was added to marks;
//! - `map FROM TO OFFSET PATH`: a file in the memory of the process (programs only);
//! - `code INDEX ADDRESS BYTES`: an instruction that was translated;
//! - `segment MARK`: begins a segment with the index of the mark that began it, `-` at the start of the program; then
//! - `INDEX COUNT`: an instruction and how often it was executed in this segment.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

mod counts;
mod interface;

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use counts::{Counts, Options};
use interface::{Id, Info, Instruction, Translated};

/// What QEMU checks before it calls [`qemu_plugin_install`].
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static qemu_plugin_version: c_int = 1;

/// What is counted; made when the plugin is installed.
static COUNTS: OnceLock<Mutex<Counts>> = OnceLock::new();

/// The counts, also after a panic in a callback.
fn counts() -> Option<MutexGuard<'static, Counts>> {
    Some(COUNTS.get()?.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Called by QEMU once: reads the options and asks to be called when code is translated and at the end. 0 where all is
/// well.
///
/// # Safety
/// For QEMU, which passes `count` strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: Id,
    info: *const Info,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    // SAFETY: QEMU's own arguments.
    let (texts, emulates_system) = unsafe {
        let arguments = (0..count.max(0) as usize).map(|index| CStr::from_ptr(*arguments.add(index)));
        let texts: Vec<String> = arguments.map(|text| text.to_string_lossy().into_owned()).collect();
        (texts, (*info).system_emulation)
    };
    let options = match Options::read(&texts) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("lrpet-counter: {message}");
            return 1;
        }
    };
    if COUNTS.set(Mutex::new(Counts::new(options, emulates_system))).is_err() {
        eprintln!("lrpet-counter: loaded twice");
        return 1;
    }
    // SAFETY: functions with the signatures that QEMU expects; neither unwinds.
    unsafe {
        interface::qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
        interface::qemu_plugin_register_atexit_cb(id, ended, std::ptr::null_mut());
    }
    0
}

/// Called for each block that was translated: gives every instruction in it a counter.
extern "C" fn translated(_id: Id, block: *const Translated) {
    let Some(mut counts) = counts() else { return };
    // SAFETY: `block` and what is asked of it are valid during this call; the counters are never freed.
    unsafe {
        counts.find_bias(|| interface::qemu_plugin_start_code());
        for index in 0..interface::qemu_plugin_tb_n_insns(block) {
            let instruction: *const Instruction = interface::qemu_plugin_tb_get_insn(block, index);
            let address = interface::qemu_plugin_insn_vaddr(instruction);
            let bytes = std::slice::from_raw_parts(
                interface::qemu_plugin_insn_data(instruction).cast::<u8>(),
                interface::qemu_plugin_insn_size(instruction),
            );
            let counter = counts.counter(address, bytes);
            if let Some(mark) = counts.mark_at(address) {
                let data = mark as *mut c_void;
                interface::qemu_plugin_register_vcpu_insn_exec_cb(instruction, marked, 0, data);
            }
            interface::qemu_plugin_register_vcpu_insn_exec_inline(instruction, 0, counter.cast(), 1);
        }
    }
}

/// Called before the instruction of a mark is executed.
extern "C" fn marked(_processor: c_uint, mark: *mut c_void) {
    if let Some(mut counts) = counts() {
        counts.begin_segment(Some(mark as usize));
    }
}

/// Called at the end of the emulator.
extern "C" fn ended(_id: Id, _data: *mut c_void) {
    if let Some(mut counts) = counts()
        && let Err(error) = counts.write()
    {
        eprintln!("lrpet-counter: {}: {error}", counts.file().display());
    }
}
