//! QEMU's functions for plugins, of which Debian packages no header (QEMU 7.2, `include/qemu/qemu-plugin.h`).
//! Each is called as that header says: from the callbacks of its plugin, with what they were given.

use std::ffi::{c_int, c_uint, c_void};

/// Names a plugin.
pub type Id = u64;

/// What runs it.
#[repr(C)]
pub struct Info {
    target_name: *const std::ffi::c_char,
    version: [c_int; 2],
    /// A whole machine, not a program.
    pub system_emulation: bool,
    processors: [c_int; 2],
}

/// A block of code that was translated.
#[repr(C)]
pub struct Translated([u8; 0]);

/// An instruction in it.
#[repr(C)]
pub struct Instruction([u8; 0]);

unsafe extern "C" {
    pub fn qemu_plugin_register_vcpu_tb_trans_cb(id: Id, callback: extern "C" fn(Id, *const Translated));
    pub fn qemu_plugin_register_atexit_cb(
        id: Id,
        callback: extern "C" fn(Id, *mut c_void),
        data: *mut c_void,
    );
    pub fn qemu_plugin_tb_n_insns(block: *const Translated) -> usize;
    pub fn qemu_plugin_tb_get_insn(block: *const Translated, index: usize) -> *const Instruction;
    pub fn qemu_plugin_insn_data(instruction: *const Instruction) -> *const c_void;
    pub fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
    pub fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    /// `flags` 0: the callback reads no registers.
    pub fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *const Instruction,
        callback: extern "C" fn(c_uint, *mut c_void),
        flags: c_int,
        data: *mut c_void,
    );
    /// `operation` 0: adds `value` to the u64 at `to`.
    pub fn qemu_plugin_register_vcpu_insn_exec_inline(
        instruction: *const Instruction,
        operation: c_int,
        to: *mut c_void,
        value: u64,
    );
    /// First byte of a program's code, where it was loaded.
    pub fn qemu_plugin_start_code() -> u64;
}
