//! A flag for each setting, made from the table of settings, so that the two cannot differ.

use std::collections::BTreeMap;

use clap::builder::StyledStr;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::config::keys::{self, Key};

/// The settings that were given as flags, as they were written.
#[derive(Clone, Debug, Default)]
pub struct SettingFlags(pub BTreeMap<&'static str, String>);

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        keys::ALL.iter().filter(|key| key.flag).fold(command, |command, key| command.arg(flag(key)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for key in keys::ALL.iter().filter(|key| key.flag) {
            if let Some(value) = matches.get_one::<String>(key.name) {
                self.0.insert(key.name, value.clone());
            }
        }
        Ok(())
    }
}

fn flag(key: &'static Key) -> Arg {
    let arg = Arg::new(key.name)
        .long(key.long())
        .value_name(key.value)
        .help(help(key))
        .help_heading(key.heading)
        .hide_short_help(true)
        .global(true);
    if key.name == keys::ALLOW_REMOTE.name { arg.num_args(0..=1).default_missing_value("true") } else { arg }
}

fn help(key: &Key) -> StyledStr {
    format!("{} [default: {}] [env: {}]", key.help, key.default, key.env()).into()
}
