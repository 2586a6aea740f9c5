//! What the network knobs share: interfaces of hardware, processors, and the two ways to write sets of them.

use std::path::{Path, PathBuf};

use crate::tune::knob::{NoFinding, Scene, unreadable};

const NET: &str = "/sys/class/net";
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// An interface with a device behind it, by its directory in /sys/class/net.
pub(super) fn interfaces(scene: &Scene<'_>) -> Result<Vec<PathBuf>, NoFinding> {
    let all = scene.host.names(Path::new(NET)).into_iter().map(|name| Path::new(NET).join(name));
    let found: Vec<_> = all.filter(|path| scene.host.exists(&path.join("device"))).collect();
    if found.is_empty() {
        return Err(NoFinding::NotHere("there is no network interface of hardware".to_owned()));
    }
    Ok(found)
}

/// Processors that are online, ascending.
pub(super) fn processors(scene: &Scene<'_>) -> Result<Vec<usize>, NoFinding> {
    let path = Path::new(ONLINE);
    let text = scene.host.read(path).map_err(|error| unreadable(path, &error))?;
    parse_list(&text).ok_or_else(|| NoFinding::Unreadable(format!("{ONLINE} holds \"{text}\"")))
}

/// `0-3,8` as numbers.
pub(in crate::tune) fn parse_list(text: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        numbers.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(numbers)
}

/// Processors as the kernel writes masks: groups of 32 bits in hex, the highest first.
pub(super) fn mask(processors: &[usize]) -> String {
    let groups = processors.iter().max().map_or(1, |most| most / 32 + 1);
    let mut bits = vec![0_u32; groups];
    processors.iter().for_each(|one| bits[one / 32] |= 1 << (one % 32));
    let first = format!("{:x}", bits[groups - 1]);
    let rest = bits[..groups - 1].iter().rev().map(|group| format!("{group:08x}"));
    std::iter::once(first).chain(rest).collect::<Vec<_>>().join(",")
}

/// Whether two masks are of the same processors, however wide they are written.
pub(super) fn same_mask(one: &str, other: &str) -> bool {
    let plain = |mask: &str| mask.replace(',', "").trim_start_matches('0').to_ascii_lowercase();
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_masks_of_processors_are_the_kernels() {
        assert_eq!(parse_list("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse_list("x"), None);
        assert_eq!(mask(&[0, 1, 2, 3]), "f");
        assert_eq!(mask(&[1, 32, 63]), "80000001,00000002");
        assert_eq!(mask(&[]), "0");
        assert!(same_mask("00000000,0000000f", "f"));
        assert!(same_mask("0", "00"));
        assert!(!same_mask("f", "00000001,0000000f"));
    }
}
