//! How much of a disk each core may keep busy: what `corelane tune disk` has measured, shared among its cores.

use std::{fs, path::PathBuf};

use super::StartError;
use crate::{
    config::{
        BoundsFrom, Settings,
        io_properties::{Bounds, IO_PROPERTIES, IoProperties},
    },
    io::ring::DiskBounds,
    model::ShardId,
};

/// A core's part of its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskShare {
    core: usize,
    /// None: nothing was measured, or is to be gone by.
    measured: Option<(PathBuf, Bounds)>,
    /// Cores whose data directory is the same.
    sharing: usize,
}

impl DiskShare {
    /// Its equal part of what the disk takes, at least one read and one write.
    #[must_use]
    pub fn bounds(&self) -> DiskBounds {
        let Some((_, all)) = &self.measured else { return DiskBounds::NONE };
        let share = |all: u32| (all as usize / self.sharing).max(1);
        DiskBounds { reads_max: share(all.reads_in_flight_max), writes_max: share(all.writes_in_flight_max) }
    }

    /// One sentence for `serve --check`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Some((file, _)) = &self.measured else {
            return format!(
                "core {} has as many reads and writes of files under way as it asks for",
                self.core
            );
        };
        let DiskBounds { reads_max, writes_max } = self.bounds();
        format!(
            "core {} has at most {reads_max} reads and {writes_max} writes of files under way at once: its part of {} \
             among {} of one data directory",
            self.core,
            file.display(),
            if self.sharing == 1 { "1 core".to_owned() } else { format!("{} cores", self.sharing) },
        )
    }
}

/// For each shard, what bounds its reads and writes of files.
///
/// # Errors
/// [`StartError::IoProperties`]: there is a file, and it is not sound, or the one that was named is not there.
pub fn disk_bounds(settings: &Settings) -> Result<Vec<DiskShare>, StartError> {
    let mut shares = Vec::with_capacity(settings.shards.len());
    // One directory may have two names.
    let resolved = |index| {
        let data = settings.data_dir_of(ShardId(index));
        fs::canonicalize(data).unwrap_or_else(|_| data.to_owned())
    };
    let directories: Vec<PathBuf> = (0..settings.shards.len() as u16).map(resolved).collect();
    for (data, shard) in directories.iter().zip(&settings.shards) {
        let measured = match &settings.io_properties {
            BoundsFrom::Nowhere => None,
            BoundsFrom::DataDirectory => {
                IoProperties::of(data)?.map(|found| (data.join(IO_PROPERTIES), found))
            }
            BoundsFrom::File(file) => Some((file.clone(), IoProperties::read(file)?)),
        };
        shares.push(DiskShare {
            core: shard.core,
            measured: measured.map(|(file, found)| (file, found.bounds)),
            sharing: directories.iter().filter(|other| *other == data).count(),
        });
    }
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Assignment, Cpu, load};

    fn settings(text: &str) -> Settings {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let cpus = [0, 1].map(|core| Cpu { core, numa_node: 0 });
        load(Some(file.path()), &[] as &[Assignment], &cpus).unwrap()
    }

    fn bounds(text: &str) -> Vec<DiskBounds> {
        disk_bounds(&settings(text)).unwrap().iter().map(DiskShare::bounds).collect()
    }

    fn of(reads_max: usize, writes_max: usize) -> DiskBounds {
        DiskBounds { reads_max, writes_max }
    }

    #[test]
    fn cores_share_what_their_data_directory_was_measured_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
        let log_dir = format!("log.dir = \"{}\"\n", a.display());
        assert_eq!(bounds(&log_dir), [DiskBounds::NONE; 2], "nothing was measured");
        for (path, (reads, writes)) in [(&a, (16, 1)), (&b, (8, 4))] {
            fs::create_dir_all(path).unwrap();
            let mut properties = IoProperties::new(0, 0, Vec::new());
            properties.bounds = Bounds { reads_in_flight_max: reads, writes_in_flight_max: writes };
            fs::write(path.join(IO_PROPERTIES), properties.to_text()).unwrap();
        }
        assert_eq!(bounds(&log_dir), [of(8, 1); 2], "half each, but at least one");
        let own = format!("{log_dir}[[shard]]\ncore = 1\nlog.dir = \"{}\"\n", b.display());
        assert_eq!(bounds(&own), [of(16, 1), of(8, 4)]);
        assert_eq!(bounds(&format!("io.properties = \"none\"\n{own}")), [DiskBounds::NONE; 2]);
        std::os::unix::fs::symlink(&a, directory.path().join("c")).unwrap();
        let same =
            format!("{log_dir}[[shard]]\ncore = 1\nlog.dir = \"{}\"\n", directory.path().join("c").display());
        assert_eq!(bounds(&same), [of(8, 1); 2], "one directory under two names");
        let file = format!("io.properties = \"{}\"\n{log_dir}", b.join(IO_PROPERTIES).display());
        assert_eq!(bounds(&file), [of(4, 2); 2]);
        let sentence = disk_bounds(&settings(&own)).unwrap()[1].sentence();
        assert!(sentence.starts_with("core 1 has at most 8 reads and 4 writes"), "{sentence}");
    }

    #[test]
    fn a_file_that_is_not_sound_or_not_there_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("io.toml");
        let named = settings(&format!("io.properties = \"{}\"\n", file.display()));
        assert!(disk_bounds(&named).unwrap_err().to_string().contains("No such file"));
        fs::write(&file, "version = 1\n").unwrap();
        assert!(disk_bounds(&named).unwrap_err().to_string().contains("corelane tune disk"));
    }
}
