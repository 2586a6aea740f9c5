//! Changes of settings while the broker runs.

use super::{ConfigError, Settings, file::Assignment, load::Loader};

/// The settings with these changes, for those that are live; whoever holds the old ones goes on with them until it
/// is given the new ones.
///
/// # Errors
/// An unknown name, an unsound value, or a setting that only a restart changes; nothing is changed then.
pub fn apply_dynamic(settings: &Settings, changes: &[Assignment]) -> Result<Settings, ConfigError> {
    Loader::from_settings(settings).change(changes)
}
