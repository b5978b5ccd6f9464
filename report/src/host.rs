//! What Linux says about the machine; other systems say nothing.

use std::fs::read_to_string;

/// Cores of 64-bit Arm by the kernel's `CPU part`, where Arm is the implementer.
const ARM_PARTS: [(&str, &str); 8] = [
    ("0xd03", "Cortex-A53"),
    ("0xd04", "Cortex-A35"),
    ("0xd05", "Cortex-A55"),
    ("0xd07", "Cortex-A57"),
    ("0xd08", "Cortex-A72"),
    ("0xd0a", "Cortex-A75"),
    ("0xd0b", "Cortex-A76"),
    ("0xd0c", "Neoverse N1"),
];

/// Name of the processor, else of the architecture.
pub fn core() -> String {
    let info = read_to_string("/proc/cpuinfo").unwrap_or_default();
    core_of(&info).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn core_of(info: &str) -> Option<String> {
    let value = |key: &str| {
        let of_line = |line: &str| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        };
        info.lines().find_map(of_line)
    };
    let arm = || {
        let part = value("CPU part").filter(|_| value("CPU implementer").as_deref() == Some("0x41"))?;
        let known = ARM_PARTS.iter().find(|(number, _)| *number == part);
        Some(known.map_or(format!("Arm part {part}"), |(_, name)| (*name).to_owned()))
    };
    value("model name").or_else(arm)
}

/// What chooses the clock of a core.
pub fn governor(core: u32) -> Option<String> {
    of_core(core, "scaling_governor")
}

/// Clock of a core in kHz, now.
pub fn frequency_khz(core: u32) -> Option<u64> {
    of_core(core, "scaling_cur_freq")?.parse().ok()
}

fn of_core(core: u32, file: &str) -> Option<String> {
    let text = read_to_string(format!("/sys/devices/system/cpu/cpu{core}/cpufreq/{file}")).ok()?;
    Some(text.trim().to_owned())
}

/// Temperature of the processor in °C, now: the kernel's first thermal zone, which is the processor's on a Raspberry Pi.
pub fn temperature_c() -> Option<f64> {
    let text = read_to_string("/sys/class/thermal/thermal_zone0/temp").ok()?;
    Some(text.trim().parse::<f64>().ok()? / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::core_of;

    #[test]
    fn processors_are_named() {
        let server = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\n";
        assert_eq!(core_of(server).as_deref(), Some("Some CPU @ 2.00GHz"));
        let pi = |part: &str| format!("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: {part}\n");
        assert_eq!(core_of(&pi("0xd0b")).as_deref(), Some("Cortex-A76"));
        assert_eq!(core_of(&pi("0xfff")).as_deref(), Some("Arm part 0xfff"));
        assert_eq!(core_of("CPU implementer : 0x61\nCPU part : 0xd0b"), None);
        assert_eq!(core_of(""), None);
    }
}
